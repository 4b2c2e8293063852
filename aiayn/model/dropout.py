"""Dropout whose masks are a pure function of (seed, step, row, place), whatever the devices (§5.4).

The noise of a row is a pair of 32-bit words drawn by JAX's own generator for that row of that
update. Each dropout layer folds its place into the pair, and a counter-based integer hash turns
(pair, slot, feature) into the bits of the mask. So a row meets the same masks on one device or on
eight, with or without accumulation, and XLA fuses the hash into the layer that uses it: a full
Threefry hash per element costs about an eighth of a training step on CPU.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

Noise = UInt32[Array, "batch 2"]
"""Two random words per row. `None` in its place means no dropout: evaluation and decoding."""


def row_noise(key: Key[Array, ""], step: Int[Array, ""], row_B: Int[Array, " batch"]) -> Noise:
    """The noise of rows number `row_B` of update `step`."""
    step_key = jax.random.fold_in(key, step)
    return jax.vmap(lambda row: jax.random.key_data(jax.random.fold_in(step_key, row)))(row_B)


@jax.named_scope("dropout")
def fold(noise_B2: Noise | None, place: int) -> Noise | None:
    """The noise of one place in the model, independent of that of any other place."""
    if noise_B2 is None:
        return None
    salted = noise_B2 + jnp.array([[0x9E3779B9, 0x85EBCA6B]], jnp.uint32) * jnp.uint32(place + 1)
    return jnp.stack([_mix(salted[:, 0], salted[:, 1]), _mix(salted[:, 1], ~salted[:, 0])], axis=-1)


@jax.named_scope("dropout")
def dropout(
    x: Float[Array, "batch *rest"], rate: float, noise_B2: Noise | None
) -> Float[Array, "batch *rest"]:
    """Each element is zero with probability `rate` (to within 2⁻³²), else scaled by 1/(1−rate)."""
    if noise_B2 is None or rate == 0.0:
        return x
    ones = (1,) * (x.ndim - 1)
    element = jnp.arange(x[0].size, dtype=jnp.uint32).reshape(1, *x.shape[1:])
    first, second = (noise_B2[:, each].reshape(-1, *ones) for each in range(2))
    keep = kept(element, first, jnp.broadcast_to(second, x.shape), rate)
    # In float32: a scale of bfloat16 is off by up to 0.2 %.
    scaled = (x.astype(jnp.float32) * jnp.float32(1.0 / (1.0 - rate))).astype(x.dtype)
    return jnp.where(keep, scaled, jnp.zeros((), x.dtype))


def kept(
    element: UInt32[Array, "*#shape"],
    first: UInt32[Array, "*#shape"],
    second: UInt32[Array, "*shape"],
    rate: float,
) -> Bool[Array, "*shape"]:
    """Which elements of a row, by their number in it, stay, where the two words are its noise."""
    return _mix(element ^ first, second) >= np.uint32(min(round(rate * 2**32), 2**32 - 1))


def _mix(x: UInt32[Array, "*shape"], salt: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """Avalanche of 32 bits, salted between its two multiplications.

    The multipliers and shifts are those of the low-bias hash `lowbias32` found by search (Wellons
    2018); without the salt two rows whose first words differ in low bits only would share masks.
    """
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15) ^ salt) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)
