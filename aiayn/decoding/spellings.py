"""Banned words and the beginnings of outputs, as the ids that a search compares."""

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from aiayn.data.languages import has_blanks
from aiayn.data.tokenizer import Tokenizer
from aiayn.errors import UserError

_BLANK = "\u2581"
"""What begins a word in pieces."""
START = -2
"""In place of an id: the place before an output."""
_SPELLINGS = 32
"""The ways of cutting a banned word into pieces that are banned, those with the fewest first."""


def banned_sequences(
    words: Iterable[str], tokenizer: Tokenizer, language: str
) -> Mapping[tuple[int, ...], str]:
    """The sequences of ids that a banned word may be spelled in, and the word.

    Where the language has blanks, a word begins after one or begins the output. What the tokenizer
    has no piece for cannot be said, and needs no ban.
    """
    words = [word for word in words if word.strip()]
    if not words:
        return {}
    special = {tokenizer.pad, tokenizer.bos, tokenizer.eos, tokenizer.unknown}
    pieces = tokenizer.pieces(range(tokenizer.num_words))
    ids = {piece: number for number, piece in enumerate(pieces) if number not in special}
    found: dict[tuple[int, ...], str] = {}
    for word, encoded in zip(words, tokenizer.encode_target(words), strict=True):
        if tokenizer.unknown in encoded:
            continue
        signs: list[str] = []
        for piece in tokenizer.pieces(encoded):
            signs += [piece] if piece.startswith("<0x") else piece
        for spelling in _spellings(signs, ids):
            found[spelling] = word
        if signs[:1] == [_BLANK]:
            for spelling in _spellings(signs[1:], ids):
                found[(START, *spelling) if has_blanks(language) else spelling] = word
    return found


def _spellings(signs: Sequence[str], ids: Mapping[str, int]) -> Iterator[tuple[int, ...]]:
    """The first `_SPELLINGS` ways of cutting signs into known pieces, those with the fewest first.

    Signs are characters, or bytes as such pieces spell them.
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
    waiting: list[tuple[float, int, tuple[int, ...]]] = [(fewest[0], 0, ())]
    count = 0
    while waiting and count < _SPELLINGS and fewest[0] < math.inf:
        _, place, so_far = heapq.heappop(waiting)
        if place == len(signs):
            count += 1
            yield so_far
            continue
        for number, end in nexts[place]:
            if fewest[end] < math.inf:
                total = len(so_far) + 1 + fewest[end]
                heapq.heappush(waiting, (total, end, (*so_far, number)))


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
        for start in range(len(whole)):
            for sequence, word in banned.items():
                if whole[start : start + len(sequence)] == sequence:
                    raise UserError(
                        f"{name} is {text!r}; wanted one without {word!r}, a banned word."
                    )
    return encoded
