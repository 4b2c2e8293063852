"""How a verb of the command line is described, and how its arguments are read.

Nothing here imports JAX, so that help and refusals answer at once.
"""

import argparse
import difflib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import aiayn
from aiayn.config import unknown
from aiayn.errors import UserError
from aiayn.experiments import load_experiment
from aiayn.system.checkout import included_model, included_models
from aiayn.system.files import place
from aiayn.system.streams import STANDARD_INPUT


@dataclass(frozen=True)
class Verb:
    """One command. The docstring of `run` is its help; the arguments are its parameters."""

    name: str
    run: Callable[..., int | None]
    add_arguments: Callable[[argparse.ArgumentParser], None]
    check: Callable[..., None] = lambda **_: None
    """Refuses arguments that do not go together, before JAX is imported."""
    jax: bool = True
    """Whether it uses JAX."""
    large_pages: bool | Callable[[dict[str, Any]], bool] = False
    """Whether it computes for long in this process; a function decides by the arguments."""
    trains: bool = False
    """Whether SIGTERM ends it with all saved, so that the same command resumes."""


def parse(
    verbs: Sequence[Verb], arguments: Sequence[str] | None, epilog: str
) -> tuple[Verb, dict[str, Any]]:
    """The verb that a command line names, and the arguments for its `run`.

    Where a verb takes an experiment, it is loaded and changed as `--set` says.

    Raises:
        UserError: an unknown verb or argument, a value that an argument cannot have, or as
            `load_experiment` and `with_overrides`.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    listed = "".join(f"  {verb.name:11}{_summary(verb)}\n" for verb in verbs)
    parser = _Parser(
        prog="aiayn",
        description=(aiayn.__doc__ or "").split("\n", 1)[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"commands\n{listed}\n{epilog}",
    )
    parser.add_argument("--version", action="version", version=f"aiayn {aiayn.__version__}")
    group = parser.add_subparsers(metavar="COMMAND", required=True, help="one of those below")
    parsers = {verb.name: _add(verb, group) for verb in verbs}
    if arguments and not arguments[0].startswith("-") and arguments[0] not in parsers:
        raise UserError(unknown("command", arguments[0], parsers))
    parsed, surplus = parser.parse_known_args(arguments)
    values = vars(parsed)
    verb: Verb = values.pop("verb")
    if surplus:
        options = re.findall(r"--[\w-]+", parsers[verb.name].format_usage())
        raise UserError(unknown(f"argument of {verb.name}", surplus[0], options or ["--help"]))
    if "overrides" in values:
        experiment = load_experiment(values["experiment"])
        values["experiment"] = experiment.with_overrides(values.pop("overrides"))
    for name, value in values.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and _has_lone_bytes(text):
                raise UserError(f"{name} is {text!r}, which is no UTF-8; wanted text.")
    verb.check(**values)
    return verb, values


def _has_lone_bytes(text: str) -> bool:
    """Whether an argument had bytes that are no text, as only names of files may have."""
    return any("\ud800" <= each <= "\udfff" for each in text)


def experiment_arguments(parser: argparse.ArgumentParser) -> None:
    """The experiment, its changed settings, and where its data are."""
    parser.add_argument("experiment", help="a name under experiments/, or a file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="change one setting; may be repeated; an unknown key names the nearest one",
    )
    data_dir_argument(parser)


def data_dir_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=place, default=Path("data"), help="prepared data (default: data)"
    )


def trained_data_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        type=place,
        help="the run's prepared data (default: where it was when the run was trained, else data)",
    )


def model_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=trained, help=TRAINED)


def existing(text: str, others: Sequence[str] = ()) -> Path:
    """The type of arguments that name a file or folder to read; `place` is that of others.

    `others` are names that would be right besides those of files.
    """
    path = place(text)
    if not path.exists():
        beside = [str(each) for each in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(str(path), [*beside, *others], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"{path} does not exist.{hint}")
    return path


def run_folder(text: str) -> Path:
    """The type of arguments that name a run directory."""
    if not place(text).exists() and text in included_models():
        raise UserError(
            f"{text} is a model that comes along; wanted a run directory, which has checkpoints."
        )
    return existing(text)


TRAINED = "a run directory, a model's own, or the name of one that comes along"


def trained(text: str) -> Path:
    """The type of arguments that name a model; what is here goes before what comes along."""
    return existing(str(included_model(place(text))), included_models())


def text_file(text: str) -> Path:
    """The type of arguments that name a text to read; `-` is standard input."""
    return STANDARD_INPUT if text == "-" else existing(text)


def check_read_once(paths: Sequence[Path | None]) -> None:
    """Raises UserError if standard input is to be several texts."""
    if paths.count(STANDARD_INPUT) > 1:
        raise UserError("- is standard input, which is one text; wanted files for the others.")


def positive(text: str) -> int:
    """The type of arguments that count something."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"is {text!r}; wanted a whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"is {number}; wanted 1 or more")
    return number


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Refuse as the rest of the program does: one line, in its words."""
        for theirs, ours in _WORDS:
            message = re.sub(theirs, ours, message)
        raise UserError(f"{message}. `{self.prog} --help` says more.")


_WORDS = (
    (r"^argument (\S+): invalid choice: (.*) \(choose from (.*)\)", r"\1 is \2; wanted one of \3"),
    (r"^argument (\S+): invalid float value: (.*)", r"\1 is \2; wanted a number"),
    (r"^argument (\S+): invalid int value: (.*)", r"\1 is \2; wanted a whole number"),
    (r"^argument (\S+): is ", r"\1 is "),
)
"""argparse's messages, and ours."""


def _add(verb: Verb, group: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(
        verb.name,
        description=inspect.cleandoc(verb.run.__doc__ or ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_arguments(parser)
    parser.set_defaults(verb=verb)
    return parser


def _summary(verb: Verb) -> str:
    return (verb.run.__doc__ or "").split("\n", 1)[0]
