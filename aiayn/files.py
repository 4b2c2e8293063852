"""Writing so that nothing is ever half there, and saying it plainly when the disk refuses."""

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from aiayn.errors import UserError

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "the file system is read-only",
}
_STATUS = {"RESOURCE_EXHAUSTED": errno.ENOSPC, "PERMISSION_DENIED": errno.EACCES}
"""How TensorStore, which writes checkpoints, begins its own errors."""


def write_text(path: Path, text: str) -> None:
    """Replace the file's content in one step; a reader sees the old text or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def user_os_errors(where: Path) -> Generator[None]:
    """Full disks, missing permission and the like under `where` become a UserError that says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        path = error.filename or where
        raise UserError(f"Cannot write {path}: {_REASONS[error.errno]}.") from error
    except ValueError as error:
        number = _STATUS.get(str(error).split(":", 1)[0])
        if number is None:
            raise
        raise UserError(f"Cannot write {where}: {_REASONS[number]}.") from error
