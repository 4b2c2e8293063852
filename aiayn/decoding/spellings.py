"""Banned words and the beginnings of outputs, as the ids that a search compares."""

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, product
from typing import NamedTuple

from aiayn.data.languages import has_blanks
from aiayn.data.tokenizer import Tokenizer
from aiayn.errors import UserError

_BLANK = "\u2581"
"""What begins a word in pieces."""
START = -2
"""In place of an id: the place before an output."""
_SPELLINGS = 32
"""The ways of cutting a banned word into pieces that are banned, those with the fewest first."""


MOST_BANNED = 8_192
"""Sequences of tokens, which every sentence of a batch is held against in each step."""


def banned_sequences(
    words: Iterable[str], tokenizer: Tokenizer, language: str
) -> Mapping[tuple[int, ...], str]:
    """The sequences of ids that a banned word may be spelled in, and the word.

    Where the language has blanks, a word begins after one or a tab, or begins the output or a line
    of it.
    What the tokenizer has no piece for cannot be said, and needs no ban.

    Raises:
        UserError: there are more of them than a search takes.
    """
    words = [word.strip() for word in words if word.strip()]
    if not words:
        return {}
    special = {tokenizer.pad, tokenizer.bos, tokenizer.eos, tokenizer.unknown}
    pieces = tokenizer.pieces(range(tokenizer.num_words))
    ids = {piece: number for number, piece in enumerate(pieces) if number not in special}
    begins: list[tuple[int, ...]] = [(START,)] if has_blanks(language) else [()]
    if tokenizer.line_break is not None and has_blanks(language):  # tabs are kept as well
        behind = "\n", "\t", "<0x09>"
        begins += [(number,) for piece, number in ids.items() if piece.endswith(behind)]
    found: dict[tuple[int, ...], str] = {}
    for word, encoded in zip(words, tokenizer.encode_target(words), strict=True):
        if not encoded or tokenizer.unknown in encoded:
            continue
        signs: list[str] = []
        for piece in tokenizer.pieces(encoded):
            signs += [piece] if piece.startswith("<0x") else piece
        for spelling in _spellings(signs, ids):
            found[spelling] = word
        if signs[:1] == [_BLANK]:
            for spelling in _spellings(signs[1:], ids):
                for before in begins:
                    found[(*before, *spelling)] = word
    if len(found) > MOST_BANNED:
        fitting = len(words) * MOST_BANNED // len(found)
        raise UserError(
            f"The banned words have {len(found):,} spellings in the model's pieces; wanted at most "
            f"{MOST_BANNED:,}, which are those of some {fitting:,} of them."
        )
    return found


def _spellings(signs: Sequence[str], ids: Mapping[str, int]) -> Iterator[tuple[int, ...]]:
    """The first `_SPELLINGS` ways of cutting signs into known pieces, those with the fewest first.

    Signs are characters, or bytes as such pieces spell them. Of ways with as few pieces the one
    that has come furthest goes on first, so that the work grows with the length, not with the ways.
    """
    longest = max(map(len, ids))
    nexts: list[list[tuple[int, int]]] = []
    for start in range(len(signs)):
        ends = range(start + 1, min(len(signs), start + longest) + 1)
        cut = [("".join(signs[start:end]), end) for end in ends]
        nexts.append([(ids[piece], end) for piece, end in cut if piece in ids])
    fewest = [math.inf] * len(signs) + [0.0]  # pieces from each place to the end
    for start in reversed(range(len(signs))):
        fewest[start] = min((1 + fewest[end] for _, end in nexts[start]), default=math.inf)
    # The pieces of a whole way, signs not cut yet, an order among equals, and the last piece with
    # all those before.
    waiting: list[tuple[float, int, int, _Pieces | None]] = [(fewest[0], len(signs), 0, None)]
    order, found = count(1), 0
    while waiting and found < _SPELLINGS and fewest[0] < math.inf:
        total, left, _, so_far = heapq.heappop(waiting)
        if not left:
            found += 1
            yield _listed(so_far)
            continue
        place = len(signs) - left
        for number, end in nexts[place]:
            if fewest[end] < math.inf:
                whole = total - fewest[place] + 1 + fewest[end]
                piece = _Pieces(number, so_far)
                heapq.heappush(waiting, (whole, len(signs) - end, next(order), piece))


class _Pieces(NamedTuple):
    """A piece, and those before it."""

    number: int
    before: "_Pieces | None"


def _listed(pieces: _Pieces | None) -> tuple[int, ...]:
    found: list[int] = []
    while pieces:
        found.append(pieces.number)
        pieces = pieces.before
    return tuple(reversed(found))


def prefix_ids(
    prefixes: Sequence[str],
    tokenizer: Tokenizer,
    most: Sequence[int],
    banned: Mapping[tuple[int, ...], str],
) -> list[list[int]]:
    """The ids that each output must begin with, of which the limit allows `most`; none for lines
    without a text.

    Raises:
        UserError: a prefix is too long, holds something unknown or banned, or its line is empty.
    """
    encoded = tokenizer.encode_target(prefixes)
    lengths = sorted({*map(len, banned)})
    for number, (text, ids, limit) in enumerate(zip(prefixes, encoded, most, strict=True), 1):
        name = f"The prefix of line {number}"
        if ids and not limit:
            raise UserError(f"{name} is {text!r}, and the line is empty; wanted none.")
        if len(ids) > limit:
            raise UserError(
                f"{name} has {len(ids)} tokens; wanted at most {limit}, which is the longest "
                "output of that line."
            )
        if tokenizer.unknown in ids:
            raise UserError(
                f"{name} is {text!r}; wanted only characters that the model's vocabulary has."
            )
        whole = (START, *ids)
        for start, length in product(range(len(whole)), lengths):
            if word := banned.get(whole[start : start + length]):
                raise UserError(f"{name} is {text!r}; wanted one without {word!r}, a banned word.")
    return encoded
