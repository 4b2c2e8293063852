"""Scores of a test set, by name and signature, and their table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text


class Headline(NamedTuple):
    """The one figure of a set of outputs that validation, sweeps and ablations go by."""

    value: float
    signature: str
    length_ratio: float
    """Length of the outputs over that of the references, in the tokens of the figure."""


@dataclass(frozen=True)
class Score:
    """One figure with all that is needed to compare it."""

    name: str
    value: float | None
    """0 to 100; None where it could not be taken, and then `how` gives the reason."""
    how: str
    """Our own tokenisation, if any, and sacreBLEU's signature."""
    compare: str
    """The figures of others that it may be held against, on the same test set."""
    detail: str = ""
    """BLEU's four precisions, brevity penalty, and tokens of hypotheses/references."""


@dataclass(frozen=True)
class Scores:
    """All figures of one set of outputs on one test set; `table` shows those in its head."""

    src: str
    tgt: str
    num_sentences: int
    entries: tuple[Score, ...]
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Score:
        return {entry.name: entry for entry in self.entries}[name]

    def values(self) -> dict[str, float | None]:
        """The figures by name."""
        return {entry.name: entry.value for entry in self.entries}


def table(results: Mapping[str, Mapping[str, Scores]], title: str = "") -> Table:
    """One row per test set and label (such as "last checkpoint", "average of 5"), one column per
    figure, and below them each figure's signature, what it compares with, and the warnings.

    The column of labels is left out where there is nothing in it.
    """
    labelled = any(label for rows in results.values() for label in rows)
    grid = Table(
        title=title or None,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    grid.add_column("test set", overflow="fold")
    if labelled:
        grid.add_column("weights", overflow="fold")
    for heading in _HEADINGS.values():
        grid.add_column(heading, justify="right", no_wrap=True)
    for test_set, rows in results.items():
        place = test_set
        for label, scores in rows.items():
            values = [scores[name].value for name in _HEADINGS]
            cells = ["–" if value is None else f"{value:.2f}" for value in values]
            grid.add_row(place, *([label] if labelled else []), *cells)
            place = ""  # named once
        grid.add_section()

    legend = Text()
    every = [(place, scores) for place, rows in results.items() for scores in rows.values()]
    for name, how, compare in dict.fromkeys(
        (entry.name, entry.how, entry.compare) for _, scores in every for entry in scores.entries
    ):
        if name in _HEADINGS:
            legend.append(_HEADINGS[name].replace("\n", " "), style="bold")
            legend.append(f" compares with {compare}\n  {how}\n")
    for place, warning in dict.fromkeys((p, w) for p, scores in every for w in scores.warnings):
        legend.append(f"{place}: {warning}\n", style="bold yellow")
    legend.rstrip()
    grid.caption = legend
    return grid


_HEADINGS = {
    "sacrebleu": "BLEU\n13a",
    "sacrebleu-lc": "13a\nuncased",
    "chrf2": "chrF2",
    "tokenised": "Moses\ncased",
    "tokenised-lc": "Moses\nuncased",
    "compound-split": "Moses\nsplit",
}
