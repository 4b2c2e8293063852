"""The example that the page shows before its first answer.

python -m aiayn.serve.example experiments/models/phrasebook > example.json

Then it takes the place of aiayn/serve/web/example.json.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

from aiayn.serve import beams, inspection, space
from aiayn.serve.models import Served, load_served

TEXT = "My wife always wanted to live in Munich."
PAIR = ("The egg came before the chicken.", "The chicken came before the egg.")
_DIGITS = 3
_OF_SUMS = 6
"""Of the scores of outputs, which the page computes before the reader's eyes."""


class Example(msgspec.Struct, frozen=True):
    """One answer of each kind, as the routes of the page give them, with rounded numbers."""

    beam: beams.Beam
    attention: inspection.Attention
    tokens: inspection.Tokens
    space: space.Space


def example_of(served: Served) -> Example:
    """The example by a model that translates from English."""
    searched = beams.beam(served, TEXT)
    target = searched.best[0].text
    return Example(
        beam=searched,
        attention=inspection.attention(served, TEXT, target),
        tokens=inspection.tokens(served, TEXT, target),
        space=space.space(served, PAIR),
    )


def as_json(example: Example) -> bytes:
    """The example in few bytes, since a browser reads it before all else."""
    values = msgspec.to_builtins(example)
    found = _rounded(values, _DIGITS)
    found["beam"]["best"] = _rounded(values["beam"]["best"], _OF_SUMS)
    return msgspec.json.encode(found)


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each, digits) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each, digits) for each in value]
    return round(value, digits) if isinstance(value, float) else value


if __name__ == "__main__":
    (model,) = load_served([("example", Path(sys.argv[1]))]).values()
    sys.stdout.buffer.write(as_json(example_of(model)) + b"\n")
