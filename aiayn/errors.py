"""Ends of the program that are no defect: a user's mistake, a request to stop, a lost process."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """A mistake in input or settings: shown as one message, without a traceback, exit status 2.

    The message names the file or setting, the value found and the value wanted.
    """

    status = 2


class LineError(UserError):
    """One of several lines is refused, before anything is done with any of them."""

    def __init__(self, message: str, place: int):
        """`place` is its place among them, from 0."""
        super().__init__(message)
        self.place = place


@contextmanager
def naming(what: Path | str) -> Generator[None]:
    """Whatever is wrong is wrong with this file, or part of the input, and says so."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


class Preempted(BaseException):
    """SIGTERM came, and what there was to save is saved: exit status 0.

    Like KeyboardInterrupt it may come anywhere, and is none of the errors of what it came in.
    """


class LostProcess(Exception):  # noqa: N818, it names what happened
    """Another of the processes that compute as one is gone: exit status 3."""

    status = 3
