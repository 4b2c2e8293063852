"""Labelled bracket F1 of parses, by the rules of EVALB with COLLINS.prm (§6.3).

The paper names no scorer; all that it compares with were scored by EVALB, Sekine and Collins'
program. Its rules are kept, but for two. It leaves a sentence out of its sums where a parser took a
word for punctuation or failed, so that failing costs nothing; here the gold tags alone say what is
punctuation, and a sentence without a parse has missed all its constituents. It counts a root whose
label is not TOP, such as none at all, ROOT or S1, which every parse has right; here no root counts.
"""

import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import zip_longest
from operator import eq
from pathlib import Path

from rich.console import Console
from rich.text import Text

import aiayn
from aiayn.data.sources import treebank
from aiayn.data.trees import PUNCTUATION, TRACE, UNTAGGED, Bracket, Tree, restricted, spelling
from aiayn.errors import UserError, naming
from aiayn.evaluation.scores import plain_table

_DELETED = PUNCTUATION | {TRACE, "TOP"}
"""COLLINS.prm's DELETE_LABEL: words of these tags vanish, constituents so labelled do not count."""
_EQUAL = {"PRT": "ADVP"}
"""Its EQ_LABEL, of constituents and of tags."""
COMPARES = "EVALB's, where roots are TOP and it says Error and Skip of no sentence"
SHORT = 40
"""Words of a sentence that counts as short, punctuation among them."""


@dataclass(frozen=True)
class Counts:
    """What is counted, summed over sentences."""

    sentences: int = 0
    """Those with a word that is no punctuation."""
    exact: int = 0
    """Sentences whose constituents are all right, and no others there."""
    matched: int = 0
    """Constituents of the parse that are right: each takes one of the same label and words."""
    gold: int = 0
    parsed: int = 0
    crossing: int = 0
    """Constituents of the parse that share words with a right one, of which each has others."""
    uncrossed: int = 0
    """Sentences with a parse, and without such a constituent."""
    words: int = 0
    """Those that are no punctuation."""
    tagged: int = 0
    """Words of these whose tag is right."""


@dataclass(frozen=True)
class Figures:
    """The figures from sums of counts; all but one from 0 to 100, and None of nothing."""

    f1: float | None
    recall: float | None
    precision: float | None
    exact: float | None
    """Sentences whose constituents are all right."""
    tags: float | None
    """Words with the right tag; None also where the parses have no tags (XX)."""
    crossing: float | None
    """Constituents a sentence that cross a right one."""
    uncrossed: float | None
    """Sentences without such a constituent."""
    counts: Counts


@dataclass(frozen=True)
class Brackets:
    """The scores of parses. No sentence is left out unsaid; each is named by its number, from 1."""

    signature: str
    all: Figures
    short: Figures
    """Of sentences with at most `SHORT` words."""
    failed: tuple[int, ...] = ()
    """Sentences without a parse: all their constituents are missed."""
    empty: tuple[int, ...] = ()
    """Sentences of punctuation alone, of which nothing is counted."""


def score(gold: Sequence[Tree], parsed: Sequence[Tree | None]) -> Brackets:
    """Hold parses against the right trees, one for each; None is a sentence without a parse.

    Raises:
        UserError: there are no trees, more of one side than of the other, or of other words.
    """
    if not gold or len(parsed) != len(gold):
        raise UserError(f"There are {len(parsed):,} parses of {len(gold):,} trees; wanted as many.")
    found = [
        _compare(*each, number) for number, each in enumerate(zip(gold, parsed, strict=True), 1)
    ]
    short = [c for c, tree in zip(found, gold, strict=True) if _length(tree) <= SHORT]
    tagged = any(tree and {*tree.tags} - _DELETED - {UNTAGGED} for tree in parsed)
    version = f"version:aiayn-{aiayn.__version__}"
    return Brackets(
        f"evalb:collins|punctuation:gold|failed:missed|n:{len(gold)}|{version}",
        _figures(found, tagged),
        _figures(short, tagged),
        failed=tuple(number for number, tree in enumerate(parsed, 1) if tree is None),
        empty=tuple(number for number, counts in enumerate(found, 1) if not counts.sentences),
    )


def score_files(gold: Path, parsed: Path) -> Brackets:
    """As `score`, of two treebanks.

    Raises:
        UserError: as `score`; a file cannot be read, or holds something else than trees.
    """
    right, found = list(treebank.trees(gold)), list(treebank.parses(parsed))
    if not right:
        raise UserError(f"{gold} holds no tree; wanted one at least.")
    if len(found) != len(right):
        raise UserError(
            f"{parsed} has {len(found):,} trees; wanted {len(right):,}, as many as {gold}. A "
            "sentence without a parse is written (()); empty lines count for nothing."
        )
    with naming(parsed):
        return score(right, found)


# --- One sentence -------------------------------------------------------------------------------


def _length(tree: Tree) -> int:
    return len(tree.tags) - tree.tags.count(TRACE)


def _compare(gold: Tree, parsed: Tree | None, number: int) -> Counts:
    """The counts of one sentence."""
    gold = _without_traces(gold)
    if parsed and len(parsed.words) != len(gold.words):
        parsed = _without_traces(parsed)
    if parsed:
        _check_words(gold, parsed, number)
    counted = [tag not in _DELETED for tag in gold.tags]
    if not any(counted):
        return Counts()
    right = restricted(gold, counted)
    gold_brackets = _counted(right)
    counts = Counts(sentences=1, gold=len(gold_brackets), words=len(right.words))
    if parsed is None:
        return counts
    found = restricted(parsed, counted)
    parsed_brackets = _counted(found)
    matched = (Counter(gold_brackets) & Counter(parsed_brackets)).total()
    crossing = _num_crossing(parsed_brackets, gold_brackets, len(right.words))
    return replace(
        counts,
        exact=int(matched == len(gold_brackets) == len(parsed_brackets)),
        matched=matched,
        parsed=len(parsed_brackets),
        crossing=crossing,
        uncrossed=int(crossing == 0),
        tagged=sum(map(eq, map(_equal, right.tags), map(_equal, found.tags))),
    )


def _without_traces(tree: Tree) -> Tree:
    return restricted(tree, [tag != TRACE for tag in tree.tags])


def _check_words(gold: Tree, parsed: Tree, number: int) -> None:
    """Raises UserError if the parse is over other words than the tree."""
    if parsed.words == gold.words:
        return
    for place, words in enumerate(zip_longest(gold.words, parsed.words), 1):
        wanted, found = (word and spelling(word) for word in words)
        if wanted != found:
            was, be = (
                "no word" if word is None else reprlib.repr(word) for word in (found, wanted)
            )
            raise UserError(
                f"sentence {number:,} has other words than the tree: word {place:,} is {was}; "
                f"wanted {be}."
            )


def _counted(tree: Tree) -> list[Bracket]:
    """The constituents that count, under the labels they are compared by."""
    labels = (_equal(re.split("[-=]", bracket.label, maxsplit=1)[0]) for bracket in tree.brackets)
    return [
        bracket._replace(label=label)
        for bracket, label in zip(tree.brackets, labels, strict=True)
        if label not in _DELETED
    ]


def _equal(label: str) -> str:
    return _EQUAL.get(label, label)


def _num_crossing(parsed: Sequence[Bracket], gold: Sequence[Bracket], num_words: int) -> int:
    """How many constituents share words with a right one, of which each has others.

    Of right ones over a boundary between two words, the innermost ends first and begins last.
    """
    innermost: list[Bracket | None] = [None] * (num_words + 1)
    opened: list[Bracket] = []
    following = iter([*gold, Bracket("", num_words, num_words)])
    bracket = next(following)
    for boundary in range(num_words):
        while opened and opened[-1].end == boundary:
            opened.pop()
        innermost[boundary] = opened[-1] if opened else None
        while bracket.start == boundary:
            opened.append(bracket)
            bracket = next(following)
    return sum(
        1
        for _, start, end in parsed
        if ((left := innermost[start]) and left.end < end)
        or ((right := innermost[end]) and right.start > start)
    )


# --- All of them --------------------------------------------------------------------------------


def _figures(found: Iterable[Counts], tagged: bool) -> Figures:
    sums = Counts(*map(sum, zip(*map(astuple, found), strict=True)))
    return Figures(
        f1=_percent(2 * sums.matched, sums.gold + sums.parsed),
        recall=_percent(sums.matched, sums.gold),
        precision=_percent(sums.matched, sums.parsed),
        exact=_percent(sums.exact, sums.sentences),
        tags=_percent(sums.tagged, sums.words) if tagged else None,
        crossing=sums.crossing / sums.sentences if sums.sentences else None,
        uncrossed=_percent(sums.uncrossed, sums.sentences),
        counts=sums,
    )


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


_COLUMNS = {
    "f1": "F1",
    "recall": "recall",
    "precision": "precision",
    "exact": "exact",
    "tags": "tags",
    "crossing": "crossing",
    "uncrossed": "none\ncrosses",
}
_MOST_NAMED = 10


def show(found: Brackets, console: Console) -> None:
    """The table, and below it how the figures were taken and what was amiss."""
    rows: list[list[str]] = []
    for name, figures in (("all", found.all), (f"up to {SHORT} words", found.short)):
        values = (getattr(figures, column) for column in _COLUMNS)
        cells = ("–" if value is None else f"{value:.2f}" for value in values)
        counts = figures.counts
        sums = (counts.sentences, counts.matched, counts.gold, counts.parsed)
        rows.append([name, *cells, *(f"{each:,}" for each in sums)])
    columns = ["sentences", *_COLUMNS.values(), "n", "matched", "gold", "parsed"]
    console.print(plain_table(columns, [rows], 1))
    legend = Text("F1", style="bold")
    legend.append(f" compares with {COMPARES}\n  ")
    legend.append(found.signature)
    for numbers, text in (
        (found.failed, "have no parse: all their constituents count as missed"),
        (found.empty, "hold punctuation alone: nothing of them is counted"),
    ):
        if numbers:
            named = ", ".join(map(str, numbers[:_MOST_NAMED]))
            more = ", …" if len(numbers) > _MOST_NAMED else ""
            legend.append(f"\n{len(numbers):,} sentences {text} ({named}{more})", "bold yellow")
    console.print(legend)
