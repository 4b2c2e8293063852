"""Sweeps, ablations, pre-training, other toolkits and Table 1 as pictures."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator

from aiayn.bench.toolkits import Trained
from aiayn.evidence.records import Ablation, Sweep
from aiayn.evidence.table3 import OPEN, Difference
from aiayn.evidence.transfer import by_layers, by_size
from aiayn.render.markdown import hardware_text
from aiayn.render.plots import DARK, INK, LIGHT, MUTED, annotate, curve, panel, save

_LINES = ("-", "--", ":", "-.")


def plot_sweep(record: Sweep, path: Path) -> None:
    """BLEU, or F1, by the checkpoints averaged, by beam and by length penalty, as PNG. A ring marks
    the experiment's own setting; a light line is of a search without a grammar."""
    figure = Figure(figsize=(11, 3.9), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    titles = {
        "average_last": "Checkpoints averaged",
        "beam_size": "Beam size",
        "length_penalty": "Length penalty α",
    }
    for axes, (name, points) in zip(
        figure.subplots(1, 3, sharey=True), record.series.items(), strict=True
    ):
        values = {float(value): point.bleu for value, point in points.items()}
        panel(axes, titles[name], values)
        curve(axes, values, DARK, marker="o")
        free = {float(v): point.free for v, point in points.items() if point.free is not None}
        curve(axes, free, LIGHT, "free search", marker="o")
        if free:
            axes.legend(frameon=False, fontsize=9, loc="lower right")
        own = float(record.around[name])
        axes.plot([own], [values[own]], "o", color="none", markeredgecolor=INK, markersize=11)
        best = max(values, key=lambda value: values[value])
        annotate(axes, f"highest {values[best]:.2f} at {best:g}; {values[own]:.2f} at {own:g}")
        if name == "beam_size":
            axes.set_xscale("log", base=2)
        axes.set_xticks(list(values))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    figure.supylabel(f"{record.measure} on dev", color=MUTED, fontsize=9)
    save(figure, path)


def plot_ablation(
    title: str, panels: Mapping[str, tuple[str, Mapping[str, Difference]]], path: Path
) -> None:
    """Each row of Table 3 as a point, the paper's difference across, ours upwards, as PNG.

    `panels` holds by its title a note and the differences; a bar is the standard deviation. The
    point of a row whose sign is open is empty.
    """
    figure = Figure(figsize=(11, 5.4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold", color=INK)
    for axes, (heading, (note, found)) in zip(
        figure.subplots(1, len(panels)), panels.items(), strict=True
    ):
        panel(axes, heading, found)
        annotate(axes, note)
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
                color=DARK,
                ecolor=LIGHT,
                markersize=4,
                markerfacecolor="white" if difference.sign == OPEN else DARK,
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


def plot_pretraining(record: Ablation, path: Path) -> None:
    """BLEU by the number of pairs with and without pre-training, and the difference by the layers
    that were moved, as PNG; a bar is the standard deviation over the seeds."""
    figure = Figure(figsize=(11, 4.4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    sizes, layers = figure.subplots(1, 2)
    found = by_size(record)
    panel(sizes, "BLEU on dev by pairs of train", found)
    fresh, moved = ({size: pair[n] for size, pair in found.items()} for n in (0, 1))
    curve(sizes, moved, DARK, "pre-trained decoder", "o")
    curve(sizes, fresh, LIGHT, "decoder drawn at random", "o")
    sizes.set_xscale("log")
    sizes.set_xticks(list(found))
    sizes.xaxis.set_major_formatter("{x:,.0f}")
    sizes.xaxis.set_minor_locator(NullLocator())
    sizes.set_xlabel("pairs", color=MUTED)
    sizes.legend(frameon=False, labelcolor=INK, fontsize=9)
    by_count = by_layers(record)
    panel(layers, f"Δ BLEU by layers moved, from {min(found):,} pairs", by_count)
    layers.axhline(0, color=MUTED, linewidth=0.8)
    for count, difference in by_count.items():
        spread = None if math.isnan(difference.spread) else difference.spread
        style = {"fmt": "o", "color": DARK, "ecolor": LIGHT, "markersize": 5}
        layers.errorbar(count, difference.mean, yerr=spread, **style)
    layers.set_xticks(list(by_count))
    layers.set_xlabel("layers; 0 is the embedding alone", color=MUTED)
    save(figure, path)


def plot_courses(experiment: str, every: Sequence[Trained], path: Path) -> None:
    """Loss on dev by updates and by minutes, as PNG; a toolkit has one kind of line. Minutes are
    those of the toolkits' machines alone."""
    figure = Figure(figsize=(11, 4.4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    names = list(dict.fromkeys(each.name for each in every))
    machines = {hardware_text(each.hardware) for each in every if not each.is_ours}
    for axes, unit in zip(figure.subplots(1, 2, sharey=True), ("updates", "minutes"), strict=True):
        panel(axes, f"Loss on dev by {unit}, {experiment}", every)
        for each in every:
            of_time = unit == "minutes"
            if of_time and hardware_text(each.hardware) not in machines:
                continue
            places = [p.seconds / 60 if of_time else p.updates for p in each.course]
            number = names.index(each.name)
            axes.plot(
                places,
                [point.dev_loss for point in each.course],
                _LINES[number % len(_LINES)],
                color=DARK if each.is_ours else LIGHT,
                linewidth=1.3,
                label=f"{each.name}, seed {each.seed}",
            )
        axes.set_xlabel(unit, color=MUTED)
        axes.set_ylabel("nats per token", color=MUTED)
    figure.axes[0].legend(frameon=False, labelcolor=INK, fontsize=9)
    save(figure, path)


def plot_complexity(flops: Mapping[str, Mapping[int, int]], note: str, path: Path) -> None:
    """FLOPs of each layer type by the length n of the sequence, both in logarithms, as PNG."""
    figure = Figure(figsize=(8, 5.5), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    axes = figure.subplots()
    panel(axes, "FLOPs of a layer's products, by sequence length n (Table 1)", flops)
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
    annotate(axes, note)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    save(figure, path)
