"""The experiments: files that define a `config`, found by name, loaded and listed."""

import re
import types
from contextlib import suppress
from itertools import chain
from pathlib import Path

from aiayn.config import Experiment, all_keys, unknown
from aiayn.errors import UserError
from aiayn.system import checkout
from aiayn.system.files import place

_FOLDER = "experiments"
FOLDERS = ("", "accelerator", "table3")
"""Those for any machine, those that need a GPU or a TPU, the rows of Table 3."""


def load_experiment(name: str) -> Experiment:
    """The `config` of an experiment file, by path or by its name under `experiments/`.

    Raises:
        UserError: no such file (the known names are listed), or a file that defines no Experiment.
    """
    known, path = _files(), place(name)
    if path.suffix != ".py":
        path = known.get(name, path)
    if not path.is_file():
        if path.suffix != ".py":
            checkout.shipped(_FOLDER)  # where they are missing, that is why
        raise UserError(unknown("experiment", name, sorted(known)))
    module = types.ModuleType(path.stem)
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (Exception, SystemExit) as error:  # whatever a file of Python may raise
        raise UserError(f"{path} defines no experiment: {_with_hint(error)}") from error
    config = getattr(module, "config", None)
    if not isinstance(config, Experiment):
        raise UserError(f"{path} defines no `config = Experiment(...)`.")
    return config


def list_experiments() -> dict[str, str]:
    """Name and first line of every experiment file at hand, for `--help`."""
    found: dict[str, str] = {}
    for name, path in sorted(_files().items()):
        with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
            line = file.readline().strip().strip('"')
            found[name] = "".join(filter(str.isprintable, line))
    return found


def _files() -> dict[str, Path]:
    """The experiment files by name: those of the working directory, then those that came along."""
    found: dict[str, Path] = {}
    for root in (Path(_FOLDER), checkout.root() / _FOLDER):
        for path in chain.from_iterable((root / folder).glob("*.py") for folder in FOLDERS):
            if path.is_file():
                found.setdefault(path.stem, path)
    return found


def _with_hint(error: BaseException) -> str:
    """The error on one line, with the nearest name if it is about an unknown setting."""
    message = " ".join(str(error).split())
    text = f"{type(error).__name__}: {message.removesuffix('.')}."
    wrong = re.search(r"unexpected keyword argument '(\w+)'", text)
    known = [key.rpartition(".")[2] for key in all_keys(Experiment)]
    return f"{text} {unknown('setting', wrong[1], known)}" if wrong else text
