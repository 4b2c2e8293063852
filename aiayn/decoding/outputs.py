"""What a search found, as a user sees it: text, score and, if wanted, tokens."""

import random
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from aiayn.decoding.sentences import joined

Ended = Literal["eos", "limit", "empty", "stop"]
Alignment = tuple[tuple[int, int], ...]
"""Links of words: number in the source, number in the target."""


SAYS_NOTHING = (
    "The model's scores are not finite, so that it says nothing: its weights are too large, or not "
    "finite themselves."
)


class Hypothesis(NamedTuple):
    """A translation and its score: log-probability in nats over the length penalty."""

    text: str
    score: float


class Detailed(NamedTuple):
    """A translation with its tokens."""

    text: str
    score: float
    """Log-probability in nats over the length penalty."""
    tokens: tuple[str, ...]
    """Its pieces, with `▁` where a word begins and `</s>` for its end."""
    log_probs: tuple[float, ...]
    """The log-probability of each token in nats."""
    ended: Ended
    """Why it ended: the model chose to (`eos`), it was as long as allowed (`limit`), or there was
    nothing to translate (`empty`)."""
    alignment: Alignment | None = None
    """If asked for, a pair for each word of the text: the number of the word of the source that it
    comes from, and its own, both from 0 (`aiayn.decoding.alignment`)."""


def as_drawn(count: int, seed: int) -> list[int]:
    """The places of samples, which come best first, in an order that has nothing to do with how
    probable they are. So samples of two pieces that stand in the same place are no two best."""
    return random.Random(seed).sample(range(count), count)


def joined_line(
    line: str, pieces: Sequence[list[Detailed]], language: str, count: int = 1
) -> list[Detailed]:
    """The translations of a line from those of its pieces; of several pieces `count`, each of what
    stands in the same place, the best first."""
    if not pieces:
        return [Detailed(one_line(line.strip()), 0.0, (), (), "empty")]
    if len(pieces) == 1:
        return pieces[0]
    found = [_joined([outputs[place] for outputs in pieces], language) for place in range(count)]
    return sorted(found, key=lambda each: -each.score)


def _joined(parts: Sequence[Detailed], language: str) -> Detailed:
    text = joined([each.text for each in parts], language)
    return Detailed(
        text=text,
        score=sum(each.score for each in parts),
        tokens=tuple(token for each in parts for token in each.tokens),
        log_probs=tuple(value for each in parts for value in each.log_probs),
        ended="limit" if any(each.ended == "limit" for each in parts) else "eos",
        alignment=_joined_alignment(text, parts),
    )


def _joined_alignment(text: str, parts: Sequence[Detailed]) -> Alignment | None:
    """The links of a text's words, of which its parts have those of their own words."""
    from aiayn.decoding.alignment import word_numbers  # with NumPy, which help does not wait for

    numbers, at = word_numbers(text), 0
    found: dict[int, int] = {}
    for part in parts:
        if part.alignment is None:
            return None
        own = word_numbers(part.text)
        number_of = dict(zip(own, numbers[at:], strict=False))
        at += len(own)
        for source, target in part.alignment:
            found.setdefault(number_of[target], source)
    return tuple(sorted((source, target) for target, source in found.items()))


_LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""All that one program or another ends a line at."""


def one_line(text: str) -> str:
    """A model may spell a line break in bytes; a translation is one line all the same."""
    return _LINE_BREAK.sub(" ", text)
