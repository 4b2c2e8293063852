"""The steps mapped over all devices of all processes (§5.2)."""

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key

from aiayn.config import TrainConfig
from aiayn.data.rows import Rows
from aiayn.errors import UserError
from aiayn.model.interface import AutoregressiveModel
from aiayn.model.kernels import use_kernels
from aiayn.model.structure import Params
from aiayn.training.step import Metrics, TrainState, evaluation_step, train_step


def data_mesh(
    devices: Sequence[jax.Device] | None = None,  # pyright: ignore[reportInvalidTypeForm, reportUnknownParameterType]
) -> Mesh:
    """All devices of all processes in one row, process after process.

    A TPU numbers its devices by their place in the grid, so those of a process may lie apart.
    """
    if devices is None:
        devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(devices), ("data",))


def mapped_train_step(
    graphdef: nnx.GraphDef[AutoregressiveModel],
    config: TrainConfig,
    optimizer: optax.GradientTransformationExtraArgs,
    mesh: Mesh | AbstractMesh,
) -> Callable[[TrainState, Rows, Key[Array, ""]], tuple[TrainState, Metrics]]:
    """`train_step` over the mesh: rows shared out, the rest everywhere; the state is donated."""
    step = partial(train_step, graphdef=graphdef, config=config, optimizer=optimizer)
    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=(P(), P(None, "data"), P()), out_specs=P(), check_vma=False
    )
    return jax.jit(mapped, donate_argnums=0, compiler_options=compiler_options())


def compiler_options() -> dict[str, bool | int] | None:
    """XLA's options for the step on a GPU that has our kernels.

    Matrix products go to cuBLAS, which adds a bias and takes the positive part on the way. XLA's
    own products also fuse the operations before them and are slower for it. No two are merged:
    that would copy their results.
    """
    if not use_kernels():
        return None
    return {"xla_gpu_enable_triton_gemm": False, "xla_gpu_dot_merger_threshold_mb": 0}


_SLOW_SCATTER = (0, 10, 2), (0, 11, 0)
"""The first and the last jaxlib that adds float32 in an NVIDIA GPU's memory by retries."""
_NATIVE_ADDS = "-nvptx-allow-ftz-atomics"
"""The flag that brings the native additions back there."""


def refuse_slow_scatter(platform_version: str, jaxlib_version: str) -> None:
    """Training on an NVIDIA GPU by a jaxlib that is known for it is hundreds of times too slow.

    The gradient of the embedding adds up rows of words that occur again and again, where retries
    are many (jax-ml/jax#38806).

    Raises:
        UserError: naming the version found and those wanted.
    """
    found = tuple(map(int, re.findall(r"\d+", jaxlib_version)[:3]))
    first, last = _SLOW_SCATTER
    if "cuda" not in platform_version.lower() or not first <= found <= last:
        return
    if _NATIVE_ADDS not in os.environ.get("XLA_FLAGS", ""):
        raise UserError(
            f"jaxlib is {jaxlib_version}, whose scatter-add on GPUs takes hundreds of times as "
            "long as it should (jax-ml/jax#38806); wanted 0.11.1 or later, which needs Python 3.12 "
            "(make clean, then make train PYTHON=python3.12), or one before 0.10.2, or "
            f"{_NATIVE_ADDS} in XLA_FLAGS."
        )


def mapped_evaluation_step(
    graphdef: nnx.GraphDef[AutoregressiveModel], mesh: Mesh
) -> Callable[[Params, Rows], tuple[Float[Array, ""], Int[Array, ""]]]:
    """`evaluation_step` over the mesh."""
    step = partial(evaluation_step, graphdef=graphdef)
    return jax.jit(
        jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), check_vma=False)
    )


def replicated(tree: Any, mesh: Mesh) -> Any:
    """The tree with every leaf on every device of the mesh; all processes pass the same tree."""
    everywhere = NamedSharding(mesh, P())
    if everywhere.is_fully_addressable:
        return jax.device_put(tree, everywhere)
    # device_put would send every leaf from every process to every other, to compare them.
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(everywhere, np.asarray(x), x.shape), tree
    )


def one_copy(tree: Any) -> Any:
    """A replicated tree on one device of this process, to compute with it alone."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def sharded(rows: Rows, mesh: Mesh, axis: int) -> Rows:
    """Global arrays made of every process's own share along `axis`."""
    sharding = NamedSharding(mesh, P(*[None] * axis, "data"))
    return Rows(*(jax.make_array_from_process_local_data(sharding, field) for field in rows))
