"""What a user asks of outputs besides being probable, checked before anything runs.

Nothing here imports JAX or a tokenizer, so that refusals answer at once.
"""

import hashlib
import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypedDict, cast

from aiayn.errors import UserError

_HOTTEST = 1e6
"""A temperature at which all words have the same chance; what is no word has the least number of 32
bits, which greater ones would bring near the others."""
_MOST_OUTPUTS = 1_000
"""As of beams: far more than is of use."""
OF_SAMPLES = ("sample", "seed", "temperature", "top_k", "top_p", "min_p")
"""The wishes that have a meaning for samples alone."""


class WishOptions(TypedDict, total=False):
    """The fields of `Wishes`, for functions that take them by name."""

    no_repeat: int | None
    min_length: int | None
    ban: Iterable[str]
    sample: int | None
    seed: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None


@dataclass(frozen=True)
class Wishes:
    """What is asked of every output of a model; None asks for nothing.

    Raises:
        UserError: a value is out of its range, or is one of samples and none are drawn.
    """

    no_repeat: int | None = None
    """No sequence of this many tokens comes twice in an output."""
    min_length: int | None = None
    """The fewest tokens before the end, as far as the limit of an output allows."""
    ban: Iterable[str] = ()
    """Words, or words in a row, that no output has."""
    sample: int | None = None
    """How many outputs are drawn by their probability, instead of searching for the best."""
    seed: int | None = None
    """Of the samples; 0 unless given."""
    temperature: float | None = None
    """What logits are divided by; 1 unless given, and 0 draws the most probable token."""
    top_k: int | None = None
    """Each token is one of the k most probable, ..."""
    top_p: float | None = None
    """... of the fewest most probable that have this probability together, ..."""
    min_p: float | None = None
    """... and at least this share as probable as the most probable one."""

    def __post_init__(self):
        for name in ("no_repeat", "min_length", "top_k"):
            check_number(name, getattr(self, name), whole=True, least=1)
        check_number("sample", self.sample, whole=True, least=1, most=_MOST_OUTPUTS)
        check_number("seed", self.seed, whole=True)
        check_number("temperature", self.temperature, least=0.0, most=_HOTTEST)
        check_number("top_p", self.top_p, least=0.0, most=1.0, above=True)
        check_number("min_p", self.min_p, least=0.0, most=1.0)
        object.__setattr__(self, "ban", tuple(self.ban))  # so that equal wishes are equal
        given = [name for name in OF_SAMPLES[1:] if getattr(self, name) is not None]
        if given and self.sample is None:
            raise UserError(f"{given[0]} is of samples; wanted sample, their number, as well.")

    @property
    def none(self) -> bool:
        """Whether nothing is asked."""
        return not any(getattr(self, field.name) for field in fields(self))

    def check_num_best(
        self,
        num_best: Any,
        beam_size: Any = None,
        names: tuple[str, str, str] = ("num_best", "beam_size", "sample"),
    ) -> None:
        """Raises UserError if what is wanted is no whole number of outputs, or more than are drawn,
        or more than the beam that was asked for has."""
        if num_best is None:
            return
        name, beam, sample = names
        check_number(name, num_best, whole=True)
        if not 1 <= num_best <= _MOST_OUTPUTS:
            raise UserError(f"{name} is {num_best:,}; wanted 1 to {_MOST_OUTPUTS:,}.")
        if self.sample is not None and num_best > self.sample:
            raise UserError(
                f"{name} is {num_best}, and {sample} is {self.sample}; wanted at most as many "
                "outputs as are drawn."
            )
        check_number(beam, beam_size, whole=True)
        if beam_size is not None and num_best > beam_size:
            raise UserError(
                f"{name} is {num_best}, and {beam} is {beam_size}; wanted at most as many outputs "
                "as hypotheses."
            )

    def seed_of(self, source: Sequence[int]) -> int:
        """A sentence's own seed, of 32 bits: sentences differ in their noise, and each has the same
        whatever is translated beside it."""
        text = f"{self.seed or 0} {list(source)}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def check_number(
    name: str,
    value: object,
    *,
    whole: bool = False,
    least: int | float = -math.inf,
    most: int | float = math.inf,
    above: bool = False,
) -> None:
    """Raises UserError for what is no number from `least` (or above it) to `most`."""
    if value is None:
        return
    is_number = not isinstance(value, bool) and (
        isinstance(value, numbers.Integral) if whole else isinstance(value, numbers.Real)
    )
    if is_number:
        number = cast(float, value)
        if least <= number <= most and not (above and number == least):
            return
    wanted = "a whole number" if whole else "a number"
    if least > -math.inf:
        wanted += f" above {least:g}" if above else f" of {least:g} or more"
    if most < math.inf:
        wanted += f", at most {most:g}"
    raise UserError(f"{name} is {value!r}; wanted {wanted}.")
