"""What a search found, as a user sees it: text, score and, if wanted, tokens."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from aiayn.decoding.sentences import joined

Ended = Literal["eos", "limit", "empty"]


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


def joined_line(line: str, pieces: Sequence[list[Detailed]], language: str) -> list[Detailed]:
    """The translations of a line from those of its pieces."""
    if not pieces:
        return [Detailed(one_line(line.strip()), 0.0, (), (), "empty")]
    if len(pieces) == 1:
        return pieces[0]
    best = [hypotheses[0] for hypotheses in pieces]
    return [
        Detailed(
            text=joined([each.text for each in best], language),
            score=sum(each.score for each in best),
            tokens=tuple(token for each in best for token in each.tokens),
            log_probs=tuple(value for each in best for value in each.log_probs),
            ended="limit" if any(each.ended == "limit" for each in best) else "eos",
        )
    ]


_LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
"""All that one program or another ends a line at."""


def one_line(text: str) -> str:
    """A model may spell a line break in bytes; a translation is one line all the same."""
    return _LINE_BREAK.sub(" ", text)
