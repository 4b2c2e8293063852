"""The files of this program besides its code, and the commit of both.

In a checkout they are beside the package. A wheel holds a copy of those it needs inside the package
(`setup.py` writes it).
"""

import subprocess
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


def commit() -> str:
    """The commit of the checkout this code runs from, with `-dirty` if files were changed; in a
    wheel, that of the checkout it was built from.

    "unknown" where there is neither, such as a copy of the package in another project.
    """
    package = Path(aiayn.__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(package), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return (root() / COMMIT).read_text(encoding="utf-8").strip()
    except OSError:
        pass
    try:
        git("ls-files", "--error-unmatch", Path(aiayn.__file__).name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        changed += git("status", "--porcelain", "--", ".")  # new modules as well
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
