"""Arguments about what else is asked of outputs, which several verbs take."""

import re
from typing import Any

from aiayn.commands.verb import existing, positive
from aiayn.decoding.wishes import OF_SAMPLES, Wishes
from aiayn.errors import UserError

OUTPUTS = "--num-best", "--beam-size", "--sample"
"""How many outputs are printed, and how many hypotheses are searched for them, or drawn."""
PENALTY = "α of ((5 + length) / 6)^α, or of length^α where the model's experiment says so"
SAMPLED = "drawn token by token: temperature, then top-k, then top-p, then min-p"


def masks_arguments(parser: Any) -> None:
    """What outputs may not hold; of a parser or a group."""
    parser.add_argument(
        "--no-repeat", type=positive, metavar="N", help="no N tokens in a row come twice"
    )
    parser.add_argument(
        "--min-length",
        type=positive,
        metavar="N",
        help="at least N tokens, as far as the limit allows",
    )
    parser.add_argument(
        "--ban", type=existing, metavar="FILE", help="words that never come, one a line"
    )


def sampling_arguments(parser: Any) -> None:
    """How samples are drawn; of a parser or a group."""
    parser.add_argument(
        "--seed", type=int, metavar="S", help="same seed, same samples (default: 0)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="below 1 more probable (default: 1; 0: greedy)",
    )
    parser.add_argument(
        "--top-k", type=positive, metavar="K", help="from the K most probable tokens"
    )
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="from the fewest that have probability P together"
    )
    parser.add_argument(
        "--min-p", type=float, metavar="P", help="from those P times as probable as the first"
    )


def wishes_of(**asked: Any) -> Wishes:
    """What is asked, by the names of the options.

    Raises:
        UserError: it does not go together; the message names the option.
    """
    try:
        return Wishes(**asked)
    except UserError as error:
        raise named(error) from None


def named(error: UserError) -> UserError:
    """The error, which begins with the name of a setting, or wants one, in terms of its option."""
    settings = rf"^\w+|(?<=wanted ){OF_SAMPLES[0]}(?=,)"
    option = re.sub(settings, lambda name: f"--{name[0].replace('_', '-')}", str(error))
    return UserError(option)
