"""Our own kernels for NVIDIA GPUs: attention, dropout with layer norm, and the loss.

XLA's programs for these parts read and write memory more often than they need to. The model asks
here for a kernel that fits, and computes its own lines where there is none: on other devices, and
for sizes no kernel was written for. The kernels are written in Pallas for Triton. Without a GPU
Pallas interprets them, slowly; so the tests compare them with the model's lines on any machine.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, get_args

import jax

from aiayn.config import ModelConfig

KernelName = Literal["attention", "norm", "loss"]
_wanted: ContextVar[frozenset[str]] = ContextVar("kernels", default=frozenset(get_args(KernelName)))


def attention_kernel(config: ModelConfig) -> Callable[..., Any] | None:
    """`attention.attend_by_kernel` if it fits the model's heads on this device."""
    if not _use("attention"):
        return None
    from aiayn.model.kernels import attention

    fits = attention.fits(config.d_k, config.d_v, config.attention_dropout_rate)
    return attention.attend_by_kernel if fits else None


def norm_kernel(d_model: int) -> Callable[..., Any] | None:
    """`norm.add_and_norm` if it fits this many features on this device."""
    if not _use("norm"):
        return None
    from aiayn.model.kernels import norm

    return norm.add_and_norm if norm.fits(d_model) else None


def loss_kernel() -> Callable[..., Any] | None:
    """`loss.lse_and_gradient` if this device runs it; it fits every vocabulary."""
    if not _use("loss"):
        return None
    from aiayn.model.kernels import loss

    return loss.lse_and_gradient


def _use(name: KernelName) -> bool:
    return name in _wanted.get() and use_kernels()


def use_kernels() -> bool:
    """Whether the model computes with kernels: on NVIDIA GPUs that multiply in bfloat16."""
    if not _wanted.get() or jax.default_backend() != "gpu":
        return False
    capability = str(getattr(jax.devices()[0], "compute_capability", ""))
    return capability[:1].isdigit() and float(capability) >= 8.0  # AMD's have a name there


@contextmanager
def without_kernels(*names: KernelName) -> Generator[None]:
    """Leave out these kernels, or all of them.

    For a program that is only read, or made for another device than this one, or timed without.
    """
    token = _wanted.set(_wanted.get() - set(names or get_args(KernelName)))
    try:
        yield
    finally:
        _wanted.reset(token)


def pallas_options(num_warps: int, num_stages: int) -> dict[str, Any]:
    """Arguments of `pallas_call`: the warps of a program and the iterations of a loop it loads
    ahead, or to interpret the kernel where there is no GPU.
    """
    if jax.default_backend() != "gpu":
        return {"interpret": True}
    from jax.experimental.pallas import triton

    return {"compiler_params": triton.CompilerParams(num_warps=num_warps, num_stages=num_stages)}
