"""Where more devices stop to help, on paper: what a step sends, counted; what that takes, assumed.

The program of the step is lowered for 1 to 1,024 devices that are not there, and its collectives
are counted in it. Times are arithmetic on assumptions, which the record names; none is measured.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, Mesh
from rich.console import Console
from rich.table import Table

from aiayn.bench.grid import grid
from aiayn.bench.workloads import TRAINING, Training
from aiayn.config import TrainConfig
from aiayn.data.rows import Rows
from aiayn.model.flops import exponent
from aiayn.model.kernels import without_kernels
from aiayn.model.structure import build
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.files import user_os_errors
from aiayn.training.mesh import mapped_train_step
from aiayn.training.optim import optimizer
from aiayn.training.step import initial_state

SIZES = (1, 2, 4, 8, 16, 32, 128, 1_024)
STEP_SECONDS: Mapping[str, float] = {"base": 0.0280, "big": 0.0744}
"""The whole workload on one H100, as measured (train-base-h100 and train-big-h100)."""
_PER_HOST = 8
_WITHIN, _BETWEEN = 350e9, 50e9
_HOP = 5e-6
ASSUMED: Mapping[str, str] = {
    "step_seconds": f"one H100 takes {STEP_SECONDS['base'] * 1e3:.1f} ms for a step of base and "
    f"{STEP_SECONDS['big'] * 1e3:.1f} ms for one of big (measured)",
    "devices_per_host": f"{_PER_HOST}",
    "within": f"{_WITHIN / 1e9:.0f} GB/s a device among those of a host, as all-reduces are rated "
    "(estimate for 8 H100 on NVLink)",
    "between": f"{_BETWEEN / 1e9:.0f} GB/s a device between hosts (data sheet: an adapter of 400 "
    "Gb/s for each)",
    "hop": f"{_HOP * 1e6:.0f} µs for a message, 2 log2 of the devices of them one after another, "
    "for each type of number that is reduced (guess)",
    "overlap": "none: the devices compute, then reduce",
}
_DEFINITIONS = {
    "collectives": "collective operations in the lowered program of a step, whose backends merge "
    "those of a type",
    "bytes": "what a device brings to them, whatever their algorithm sends of it and how often",
    "rows_per_device": "of 256 slots; a row is not divided, so some devices may have none",
    "compute_seconds": "assumed.step_seconds, times the device's share of the rows",
    "reduce_seconds": "reduce-scatter in a host, all-reduce between hosts, all-gather in a host",
    "efficiency": "of one update shared out: what one device takes, by devices times seconds",
    "efficiency_of_larger_updates": "the same, where every device has as many rows as one alone "
    "has here",
    "ends_at": "the most devices with an efficiency of a half or more",
    "growth": "exponents by devices of what each brings to collectives and of the seconds of an "
    "update that grows with them: the slope of the logarithms by least squares, over the last "
    "three numbers of devices",
}


class Sent(NamedTuple):
    """The collectives of a step's program."""

    collectives: int
    bytes: int


def devices(count: int) -> AbstractMesh:
    """So many devices in one row, none of which need be there."""
    return AbstractMesh((count,), ("data",), axis_types=(AxisType.Auto,))


def lowered(
    workload: Training, mesh: Mesh | AbstractMesh, platform: str = "cpu"
) -> jax.stages.Lowered:
    """The program of a step of the workload, for devices that need not be there."""
    graphdef, adam, state = _model(workload)
    config = TrainConfig()
    num_rows = rows_per_device(workload, mesh.size) * mesh.size
    side = jax.ShapeDtypeStruct((1, num_rows, workload.width), jnp.int32)
    key = jax.eval_shape(lambda: jax.random.key(config.seed))
    with nullcontext() if platform == "cuda" else without_kernels():
        update: Any = mapped_train_step(graphdef, config, adam, mesh)
        traced = update.trace(state, Rows(*[side] * len(Rows._fields)), key)
        return traced.lower(lowering_platforms=(platform,))


@cache
def _model(workload: Training) -> tuple[Any, Any, Any]:
    """Its structure, its optimiser and the shapes of its state."""
    model, num_words, config = workload.model, workload.num_words, TrainConfig()
    adam = optimizer(model, config)
    state = jax.eval_shape(lambda: initial_state(model, num_words, config.seed, adam))
    return build(model, num_words), adam, state


def rows_per_device(workload: Training, num_devices: int) -> int:
    """Of the device that has most."""
    return -(-workload.num_rows // num_devices)


_COLLECTIVE = re.compile(
    r'"stablehlo\.(?:all_reduce|all_gather|all_to_all|reduce_scatter|collective_permute)"'
    r".*? : \((?P<operands>tensor<.*?)\) ->",
    re.DOTALL,
)


def sent(program: str) -> Sent:
    """Counted in a program's StableHLO."""
    operands = [match["operands"] for match in _COLLECTIVE.finditer(program)]
    sizes = [
        math.prod(map(int, re.findall(r"\d+(?=x)", shape))) * int(bits) // 8
        for text in operands
        for shape, bits in re.findall(r"tensor<((?:\d+x)*)[a-z]+(\d+)>", text)
    ]
    return Sent(len(operands), sum(sizes))


def reduce_seconds(num_bytes: int, num_devices: int) -> float:
    """The seconds of an all-reduce, by ASSUMED."""
    if num_devices == 1:
        return 0.0
    local = min(num_devices, _PER_HOST)
    hosts = num_devices // local
    within = 2 * (local - 1) / local * num_bytes / _WITHIN
    between = 2 * (hosts - 1) / hosts * num_bytes / local / _BETWEEN
    types = 2  # losses and gradients are float32, tokens are counted in int32
    return within + between + types * 2 * math.log2(num_devices) * _HOP


def _tracked(console: Console, workload: str) -> Iterator[int]:
    """The numbers of devices, with a bar."""
    with progress(console) as bar:
        yield from bar.track(SIZES, description=f"Lowering {workload}")


def bench_scaling(folder: Path, console: Console) -> dict[str, Any]:
    """Count and reckon; the record, also in `folder/scaling.json`, with a picture beside it."""
    workloads: dict[str, Any] = {}
    for name, seconds in STEP_SECONDS.items():
        workload, rows = TRAINING[name], []
        for size in _tracked(console, name):
            found = sent(lowered(workload, devices(size)).as_text())
            share = rows_per_device(workload, size)
            compute = seconds * share / workload.num_rows
            reduce = reduce_seconds(found.bytes, size)
            rows.append(
                {
                    "devices": size,
                    **found._asdict(),
                    "rows_per_device": share,
                    "compute_seconds": compute,
                    "reduce_seconds": reduce,
                    "efficiency": seconds / (size * (compute + reduce)),
                    "efficiency_of_larger_updates": seconds / (seconds + reduce),
                }
            )
        ends_at = max(row["devices"] for row in rows if row["efficiency"] >= 0.5)
        sizes, last = SIZES[-3:], rows[-3:]
        growth = {
            "collectives": exponent(sizes, [row["collectives"] for row in last]),
            "bytes": exponent(sizes, [row["bytes"] for row in last]),
            "seconds": exponent(sizes, [seconds + row["reduce_seconds"] for row in last]),
        }
        workloads[name] = {
            "tokens": workload.tokens,
            "ends_at": ends_at,
            "sizes": rows,
            "growth": growth,
        }
    record = {
        "bench": "scaling",
        **environment(),
        "definitions": _DEFINITIONS,
        "assumed": ASSUMED,
        "workloads": workloads,
    }
    records.write(folder / "scaling.json", record)
    with user_os_errors(folder):
        from aiayn.bench.plots import plot_scaling

        plot_scaling(workloads, folder / "scaling.png")
    return record


def figures(found: Mapping[str, Any]) -> list[list[str]]:
    """The figures of a workload as text: a head, then a row for each number of devices."""
    head = ["devices", "collectives", "MB", "rows", "computes", "reduces", "efficiency", "larger"]
    return [head] + [
        [
            f"{row['devices']:,}",
            f"{row['collectives']}",
            f"{row['bytes'] / 1e6:.1f}",
            f"{row['rows_per_device']}",
            f"{row['compute_seconds'] * 1e3:.2f} ms",
            f"{row['reduce_seconds'] * 1e3:.2f} ms",
            f"{row['efficiency']:.0%}",
            f"{row['efficiency_of_larger_updates']:.0%}",
        ]
        for row in found["sizes"]
    ]


def title(name: str, found: Mapping[str, Any]) -> str:
    """What a workload's figures are of."""
    return f"{name}, {found['tokens']:,} tokens a side"


def summary(record: Mapping[str, Any]) -> str:
    """Where it ends, and what that rests on."""
    ends = ", ".join(f"{name} {found['ends_at']}" for name, found in record["workloads"].items())
    grown = "; ".join(
        f"{name} {', '.join(f'{what} {value:z.2f}' for what, value in found['growth'].items())}"
        for name, found in record["workloads"].items()
    )
    return (
        f"Efficiency is a half or more up to this many devices: {ends}. Collectives and MB are "
        "counted in the program; no time is measured, all are reckoned from what is assumed: "
        f"{'; '.join(f'{key}: {text}' for key, text in record['assumed'].items())}. `larger`: "
        f"where the update grows with the devices; by how many there are, with exponents: {grown}."
    )


def table(name: str, found: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(f"Scaling on paper: {title(name, found)}", figures(found))
