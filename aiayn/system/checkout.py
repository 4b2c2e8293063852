"""The files of this program besides its code, and the commit of both.

In a checkout they are beside the package. A wheel holds a copy of those it needs inside the package
(`setup.py` writes it).
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import aiayn
from aiayn.errors import UserError

COPY = "_checkout"
"""The folder in a wheel's package that stands for the checkout."""
COMMIT = "commit.txt"
"""Holds the commit where there is no git to ask: in wheels and source archives."""


def root() -> Path:
    """The checkout that this program runs from; in a wheel, the copy."""
    package = Path(aiayn.__file__).parent
    copy = package / COPY
    return copy if copy.is_dir() else package.parent


def shipped(name: str) -> Path:
    """A file or folder of the checkout, by its path there.

    Raises:
        UserError: it is missing.
    """
    path = root() / name
    if not path.exists():
        raise UserError(f"{path} is missing, a part of aiayn; install aiayn anew.")
    return path


MODELS = "experiments/models"
"""Small trained models that come along, each in a folder of its name."""


def included_models() -> list[str]:
    """The names of the models that come along."""
    return sorted(path.parent.name for path in root().glob(f"{MODELS}/*/config.json"))


def included_model(path: Path) -> Path:
    """The folder of the model that comes along under this name; the path itself where something is
    there, or where no model has the name."""
    if path.exists() or str(path) not in included_models():
        return path
    return root() / MODELS / path


def commit() -> str:
    """The commit of the checkout this code runs from, with `-dirty` if files were changed; in a
    wheel, that of the checkout it was built from.

    "unknown" where there is neither, such as a copy of the package in another project.
    """
    try:
        return (root() / COMMIT).read_text(encoding="utf-8").strip()
    except OSError:
        pass
    try:
        _check_own()
        changed = _git("status", "--porcelain", "--untracked-files=no")
        changed += _git("status", "--porcelain", "--", ".")  # new modules as well
        return _git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def commits_since(commit: str, paths: Sequence[str]) -> int | None:
    """How many commits after `commit` changed files under these paths of the checkout.

    None where that is not known: in wheels, source archives and shallow clones, or where the commit
    is not a part of the history.
    """
    if (root() / COMMIT).is_file():
        return None
    known = commit.removesuffix("-dirty")
    try:
        _check_own()
        if _git("rev-parse", "--is-shallow-repository") == "true":
            return None
        _git("merge-base", "--is-ancestor", known, "HEAD")
        places = [str(root() / path) for path in paths]
        counted = _git(
            "--literal-pathspecs", "rev-list", "--count", f"{known}..HEAD", "--", *places
        )
        return int(counted)
    except (OSError, subprocess.CalledProcessError):
        return None


def _check_own() -> None:
    """Raises CalledProcessError where the package is none of a checkout of its own, such as a copy
    in another project."""
    _git("ls-files", "--error-unmatch", Path(aiayn.__file__).name)


def _git(*arguments: str) -> str:
    package = Path(aiayn.__file__).parent
    # Of another user's folder Git says nothing else; its code runs already.
    own = ["-c", f"safe.directory={root()}"]
    command = ["git", *own, "-C", str(package), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
