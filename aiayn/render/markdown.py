"""Markdown tables, and how they name figures, machines and commits."""

import statistics
from collections.abc import Mapping, Sequence

from aiayn.system.records import Hardware


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows as a table, the first as its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def number(value: float | None, form: str = ".2f") -> str:
    """A dash where there is none."""
    return "–" if value is None else format(value, form)


def spread(ratios: Sequence[float]) -> str:
    """Their median, and from where to where they go."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def duration(seconds: float) -> str:
    """In seconds, minutes or hours, whichever reads best."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def hardware_text(hardware: Hardware) -> str:
    """A machine by the devices that computed."""
    if hardware.platform == "cpu":
        return f"{hardware.cpu_count} cores, {hardware.cpu}"
    return f"{hardware.num_devices} × {hardware.device}"


def software_text(versions: Mapping[str, str]) -> str:
    """The versions that decide how fast it is."""
    return f"jax {versions['jax']}, Python {versions['python']}"


def short_commit(commit: str) -> str:
    """Its first digits, with `-dirty` where it has that."""
    digits, dash, dirty = commit.partition("-")
    return digits[:12] + dash + dirty
