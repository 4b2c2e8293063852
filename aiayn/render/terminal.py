"""What the program shows in a terminal, a file or a pipe: as it is, whole, and harmless.

Text that is shown comes from users: names, paths, sentences, whatever a model wrote. None of it is
markup, and none of it moves a cursor. Every console and every progress bar is made here.
"""

from typing import Any

from rich.console import Console
from rich.measure import measure_renderables
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text


class Terminal(Console):
    """A console that takes text as it is and tables as wide as they are.

    Where a table is wider than the terminal, its lines go on below themselves: a table that was
    squeezed would have cut or broken figures and names.
    """

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **options)

    def on_broken_pipe(self) -> None:
        """Nobody reads any more: the error that Rich is handling goes on to whoever called."""
        raise

    def render_str(self, text: str, *arguments: Any, **options: Any) -> Text:
        """Every string that is shown, in a line, a cell or a title, comes through here."""
        lines = "\n".join(map(printable, text.split("\n")))
        return super().render_str(lines, *arguments, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        tables = [each for each in objects if isinstance(each, Table)]
        usual = self.width
        if tables and "width" not in options:
            unbounded = self.options.update(max_width=_UNBOUNDED)
            self.width = max(usual, measure_renderables(self, unbounded, tables).maximum)
        try:
            super().print(*objects, **options)
        finally:
            self.width = usual


_UNBOUNDED = 100_000


def progress(console: Console, *more: ProgressColumn, hidden: bool = False) -> Progress:
    """A bar for work of a known length, gone at its end; none where nobody would see it move."""
    known = BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), TimeElapsedColumn()
    return _moving(console, hidden, _Description(), *known, *more)


def counter(console: Console, unit: str, hidden: bool = False) -> Progress:
    """What to show instead where nobody knows how long the work is."""
    count = TextColumn("{task.completed:,} " + unit, markup=False)
    rate = TaskProgressColumn(show_speed=True)
    return _moving(console, hidden, count, rate, TimeElapsedColumn())


def _moving(console: Console, hidden: bool, *columns: ProgressColumn) -> Progress:
    disable = hidden or not console.is_terminal
    return Progress(*columns, console=console, disable=disable, transient=True)


class _Description(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(printable(task.description))


def printable(text: str) -> str:
    """The text with what is no character on a screen, such as escape sequences and line breaks, as
    Python would write it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character if character in _INVISIBLE_BUT_NEEDED else ascii(character)[1:-1]


_INVISIBLE_BUT_NEEDED = "\u200c\u200d\u00a0\u202f\u3000"
"""Joiners, and blanks that are no ASCII."""
