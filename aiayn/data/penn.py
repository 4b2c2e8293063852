"""Raw English text cut into words as the Penn Treebank has them, for parsers that learnt from it.

The treebank's rules, one sentence a line: punctuation stands alone, `isn't` is `is n't`, quotes are
written `` and '', brackets -LRB- and so on. Of full stops only that at the end is a word, behind
an abbreviation a second time. What is cut so already stays as it is. (The library sacremoses, which
comes with sacreBLEU, has a `penn_tokenize`; it escapes words for XML and says no offsets.)
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from aiayn.data.text import clean, visible, visible_places


class Token(NamedTuple):
    """A word, and the place in the text that it stands for."""

    text: str
    start: int
    end: int


_FINAL = re.compile(r"(?<!\.)\.(?=[\s\"”’')\]}>]*$)")
"""The full stop at the end, within quotes and brackets or not."""
_ABBREVIATION = re.compile(
    r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]"  # U.S, a.m, Ph.D
    r"|Mr|Mrs|Ms|Dr|Prof|Rev|Gen|Gov|Sen|Rep|St|Jr|Sr|Co|Cos|Corp|Inc|Ltd|Bros|Assn|etc|vs"
    r"|Ala|Ariz|Ark|Calif|Colo|Conn|Fla|Ga|Ky|Md|Mich|Minn|Okla|Pa|Tenn|Tex|Va|Vt|Wis"
    r"|Jan|Feb|Mar|Apr|Aug|Sept|Oct|Nov|Dec"
)
_RUN = re.compile(
    r"""
    (?:https?://|www\.)[^\s"<>()]*[^\s"<>().,;:?!'’]    # an address
  | \.{2,} | -{2,} | `{1,2} | ['’]{2}                  # what stands alone, of two or more
  | [,;:?!"“”„‘()\[\]{}<>%…—]                           # and of one character
  | (?:                                                 # a word, as 10,000 and 9:30 are
        (?! \.\. | -- | ['’]{2} ) [^\s,;:?!"“”„‘()\[\]{}<>%…—`]
      | (?<=\d)[,:](?=\d)
    )+
    """,
    re.VERBOSE,
)
_WRITTEN = {
    **{"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"},
    **{"“": "``", "„": "``", "”": "''", "‘": "`", "’": "'", "…": "...", "—": "--", "–": "--"},
}
"""Tokens that the treebank writes in another way."""
_OPENING = "([{<“„‘`—-"
"""What a quote follows at once where it opens."""
_MONEY = re.compile(r"([^\W\d]*[$£€¥#])(?=\.?\d)")
_SHORTENED = re.compile(r"'(?:s|m|d|re|ve|ll|t|n|em|tis|twas|\d\ds?)", re.IGNORECASE)
"""What begins with an apostrophe that is no quote."""
_ENDING = re.compile(r".(n't|'(?:s|m|d|re|ve|ll)?)$", re.IGNORECASE)
"""A contraction, or a quote that closes; another may stand before it."""
_LONGEST_ENDING = 4
"""Characters of the longest, with the one before it."""
_JOINED = {
    **{"cannot": 3, "gonna": 3, "gotta": 3, "wanna": 3, "gimme": 3, "lemme": 3},
    **{"'tis": 2, "'twas": 2, "d'ye": 2, "more'n": 4},
}
"""Two words in one, and where the second begins."""


def words(text: str) -> list[str]:
    """The words of a sentence."""
    return [token.text for token in tokens(text)]


def tokens(text: str) -> list[Token]:
    """The words of a sentence, each with its place in the text. What nobody sees parts none."""
    seen = visible(text)
    found = _tokens(seen)
    if len(seen) == len(text):
        return found
    places = visible_places(text)
    return [Token(word, places[start], places[end - 1] + 1) for word, start, end in found]


def _tokens(text: str) -> list[Token]:
    final = _FINAL.search(text)
    if not final:
        return [*_between(text, 0, len(text))]
    place = final.start()
    found = [*_between(text, 0, place)]
    last = found[-1] if found else Token("", 0, 0)
    if last.end == place and _ABBREVIATION.fullmatch(last.text):
        found[-1] = Token(f"{last.text}.", last.start, place + 1)
    return [*found, Token(".", place, place + 1), *_between(text, place + 1, len(text))]


def _between(text: str, start: int, end: int) -> Iterator[Token]:
    """The words of a part of the text, in which full stops stay with their words."""
    is_open = False
    for match in _RUN.finditer(text, start, end):
        run, at = match.group(), match.start()
        if run == '"':
            before, after = text[at - 1 : at], text[at + 1 : at + 2]
            is_alone = not before.strip() and not after.strip()
            is_open = not is_open if is_alone else not before.strip() or before in _OPENING
            yield Token("``" if is_open else "''", at, at + 1)
        elif len(run) == 1 or run.startswith(("http://", "https://", "www.")):
            yield from _written(run, at)
        else:
            for part, place in _parts(run.replace("’", "'")):
                yield from _written(part, at + place)


def _written(part: str, at: int) -> Iterator[Token]:
    """The token, as the treebank writes it; none of characters that nobody sees."""
    word = "_".join(clean(_WRITTEN.get(part, part.replace("–", "-"))).split())
    if word:
        yield Token(word, at, at + len(part))


def _parts(run: str) -> Iterator[tuple[str, int]]:
    """The words in characters without a blank, each with its place."""
    start, end = 0, len(run)
    if run == "''":
        yield run, 0
        return
    while end - start > 1 and run[start] == "'" and not _SHORTENED.fullmatch(run, start):
        yield "`", start
        start += 1
    if money := _MONEY.match(run, start):
        yield money[1], start
        start = money.end()
    ends: list[tuple[str, int]] = []
    while found := _ENDING.search(run[max(start, end - _LONGEST_ENDING) : end]):
        end -= len(found[1])
        ends.append((found[1], end))
    second = _JOINED.get(run[start:end].lower())
    if second:
        yield run[start : start + second], start
        start += second
    if end > start:
        yield run[start:end], start
    yield from reversed(ends)
