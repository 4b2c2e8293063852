"""How the cost of a step grows with one size after another, beside what its FLOPs promise.

Each size is varied alone around T1 and D1tiny (aiayn.bench.workloads). Where a cost grows by more
than its FLOPs, something else costs: that is what to look for.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from aiayn.bench.contest import flops_of
from aiayn.bench.grid import grid
from aiayn.bench.ours import trainer, translator
from aiayn.bench.workloads import DECODING, TRAINING, Decoding, Training
from aiayn.config import ModelConfig
from aiayn.model.flops import exponent
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.files import user_os_errors

_ROUNDS = 7
_DEFINITIONS = {
    "seconds": f"median wall time of {_ROUNDS} steps; the sizes of one thing take turns, and a "
    "step that is not counted comes before each, as in the rounds of `aiayn bench train`; in one "
    "process that starts itself with large pages of memory on CPU (aiayn.system.memory)",
    "flops": "of the products of a step, as `aiayn bench train` and `decode` count them",
    "exponent": "slope of the logarithms by least squares, over the last three points",
    "sentence length": "T1 with rows of one sentence each and 2,048 target tokens in all",
    "width": "T1 with d_model, d_ff = 4 d_model, and heads of 64",
    "vocabulary": "T1 with this number of words",
    "rows": "T1 with this number of rows of 32 tokens",
    "beam": "D1tiny with this number of hypotheses of a sentence",
    "sentences a batch": "D1tiny with beam 4; all 64 are translated, so that FLOPs do not grow",
}


class Point(NamedTuple):
    """One size of the thing that is varied."""

    flops: float
    step: Callable[[], object]


def _train(workload: Training) -> Point:
    return Point(flops_of(workload), partial(trainer(workload).run, 1))


def _decode(workload: Decoding, beam_size: int) -> Point:
    return Point(flops_of(workload, beam_size), partial(translator(workload, beam_size).run, 1))


def _wide(d_model: int) -> ModelConfig:
    base = TRAINING["T1"].model
    return replace(base, d_model=d_model, d_ff=4 * d_model, num_heads=d_model // 64)


def points(
    train: Training, decode: Decoding
) -> dict[str, tuple[Sequence[int], Callable[[int], Point]]]:
    """The things that are varied: the sizes of each, and how a point is made of one."""

    def longer(length: int) -> Point:
        rows = train.tokens // length
        return _train(replace(train, num_rows=rows, width=length, length=length))

    return {
        "sentence length": ((16, 32, 64, 128, 256, 512), longer),
        "width": ((64, 128, 256, 512), lambda n: _train(replace(train, model=_wide(n)))),
        "vocabulary": (
            (2_000, 8_000, 16_000, 32_000),
            lambda n: _train(replace(train, num_words=n)),
        ),
        "rows": ((16, 32, 64, 128), lambda n: _train(replace(train, num_rows=n))),
        "beam": ((1, 2, 4, 8), lambda n: _decode(decode, n)),
        "sentences a batch": (
            (4, 8, 16, 32),
            lambda n: _decode(replace(decode, batch_size=n), 4),
        ),
    }


def bench_growth(
    folder: Path,
    console: Console,
    train: Training = TRAINING["T1"],
    decode: Decoding = DECODING["D1tiny"],
) -> dict[str, Any]:
    """Time every point; the record, also in `folder/growth.json` with a picture beside it."""
    grown: dict[str, Any] = {}
    with progress(console) as bar:
        for name, (sizes, make) in points(train, decode).items():
            made = [make(size) for size in sizes]
            rounds = bar.track(range(_ROUNDS), description=name)
            seconds = _seconds([point.step for point in made], rounds)
            flops = [point.flops for point in made]
            grown[name] = {
                "sizes": list(sizes),
                "flops": flops,
                "seconds": seconds,
                "seconds_exponent": exponent(sizes[-3:], seconds[-3:]),
                "flops_exponent": exponent(sizes[-3:], flops[-3:]),
            }
    record = {"bench": "growth", **environment(), "definitions": _DEFINITIONS, "growth": grown}
    records.write(folder / "growth.json", record)
    with user_os_errors(folder):
        from aiayn.bench.plots import plot_growth

        plot_growth(grown, folder / "growth.png")
    return record


def _seconds(steps: Sequence[Callable[[], object]], rounds: Iterable[int]) -> list[float]:
    """The median of each step's wall times. They take turns, so that whatever else the machine does
    for a while falls on all of them; a first step, not counted, gets back the memory of the last
    turn (aiayn.bench.contest)."""
    times: list[list[float]] = [[] for _ in steps]
    for _ in rounds:
        for step, found in zip(steps, times, strict=True):
            step()
            began = time.perf_counter()
            step()
            found.append(time.perf_counter() - began)
    return [statistics.median(found) for found in times]


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each size that was varied."""
    return [["", "from", "to", "ms a step", "exponent", "of its FLOPs"]] + [
        [
            name,
            f"{found['sizes'][0]:,}",
            f"{found['sizes'][-1]:,}",
            ", ".join(f"{seconds * 1e3:,.0f}" for seconds in found["seconds"]),
            f"{found['seconds_exponent']:.2f}",
            f"{found['flops_exponent']:.2f}",
        ]
        for name, found in record["growth"].items()
    ]


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid("How a step's cost grows", figures(record))
