"""The curves of a run as a picture."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from aiayn.render.plots import DARK, INK, LIGHT, MUTED, annotate, curve, panel, save


def plot_curves(metrics: Sequence[Mapping[str, float | int]], path: Path) -> None:
    """Loss, BLEU or F1 on dev, learning rate and speed over the steps of a run, as PNG.

    Rows are those of `metrics.jsonl`: `step` and any of `loss` (label-smoothed) and `dev_loss`,
    both in nats per token, `learning_rate`, `dev_bleu` or `dev_f1` (0 to 100) and
    `tokens_per_second`. Where a step occurs twice, as after a resumed run, the later row counts.
    """

    def series(name: str) -> dict[int, float]:
        found = {int(row["step"]): float(row[name]) for row in metrics if name in row}
        return dict(sorted(found.items()))

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.03)
    figure = Figure(figsize=(11, 7), layout=layout)
    (loss, score), (rate, speed) = figure.subplots(2, 2, sharex=True)

    train_loss, dev_loss = series("loss"), series("dev_loss")
    panel(loss, "Loss, nats per token, log scale", [*train_loss, *dev_loss])
    curve(loss, train_loss, LIGHT, "training, label-smoothed")
    curve(loss, dev_loss, DARK, "dev", marker="o")
    if train_loss or dev_loss:
        loss.set_yscale("log")
        loss.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)))
        loss.yaxis.set_minor_locator(NullLocator())
        loss.yaxis.set_major_formatter("{x:g}")
        loss.legend(frameon=False, labelcolor=INK, fontsize=9)
    if dev_loss:
        step, lowest = min(dev_loss.items(), key=lambda item: item[1])
        note = f"lowest on dev {lowest:.3f} (perplexity {math.exp(lowest):.2f}) at step {step:,}"
        annotate(loss, note)

    dev_f1 = series("dev_f1")
    name, scores = ("F1", dev_f1) if dev_f1 else ("BLEU", series("dev_bleu"))
    panel(score, f"{name} on dev", scores)
    curve(score, scores, DARK, marker="o")
    if scores:
        step, highest = max(scores.items(), key=lambda item: item[1])
        annotate(score, f"highest {highest:.2f} at step {step:,}")
        score.set_ylim(0, 1.1 * highest or 1.0)

    learning_rate = series("learning_rate")
    panel(rate, "Learning rate", learning_rate)
    curve(rate, learning_rate, INK)
    if learning_rate:
        step, peak = max(learning_rate.items(), key=lambda item: item[1])
        annotate(rate, f"highest {peak:.3g} at step {step:,}")
        rate.set_ylim(bottom=0)
        rate.yaxis.set_major_formatter("{x:g}")

    tokens_per_second = series("tokens_per_second")
    panel(speed, "Tokens per second", tokens_per_second)
    curve(speed, tokens_per_second, LIGHT)
    if tokens_per_second:
        annotate(speed, f"median {np.median(list(tokens_per_second.values())):,.0f}")
        speed.set_ylim(bottom=0)
        speed.yaxis.set_major_formatter("{x:,.0f}")

    for axes in (rate, speed):
        axes.set_xlabel("step", color=MUTED)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    save(figure, path)
