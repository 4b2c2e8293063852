"""Adam and the learning-rate formula (§5.3)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from aiayn.config import ModelConfig, TrainConfig


def learning_rate(
    step: int | Int[Array, ""], d_model: int, warmup_steps: int, constant: float = 1.0
) -> Float[Array, ""]:
    """constant · d_model^−½ · min(step^−½, step · warmup_steps^−1.5) (eq. 3), from step 1."""
    number = jnp.maximum(jnp.asarray(step, jnp.float32), 1.0)
    return constant * d_model**-0.5 * jnp.minimum(number**-0.5, number * warmup_steps**-1.5)


def optimizer(model: ModelConfig, train: TrainConfig) -> optax.GradientTransformationExtraArgs:
    """Adam with β₁ 0.9, β₂ 0.98, ε 1e−9 under eq. 3's schedule (§5.3).

    `update` also takes `finite`: where that is False nothing is changed, the moments neither. The
    moments and the state are optax's, which counts updates from 0, the paper's step_num from 1.
    """

    def rate(count: Any) -> Float[Array, ""]:
        step = jnp.asarray(count + 1)
        return learning_rate(step, model.d_model, train.warmup_steps, train.learning_rate_constant)

    adam = optax.adam(rate, b1=train.adam_b1, b2=train.adam_b2, eps=train.adam_eps)

    def update(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        *,
        finite: bool | Bool[Array, ""] = True,
        **others: Any,
    ) -> tuple[optax.Updates, Any]:
        _, changed = adam.update(updates, state)
        state = jax.tree.map(partial(jnp.where, finite), changed, state)
        # From the new moments alone, not from the old ones and the gradient once more: so XLA need
        # not copy the old ones before it writes over them.
        moments: optax.ScaleByAdamState = state[0]
        mean = optax.tree.bias_correction(moments.mu, train.adam_b1, moments.count)
        square = optax.tree.bias_correction(moments.nu, train.adam_b2, moments.count)

        def change(mean: Array, square: Array) -> Array:
            step = -rate(moments.count - 1) * mean / (jnp.sqrt(square) + train.adam_eps)
            return jnp.where(finite, step, 0.0)

        return jax.tree.map(change, mean, square), state

    return optax.GradientTransformationExtraArgs(adam.init, update)
