"""Constituency trees, and the symbols that spell one over given words (§6.3).

A tree is kept as spans, not as nodes within nodes: nothing here calls itself, so no tree is too
deep. The paper does not say how a tree becomes text. Symbols go depth first, as in tensor2tensor's
`wsj_parsing.py` and in Vinyals et al. (2015): `(NP` opens a constituent, `)NP` closes it, and a tag
stands for each word.
"""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from aiayn.data.text import clean as clean_text

ROOT = "TOP"
ROOTS = frozenset({ROOT, "ROOT", "S1", ""})
"""Labels of an outermost bracket that only says where a tree begins and ends."""
TRACE = "-NONE-"
"""The tag of what nobody says: where a constituent was moved from, a subject left out."""
PUNCTUATION = frozenset({",", ":", "``", "''", "."})
"""The tags that EVALB's COLLINS.prm takes for punctuation."""
UNTAGGED = "XX"
"""Stands for the tag of a word where nobody says it."""

Terminals = Literal["tags", "xx", "marked"]
"""What stands for a word among the symbols: its tag, as in tensor2tensor; XX, as in Vinyals et al.
(2015), but for punctuation, whose tags stay, as in Suzuki et al. (2018); or its tag with a mark of
the word, such as `NN~3`, but for punctuation."""
MARKS = 8
"""Different ones. One word of eight has that of the word beside it."""
_MARKED = re.compile(r"(.+)~([0-7])")

_NAME = re.compile(r"[^\s()]+", re.ASCII)
"""A label or a tag, as a bracketed text can hold it."""
_BLANKS = re.compile(r"\s+", re.ASCII)
_AS_WORD = str.maketrans({"(": "-LRB-", ")": "-RRB-"})


class Bracket(NamedTuple):
    """A constituent: its label, and the words from `start` up to, but without, `end`."""

    label: str
    start: int
    end: int


@dataclass(frozen=True)
class Tree:
    """Words, a tag for each, and the constituents over them, in the order of their openings.

    No constituent is empty. The root is not among them (`ROOTS`): a sentence whose words or
    constituents stand side by side, without one over all of them, is a tree as well.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    brackets: tuple[Bracket, ...]


def write(tree: Tree) -> str:
    """The tree on one line, as `(TOP (S (NP (NNP John)) (VP (VBZ sleeps))))`.

    Brackets within words are written as treebanks have them, and blanks as `_`.
    """

    def leaf(place: int) -> str:
        word = _BLANKS.sub("_", tree.words[place].translate(_AS_WORD)) or "_"
        return f"({tree.tags[place]} {word})"

    symbols = _walk(tree, leaf)
    return f"({ROOT}{''.join(')' if s.startswith(')') else f' {s}' for s in symbols)})"


def _walk(tree: Tree, leaf: Callable[[int], str]) -> Iterator[str]:
    """Each constituent as it opens and closes, and `leaf` of the place of each word."""
    opened: list[Bracket] = []
    following = iter(tree.brackets)
    bracket = next(following, None)
    for place in range(len(tree.words)):
        while bracket and bracket.start == place:
            opened.append(bracket)
            yield f"({bracket.label}"
            bracket = next(following, None)
        yield leaf(place)
        while opened and opened[-1].end == place + 1:
            yield f"){opened.pop().label}"


# --- Cleaning -----------------------------------------------------------------------------------


def clean(tree: Tree) -> Tree:
    """The tree as parsers learn it: without traces, what they leave empty, and functions.

    `NP-SBJ=2` becomes `NP`; `-LRB-` is a tag that begins so, and stays. Blanks within a word, which
    Unicode has many of, become `_`: between words there is one blank.
    """
    tree = restricted(tree, [tag != TRACE for tag in tree.tags])
    brackets = (bracket._replace(label=_bare(bracket.label)) for bracket in tree.brackets)
    return Tree(
        words=tuple(map(_whole, tree.words)),
        tags=tuple(map(_bare, tree.tags)),
        brackets=tuple(bracket for bracket in brackets if bracket.label not in ROOTS),
    )


def _whole(word: str) -> str:
    return "_".join(word.split()) or "_"


def _bare(label: str) -> str:
    return label if label[0] in "-=" else re.split("[-=]", label, maxsplit=1)[0]


def restricted(tree: Tree, kept: Sequence[bool]) -> Tree:
    """The tree over the words that are kept, without the constituents that hold none of them."""
    if all(kept):
        return tree
    before = [0]
    for keep in kept:
        before.append(before[-1] + keep)
    brackets = (Bracket(label, before[start], before[end]) for label, start, end in tree.brackets)
    return Tree(
        words=tuple(word for word, keep in zip(tree.words, kept, strict=True) if keep),
        tags=tuple(tag for tag, keep in zip(tree.tags, kept, strict=True) if keep),
        brackets=tuple(bracket for bracket in brackets if bracket.start < bracket.end),
    )


# --- Symbols ------------------------------------------------------------------------------------


def linearise(tree: Tree, terminals: Terminals = "tags") -> tuple[str, ...]:
    """The symbols of a tree: `(S (NP NNP )NP (VP VBZ )VP . )S` for `John sleeps .`

    The root is among them only where no constituent is over all words.
    """
    tags = tree.tags
    if terminals == "xx":
        tags = tuple(tag if tag in PUNCTUATION else UNTAGGED for tag in tags)
    elif terminals == "marked":
        pairs = zip(tags, tree.words, strict=True)
        tags = tuple(t if t in PUNCTUATION else f"{t}~{mark(word)}" for t, word in pairs)
    symbols = tuple(_walk(tree, tags.__getitem__))
    if not tree.words or (tree.brackets and tree.brackets[0][1:] == (0, len(tree.words))):
        return symbols
    return f"({ROOT}", *symbols, f"){ROOT}"


def mark(word: str) -> int:
    """Three bits of a word, by which the symbols of a tree are held against its words."""
    return zlib.crc32(spelling(word).encode()) % MARKS


def unmarked(symbol: str) -> str:
    """A symbol without the mark of its word."""
    found = _MARKED.fullmatch(symbol)
    return found[1] if found else symbol


def mark_in(symbol: str) -> int | None:
    """The mark that a symbol has for its word, if it has one."""
    found = _MARKED.fullmatch(symbol)
    return int(found[2]) if found else None


def spelling(word: str) -> str:
    """A word as cleaning leaves text, in one piece, which a tokenizer gives back."""
    return "_".join(clean_text(word).replace("\u2581", "_").split()) or "_"


def restore(symbols: Iterable[str], words: Sequence[str]) -> Tree:
    """The tree that symbols spell over words; the inverse of `linearise`, but for tags it left out.
    Marks are no part of a tag.

    Whatever the symbols are, the tree is over exactly these words, and symbols that spell a tree
    give that one. An opening counts while words are left. A tag takes the next word, and is dropped
    where none is left. A closing closes all down to the nearest constituent of its label, and is
    dropped where none is open. At the end, words that are left go to the outermost constituent,
    without tags; what is open is closed, and what is empty vanishes.
    """
    tags: list[str] = []
    labels: list[str] = []
    starts: list[int] = []
    ends: list[int | None] = []
    opened: list[int] = []
    open_labels: Counter[str] = Counter()
    for symbol in symbols:
        if symbol[:1] == ")":
            while open_labels[symbol[1:]]:
                place = opened.pop()
                ends[place] = len(tags)
                open_labels[labels[place]] -= 1
                if labels[place] == symbol[1:]:
                    break
        elif len(tags) == len(words):
            continue
        elif symbol[:1] != "(":
            tag = unmarked(symbol)
            tags.append(tag if _NAME.fullmatch(tag) else UNTAGGED)
        elif _NAME.fullmatch(symbol[1:]):
            opened.append(len(labels))
            open_labels[symbol[1:]] += 1
            labels.append(symbol[1:])
            starts.append(len(tags))
            ends.append(None)
    found = [
        Bracket(label, start, len(tags) if end is None else end)
        for label, start, end in zip(labels, starts, ends, strict=True)
    ]
    left = len(words) - len(tags)
    outermost = next(
        (n for n, each in enumerate(found) if each.start < each.end or ends[n] is None), None
    )
    if left and outermost is not None and found[outermost][1:] == (0, len(tags)):
        found[outermost] = found[outermost]._replace(end=len(words))
    return Tree(
        words=tuple(words),
        tags=(*tags, *[UNTAGGED] * left),
        brackets=tuple(b for b in found if b.start < b.end and b.label not in ROOTS),
    )
