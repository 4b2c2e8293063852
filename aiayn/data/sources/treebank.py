"""Treebanks: files of bracketed trees, as the Penn Treebank's `.mrg` (§6.3).

One tree a line, or each over several lines. An outermost bracket without a label, or with one of
`ROOTS`, is there or not; where it is not, all lines of a tree but the first are indented.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aiayn.data.sources.opening import LONGEST_LINE, TOO_LONG, likely_encoding, lines
from aiayn.data.text import clean as clean_text
from aiayn.data.trees import ROOTS, Bracket, Terminals, Tree, clean, linearise, spelling
from aiayn.errors import UserError

_TOKENS = re.compile(r"[()]|[^\s()]+", re.ASCII)
_ROOTED = re.compile(rf"\(\s*(\(|$|({'|'.join(filter(None, ROOTS))})(\s|\(|$))", re.ASCII)
"""How a line begins a tree that has a root."""
_NO_WORD = "it holds no word"


class Entry(NamedTuple):
    """What stands in a treebank where a tree is expected."""

    line: int
    """Where it begins."""
    tree: Tree | None
    flaw: str = ""
    """Why it is no tree."""
    joined: int = 0
    """Words with blanks within, such as `(NN Xpd TTD)`; their parts were joined by `_`."""


@dataclass
class Malformed:
    """What was amiss in a treebank that is read for training."""

    count: int = 0
    """Trees that were left out."""
    first: str = ""
    """The place of the first of them, and its flaw."""
    joined: int = 0
    """Words with blanks within, which stayed, joined by `_`."""


def trees(path: Path, malformed: Malformed | None = None) -> Iterator[Tree]:
    """The trees of a file, plain or packed, in order.

    For training, give a `Malformed`: trees that are none are counted there, and left out.

    Raises:
        UserError: the file cannot be read; or, without a `Malformed`, an entry is not a tree.
    """
    for entry in entries(lines(path)):
        if malformed is None:
            tree = _whole_tree(path, entry)
        elif entry.tree is None:
            malformed.count += 1
            malformed.first = malformed.first or f"{path}, line {entry.line}: {entry.flaw}"
            continue
        else:
            tree = entry.tree
            malformed.joined += entry.joined
        yield tree


def parses(path: Path) -> Iterator[Tree | None]:
    """The trees of a parser's output; None for brackets without any word, such as `(())`, which is
    how parsers say that they found no tree.

    Raises:
        UserError: as `trees`.
    """
    for entry in entries(lines(path)):
        yield None if entry.flaw == _NO_WORD else _whole_tree(path, entry)


def pairs(
    path: Path, terminals: Terminals, skip: Callable[[str, str], None]
) -> Iterator[tuple[str, str]]:
    """The words of each tree and its symbols, with a blank between each two.

    Words are written as cleaning leaves text, one by one, so that none is lost after its symbol was
    made. What is no tree, or none over words, is told to `skip`: the reason, and its place.
    """
    return _pairs_of(entries(lines(path)), str(path), terminals, skip)


def _pairs_of(
    found: Iterable[Entry], path: str, terminals: Terminals, skip: Callable[[str, str], None]
) -> Iterator[tuple[str, str]]:
    for entry in found:
        place = f"{path}, line {entry.line}"
        if entry.tree is None:
            skip("malformed_tree", f"{place} ({entry.flaw})")
            continue
        tree = clean(entry.tree)
        words = list(map(spelling, tree.words))
        sentence, target = " ".join(words), " ".join(linearise(tree, terminals))
        if not words:
            skip("no_words", place)
        elif (clean_text(sentence), clean_text(target)) != (sentence, target):
            skip("invisible_characters", place)  # in a label or a tag
        else:
            yield sentence, target


def _whole_tree(path: Path, entry: Entry) -> Tree:
    flaw = entry.flaw
    if entry.joined:
        flaw = f"{entry.joined} of its words hold blanks"
    if flaw or entry.tree is None:
        raise UserError(
            f"{path}, line {entry.line}, is not one whole tree: {flaw}; wanted labelled brackets "
            "such as (TOP (S (NP (NNP John)) (VP (VBZ sleeps))))."
        )
    return entry.tree


def entries(text: Iterable[str]) -> Iterator[Entry]:
    """The trees in lines, and what is none, each with the line where it begins.

    A tree that is not closed ends where a line begins another: as far to the left as its own first
    line, or further, and with a root if that has one.
    """
    growing: _Growing | None = None
    for number, line in enumerate(text, 1):
        if growing and growing.is_followed_by(line):
            yield growing.unclosed(f"where line {number} begins another")
            growing = None
        found, growing = _entries_of_line(number, line, growing)
        yield from found
    if growing:
        yield growing.unclosed("at the end of the file")


def _entries_of_line(
    number: int, line: str, growing: "_Growing | None"
) -> tuple[list[Entry], "_Growing | None"]:
    """What ends in a line, and what goes on after it; `growing` goes on from the line before."""
    damage = _damage(line)
    if line is TOO_LONG:
        if growing:
            growing.flaw = growing.flaw or damage
            return [], growing
        return [Entry(number, None, damage)], None
    found: list[Entry] = []
    tokens = iter(_TOKENS.findall(line))
    if growing and growing.take(tokens):
        found.append(growing.entry())
        growing = None
    for token in tokens:
        if token == "(":
            growing = _Growing(number, _indent(line))
            if growing.take(tokens):
                found.append(growing.entry())
                growing = None
        else:
            stray = "a bracket too many is closed" if token == ")" else _beside(token)
            found.append(_spoiled(found.pop() if found else Entry(number, None), stray))
    if growing:
        growing.size += len(line)
        growing.flaw = growing.flaw or damage
        if growing.size > LONGEST_LINE:
            growing.flaw = growing.flaw or f"it is longer than {LONGEST_LINE:,} characters"
    if damage:
        found = [_spoiled(each, damage) for each in found]
    return found, growing


def _spoiled(entry: Entry, flaw: str) -> Entry:
    """The entry with a flaw, if it has none that says more."""
    return entry._replace(tree=None, flaw=flaw) if entry.flaw in ("", _NO_WORD) else entry


def _damage(line: str) -> str:
    """Why a line is no text, or nothing."""
    if line is TOO_LONG:
        return f"a line of it is longer than {LONGEST_LINE:,} bytes"
    if "\0" in line:
        return "it holds a NUL"
    try:
        line.encode()
    except UnicodeEncodeError:
        with suppress(UnicodeEncodeError):
            raw = line.encode("utf-8", "surrogateescape")
            return f"it is not UTF-8 and looks like {likely_encoding([raw])}"
        return "it holds half of a character, without the other half"
    return ""


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _beside(token: str) -> str:
    return f"{token[:40]!r} stands beside brackets, not within one of its own"


class _Growing:
    """A tree as far as it was read, from its first bracket on. Once something is amiss, only its
    end is looked for.
    """

    def __init__(self, line: int, indent: int) -> None:
        self.flaw = ""
        self.size = 0
        self._line, self._indent = line, indent
        self._depth, self._joined = 1, 0
        self._is_empty = False
        # For each open bracket its label, and its place among the constituents: None until a
        # bracket within it shows that it is one.
        self._open: list[tuple[str | None, int | None]] = [(None, None)]
        self._texts: list[str] = []  # after the label of the innermost
        self._words: list[str] = []
        self._tags: list[str] = []
        self._labels: list[str] = []
        self._starts: list[int] = []
        self._ends: list[int] = []

    def is_followed_by(self, line: str) -> bool:
        """Whether a line begins another tree, though this one is open."""
        indent = _indent(line)
        if indent > self._indent or line[indent : indent + 1] != "(":
            return False
        is_rooted = (self._open[0][0] or "") in ROOTS
        return not is_rooted or _ROOTED.match(line, indent) is not None

    def take(self, tokens: Iterator[str]) -> bool:
        """Read on up to the end of the tree, or of the tokens; whether the tree is closed."""
        for token in tokens:
            is_open, is_close = token == "(", token == ")"
            self._depth += is_open - is_close
            if self.flaw:
                pass
            elif is_open:
                if self._open[-1][1] is None:
                    self._constituent()
                self._open.append((None, None))
            elif is_close:
                label, place = self._open.pop()
                if place is not None:
                    self._ends[place] = len(self._words)
                elif self._texts and label is not None:
                    self._words.append("_".join(self._texts))
                    self._tags.append(label)
                    self._joined += len(self._texts) > 1
                    self._texts.clear()
                else:
                    self._is_empty = True
            elif self._open[-1][1] is not None:
                self.flaw = _beside(token)
            elif self._open[-1][0] is None:
                self._open[-1] = token, None
            else:
                self._texts.append(token)
            if self._depth == 0:
                return True
        return False

    def _constituent(self) -> None:
        """The innermost open bracket has another within."""
        label = self._open[-1][0] or ""
        if self._texts:
            self.flaw = _beside(self._texts[0])
        # The root may be in another one, but all within it has labels.
        elif not label and len(self._open) > 1 and self._open[-2][0] not in ROOTS:
            self.flaw = "a bracket within it has no label"
        self._open[-1] = label, len(self._labels)
        self._labels.append(label)
        self._starts.append(len(self._words))
        self._ends.append(0)

    def unclosed(self, where: str) -> Entry:
        brackets = "1 bracket is" if self._depth == 1 else f"{self._depth:,} brackets are"
        self.flaw = self.flaw or f"{brackets} still open {where}"
        return self.entry()

    def entry(self) -> Entry:
        flaw = self.flaw or ("" if self._words else _NO_WORD)
        if flaw or self._is_empty:
            return Entry(self._line, None, flaw or "a bracket in it holds no word")
        found = zip(self._labels, self._starts, self._ends, strict=True)
        brackets = (Bracket(*each) for each in found if each[0] not in ROOTS)
        tree = Tree(tuple(self._words), tuple(self._tags), tuple(brackets))
        return Entry(self._line, tree, joined=self._joined)
