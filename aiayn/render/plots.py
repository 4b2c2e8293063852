"""The style of all pictures: colours, panels, curves, and how one is saved.

Drawn for paper and for readers who see no colours: darkness alone orders the values. Import this
module where a picture is wanted; it imports Matplotlib."""

import io
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from aiayn.system.files import write_bytes

_USUAL = "DejaVu Sans"
"""Comes with Matplotlib."""
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
    """Write the picture as PNG, whole or not at all. Words in any script are drawn by fonts of this
    machine that have it; where none has, a line on standard error says so."""
    texts = figure.findobj(Text)
    families, missing = _families("".join(text.get_text() for text in texts))
    for text in texts:
        text.set_parse_math(False)  # a name that holds two dollars is no formula
        text.set_fontfamily(families)
    content = io.BytesIO()
    # What is made while it is drawn, such as ticks, is so as well.
    as_well: dict[Any, Any] = {"text.parse_math": False, "font.family": families}
    with matplotlib.rc_context(as_well), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")
        figure.savefig(content, format="png", dpi=160, facecolor="white")
    write_bytes(path, content.getvalue())
    if missing:
        print(
            f"aiayn: no font here has {missing[:20]}, drawn as boxes in {path}; install one that "
            "has, such as those of Noto.",
            file=sys.stderr,
        )


def _families(text: str) -> tuple[list[str], str]:
    """The fonts that draw a text, the usual one first, and the characters that none here has."""
    usual = findfont(FontProperties(family=_USUAL))
    found, missing = [_USUAL], {c for c in text if c.isprintable()} - _characters(usual)
    for entry in sorted(fontManager.ttflist, key=lambda entry: entry.name):
        if not missing:
            break
        has = missing & _characters(entry.fname)
        if has and not entry.name.startswith("Last Resort"):  # which has a box for each
            found.append(entry.name)
            missing -= has
    return found, "".join(sorted(missing))


@cache
def _characters(font: str) -> frozenset[str]:
    """Those that a font has."""
    try:
        return frozenset(map(chr, FT2Font(font).get_charmap()))
    except (OSError, RuntimeError):  # taken away since fonts were listed, or damaged
        return frozenset()
