"""Benchmarks as pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogFormatter, MaxNLocator

from aiayn.render.plots import DARK, INK, LIGHT, MUTED, annotate, curve, panel, save


def plot_scaling(workloads: Mapping[str, Any], path: Path) -> None:
    """Efficiency by the number of devices, of one update shared out and of one that grows, as PNG;
    `workloads` are of the record of `aiayn bench scaling`."""
    figure = Figure(figsize=(11, 4.4), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    kinds = {"efficiency": "One update, shared out", "efficiency_of_larger_updates": "As much each"}
    for axes, (kind, heading) in zip(
        figure.subplots(1, 2, sharey=True), kinds.items(), strict=True
    ):
        panel(axes, heading, workloads)
        annotate(axes, "on paper: bytes counted, times assumed")
        for (name, found), color in zip(workloads.items(), (DARK, LIGHT), strict=False):
            values = {row["devices"]: row[kind] for row in found["sizes"]}
            grows = f", exponent of its seconds {found['growth']['seconds']:z.2f}"
            label = name if kind == "efficiency" else name + grows
            curve(axes, values, color, label, marker="o")
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
    panel(axes, title, record["contenders"])
    annotate(axes, "seconds a step, round by round")
    colors = (DARK, LIGHT, MUTED)  # ours, the peer, the peer with large pages
    for color, (name, found) in zip(colors, record["contenders"].items(), strict=False):
        rounds = dict(enumerate((each["seconds_per_step"] for each in found["rounds"]), 1))
        curve(axes, rounds, color, f"{name}, median {found['median_seconds_per_step']:#.3g}", "o")
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
        panel(axes, heading, runs)
        annotate(axes, "of each stage, and the exponent by pairs")
        for (stage, found), color in zip(growth.items(), (DARK, LIGHT, MUTED), strict=True):
            if kind in found:
                values = {run["pairs"]: run[kind][stage] / unit for run in runs}
                curve(axes, values, color, f"{stage}, {found[kind]:.2f}", marker="o")
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
        panel(axes, name, found)
        grows = (found[f"{what}_exponent"] for what in ("seconds", "flops"))
        annotate(axes, "exponent {:.2f}, of its FLOPs {:.2f}".format(*grows))
        # FLOPs at the rate of the last point: a step above the line is slower than they promise.
        milliseconds = [1e3 * seconds for seconds in found["seconds"]]
        rate = milliseconds[-1] / found["flops"][-1]
        promised = [rate * flops for flops in found["flops"]]
        for times, color, label in (
            (promised, DARK, "its FLOPs"),
            (milliseconds, LIGHT, "a step"),
        ):
            values = dict(zip(found["sizes"], times, strict=True))
            curve(axes, values, color, label, marker="o")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(found["sizes"])
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.5)))
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    figure.supylabel("milliseconds a step", color=MUTED, fontsize=9)
    save(figure, path)
