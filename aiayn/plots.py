"""Curves and comparisons as pictures.

Drawn for paper and for readers who see no colours: darkness alone orders the values. Import this
module where a picture is wanted; it brings Matplotlib with it.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogFormatter, LogLocator, MaxNLocator, NullLocator

from aiayn.files import write_bytes
from aiayn.table3 import Difference

INK, MUTED, GRID = "#1a1a1a", "#6b6b6b", "#e6e6e6"
_TRAIN, _DEV = "#7fa8d1", "#8c2d04"  # light and dark: told apart in print


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
        loss.legend(frameon=False, labelcolor=INK, fontsize=9)
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
    _curve(rate, learning_rate, INK)
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
        axes.set_xlabel("step", color=MUTED)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    save(figure, path)


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
        axes.plot([own], [values[own]], "o", color="none", markeredgecolor=INK, markersize=11)
        best = max(values, key=lambda value: values[value])
        _note(axes, f"highest {values[best]:.2f} at {best:g}; {values[own]:.2f} at {own:g}")
        if name == "beam_size":
            axes.set_xscale("log", base=2)
        axes.set_xticks(list(values))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    figure.supylabel("BLEU on dev", color=MUTED, fontsize=9)
    save(figure, path)


def plot_ablation(
    title: str, panels: Mapping[str, tuple[str, Mapping[str, Difference]]], path: Path
) -> None:
    """Each row of Table 3 as a point, the paper's difference across, ours upwards, as PNG.

    `panels` holds by its title a note and the differences; a bar is the standard deviation.
    """
    figure = Figure(figsize=(11, 5.4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold", color=INK)
    for axes, (heading, (note, found)) in zip(
        figure.subplots(1, len(panels)), panels.items(), strict=True
    ):
        _panel(axes, heading, found)
        _note(axes, note)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for row, difference in found.items():
            if difference.paper is None:
                continue
            axes.errorbar(
                difference.paper,
                difference.mean,
                yerr=None if math.isnan(difference.spread) else difference.spread,
                fmt="o",
                color=_DEV,
                ecolor=_TRAIN,
                markersize=4,
            )
            axes.annotate(
                row,
                (difference.paper, difference.mean),
                xytext=(5, 3),
                textcoords="offset points",
                fontsize=9,
                color=INK,
            )
        axes.set_xlabel("the paper's difference from base", color=MUTED)
        axes.set_ylabel("ours", color=MUTED)
    save(figure, path)


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
            color=INK,
            marker=marker,
            markersize=4,
            label=name,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("n", color=MUTED)
    _note(axes, note)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    save(figure, path)


def plot_scaling(workloads: Mapping[str, Any], path: Path) -> None:
    """Efficiency by the number of devices, of one update shared out and of one that grows, as PNG;
    `workloads` are of the record of `aiayn bench scaling`."""
    figure = Figure(figsize=(11, 4.4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    kinds = {"efficiency": "One update, shared out", "efficiency_of_larger_updates": "As much each"}
    for axes, (kind, heading) in zip(
        figure.subplots(1, 2, sharey=True), kinds.items(), strict=True
    ):
        _panel(axes, heading, workloads)
        _note(axes, "on paper: bytes counted, times assumed")
        for (name, found), color in zip(workloads.items(), (_DEV, _TRAIN), strict=False):
            values = {row["devices"]: row[kind] for row in found["sizes"]}
            grows = f", exponent of its seconds {found['growth']['seconds']:z.2f}"
            label = name if kind == "efficiency" else name + grows
            _curve(axes, values, color, label, marker="o")
        axes.axhline(0.5, color=MUTED, linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.set_ylim(0, 1.05)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.set_xlabel("devices", color=MUTED)
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    figure.supylabel("efficiency", color=MUTED, fontsize=9)
    save(figure, path)


def plot_contest(title: str, record: Mapping[str, Any], path: Path) -> None:
    """Seconds of a step in each round by contender, as PNG; `record` is of `aiayn bench train` or
    `decode`."""
    figure = Figure(figsize=(7, 4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    axes = figure.subplots()
    _panel(axes, title, record["contenders"])
    _note(axes, "seconds a step, round by round")
    colors = (_DEV, _TRAIN, MUTED)  # ours, the peer, the peer with large pages
    for color, (name, found) in zip(colors, record["contenders"].items(), strict=False):
        rounds = dict(enumerate((each["seconds_per_step"] for each in found["rounds"]), 1))
        _curve(axes, rounds, color, f"{name}, median {found['median_seconds_per_step']:#.3g}", "o")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    save(figure, path)


def plot_data(record: Mapping[str, Any], path: Path) -> None:
    """Seconds and memory of each stage of preparing by the size of the corpus, both in logarithms,
    as PNG; `record` is of `aiayn bench data`."""
    figure = Figure(figsize=(11, 4.4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    runs, growth = record["runs"], record["growth"]
    kinds = {"stages": ("Seconds", 1.0), "peak_own_bytes": ("Memory of its own, MB", 1e6)}
    for axes, (kind, (heading, unit)) in zip(figure.subplots(1, 2), kinds.items(), strict=True):
        _panel(axes, heading, runs)
        _note(axes, "of each stage, and the exponent by pairs")
        for (stage, found), color in zip(growth.items(), (_DEV, _TRAIN, MUTED), strict=True):
            if kind in found:
                values = {run["pairs"]: run[kind][stage] / unit for run in runs}
                _curve(axes, values, color, f"{stage}, {found[kind]:.2f}", marker="o")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks([run["pairs"] for run in runs], minor=False)
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.5)))
        axes.set_xlabel("pairs", color=MUTED)
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    save(figure, path)


def plot_growth(grown: Mapping[str, Any], path: Path) -> None:
    """Seconds of a step by one size after another, beside its FLOPs, as PNG; `grown` is of the
    record of `aiayn bench growth`."""
    figure = Figure(figsize=(11, 7), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    panels = figure.subplots(-(-len(grown) // 3), 3).flat
    for axes, (name, found) in zip(panels, grown.items(), strict=False):
        _panel(axes, name, found)
        grows = (found[f"{what}_exponent"] for what in ("seconds", "flops"))
        _note(axes, "exponent {:.2f}, of its FLOPs {:.2f}".format(*grows))
        # FLOPs at the rate of the last point: a step above the line is slower than they promise.
        milliseconds = [1e3 * seconds for seconds in found["seconds"]]
        rate = milliseconds[-1] / found["flops"][-1]
        promised = [rate * flops for flops in found["flops"]]
        for times, color, label in (
            (promised, _DEV, "its FLOPs"),
            (milliseconds, _TRAIN, "a step"),
        ):
            values = dict(zip(found["sizes"], times, strict=True))
            _curve(axes, values, color, label, marker="o")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(found["sizes"])
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.5)))
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    figure.supylabel("milliseconds a step", color=MUTED, fontsize=9)
    save(figure, path)


def _panel(axes: Axes, title: str, steps: Any) -> None:
    axes.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=21)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    if not steps:
        _note(axes, "no values yet")
        axes.set_yticks([])


def _note(axes: Axes, text: str) -> None:
    axes.text(0, 1.025, text, transform=axes.transAxes, fontsize=9, color=MUTED)


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


def save(figure: Figure, path: Path) -> None:
    """Write the picture as PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=160, facecolor="white")
    write_bytes(path, content.getvalue())
