"""A tree over words as a picture: constituents above what they hold, words in a row below."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from aiayn.render.plots import DARK, INK, LIGHT, MUTED, save

_CHARACTER, _LEVEL = 0.105, 0.42
"""Inches: the width of a character, and the height of a level."""
_MOST = 40.0
"""The widest picture, in inches; on a wider one nobody reads."""


def plot_tree(
    words: Sequence[str],
    tags: Sequence[str],
    brackets: Sequence[tuple[str, int, int]],
    path: Path,
    title: str = "",
) -> None:
    """Write a tree as PNG: each constituent has a label, its first word and the one behind its
    last; they are in the order of their openings."""
    widths = [max(len(word), len(tag), 3) + 2 for word, tag in zip(words, tags, strict=True)]
    centres = [sum(widths[:n]) + width / 2 for n, width in enumerate(widths)]
    nodes = _nodes(brackets, centres)
    top = max((height for _, _, height, _ in nodes), default=1) + 0.8
    size = min(_CHARACTER * sum(widths) + 0.4, _MOST), _LEVEL * (top + 2.2)
    figure = Figure(figsize=size)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(-1, sum(widths) + 1)
    axes.set_ylim(-1.4, top + 0.8)
    plain = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    for label, x, height, below in nodes:
        for x_below, height_below in below:
            axes.plot([x, x_below], [height, height_below], color=LIGHT, linewidth=1.1, zorder=1)
        axes.text(x, height, label, ha="center", va="center", color=DARK, fontsize=9, bbox=plain)
    for word, tag, x in zip(words, tags, centres, strict=True):
        axes.text(x, 0, tag, ha="center", va="center", color=MUTED, fontsize=8, bbox=plain)
        axes.text(x, -0.7, word, ha="center", va="center", color=INK, fontsize=10)
    axes.text(0, top + 0.3, title, ha="left", va="center", color=INK, fontsize=10.5, weight="bold")
    save(figure, path)


_Node = tuple[str, float, int, list[tuple[float, int]]]
"""A label, its place and height, and the places and heights of what it holds."""


def _nodes(brackets: Sequence[tuple[str, int, int]], centres: Sequence[float]) -> list[_Node]:
    """Each constituent above the middle of what it holds; tags have the height 0."""
    inner: list[list[int]] = [[] for _ in brackets]
    holder = [-1] * len(centres)
    opened: list[int] = []
    for number, (_, start, end) in enumerate(brackets):
        while opened and brackets[opened[-1]][2] <= start:
            opened.pop()
        if opened:
            inner[opened[-1]].append(number)
        opened.append(number)
        holder[start:end] = [number] * (end - start)  # the innermost comes last
    places: dict[int, tuple[float, int]] = {}
    nodes: list[_Node] = []
    for number in reversed(range(len(brackets))):  # what is held comes after its holder
        words = [(x, 0) for x, each in zip(centres, holder, strict=True) if each == number]
        below = sorted([*words, *(places[each] for each in inner[number])])
        x = (below[0][0] + below[-1][0]) / 2
        places[number] = x, 1 + max(height for _, height in below)
        nodes.append((brackets[number][0], *places[number], below))
    return nodes[::-1]
