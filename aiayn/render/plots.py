"""The style of all pictures: colours, panels, curves, and how one is saved.

Drawn for paper and for readers who see no colours: darkness alone orders the values. Import this
module where a picture is wanted; it imports Matplotlib."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiayn.system.files import write_bytes

matplotlib.rcParams["text.parse_math"] = False  # a name that holds two dollars is no formula
INK, MUTED, GRID = "#1a1a1a", "#6b6b6b", "#e6e6e6"
LIGHT, DARK = "#7fa8d1", "#8c2d04"  # light and dark: told apart in print


def panel(axes: Axes, title: str, steps: Any) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=21)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    if not steps:
        annotate(axes, "no values yet")
        axes.set_yticks([])


def annotate(axes: Axes, text: str) -> None:
    axes.text(0, 1.025, text, transform=axes.transAxes, fontsize=9, color=MUTED)


def curve(
    axes: Axes,
    series: Mapping[int, float] | Mapping[float, float],
    color: str,
    label: str = "",
    marker: str = "",
) -> None:
    if not series:
        return
    is_dense = len(series) > 60
    axes.plot(
        list(series),
        list(series.values()),
        color=color,
        label=label or None,
        linewidth=1.1 if is_dense else 1.6,
        marker="" if is_dense else marker,
        markersize=4,
    )


def save(figure: Figure, path: Path) -> None:
    """Write the picture as PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor="white")
    write_bytes(path, content.getvalue())
