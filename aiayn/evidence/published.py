"""Figures that others published on the test sets of our experiments, with their rulers."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiayn.evidence.paper import BASE, BIG, TABLE_2


@dataclass(frozen=True)
class Published:
    """A figure as published, BLEU and F1 from 0 to 100; `ruler` is the nearest of ours, by its name
    in the scores."""

    value: float
    ruler: str
    source: str


def _paper(row: str, direction: str) -> Published:
    bleu = getattr(TABLE_2[row], direction)
    ruler = "compound-split" if direction == "ende_bleu" else "tokenised"
    return Published(bleu, ruler, "the paper's Table 2")


PUBLISHED: Mapping[tuple[str, str], Published] = {
    ("multi30k_ende", "test2016"): Published(41.02, "tokenised-lc", "Wu et al. 2021, 2.6M"),
    ("multi30k_ende_wu2021", "test2016"): Published(41.02, "tokens", "Wu et al. 2021, 2.6M"),
    ("shakespeare", "dev"): Published(1.88, "nats_per_character", "nanoGPT's recipe for a CPU"),
    ("shakespeare_large", "dev"): Published(1.4697, "nats_per_character", "nanoGPT's for a GPU"),
    ("wmt14_ende_base", "test"): _paper(BASE, "ende_bleu"),
    ("wmt14_ende_big", "test"): _paper(BIG, "ende_bleu"),
    ("wmt14_enfr_base", "test"): _paper(BASE, "enfr_bleu"),
    ("wmt14_enfr_big", "test"): _paper(BIG, "enfr_bleu"),
}
"""By experiment and test set."""
