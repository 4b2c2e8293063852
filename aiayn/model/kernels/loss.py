"""Of tokens the log-sum-exp, and the loss' gradient by the logits, in one kernel (§5.4).

A program has a token. It passes over the token's logits twice, once for their normaliser and once
to write the gradient in their place, and finds them in a cache the second time.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int

from aiayn.model.kernels import pallas_options

_COLUMNS = 8_192
"""That a program has in registers at a time."""
_LOWEST = -1e30
_PER_NAT = math.log2(math.e)


def lse_and_gradient(
    logits_CV: Float[Array, "chunk vocabulary"],
    word_C: Int[Array, " chunk"],
    weight_C: Float[Array, " chunk"],
    num_words: int,
    peak: float,
    spread: float,
) -> tuple[Float[Array, " chunk"], Float[Array, " chunk"], Float[Array, "chunk vocabulary"]]:
    """The log-sum-exp and the right word's logit of each token, and by the logits the gradient of
    its smoothed loss times its weight. Columns from `num_words` are no words.
    """
    num_tokens, vocabulary = logits_CV.shape
    row = pl.BlockSpec((None, vocabulary), lambda i: (i, 0))
    one = pl.BlockSpec((1,), lambda i: (i,))
    number = jax.ShapeDtypeStruct((num_tokens,), jnp.float32)
    lse_C, right_C, bar_CV = pl.pallas_call(
        partial(_loss, num_words=num_words, peak=peak, spread=spread),
        grid=(num_tokens,),
        in_specs=[row, one, one],
        out_specs=[one, one, row],
        out_shape=[number, number, jax.ShapeDtypeStruct(logits_CV.shape, logits_CV.dtype)],
        input_output_aliases={0: 2},
        name="lse_and_gradient",
        **pallas_options(num_warps=16, num_stages=1),
    )(logits_CV, word_C, weight_C)
    return lse_C, right_C, bar_CV


def _loss(
    logits_ref: Any,
    word_ref: Any,
    weight_ref: Any,
    lse_ref: Any,
    right_ref: Any,
    bar_ref: Any,
    *,
    num_words: int,
    peak: float,
    spread: float,
) -> None:
    vocabulary = logits_ref.shape[0]
    word, weight = word_ref[0], weight_ref[0]
    right_ref[0] = logits_ref[word].astype(jnp.float32)  # before a gradient stands there
    num_parts = -(-vocabulary // _COLUMNS)

    def columns(part: Array) -> tuple[Any, Array]:
        return pl.dslice(part * _COLUMNS, _COLUMNS), part * _COLUMNS + jnp.arange(_COLUMNS)

    def load(part: Array) -> tuple[Array, Array]:
        here, column = columns(part)
        is_word = column < num_words
        logit = triton.load(logits_ref.at[here], mask=is_word, other=0.0).astype(jnp.float32)
        return logit, is_word

    def add_part(part: Array, so_far: tuple[Array, Array]) -> tuple[Array, Array]:
        most, share = so_far
        logit, is_word = load(part)
        now = jnp.maximum(most, jnp.where(is_word, logit, _LOWEST).max())
        bits = jnp.where(is_word, (logit - now) * _PER_NAT, _LOWEST)
        share = share * jnp.exp2((most - now) * _PER_NAT) + jnp.exp2(bits)
        return now, share

    nothing = jnp.float32(_LOWEST), jnp.zeros(_COLUMNS, jnp.float32)
    most, share = lax.fori_loop(0, num_parts, add_part, nothing)
    lse = most + jnp.log2(share.sum()) / _PER_NAT
    lse_ref[0] = lse

    def write_part(part: Array, _: None) -> None:
        logit, is_word = load(part)
        here, column = columns(part)
        target = jnp.where(column == word, peak + spread, spread)
        bar = (jnp.exp2((logit - lse) * _PER_NAT) - target) * weight
        bar = jnp.where(is_word, bar, 0.0).astype(bar_ref.dtype)
        triton.store(bar_ref.at[here], bar, mask=column < vocabulary)

    lax.fori_loop(0, num_parts, write_part, None)
