"""What is not a defect of the program: a user's mistake, and being asked to stop."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """A mistake in input or settings: shown as one message, without a traceback, exit status 2.

    The message names the file or setting, the value found and the value wanted.
    """


@contextmanager
def naming(path: Path) -> Generator[None]:
    """Whatever is wrong is wrong with this file, and says so."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


class Preempted(Exception):  # noqa: N818, it is no error
    """SIGTERM came, and what there was to save is saved: exit status 0."""
