"""Pictures of a run, and of what its heads look at.

Drawn for paper and for readers who see no colours: darkness alone orders the values. Import this
module where a picture is wanted; it brings Matplotlib with it.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import TABLEAU_COLORS, to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from aiayn.files import write_bytes

_INK, _MUTED, _GRID = "#1a1a1a", "#6b6b6b", "#e6e6e6"
_TRAIN, _DEV = "#7fa8d1", "#8c2d04"  # light and dark: told apart in print
_HEAD_COLOURS = tuple(TABLEAU_COLORS.values())
_LONGEST_SIDE = 40.0
"""Inches; very long sentences are drawn smaller rather than in a picture that nothing opens."""


def plot_curves(metrics: Sequence[Mapping[str, float | int]], path: Path) -> None:
    """Loss, dev BLEU, learning rate and speed over the steps of a run, as PNG.

    Rows are those of `metrics.jsonl`: `step` and any of `loss` (label-smoothed) and `dev_loss`,
    both in nats per token, `learning_rate`, `dev_bleu` (0 to 100) and `tokens_per_second`. Where a
    step stands twice, as after a resumed run, the later row counts.
    """

    def series(name: str) -> dict[int, float]:
        found = {int(row["step"]): float(row[name]) for row in metrics if name in row}
        return dict(sorted(found.items()))

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.03)
    figure = Figure(figsize=(11, 7), layout=layout)
    (loss, bleu), (rate, speed) = figure.subplots(2, 2, sharex=True)

    train_loss, dev_loss = series("loss"), series("dev_loss")
    _panel(loss, "Loss, nats per token, log scale", [*train_loss, *dev_loss])
    _curve(loss, train_loss, _TRAIN, "training, label-smoothed")
    _curve(loss, dev_loss, _DEV, "dev", marker="o")
    if train_loss or dev_loss:
        loss.set_yscale("log")
        loss.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
        loss.yaxis.set_minor_locator(NullLocator())
        loss.yaxis.set_major_formatter("{x:g}")
        loss.legend(frameon=False, labelcolor=_INK, fontsize=9)
    if dev_loss:
        step, lowest = min(dev_loss.items(), key=lambda item: item[1])
        note = f"lowest on dev {lowest:.3f} (perplexity {math.exp(lowest):.2f}) at step {step:,}"
        _note(loss, note)

    dev_bleu = series("dev_bleu")
    _panel(bleu, "BLEU on dev", dev_bleu)
    _curve(bleu, dev_bleu, _DEV, marker="o")
    if dev_bleu:
        step, highest = max(dev_bleu.items(), key=lambda item: item[1])
        _note(bleu, f"highest {highest:.2f} at step {step:,}")
        bleu.set_ylim(0, 1.1 * highest or 1.0)

    learning_rate = series("learning_rate")
    _panel(rate, "Learning rate", learning_rate)
    _curve(rate, learning_rate, _INK)
    if learning_rate:
        step, peak = max(learning_rate.items(), key=lambda item: item[1])
        _note(rate, f"highest {peak:.3g} at step {step:,}")
        rate.set_ylim(bottom=0)
        rate.yaxis.set_major_formatter("{x:g}")

    tokens_per_second = series("tokens_per_second")
    _panel(speed, "Tokens per second", tokens_per_second)
    _curve(speed, tokens_per_second, _TRAIN)
    if tokens_per_second:
        _note(speed, f"median {np.median(list(tokens_per_second.values())):,.0f}")
        speed.set_ylim(bottom=0)
        speed.yaxis.set_major_formatter("{x:,.0f}")

    for axes in (rate, speed):
        axes.set_xlabel("step", color=_MUTED)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    _save(figure, path)


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
    sheet.write(margin, margin + 0.05, title, fontsize=12.0, fontweight="bold", color=_INK)

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
        markeredgecolor=_INK,
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
    _save(sheet.figure, path)


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
    sheet.write(margin, margin, title, fontsize=12.0, fontweight="bold", color=_INK)
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
            shade = _MUTED if align == "right" and place not in looking else _INK
            axes.text(
                x, place + 0.5, token, ha=align, va="center", fontsize=size, color=shade,
                parse_math=False, clip_on=False,
            )  # fmt: skip
    for number, (head, colour) in enumerate(zip(heads, colours, strict=True)):
        sheet.write(
            margin + number_width * number, 1.6 * margin + line / 2, f"head {head}", color=colour
        )
    _save(sheet.figure, path)


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


def plot_sweep(record: Mapping[str, Any], path: Path) -> None:
    """BLEU by the checkpoints averaged, by beam and by length penalty, as PNG; `record` is of
    `sweep`. A ring marks the experiment's own setting."""
    series = record["series"]
    figure = Figure(figsize=(11, 3.9), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    titles = {
        "average_last": "Checkpoints averaged",
        "beam_size": "Beam size",
        "length_penalty": "Length penalty α",
    }
    for axes, (name, points) in zip(
        figure.subplots(1, 3, sharey=True), series.items(), strict=True
    ):
        values = {float(value): point["bleu"] for value, point in points.items()}
        _panel(axes, titles[name], values)
        axes.plot(list(values), list(values.values()), color=_DEV, marker="o", markersize=4)
        own = float(record["around"][name])
        axes.plot([own], [values[own]], "o", color="none", markeredgecolor=_INK, markersize=11)
        best = max(values, key=lambda value: values[value])
        _note(axes, f"highest {values[best]:.2f} at {best:g}; {values[own]:.2f} at {own:g}")
        if name == "beam_size":
            axes.set_xscale("log", base=2)
        axes.set_xticks(list(values))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    figure.supylabel("BLEU on dev", color=_MUTED, fontsize=9)
    _save(figure, path)


def plot_complexity(flops: Mapping[str, Mapping[int, int]], note: str, path: Path) -> None:
    """FLOPs of each layer type by the length n of the sequence, both in logarithms, as PNG."""
    figure = Figure(figsize=(8, 5.5), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    axes = figure.subplots()
    _panel(axes, "FLOPs of a layer's products, by sequence length n (Table 1)", flops)
    styles = zip(("-", "--", "-.", ":"), ("o", "s", "^", "D"), strict=True)
    for (name, by_n), (line, marker) in zip(flops.items(), styles, strict=False):
        axes.plot(
            list(by_n),
            list(by_n.values()),
            line,
            color=_INK,
            marker=marker,
            markersize=4,
            label=name,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("n", color=_MUTED)
    _note(axes, note)
    axes.legend(frameon=False, labelcolor=_INK, fontsize=9)
    _save(figure, path)


def _font_size(cell: float) -> float:
    """Points of text that fits into a cell of so many inches."""
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
        style = {"color": _MUTED, "va": "center", "parse_math": False, **style}
        x, y = left / self.width, 1 - top / self.height
        self.figure.text(x, y, text, fontsize=self.scale * fontsize, **style)

    def heatmap(self, axes: Axes, values: Any, highest: float, cell: float) -> Any:
        axes.set_ylim(values.shape[0], 0)
        axes.spines[:].set(color=_MUTED, linewidth=0.5)
        return axes.pcolormesh(
            values,
            cmap="Blues",
            vmin=0,
            vmax=highest,
            edgecolors=_GRID,
            linewidth=self.scale * min(0.4, 1.5 * cell),
        )

    def label(self, axes: Axes, columns: Sequence[str], rows: Sequence[str], cell: float) -> None:
        size = self.scale * _font_size(cell)
        axes.xaxis.tick_top()
        axes.tick_params(length=0, labelsize=size, labelcolor=_INK, pad=size / 4)
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


def _panel(axes: Axes, title: str, steps: Any) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=_INK, pad=21)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_MUTED)
    axes.tick_params(colors=_MUTED, labelcolor=_INK, labelsize=9)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    if not steps:
        _note(axes, "no values yet")
        axes.set_yticks([])


def _note(axes: Axes, text: str) -> None:
    axes.text(0, 1.025, text, transform=axes.transAxes, fontsize=9, color=_MUTED)


def _curve(
    axes: Axes, series: Mapping[int, float], color: str, label: str = "", marker: str = ""
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


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor="white")
    write_bytes(path, content.getvalue())
