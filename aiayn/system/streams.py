"""Standard input, output and error, whatever the program was started with."""

import os
import select
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path

STANDARD_INPUT = Path("/dev/stdin")
"""What `-` in place of a file means; it can be read once."""
_MODES = ("r", "w", "w")


def open_streams() -> None:
    """A closed stream becomes an empty one, and no character stops a line.

    A descriptor that is closed would be given to the next file that is opened, and what is printed
    would go there. Where a terminal has no such character (ASCII, Latin-1, a file name that is no
    UTF-8) its number is shown, as Python spells it.
    """
    for number, (name, mode) in enumerate(zip(("stdin", "stdout", "stderr"), _MODES, strict=True)):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(ValueError):  # already closed by whoever calls this in a program
                stream.reconfigure(errors="backslashreplace")
    if type(sys.stderr) is TextIOWrapper and sys.stderr is sys.__stderr__:
        sys.stderr = _Notices(sys.stderr)


class _Notices(TextIOWrapper):
    """Standard error: what is said there is lost where nobody reads it, and no work with it."""

    def __init__(self, stream: TextIOWrapper):
        super().__init__(
            stream.buffer,
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=True,
        )

    def write(self, text: str) -> int:
        with suppress(BrokenPipeError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(BrokenPipeError):
            super().flush()


def drop_unwritten() -> None:
    """Let go of what standard output refuses: Python would try once more as it ends, complain, and
    have a status of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def nobody_reads() -> bool:
    """Whether what took standard output, such as `head`, has closed its end."""
    output = select.poll()
    output.register(1, 0)  # which reports broken pipes and nothing else
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0))
