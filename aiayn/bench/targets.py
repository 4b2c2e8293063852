"""What accelerators that are not here would be given: our programs, compiled for them.

libtpu compiles for TPUs on any machine, JAX's plugin for CUDA for GPUs, each in an environment of
its own. Nothing runs, so no time is measured: those that are given are what a device needs at
least, by its data sheet. libtpu is asked for its least effort, since at its usual one it takes
minutes of a processor for some fusions of a step; for GPUs no variants of kernels are timed.
"""

import json
import math
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, SingleDeviceSharding
from rich.console import Console
from rich.table import Table

from aiayn.bench.grid import grid
from aiayn.bench.scaling import lowered
from aiayn.bench.workloads import DECODING, TRAINING, Decoding
from aiayn.config import DecodeConfig
from aiayn.decoding.incremental import lay_out
from aiayn.decoding.search import search
from aiayn.decoding.translator import first_room, padded_width
from aiayn.errors import UserError
from aiayn.model.structure import abstract_parameters, build
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import PEAK_FLOPS, configure_jax, environment


class Chip(NamedTuple):
    """Of the maker's data sheet, and the platform that it is of for JAX."""

    bytes: float
    bytes_per_second: float
    platform: str = "tpu"

    @property
    def environment(self) -> str:
        """Where its compiler is installed."""
        return f".venv-{self.platform}"


CHIPS: Mapping[str, Chip] = {
    "v4:2x2x1": Chip(32 * 2**30, 1_228e9),
    "v5e:2x4": Chip(16 * 2**30, 819e9),
    "v5p:2x2x1": Chip(95 * 2**30, 2_765e9),
    "v6e:2x4": Chip(32 * 2**30, 1_640e9),
    "h100:1x1x8": Chip(80e9, 3_352e9, "cuda"),
}
"""By topology: the kind, and the chips along each direction; of GPUs slices, hosts, devices."""
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_block_limit: 65536
  registers_per_core_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  l2_cache_size: 52428800
  memory_bandwidth: 3352320000000
  device_memory_size: 84978434048
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 12 }
device_description_str: "NVIDIA H100"
"""
"""As XLA describes devices."""
_COMPILERS = ("libtpu", "jax-cuda13-plugin")
_SEARCHED, _BEAM = "base128", 4
PROGRAMS = ("base", "big", _SEARCHED)
EFFORT = -1.0
"""From -1 to 1, of `jax_exec_time_optimization_effort`; usually 0, as for GPUs here."""
_COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
)
_DEFINITIONS = {
    "programs": "base, big: a step of training, with its rows shared out among all devices; "
    f"{_SEARCHED}: the search of `aiayn translate` with beam {_BEAM}, on one device",
    "bytes": "of a device while the program runs: arguments, results that are not written over "
    "them, what lies between, and code",
    "memory": "of a device, by the data sheet of its chip",
    "collectives": "operations in the compiled program",
    "flops": "of a device, as the compiler counts them; what a loop repeats is counted once. For "
    "GPUs it counts none",
    "bytes_accessed": "of a device's memory, likewise",
    "least_seconds": "of a step: the larger of flops over the peak of the data sheet and "
    "bytes_accessed over its bandwidth, so that a real step takes longer; not of the search, whose "
    "loop is counted once",
    "compile_seconds": "processor time of tracing, lowering and compiling here",
    "fault": "what the compiler said where it gave up",
}


def bench_targets(folder: Path, console: Console) -> dict[str, Any]:
    """Compile for every target; the record, also in `folder/compile.json`.

    Raises:
        UserError: no compiler's environment is there.
    """
    pythons = {chip.environment: Path(chip.environment, "bin", "python") for chip in CHIPS.values()}
    pythons = {name: path.absolute() for name, path in pythons.items() if path.is_file()}
    if not pythons:
        raise UserError(
            "No compiler is there; `make .venv-tpu/.done` installs that for TPUs, `make "
            ".venv-cuda/.done` that for NVIDIA's GPUs."
        )
    found: dict[str, dict[str, Any]] = {}
    cases = [
        (topology, program)
        for program in PROGRAMS
        for topology, chip in CHIPS.items()
        if chip.environment in pythons
    ]
    with progress(console) as bar:
        task = bar.add_task("", total=len(cases))
        for topology, program in cases:
            bar.update(task, description=f"Compiling {program} for {topology}")
            python = pythons[CHIPS[topology].environment]
            found.setdefault(program, {})[topology] = _compiled_by(python, topology, program)
            bar.advance(task)
    record = {
        "bench": "compile",
        **environment(),
        "definitions": _DEFINITIONS,
        "compilers": [_version(python) for python in pythons.values()],
        "effort": EFFORT,
        "programs": {
            program: {"tokens": _tokens(program), "targets": targets}
            for program, targets in found.items()
        },
    }
    records.write(folder / "compile.json", record)
    return record


def _tokens(program: str) -> int:
    workload = TRAINING.get(program) or DECODING[program]
    return workload.tokens


def _version(python: Path) -> str:
    code = (
        "from importlib.metadata import distributions as all\n"
        f"print(*(f'{{d.name}} {{d.version}}' for d in all() if d.name in {_COMPILERS}))"
    )
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def _compiled_by(python: Path, topology: str, program: str) -> dict[str, Any]:
    """In a process of its own, since libtpu describes one kind of machine a process."""
    own = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",  # which would ask the cloud what it runs on
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_STDERR_LOG_LEVEL": "3",
        "XLA_FLAGS": "--xla_gpu_autotune_level=0",
    }
    command = [str(python), "-m", "aiayn.bench.targets", topology, program]
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"It ended with status {done.returncode}."]
        return {"fault": lines[-1]}
    return json.loads(done.stdout.splitlines()[-1])


# --- In the compiler's environment --------------------------------------------------------------


def compiled_for(topology: str, program: str) -> dict[str, Any]:
    """What the compiler makes of a program there."""
    chip, (_, _, shape) = CHIPS[topology], topology.partition(":")
    if chip.platform == "tpu":
        jax.config.update("jax_exec_time_optimization_effort", EFFORT)
        about = {"topology_name": topology}
    else:
        about = {"topology_name": "", "topology": shape, "target_config": _H100}
    devices = topologies.get_topology_desc(platform=chip.platform, **about).devices
    # What a program is made of is chosen by the device while it is traced.
    jax.default_backend = lambda: "gpu" if chip.platform == "cuda" else chip.platform
    jax.devices = lambda *_: devices
    if program in TRAINING:
        mesh = Mesh(np.array(devices), ("data",))
        made, count = lowered(TRAINING[program], mesh, chip.platform).compile(), len(devices)
    else:
        made, count = _lowered_search(DECODING[program], devices[0], chip.platform).compile(), 1
    share = math.prod(map(int, shape.split("x"))) / len(devices)  # a device may be half a chip
    found, seconds = described(made), None
    peak = PEAK_FLOPS.get(devices[0].device_kind)
    if found["flops"] and peak and program in TRAINING:
        bandwidth = chip.bytes_per_second * share
        seconds = max(found["flops"] / (peak * share), found["bytes_accessed"] / bandwidth)
    return {
        "device": devices[0].device_kind,
        "devices": count,
        "memory": chip.bytes * share,
        **found,
        "least_seconds": seconds,
        "compile_seconds": time.process_time(),
    }


def _lowered_search(workload: Decoding, device: Any, platform: str) -> jax.stages.Lowered:
    place = SingleDeviceSharding(device)

    def there(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    graphdef = build(workload.model, workload.num_words)
    params = abstract_parameters(workload.model, workload.num_words)
    weights = jax.eval_shape(partial(lay_out, graphdef), params)
    side = jax.ShapeDtypeStruct(
        (workload.num_sentences, padded_width(workload.length)), jnp.int32, sharding=place
    )
    limits = jax.ShapeDtypeStruct((workload.num_sentences,), jnp.int32, sharding=place)
    traced = search.trace(
        graphdef,
        *(there(params), there(weights), side, side, limits),
        beam_size=_BEAM,
        alpha=DecodeConfig().length_penalty,
        at_once=workload.batch_size,
        room=first_room(side.shape[1]),
        bos=2,
        eos=3,
    )
    return traced.lower(lowering_platforms=(platform,))


def described(made: jax.stages.Compiled) -> dict[str, Any]:
    """A compiled program's memory, collectives, and what its compiler reckons that it does."""
    memory: Any = made.memory_analysis()
    costs: Any = made.cost_analysis() or {}
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    given = memory.argument_size_in_bytes + memory.generated_code_size_in_bytes
    return {
        "bytes": given + results + memory.temp_size_in_bytes,
        "collectives": dict(Counter(_COLLECTIVE.findall(made.as_text() or ""))),
        "flops": costs.get("flops"),
        "bytes_accessed": costs.get("bytes accessed"),
    }


# --- As a table -----------------------------------------------------------------------------------


def title(program: str, found: Mapping[str, Any]) -> str:
    """What a program's figures are of."""
    return f"{program}, {found['tokens']:,} tokens"


def figures(found: Mapping[str, Any]) -> list[list[str]]:
    """The figures of a program as text: a head, then a row for each target."""
    heads = ["devices", "GB a device", "of its memory", "collectives", "TFLOP a device", "at least"]
    rows = [["", *heads, "tokens/s at most", "to compile"]]
    for topology, target in found["targets"].items():
        if "fault" in target:
            rows.append([topology, target["fault"], *[""] * 7])
            continue
        counts = ", ".join(f"{count} {name}" for name, count in target["collectives"].items())
        least = target["least_seconds"]
        rows.append(
            [
                topology,
                f"{target['devices']}",
                f"{target['bytes'] / 1e9:.2f}",
                f"{target['bytes'] / target['memory']:.0%}",
                counts or "0",
                f"{target['flops'] / 1e12:.2f}" if target["flops"] else "–",
                f"{least * 1e3:.1f} ms" if least else "–",
                f"{found['tokens'] / least:,.0f}" if least else "–",
                f"{target['compile_seconds']:.0f} s",
            ]
        )
    return rows


def summary(record: Mapping[str, Any]) -> str:
    """What the figures are, and what they are not."""
    return (
        f"Nothing ran: {' and '.join(record['compilers'])} compiled each program on a CPU, for "
        f"TPUs with an effort of {record['effort']:g}. `at least` is arithmetic: what the compiler "
        "counts, over what the data sheet allows."
    )


def table(program: str, found: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(f"Compiled for devices that are not here: {title(program, found)}", figures(found))


if __name__ == "__main__":
    configure_jax()
    print(json.dumps(compiled_for(*sys.argv[1:])))
