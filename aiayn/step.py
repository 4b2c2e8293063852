"""The training step of one device, mapped over all of them (§5).

The step sees its own device's share of the rows and an axis named "data". `jax.shard_map` under
`jax.jit` maps it over a mesh, of one device or of many hosts; `jax.pmap` would do as well, and a
test holds the two against each other.
"""

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key

from aiayn.config import ModelConfig, TrainConfig
from aiayn.dropout import row_noise
from aiayn.errors import UserError
from aiayn.kernels import use_kernels
from aiayn.loss import Sums, smoothed_cross_entropy
from aiayn.model import Transformer, abstract_parameters, structure
from aiayn.rows import Rows

Params = Any
"""Nested dictionaries of arrays, as `nnx.to_pure_dict` gives them."""

Total = tuple[Sums, Params]
"""Both losses of a round, and the gradients of the smoothed one."""


class TrainState(NamedTuple):
    """Everything an update changes."""

    params: Params
    opt_state: optax.OptState
    step: Int[Array, ""]


class Metrics(NamedTuple):
    """Sums over the real target tokens of an update, in nats, and what they are summed over."""

    loss: Float[Array, ""]
    """Label-smoothed: what is minimised."""
    plain_loss: Float[Array, ""]
    """Without smoothing: perplexity is exp of its mean."""
    src_tokens: Int[Array, ""]
    tgt_tokens: Int[Array, ""]
    grad_norm: Float[Array, ""]


def build(config: ModelConfig, num_words: int) -> nnx.GraphDef[Transformer]:
    """The model's structure without its parameters: what jit may close over."""
    return structure(config, num_words)[0]


def initial_state(
    config: ModelConfig, num_words: int, seed: int, optimizer: optax.GradientTransformation
) -> TrainState:
    """Step 0: T2T's initialisers drawn from `seed`.

    Not under jit: one program for each shape compiles sooner than all layers' together.
    """
    model = Transformer(config, num_words, rngs=nnx.Rngs(seed))
    params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    return _at_step_0(params, optimizer)


def abstract_state(
    config: ModelConfig, num_words: int, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """Shapes, types and placement of a state that is on every device; none is allocated."""
    params = abstract_parameters(config, num_words)
    state = jax.eval_shape(partial(_at_step_0, optimizer=optimizer), params)
    everywhere = NamedSharding(mesh, P())
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), state
    )


def _at_step_0(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def train_step(
    state: TrainState,
    rows: Rows,
    key: Key[Array, ""],
    *,
    graphdef: nnx.GraphDef[Transformer],
    config: TrainConfig,
    optimizer: optax.GradientTransformationExtraArgs,
) -> tuple[TrainState, Metrics]:
    """One update on this device's share of the rows. Runs under a mapped axis named "data".

    `rows` has a leading axis of rounds, whose gradients are accumulated. Losses are summed over
    rounds and devices before they are divided by the real target tokens of all, and dropout
    depends on a row's number within the update: so the result does not depend on how the rows
    were shared out, but for the order of float32 sums.

    An update whose loss or gradient is not finite changes nothing but `step`; its metrics show it.
    """
    loss, plain_loss, src_tokens, tgt_tokens, grads = loss_and_gradient(
        state, rows, key, graphdef=graphdef, config=config
    )
    with jax.named_scope("optimizer"):
        grad_norm = _norm(grads) / tgt_tokens
        grads = jax.tree.map(lambda g: g / tgt_tokens, grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        updates, opt_state = optimizer.update(grads, state.opt_state, finite=finite)
        params = optax.apply_updates(state.params, updates)
    metrics = Metrics(loss, plain_loss, src_tokens, tgt_tokens, grad_norm)
    return TrainState(params, opt_state, state.step + 1), metrics


def _norm(grads: Params) -> Float[Array, ""]:
    """Of all gradients as one vector. A matrix is summed up along its rows before, and the sums of
    all are joined: on a GPU each sum to a number would be two kernels that compute next to nothing.
    """
    squares = (jnp.square(leaf) for leaf in jax.tree.leaves(grads))
    rows = [each if each.ndim == 1 else each.sum(-1).reshape(-1) for each in squares]
    return jnp.sqrt(lax.optimization_barrier(jnp.concatenate(rows)).sum())


def loss_and_gradient(
    state: TrainState,
    rows: Rows,
    key: Key[Array, ""],
    *,
    graphdef: nnx.GraphDef[Transformer],
    config: TrainConfig,
) -> tuple[Array, Array, Array, Array, Params]:
    """Both losses and the tokens of an update as in `Metrics`, and the gradient of all its tokens.

    As `train_step`, which has the rest: the axis "data", and what does not depend on it.
    """
    num_rounds, num_local = rows.src_BS.shape[:2]

    def total_loss(params: Params, part: Rows, number: Int[Array, ""]) -> Sums:
        first = (number * lax.axis_size("data") + lax.axis_index("data")) * num_local
        noise_B2 = row_noise(key, state.step, first + jnp.arange(num_local))
        model = nnx.merge(graphdef, params)
        return smoothed_cross_entropy(
            model.features(part, noise_B2),
            model.embedding[...],
            part.tgt_out_BT,
            part.weight_BT,
            model.num_words,
            config.label_smoothing,
            config.smoothing_over,
            model.bias_V,
        )

    gradient = jax.value_and_grad(total_loss, has_aux=True)

    def add_round(total: Total, part_and_number: tuple[Rows, Int[Array, ""]]) -> tuple[Total, None]:
        return jax.tree.map(jnp.add, total, gradient(state.params, *part_and_number)), None

    rounds = rows, jnp.arange(num_rounds)
    total = gradient(state.params, *jax.tree.map(lambda x: x[0], rounds))
    if num_rounds > 1:
        total, _ = lax.scan(add_round, total, jax.tree.map(lambda x: x[1:], rounds))
    src_tokens, tgt_tokens = (rows.src_segments_BS > 0).sum(), (rows.tgt_segments_BT > 0).sum()
    found = total, src_tokens, tgt_tokens
    if lax.axis_size("data") > 1:  # the sum over one would copy all gradients
        found = lax.psum(found, "data")
    ((loss, plain_loss), grads), src_tokens, tgt_tokens = found
    return loss, plain_loss, src_tokens, tgt_tokens, grads


def evaluation_step(
    params: Params, rows: Rows, *, graphdef: nnx.GraphDef[Transformer]
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """Sum of the plain loss in nats over this batch's real target tokens, and their number."""
    model = nnx.merge(graphdef, params)
    _, plain_loss = smoothed_cross_entropy(
        model.features(rows),
        model.embedding[...],
        rows.tgt_out_BT,
        rows.weight_BT,
        model.num_words,
        bias_V=model.bias_V,
    )
    return lax.psum((plain_loss, (rows.tgt_segments_BT > 0).sum()), "data")


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
    graphdef: nnx.GraphDef[Transformer],
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
    """What XLA is told of the step on a GPU that has our kernels.

    Products are cuBLAS', which adds a bias and takes the positive part on the way; XLA's own take
    up what comes before them as well and are slower for it. And each stays by itself: to merge two
    costs a copy of what they make.
    """
    if not use_kernels():
        return None
    return {"xla_gpu_enable_triton_gemm": False, "xla_gpu_dot_merger_threshold_mb": 0}


_SLOW_SCATTER = (0, 10, 2), (0, 11, 0)
"""The first and the last jaxlib that adds float32 in an NVIDIA GPU's memory by retries."""
_NATIVE_ADDS = "-nvptx-allow-ftz-atomics"
"""What brings the native additions back there."""


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
    graphdef: nnx.GraphDef[Transformer], mesh: Mesh
) -> Callable[[Params, Rows], tuple[Float[Array, ""], Int[Array, ""]]]:
    """`evaluation_step` over the mesh."""
    step = partial(evaluation_step, graphdef=graphdef)
    return jax.jit(
        jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), check_vma=False)
    )


def replicated(tree: Any, mesh: Mesh) -> Any:
    """The tree with every leaf on every device of the mesh; all processes bring the same."""
    everywhere = NamedSharding(mesh, P())
    if everywhere.is_fully_addressable:
        return jax.device_put(tree, everywhere)
    # device_put would send every leaf from every process to every other, to compare them.
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(everywhere, np.asarray(x), x.shape), tree
    )


def one_copy(tree: Any) -> Any:
    """What `replicated` spread, on one device of this process: to compute with it alone."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)


def sharded(rows: Rows, mesh: Mesh, axis: int) -> Rows:
    """Global arrays of which this process brings its own share along `axis`."""
    sharding = NamedSharding(mesh, P(*[None] * axis, "data"))
    return Rows(*(jax.make_array_from_process_local_data(sharding, field) for field in rows))
