"""Adam and the learning-rate formula (§5.3)."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from aiayn.config import ModelConfig, TrainConfig


def learning_rate(
    step: int | Int[Array, ""], d_model: int, warmup_steps: int, constant: float = 1.0
) -> Float[Array, ""]:
    """constant · d_model^−½ · min(step^−½, step · warmup_steps^−1.5) (eq. 3), from step 1."""
    number = jnp.maximum(jnp.asarray(step, jnp.float32), 1.0)
    return constant * d_model**-0.5 * jnp.minimum(number**-0.5, number * warmup_steps**-1.5)


def optimizer(model: ModelConfig, train: TrainConfig) -> optax.GradientTransformation:
    """Adam with β₁ 0.9, β₂ 0.98, ε 1e−9 under eq. 3's schedule (§5.3).

    optax counts updates from 0, the paper's step_num from 1.
    """
    return optax.adam(
        lambda count: learning_rate(
            jnp.asarray(count + 1), model.d_model, train.warmup_steps, train.learning_rate_constant
        ),
        b1=train.adam_b1,
        b2=train.adam_b2,
        eps=train.adam_eps,
    )
