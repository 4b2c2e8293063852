"""LayerNorm(x + Dropout(y)) in one kernel each way (§3.1, §5.4).

All of it is done while a slot's features are in registers: each tensor is read or written once. The
backward pass keeps the sum alone and makes mean, variance and mask anew.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float

from aiayn.model.dropout import Noise, kept
from aiayn.model.kernels import pallas_options

_ELEMENTS = 512
"""That a program has in registers at a time, in several narrow slots; a wide slot has more."""


def fits(d_model: int) -> bool:
    """Whether there is a kernel for this number of features."""
    return d_model in (128, 256, 512, 1024, 2048)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def add_and_norm(
    x_BTD: Float[Array, "batch target d_model"],
    y_BTD: Float[Array, "batch target d_model"],
    scale_D: Float[Array, " d_model"],
    bias_D: Float[Array, " d_model"],
    noise_B2: Noise,
    rate: float,
    epsilon: float,
) -> Float[Array, "batch target d_model"]:
    """Layer normalisation of x + Dropout(y), in float32; the sum is rounded to the type of x."""
    return _forward(x_BTD, y_BTD, scale_D, bias_D, noise_B2, rate, epsilon)[0]


def _forward(
    x_BTD: Array,
    y_BTD: Array,
    scale_D: Array,
    bias_D: Array,
    noise_B2: Noise,
    rate: float,
    epsilon: float,
) -> tuple[Array, tuple[Array, ...]]:
    batch, slots, d_model = x_BTD.shape
    at_once = _at_once(d_model)
    part = pl.BlockSpec((None, at_once, d_model), lambda i, b: (b, i, 0))
    vector, pair = _vector(d_model), _pair()
    like_x = jax.ShapeDtypeStruct(x_BTD.shape, x_BTD.dtype)
    out_BTD, sum_BTD = pl.pallas_call(
        partial(_norm, slots=slots, rate=rate, epsilon=epsilon),
        grid=(pl.cdiv(slots, at_once), batch),
        in_specs=[part, part, vector, vector, pair],
        out_specs=[part, part],
        out_shape=[like_x, like_x],
        name="add_and_norm",
        **pallas_options(num_warps=_num_warps(d_model), num_stages=1),
    )(x_BTD, y_BTD, scale_D, bias_D, noise_B2)
    return out_BTD, (sum_BTD, scale_D, noise_B2)


def _backward(
    rate: float, epsilon: float, saved: tuple[Array, ...], bar_BTD: Array
) -> tuple[Array, Array, Array, Array, None]:
    sum_BTD, scale_D, noise_B2 = saved
    batch, slots, d_model = sum_BTD.shape
    # A program sums up the gradients of scale and bias over its slots. The wider these are, the
    # fewer programs fit into a multiprocessor at a time, and with more there would be two rounds.
    per_program = d_model // 32
    num_parts = pl.cdiv(slots, per_program)
    part = pl.BlockSpec((None, per_program, d_model), lambda i, b: (b, i, 0))
    totals = pl.BlockSpec((None, None, 2, d_model), lambda i, b: (b, i, 0, 0))
    like_sum = jax.ShapeDtypeStruct(sum_BTD.shape, sum_BTD.dtype)
    like_totals = jax.ShapeDtypeStruct((batch, num_parts, 2, d_model), jnp.float32)
    x_bar_BTD, y_bar_BTD, of_norm = pl.pallas_call(
        partial(_norm_back, slots=slots, rate=rate, epsilon=epsilon),
        grid=(num_parts, batch),
        in_specs=[part, part, _vector(d_model), _pair()],
        out_specs=[part, part, totals],
        out_shape=[like_sum, like_sum, like_totals],
        name="add_and_norm_back",
        **pallas_options(num_warps=_num_warps(d_model), num_stages=1),
    )(sum_BTD, bar_BTD, scale_D, noise_B2)
    return x_bar_BTD, y_bar_BTD, *of_norm.sum((0, 1)), None


add_and_norm.defvjp(_forward, _backward)


def _at_once(d_model: int) -> int:
    return max(1, _ELEMENTS // d_model)


def _num_warps(d_model: int) -> int:
    """A slot too wide for the registers of a warp has two."""
    return max(1, d_model // 1_024)


def _vector(d_model: int) -> pl.BlockSpec:
    return pl.BlockSpec((d_model,), lambda i, b: (0,))


def _pair() -> pl.BlockSpec:
    return pl.BlockSpec((None, 2), lambda i, b: (b, 0))


# --- What a program does ------------------------------------------------------------------------


def _is_slot(
    first: Array, at_once: int, per_program: int, slots: int
) -> Bool[Array, "part 1"] | None:
    """None where all of every program are."""
    return (first + jnp.arange(at_once) < slots)[:, None] if slots % per_program else None


def _load(ref: Any, is_slot: Bool[Array, "part 1"] | None) -> Float[Array, "part d_model"]:
    other = None if is_slot is None else 0.0
    return triton.load(ref, mask=is_slot, other=other).astype(jnp.float32)


def _normal(wide: Array, epsilon: float) -> tuple[Array, Array]:
    """Of each slot: the features with mean 0 and variance 1, and what they were multiplied by."""
    centred = wide - wide.mean(-1, keepdims=True)
    factor = lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)
    return centred * factor, factor


def _keep(noise_ref: Any, first: Array, shape: tuple[int, int], rate: float) -> Array:
    """Which elements dropout leaves."""
    slot = (first + jnp.arange(shape[0]))[:, None].astype(jnp.uint32)
    element = slot * np.uint32(shape[1]) + jnp.arange(shape[1], dtype=jnp.uint32)[None]
    return kept(element, noise_ref[0], jnp.broadcast_to(noise_ref[1], shape), rate)


def _norm(
    x_ref: Any,
    y_ref: Any,
    scale_ref: Any,
    bias_ref: Any,
    noise_ref: Any,
    out_ref: Any,
    sum_ref: Any,
    *,
    slots: int,
    rate: float,
    epsilon: float,
) -> None:
    at_once, _ = x_ref.shape
    first = pl.program_id(0) * at_once
    is_slot = _is_slot(first, at_once, at_once, slots)
    x, y = _load(x_ref, is_slot), _load(y_ref, is_slot)
    if rate:
        y = jnp.where(_keep(noise_ref, first, x_ref.shape, rate), y * (1.0 / (1.0 - rate)), 0.0)
    total = (x + y).astype(sum_ref.dtype)
    normal, _ = _normal(total.astype(jnp.float32), epsilon)
    out = normal * scale_ref[...][None] + bias_ref[...][None]
    triton.store(sum_ref, total, mask=is_slot)
    triton.store(out_ref, out.astype(out_ref.dtype), mask=is_slot)


def _norm_back(
    sum_ref: Any,
    bar_ref: Any,
    scale_ref: Any,
    noise_ref: Any,
    x_bar_ref: Any,
    y_bar_ref: Any,
    of_norm_ref: Any,
    *,
    slots: int,
    rate: float,
    epsilon: float,
) -> None:
    num_slots, d_model = sum_ref.shape
    at_once = _at_once(d_model)
    scale_D, begin = scale_ref[...], pl.program_id(0) * num_slots

    def add_part(number: Array, so_far: tuple[Array, Array]) -> tuple[Array, Array]:
        first = begin + number * at_once
        is_slot = _is_slot(first, at_once, num_slots, slots)
        here = pl.dslice(number * at_once, at_once)
        normal, factor = _normal(_load(sum_ref.at[here, :], is_slot), epsilon)
        bar = _load(bar_ref.at[here, :], is_slot)
        scaled = bar * scale_D[None]
        along = (scaled * normal).mean(-1, keepdims=True)
        x_bar = factor * (scaled - scaled.mean(-1, keepdims=True) - normal * along)
        y_bar = x_bar
        if rate:
            keep = _keep(noise_ref, first, (at_once, d_model), rate)
            y_bar = jnp.where(keep, x_bar * (1.0 / (1.0 - rate)), 0.0)
        triton.store(x_bar_ref.at[here, :], x_bar.astype(x_bar_ref.dtype), mask=is_slot)
        triton.store(y_bar_ref.at[here, :], y_bar.astype(y_bar_ref.dtype), mask=is_slot)
        return so_far[0] + (bar * normal).sum(0), so_far[1] + bar.sum(0)

    zero_D = jnp.zeros(d_model, jnp.float32)
    found = lax.fori_loop(0, num_slots // at_once, add_part, (zero_D, zero_D))
    of_norm_ref[0], of_norm_ref[1] = found
