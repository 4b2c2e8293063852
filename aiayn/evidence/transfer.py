"""A pre-trained decoder beside one drawn at random: the rows, their differences, the table.

Radford et al. (2018) pre-train the decoder alone as a language model and find that this helps most
where labelled text is short, and that every layer that is moved helps. Here the label of a sentence
is its translation, and `aiayn.evidence.pretraining` trains the translators.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

from rich.table import Table

from aiayn.bench.grid import grid
from aiayn.config import Experiment
from aiayn.evidence.records import Ablation
from aiayn.evidence.table3 import MEASURES, Difference, signed, with_spread

NAME = "pretraining"
"""The experiment that `aiayn ablate` does this with instead of Table 3, and others that begin with
it."""
SIZES = (2_000, 10_000, 50_000)
LAYERS = "train.initial_layers"


def rows_of(base: Experiment, sizes: Sequence[int] = SIZES) -> dict[str, dict[str, Any]]:
    """What each row sets: pairs of train, and how many layers are moved, where any are."""
    found: dict[str, dict[str, Any]] = {}
    last = base.model.num_layers
    for size in sizes:
        found[f"{size}-fresh"] = {"data.limit": size}
        for layers in range(last + 1) if size == min(sizes) else (last,):
            found[f"{size}-moved{layers}"] = {"data.limit": size, LAYERS: layers}
    return found


def differences(record: Ablation, measure: str) -> dict[str, Difference]:
    """Of every row with moved layers less the fresh one of as many pairs, with the same seed."""

    def values(row: str) -> list[float]:
        runs = record.rows[row].runs
        return [math.log(run.perplexity) if measure == "nats" else run.bleu for run in runs]

    return {
        row: Difference(
            None,
            tuple(a - b for a, b in zip(values(row), values(_fresh(row)), strict=True)),
        )
        for row, found in record.rows.items()
        if LAYERS in found.changes
    }


def _fresh(row: str) -> str:
    """The row without pre-training that a row is held against."""
    return f"{row.partition('-')[0]}-fresh"


def by_size(record: Ablation) -> dict[int, tuple[float, float]]:
    """The mean BLEU by the number of pairs, with a fresh decoder and with all layers moved."""
    whole = record.config["model"]["num_layers"]
    found: dict[int, tuple[float, float]] = {}
    for row, about in record.rows.items():
        if about.changes.get(LAYERS) == whole:
            pair = (fmean(run.bleu for run in record.rows[r].runs) for r in (_fresh(row), row))
            fresh, moved = pair
            found[about.changes["data.limit"]] = fresh, moved
    return found


def by_layers(record: Ablation) -> dict[int, Difference]:
    """The difference in BLEU by the number of layers moved, from the fewest pairs."""
    fewest = min(by_size(record))
    bleu = differences(record, "bleu")
    return {
        about.changes[LAYERS]: bleu[row]
        for row, about in record.rows.items()
        if row in bleu and about.changes["data.limit"] == fewest
    }


def table_rows(record: Ablation) -> Iterator[list[str]]:
    """The comparison as text: a head, then a line for each row."""
    nats, bleu = (differences(record, measure) for measure in MEASURES)
    yield ["pairs read", "layers moved", "updates", "perplexity", "Δ nats", "BLEU", "Δ BLEU"]
    for row, found in record.rows.items():
        layers = found.changes.get(LAYERS)
        moved = "none, drawn at random" if layers is None else f"{layers} and the embedding"
        yield [
            f"{found.changes['data.limit']:,}",
            moved,
            f"{fmean(run.updates for run in found.runs):,.0f}",
            f"{fmean(run.perplexity for run in found.runs):.2f}",
            with_spread(nats[row], 3) if row in nats else signed(None, 3),
            f"{fmean(run.bleu for run in found.runs):.1f}",
            with_spread(bleu[row], 2) if row in bleu else signed(None, 2),
        ]


def summary(record: Ablation) -> str:
    """What was compared."""
    seeds = len(next(iter(record.rows.values())).runs)
    scatter = (
        f"Means over {seeds} seeds ± standard deviation, each seed against a decoder drawn at "
        "random with the same seed and as many pairs."
        if seeds > 1
        else "One seed."
    )
    told = ", ".join(f"{each.perplexity:.2f} (seed {each.seed})" for each in record.text_models)
    perplexity = f"; its perplexity on dev is {told}" if told else ""
    return (
        f"{scatter} Updates are those after which the loss on dev was lowest, of all that were "
        f"validated. The language model was trained on the target side of all pairs{perplexity}. "
        "Its embedding always moves, which the encoder shares: what the layers bring is the "
        "difference to 0 layers."
    )


def table(record: Ablation) -> Table:
    """The comparison, for a terminal."""
    return grid(f"{record.experiment}: a pre-trained decoder", list(table_rows(record)))
