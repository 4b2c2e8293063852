"""Attention weights as pictures: maps, and the lines of the paper's Figures 3 to 5."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import TABLEAU_COLORS, to_rgba
from matplotlib.figure import Figure

from aiayn.render.plots import GRID, INK, MUTED, save

_HEAD_COLOURS = tuple(TABLEAU_COLORS.values())
_LONGEST_SIDE = 40.0
"""Inches; very long sentences are drawn smaller rather than in a picture that nothing opens."""


def plot_attention(
    weights_HQM: Float[np.ndarray, "heads query memory"],
    query_tokens: Sequence[str],
    memory_tokens: Sequence[str],
    path: Path,
    title: str,
    heads: Sequence[int] = (),
) -> None:
    """Attention of one layer as PNG: the mean over its heads, large, and each head beside it.

    Rows are the tokens that look, columns those that are looked at; a row sums to 1. A dot marks
    what a token looks at most. `heads` are the heads' numbers; by default they count from 1, as in
    the paper.

    Raises:
        ValueError: the weights are not for this many tokens.
    """
    weights_HQM, query_tokens, memory_tokens = _readable(weights_HQM, query_tokens, memory_tokens)
    num_heads, num_query, num_memory = weights_HQM.shape
    heads = heads or range(1, num_heads + 1)
    num_rows = 2 ** int(math.log2(num_heads) / 2)
    num_columns = math.ceil(num_heads / num_rows)

    # Lengths are inches from the top left. A cell holds a line of text; the heads' cells are so
    # much smaller that their grid is about as high as the mean's panel.
    cell = max(0.26, 2.6 / max(num_memory, num_query))
    head_cell = 0.95 * cell / num_rows
    line, gap, margin = 0.3, 0.15, 0.25
    top = margin + 2 * line + _label_length(memory_tokens, cell)
    left = margin + line + _label_length(query_tokens, cell)
    heads_left = left + num_memory * cell + 2 * line + _label_length(query_tokens, head_cell)
    column, row = num_memory * head_cell + gap, num_query * head_cell + line
    bottom = top + max(num_query * cell + line, num_rows * row) + line
    sheet = _Sheet(heads_left + num_columns * column - gap + margin, bottom + margin)
    sheet.write(margin, margin + 0.05, title, fontsize=12.0, fontweight="bold", color=INK)

    mean_QM = weights_HQM.mean(axis=0)
    highest = float(mean_QM.max())
    axes = sheet.place(left, top, num_memory * cell, num_query * cell)
    colours = sheet.heatmap(axes, mean_QM, highest, cell)
    sheet.label(axes, memory_tokens, query_tokens, cell)
    axes.plot(
        mean_QM.argmax(axis=1) + 0.5,
        np.arange(num_query) + 0.5,
        "o",
        color="white",
        markersize=min(6.0, 14 * cell) * sheet.scale,
        markeredgecolor=INK,
        markeredgewidth=0.5,
    )
    sheet.write(
        left, top + num_query * cell + line / 2, "mean over heads (dot: highest in its row)"
    )
    sheet.write(margin, top + num_query * cell / 2, "looks", rotation=90, ha="center")
    sheet.write(left + num_memory * cell / 2, margin + 1.3 * line, "looked at", ha="center")
    sheet.colour_bar(left, bottom, colours, highest)

    for head in range(num_heads):
        x = heads_left + head % num_columns * column
        y = top + head // num_columns * row
        axes = sheet.place(x, y, num_memory * head_cell, num_query * head_cell)
        colours = sheet.heatmap(axes, weights_HQM[head], 1.0, head_cell)
        is_top, is_left = head < num_columns, head % num_columns == 0
        sheet.label(
            axes, memory_tokens if is_top else (), query_tokens if is_left else (), head_cell
        )
        sheet.write(x, y + num_query * head_cell + line / 2, f"head {heads[head]}")
    sheet.colour_bar(heads_left, bottom, colours, 1.0)
    save(sheet.figure, path)


def plot_links(
    weights_HQM: Float[np.ndarray, "heads query memory"],
    query_tokens: Sequence[str],
    memory_tokens: Sequence[str],
    path: Path,
    title: str,
    heads: Sequence[int],
    looking: Sequence[int] = (),
) -> None:
    """Attention in the form of Figures 3 to 5, as PNG: lines from the tokens that look, on the
    left, to what they look at; a colour is a head, and the darker a line the larger its weight.

    Only the tokens at the places `looking` look, where any are given.

    Raises:
        ValueError: the weights are not for this many tokens.
    """
    weights_HQM, query_tokens, memory_tokens = _readable(weights_HQM, query_tokens, memory_tokens)
    _, num_query, num_memory = weights_HQM.shape
    looking = looking or range(num_query)
    line = 0.27  # inches
    height = line * max(num_query, num_memory)
    widths = [_label_length(tokens, line) for tokens in (query_tokens, memory_tokens)]
    margin, gap, number_width = 0.25, 2.6, 0.65
    content = max(sum(widths) + gap, 0.11 * len(title), number_width * len(heads))
    sheet = _Sheet(2 * margin + content, 3 * margin + line + height)
    sheet.write(margin, margin, title, fontsize=12.0, fontweight="bold", color=INK)
    axes = sheet.place(margin + widths[0], 2 * margin + line, gap, height)
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(max(num_query, num_memory), 0)
    colours = [_HEAD_COLOURS[(head - 1) % len(_HEAD_COLOURS)] for head in heads]
    for weights_QM, colour in zip(weights_HQM, colours, strict=True):
        ends = [(q, m) for q in looking for m in range(num_memory)]
        axes.add_collection(
            LineCollection(
                [[(0, q + 0.5), (1, m + 0.5)] for q, m in ends],
                colors=[to_rgba(colour, float(weights_QM[q, m])) for q, m in ends],
                linewidths=sheet.scale * 2.0,
            )
        )
    size = sheet.scale * _font_size(line)
    for x, tokens, align in ((-0.02, query_tokens, "right"), (1.02, memory_tokens, "left")):
        for place, token in enumerate(tokens):
            shade = MUTED if align == "right" and place not in looking else INK
            axes.text(
                x, place + 0.5, token, ha=align, va="center", fontsize=size, color=shade,
                parse_math=False, clip_on=False,
            )  # fmt: skip
    for number, (head, colour) in enumerate(zip(heads, colours, strict=True)):
        sheet.write(
            margin + number_width * number, 1.6 * margin + line / 2, f"head {head}", color=colour
        )
    save(sheet.figure, path)


def _readable(
    weights_HQM: Float[np.ndarray, "heads query memory"],
    query_tokens: Sequence[str],
    memory_tokens: Sequence[str],
) -> tuple[Float[np.ndarray, "heads query memory"], list[str], list[str]]:
    """The same, checked; SentencePiece's sign for the start of a word is a heavy bar in most
    fonts."""
    _, num_query, num_memory = weights_HQM.shape
    if (num_query, num_memory) != (len(query_tokens), len(memory_tokens)):
        raise ValueError(
            f"The weights are for {num_query} tokens that look at {num_memory}; given are "
            f"{len(query_tokens)} and {len(memory_tokens)}."
        )
    sides = [[token.replace("▁", "_") for token in side] for side in (query_tokens, memory_tokens)]
    return weights_HQM.astype(np.float32), sides[0], sides[1]


def _font_size(cell: float) -> float:
    """The font size in points of text that fits into a cell of a size in inches."""
    return min(10.0, 48 * cell)


def _label_length(tokens: Sequence[str], cell: float) -> float:
    """Inches that the longest token takes beside its cell, by a letter's mean width."""
    return 0.1 + max(map(len, tokens)) * 0.6 * _font_size(cell) / 72


class _Sheet:
    """A figure measured in inches from its top left corner, shrunk where it would be too large."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.scale = min(1.0, _LONGEST_SIDE / max(width, height))
        self.figure = Figure(figsize=(self.scale * width, self.scale * height))

    def place(self, left: float, top: float, width: float, height: float) -> Axes:
        w, h = self.width, self.height
        return self.figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))

    def write(
        self, left: float, top: float, text: str, fontsize: float = 9.0, **style: Any
    ) -> None:
        style = {"color": MUTED, "va": "center", "parse_math": False, **style}
        x, y = left / self.width, 1 - top / self.height
        self.figure.text(x, y, text, fontsize=self.scale * fontsize, **style)

    def heatmap(self, axes: Axes, values: Any, highest: float, cell: float) -> Any:
        axes.set_ylim(values.shape[0], 0)
        axes.spines[:].set(color=MUTED, linewidth=0.5)
        return axes.pcolormesh(
            values,
            cmap="Blues",
            vmin=0,
            vmax=highest,
            edgecolors=GRID,
            linewidth=self.scale * min(0.4, 1.5 * cell),
        )

    def label(self, axes: Axes, columns: Sequence[str], rows: Sequence[str], cell: float) -> None:
        size = self.scale * _font_size(cell)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelsize=size, labelcolor=INK, pad=size / 4)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90, parse_math=False)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows, parse_math=False)

    def colour_bar(self, left: float, top: float, colours: Any, highest: float) -> None:
        """From 0 to the darkest value."""
        axes = self.place(left + 0.75, top - 0.05, 1.2, 0.1)
        bar = self.figure.colorbar(colours, cax=axes, orientation="horizontal", ticks=[])
        bar.outline.set_linewidth(0.5)
        self.write(left, top, "weight")
        self.write(left + 0.7, top, "0", ha="right")
        self.write(left + 2.0, top, f"{highest:.2g}")
