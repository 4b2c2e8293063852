"""Figures as a table for a terminal."""

from collections.abc import Sequence

from rich.table import Table


def grid(title: str, figures: Sequence[Sequence[str]]) -> Table:
    """A head, then the rows; numbers to the right, names in a column without a head to the left."""
    head, *body = figures
    table = Table(title=title, title_justify="left")
    for heading in head:
        table.add_column(heading, justify="right" if heading else "left")
    for row in body:
        table.add_row(*row)
    return table
