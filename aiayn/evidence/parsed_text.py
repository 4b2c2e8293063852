"""What parsed text is worth to a parser: the rows, their differences, the table (§6.3, Table 4).

The paper's second parser learns from 17 million sentences more, which other parsers have parsed.
Here the sentences are a few thousand, and each row has the same ones: with the trees of another
parser, or with those of the row without them. `aiayn.evidence.self_training` trains the parsers.
"""

from collections.abc import Iterator
from statistics import fmean
from typing import Any

from rich.table import Table

from aiayn.bench.grid import grid
from aiayn.config import Experiment
from aiayn.evidence.records import Ablation
from aiayn.evidence.table3 import differences, signed, with_spread

NAME = "parsed_text"
"""The experiment of this; `aiayn ablate` does the same with every parser, since Table 3 is of
translators."""
PARSED, OWN = "parsed.mrg.gz", "own.mrg"
"""Files beside the treebank: the trees of another parser, and those that a parser here made."""
ROWS = {
    "base": "the treebank",
    "other": "and text, parsed by another parser",
    "own": "and the same text, parsed by the first row",
}
_FILES = {"other": PARSED, "own": OWN}


def changes(base: Experiment, row: str) -> dict[str, Any]:
    """What a row sets: the files of train."""
    if row not in _FILES:
        return {}
    return {"data.train_files": [*base.data.train_files, _FILES[row]]}


def table_rows(record: Ablation) -> Iterator[list[str]]:
    """The comparison as text: a head, then a line for each row."""
    found = differences(record, "bleu")
    yield ["learnt from", "F1", "Δ F1"]
    for row, about in record.rows.items():
        more = with_spread(found[row], 2) if row in found else signed(None, 2)
        yield [ROWS[row], f"{fmean(run.bleu for run in about.runs):.1f}", more]


def summary(record: Ablation) -> str:
    """What was compared."""
    seeds = len(record.rows["base"].runs)
    scatter = (
        f"Means over {seeds} seeds ± standard deviation, each seed against the same seed's first "
        "row."
        if seeds > 1
        else "One seed."
    )
    return (
        f"{scatter} All rows are trained for as many updates of as many symbols, with one "
        "tokenizer, that of the treebank and the text: with more text each tree of the treebank is "
        "read less often."
    )


def table(record: Ablation) -> Table:
    """The comparison, for a terminal."""
    return grid(f"{record.experiment}: what parsed text is worth", list(table_rows(record)))
