"""Scores of a test set, by name and signature, and their table."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
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
    """None where it could not be taken, and then `how` gives the reason. Scores of outputs are 0 to
    100."""
    how: str
    """Changes of ours to the text, if any, and sacreBLEU's signature."""
    compare: str
    """The figures of others that it may be held against, on the same test set."""
    detail: str = ""
    """BLEU's four precisions, brevity penalty, and tokens of hypotheses/references."""


@dataclass(frozen=True)
class Scores:
    """All figures of one set of outputs on one test set; `table` shows those in its head."""

    src: str
    tgt: str
    """Codes of the languages; empty where nobody named them."""
    num_sentences: int
    entries: tuple[Score, ...]
    warnings: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Score:
        return {entry.name: entry for entry in self.entries}[name]

    def values(self) -> dict[str, float | None]:
        """The figures by name."""
        return {entry.name: entry.value for entry in self.entries}


def tokeniser(signature: str) -> str:
    """The tokeniser that a signature of sacreBLEU's BLEU names, `13a` for most languages."""
    found = re.search(r"\btok:([^|]+)", signature)
    return found[1] if found else ""


def bleu_name(signature: str) -> str:
    """What a BLEU of this signature is called."""
    found = tokeniser(signature)
    if found == "none":
        return "BLEU, tokens as they are"
    return f"BLEU ({found})" if found else "BLEU"


Results = Mapping[str, Mapping[str, Scores]]
"""By test set or system, then by a label such as "last checkpoint" or "average of 5"."""


def show(
    results: Results,
    console: Console,
    title: str = "",
    heads: tuple[str, str] = ("test set", "weights"),
    every: bool = False,
) -> None:
    """Print the table and, below it, each figure's signature, what it compares with, and warnings.

    `every` figure, or those that most readers look for.

    With a console of `aiayn.render.terminal` no figure, name or signature is cut or broken.
    """
    if title:
        console.print(Text(title, style="italic"))
    console.print(table(results, heads, every))
    console.print(_legend(results, every))


def table(
    results: Results, heads: tuple[str, str] = ("test set", "weights"), every: bool = False
) -> Table:
    """One row per test set and label, one column per figure.

    The column of labels is left out where there is nothing in it.
    """
    labelled = any(label for rows in results.values() for label in rows)
    headings = _headings(results, every)
    sections: list[list[list[str]]] = []
    for test_set, rows in results.items():
        lines: list[list[str]] = []
        for label, scores in rows.items():
            values = [scores.values().get(name) for name in headings]
            cells = ["–" if value is None else f"{value:.2f}" for value in values]
            place = "" if lines else test_set  # named once
            lines.append([place, *([label] if labelled else []), *cells])
        sections.append(lines)
    return plain_table([*heads[: 1 + labelled], *headings.values()], sections, 1 + labelled)


def plain_table(
    columns: Sequence[str], sections: Sequence[Sequence[Sequence[str]]], num_names: int
) -> Table:
    """Sections of lines, whose text is shown as it is, never read as markup.

    The first `num_names` columns may be wrapped, at blanks alone; the others are figures.
    """
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    lines = [columns, *(line for section in sections for line in section)]
    for number, heading in enumerate(columns):
        is_name = number < num_names
        parts = [line[number].split() if is_name else line[number].splitlines() for line in lines]
        grid.add_column(
            Text(heading),
            justify="left" if is_name else "right",
            no_wrap=not is_name,
            overflow="fold",
            min_width=max(cell_len(part) for each in parts for part in (*each, "")),
        )
    for section in sections:
        for line in section:
            grid.add_row(*map(Text, line))
        grid.add_section()
    return grid


def _legend(results: Results, every: bool) -> Text:
    headings = {name: text.replace("\n", " ") for name, text in _headings(results, every).items()}
    places = [(place, scores) for place, rows in results.items() for scores in rows.values()]
    entries = [e for _, scores in places for e in scores.entries if e.name in headings]
    legend = Text()
    taken = [e for e in entries if e.value is not None]
    for how, compare in dict.fromkeys((e.how, e.compare) for e in taken):
        names = (headings[e.name] for e in taken if (e.how, e.compare) == (how, compare))
        legend.append(", ".join(dict.fromkeys(names)), style="bold")
        legend.append(f" compares with {compare}\n  {how}\n")
    for reason in dict.fromkeys(e.how for e in entries if e.value is None):
        names = (headings[e.name] for e in entries if e.how == reason)
        legend.append(", ".join(dict.fromkeys(names)), style="bold")
        legend.append(f": not taken, {reason}\n")
    for warning in dict.fromkeys(w for _, scores in places for w in scores.warnings):
        where = dict.fromkeys(place for place, scores in places if warning in scores.warnings)
        legend.append(f"{', '.join(where)}: {warning}\n", style="bold yellow")
    legend.rstrip()
    return legend


def _headings(results: Results, every: bool) -> dict[str, str]:
    """The columns by the name of their figure; BLEU's first two with their tokeniser."""
    entries = [e for rows in results.values() for s in rows.values() for e in s.entries]
    signatures = (entry.how for entry in entries if entry.name == "sacrebleu")
    tokens = "/".join(dict.fromkeys(filter(None, map(tokeniser, signatures))))
    taken = {entry.name for entry in entries}
    of_text = {
        "perplexity": "perplexity\nper token",
        "word_perplexity": "perplexity\nper word",
        "bits_per_byte": "bits\nper byte",
        "nats_per_character": "nats per\ncharacter",
    }
    if not taken.isdisjoint(of_text):
        return of_text
    of_trees = {
        "f1": "F1",
        "f1_short": "F1\nshort",
        "recall": "recall",
        "precision": "precision",
        "exact": "exact",
        "tags": "tags",
        "f1_free": "F1\nfree",
    }
    if not taken.isdisjoint(of_trees):
        return {name: heading for name, heading in of_trees.items() if name in taken}
    headings = {
        "sacrebleu": f"BLEU\n{tokens}",
        "sacrebleu-lc": f"{tokens}\nuncased",
        "intl": "intl",
        "chrf2": "chrF2",
        "tokenised": "Moses\ncased",
        "tokenised-lc": "Moses\nuncased",
        "compound-split": "Moses\nsplit",
        "compound-split-quotes": "Moses\nquotes",
        "tokens": "tokens\nas they are",
    }
    if "tokens" in taken:  # of text that is tokenised, the others are not taken
        return {name: heading for name, heading in headings.items() if name in taken}
    rare = ("tokens",) if every else ("intl", "compound-split-quotes", "tokens")
    return {name: heading for name, heading in headings.items() if name not in rare}
