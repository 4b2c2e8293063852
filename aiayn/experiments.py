"""The experiments: files that define a `config`, found by name, loaded and listed."""

import re
import types
from pathlib import Path

from aiayn.config import Experiment, all_keys, unknown
from aiayn.errors import UserError

_ACCELERATOR = "accelerator"
"""The folder, in that of the experiments, of those that want a GPU or a TPU."""


def load_experiment(name: str) -> Experiment:
    """The `config` of an experiment file, by path or by its name under `experiments/`.

    Raises:
        UserError: no such file (the known names are listed), or a file that defines no Experiment.
    """
    path = Path(name)
    roots = [Path("experiments"), Path(__file__).parent.parent / "experiments"]
    folders = [folder for root in roots for folder in (root, root / _ACCELERATOR)]
    if path.suffix != ".py":
        path = next((f / f"{name}.py" for f in folders if (f / f"{name}.py").is_file()), path)
    if not path.is_file():
        known = sorted({p.stem for f in folders for p in f.glob("*.py")})
        raise UserError(unknown("experiment", name, known))
    module = types.ModuleType(path.stem)
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # whatever a file of Python may raise
        raise UserError(f"{path} defines no experiment: {_with_hint(error)}") from error
    config = getattr(module, "config", None)
    if not isinstance(config, Experiment):
        raise UserError(f"{path} defines no `config = Experiment(...)`.")
    return config


def list_experiments() -> dict[str, str]:
    """Name and first line of every experiment file at hand, for `--help`."""
    folder = Path("experiments")
    if not folder.is_dir():
        folder = Path(__file__).parent.parent / "experiments"
    found: dict[str, str] = {}
    for path in sorted([*folder.glob("*.py"), *(folder / _ACCELERATOR).glob("*.py")]):
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        found[path.stem] = first.strip('"')
    return found


def _with_hint(error: Exception) -> str:
    """The error, with the nearest setting where it is about one that there is not."""
    text = f"{type(error).__name__}: {error}."
    wrong = re.search(r"unexpected keyword argument '(\w+)'", text)
    known = [key.rpartition(".")[2] for key in all_keys(Experiment)]
    return f"{text} {unknown('setting', wrong[1], known)}" if wrong else text
