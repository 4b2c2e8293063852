"""The worker of a benchmark that trains with this program, and the ceilings of the machine.

python -m aiayn.bench_ours WORKLOAD
python -m aiayn.bench_ours ceilings
"""

import json
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp

from aiayn.bench_worker import Trainer, rows_of, serve
from aiayn.config import TrainConfig
from aiayn.model import count_parameters
from aiayn.optim import optimizer
from aiayn.report import configure_jax, environment, peak_flops
from aiayn.rows import make_rows
from aiayn.step import build, data_mesh, initial_state, mapped_train_step, replicated, sharded
from aiayn.workloads import Workload


def trainer(workload: Workload) -> Trainer:
    """The step that `aiayn train` runs, on the same rows again and again."""
    configure_jax()
    mesh = data_mesh()
    config = TrainConfig()
    src, tgt, segments = rows_of(workload)
    rows = make_rows(src, segments, tgt, segments, bos=2)
    rows = sharded(jax.tree.map(lambda x: x[None], rows), mesh, axis=1)
    adam = optimizer(workload.model, config)
    first = initial_state(workload.model, workload.num_words, config.seed, adam)
    state = replicated(first, mesh)
    update = mapped_train_step(build(workload.model, workload.num_words), config, adam, mesh)
    key = jax.random.key(config.seed)

    def run(steps: int) -> float:
        nonlocal state
        metrics = None
        for _ in range(steps):
            state, metrics = update(state, rows, key)
        assert metrics is not None
        return float(metrics.loss) / int(metrics.tgt_tokens)

    def peak_device_bytes() -> int | None:
        found = (device.memory_stats() for device in jax.local_devices())
        return max((stats["peak_bytes_in_use"] for stats in found if stats), default=None)

    about = {
        "name": "aiayn",
        **environment(),
        "parameters": count_parameters(workload.model, workload.num_words),
    }
    return Trainer(about, run, peak_device_bytes)


def _matmul_ceiling() -> float:
    """FLOP/s of a large matrix product in the type that training multiplies in; the best of ten."""
    on_cpu = jax.default_backend() == "cpu"
    size, dtype = (2048, jnp.float32) if on_cpu else (8192, jnp.bfloat16)
    x = jnp.ones((size, size), dtype)
    return 2 * size**3 / _best(jax.jit(jnp.matmul), x, x)


def _copies() -> float:
    """Bytes per second that are read and written when a large array is copied; the best of ten."""
    x = jnp.ones((64, 1024, 1024), jnp.float32)
    return 2 * x.nbytes / _best(jax.jit(partial(jnp.add, 1.0)), x)


def _best(function: jax.stages.Wrapped, *arguments: jax.Array) -> float:
    jax.block_until_ready(function(*arguments))
    seconds: list[float] = []
    for _ in range(10):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def ceilings() -> dict[str, float | None]:
    """What the devices can do at most: by measuring, and by the data sheet where we know it."""
    return {
        "matmul_flops_per_second": jax.device_count() * _matmul_ceiling(),
        "copy_bytes_per_second": jax.device_count() * _copies(),
        "datasheet_flops_per_second": peak_flops(),
    }


if __name__ == "__main__":
    if sys.argv[1] == "ceilings":
        print(json.dumps(ceilings()))
    else:
        serve(trainer)
