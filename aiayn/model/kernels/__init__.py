"""Kernels of our own for NVIDIA GPUs, where XLA's pass over memory more often than they need to.

Each computes what a few lines of the model say, and is called beside those lines, which run on
other devices and for other sizes. They are written in Pallas for Triton. Where there is no GPU
Pallas interprets them, slowly: so the tests hold them against the lines they stand for.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax

_wanted = ContextVar("kernels", default=True)


def use_kernels() -> bool:
    """Whether the model computes with them: on NVIDIA GPUs that multiply in bfloat16."""
    if not _wanted.get() or jax.default_backend() != "gpu":
        return False
    capability = str(getattr(jax.devices()[0], "compute_capability", ""))
    return capability[:1].isdigit() and float(capability) >= 8.0  # AMD's have a name there


@contextmanager
def without_kernels() -> Generator[None]:
    """For a program that is read, or made for another device than this one."""
    token = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(token)


def pallas_options(num_warps: int, num_stages: int) -> dict[str, Any]:
    """What `pallas_call` is told: how many warps a program has and how many turns of a loop it
    loads ahead; or to interpret.
    """
    if jax.default_backend() != "gpu":
        return {"interpret": True}
    from jax.experimental.pallas import triton

    return {"compiler_params": triton.CompilerParams(num_warps=num_warps, num_stages=num_stages)}
