"""Files: never half written, one writer at a time, and plain words when the system refuses."""

import errno
import fcntl
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from aiayn.errors import UserError

_REASONS = {
    errno.ENOENT: "it is not there any more",
    errno.EMFILE: "too many files are open; wanted a higher limit, see `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine",
    errno.EFBIG: "the file would be larger than the file system or `ulimit -f` allows",
    errno.EIO: "the disk cannot be read or written",
    errno.ESTALE: "the file server has lost it",
    errno.ELOOP: "its links go round in a circle",
    errno.EBUSY: "it is in use",
    errno.ENXIO: "the device is not there",
    errno.EBADF: "it is closed",
    errno.ENOMEM: "the memory is used up",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a file is in the way",
    errno.EISDIR: "it is a folder",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOLCK: "the file system has no locks",
    errno.ENOSYS: "the file system has no locks",
    errno.ENOTSUP: "the file system has no locks",
}
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
_STATUS = {"RESOURCE_EXHAUSTED": errno.ENOSPC, "PERMISSION_DENIED": errno.EACCES}
"""How TensorStore, which writes checkpoints, begins its own errors."""
_NUMBER = re.compile(r"os_error_code='(\d+)'")
"""The system's own number of an error; the beginning of TensorStore's stands for several."""

FORMAT = 1
"""Of run directories and models; it changes where older code would misread what newer code writes,
or the other way round."""


def place(text: str | PathLike[str]) -> Path:
    """The path that a user means, in an argument, a setting or from Python; a leading `~` is a
    home, which the shell leaves as it is within quotes and after `=`.

    Raises:
        UserError: there is no such home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{str(text)!r}: {error}") from error


def as_text(name: str) -> str:
    """A file's name as text, whatever bytes it is of."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def check_format(found: object, path: Path) -> None:
    """Raises UserError unless a file says that it is of the format that is read here."""
    if found != FORMAT:
        raise UserError(
            f"{path} is of format {found!r}; this version of aiayn reads format {FORMAT}. Read it "
            "with the version that wrote it (sessions.jsonl of a run names the commit)."
        )


def write_text(path: Path, text: str) -> None:
    """Replace the file's content in one step; a reader sees the old text or the new one."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`."""
    temporary = path.with_name(path.name + ".tmp")

    def opened() -> int:
        return os.open(temporary, os.O_CREAT | os.O_RDWR, 0o666)

    with (
        _alone(opened, temporary) as descriptor,
        _none_of_it_left(temporary.unlink),
        open(descriptor, "wb", closefd=False) as file,
    ):
        file.truncate()  # a killed process may have left something
        file.write(content)
        file.flush()
        os.fsync(descriptor)
        temporary.replace(path)


@contextmanager
def _alone(opened: Callable[[], int], path: Path, wait: bool = True) -> Generator[int]:
    """A descriptor of `path`, by `opened`, that no other process on this machine has so meanwhile.
    Where the system has no locks, nothing keeps others out.

    Raises:
        UserError: another process has it, and `wait` is off.
    """
    while True:
        descriptor = opened()
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise UserError(
                    f"{path} is being written by another process; wait for its end, or choose "
                    "another directory."
                ) from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
            if _is_at(path, descriptor):  # else another has moved it to its place
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


@contextmanager
def _none_of_it_left(remove: Callable[[], None]) -> Generator[None]:
    """Take away what is half written where writing ends early: a full disk would stay full."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            remove()
        raise


@contextmanager
def new_folder(folder: Path) -> Generator[Path]:
    """A folder to write in that takes the place of `folder` once all is written.

    A process that is killed before leaves `folder` as it was, and none while one is put in place of
    the other. Where it is a link, what it leads to is replaced.

    Raises:
        UserError: the system refuses, or another process on this machine writes the same folder.
    """
    folder = folder.resolve()
    building = folder.with_name(f".{folder.name}.part")

    def opened() -> int:
        building.mkdir(parents=True, exist_ok=True)
        return os.open(building, os.O_RDONLY)

    with user_os_errors(folder), _alone(opened, building, wait=False):
        for left in building.iterdir():  # by a process that was killed
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        with _none_of_it_left(partial(shutil.rmtree, building)):
            yield building
        before = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(before, ignore_errors=True)
        if folder.exists():
            folder.rename(before)  # at once, so that it is never there in part
        building.rename(folder)
        shutil.rmtree(before, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """The table in a JSON file, whoever wrote it.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error}.") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is damaged: it holds no table.")
    return found


@contextmanager
def locked(path: Path, wait: bool = True) -> Generator[int]:
    """Hold an exclusive file lock, waiting for other holders; the system releases it when the
    process ends, and all those that were given the descriptor. The file names its holder.

    Raises:
        UserError: another process holds it, and `wait` is off.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            if not wait:
                raise UserError(
                    f"{path.parent} is in use by {holder}; wait for its end, or choose another "
                    "directory."
                ) from None
            print(f"{path.parent} is in use by {holder}; waiting ...", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield file.fileno()


@contextmanager
def user_os_errors(where: Path) -> Generator[None]:
    """Full disks, missing permission and the like become a UserError that says so.

    It names the file where the error does, else `where`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REASONS:
            raise
        path = error.filename or where
        raise UserError(f"{path}: {_REASONS[error.errno]}.") from error
    except ValueError as error:
        found = _NUMBER.search(str(error))
        number = int(found[1]) if found else _STATUS.get(str(error).split(":", 1)[0])
        if number not in _REASONS:
            raise
        raise UserError(f"{where}: {_REASONS[number]}.") from error
