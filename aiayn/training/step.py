"""The training step of one device, mapped over all of them (§5.2).

The step sees its own device's share of the rows and an axis named "data". `jax.shard_map` under
`jax.jit` maps it over a mesh, of one device or of many hosts; `jax.pmap` would do as well, and a
test holds the two against each other.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key

from aiayn.config import ModelConfig, TrainConfig
from aiayn.data.rows import Rows
from aiayn.model.dropout import row_noise
from aiayn.model.interface import AutoregressiveModel
from aiayn.model.loss import Sums
from aiayn.model.structure import Params, abstract_parameters, initial_parameters

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


def initial_state(
    config: ModelConfig, num_words: int, seed: int, optimizer: optax.GradientTransformation
) -> TrainState:
    """Step 0, with parameters drawn from `seed`."""
    return _at_step_0(initial_parameters(config, num_words, seed), optimizer)


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
    graphdef: nnx.GraphDef[AutoregressiveModel],
    config: TrainConfig,
    optimizer: optax.GradientTransformationExtraArgs,
) -> tuple[TrainState, Metrics]:
    """One update on this device's share of the rows. Runs under a mapped axis named "data".

    `rows` has a leading axis of rounds, whose gradients are accumulated. Losses are summed over
    rounds and devices before they are divided by the real target tokens of all, and dropout
    depends on a row's number within the update: so the result does not depend on how the rows
    were shared out, up to float32 summation order.

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
    graphdef: nnx.GraphDef[AutoregressiveModel],
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
        return model.loss(part, noise_B2, config.label_smoothing, config.smoothing_over)

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
    params: Params, rows: Rows, *, graphdef: nnx.GraphDef[AutoregressiveModel]
) -> tuple[Float[Array, ""], Int[Array, ""]]:
    """Sum of the plain loss in nats over this batch's real target tokens, and their number."""
    _, plain_loss = nnx.merge(graphdef, params).loss(rows)
    return lax.psum((plain_loss, (rows.tgt_segments_BT > 0).sum()), "data")
