"""Attention in one kernel each way, which never writes the weights down (§3.2.1).

This is FlashAttention (Dao et al. 2022, Dao 2023): softmax while the memory passes by in blocks,
and a backward pass that makes the weights anew from the log-sum-exp that the forward pass kept. In
a packed row of short sentences few weights are not zero. So a program of the kernel, which has a
block of queries of one head, passes over no more of the memory than they attend to, and the work
grows with the sentences, not with the square of the row.

Shapes stand in the names as in `aiayn.model.transformer`; within a kernel Q and M are blocks.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float, Int

from aiayn.model.kernels import pallas_options
from aiayn.model.layers import Dense

BLOCK = 32
"""Slots, of queries and of memory."""
_WIDTHS = 16, 32, 64, 128
_LOWEST = -1e30
_PER_NAT = math.log2(math.e)
"""Scores and their log-sum-exp are in bits here: 2ˣ is an instruction, eˣ is not."""

Projected = tuple[Float[Array, "batch _slots _heads d_k"], ...]
"""(queries, keys and values), or (queries, keys and values together) where a sentence looks at
itself; all heads of the queries, then all of the keys, then all of the values."""

Spans = tuple[Int[Array, "batch 2 slots"], Int[Array, "batch 2 blocks"]]
"""The first slot of the other side that a slot sees, or is seen from, and the end of them; and for
a block of slots the same in blocks."""

T = TypeVar("T")


def fits(d_k: int, d_v: int, rate: float) -> bool:
    """Whether there is a kernel for heads of these sizes, with this dropout on the weights."""
    return d_k == d_v and d_k in _WIDTHS and rate == 0.0


def attend_by_kernel(
    query: Dense,
    key: Dense,
    value: Dense,
    x_BQD: Float[Array, "batch query d_model"],
    memory_BMD: Float[Array, "batch memory d_model"],
    mask_B1QM: Bool[Array, "#batch 1 #query memory"],
    heads: int,
) -> Float[Array, "batch query heads_times_d_k"]:
    """Multi-head attention up to W^O (§3.2.2); one product makes all that comes from one input."""
    dtype, d_k = x_BQD.dtype, query.bias.shape[0] // heads

    def projected(x: Array, *maps: Dense) -> tuple[Array, Array]:
        weight = jnp.concatenate([each.kernel[...].astype(dtype) for each in maps], axis=1)
        bias = jnp.concatenate([each.bias[...] for each in maps])
        y = x @ weight + lax.stop_gradient(bias).astype(dtype)[None, None]
        return y.reshape(*x.shape[:2], -1, d_k), bias

    if x_BQD is memory_BMD:
        parts = [projected(x_BQD, query, key, value)]
    else:
        parts = [projected(x_BQD, query), projected(memory_BMD, key, value)]
    found, biases = zip(*parts, strict=True)
    shape = len(x_BQD), 1, x_BQD.shape[1], memory_BMD.shape[1]
    out_BQHK: Any = attention(found, biases, jnp.broadcast_to(mask_B1QM, shape), heads)
    return out_BQHK.reshape(*x_BQD.shape[:2], -1)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def attention(
    projected: Projected,
    biases: tuple[Float[Array, " _heads_times_d_k"], ...],
    mask_B1QM: Bool[Array, "batch 1 query memory"],
    heads: int,
) -> Float[Array, "batch query heads d_k"]:
    """softmax(QKᵀ/√d_k)V where the mask allows; a query that may look nowhere gets zeros.

    What a query sees must be a run of slots without a gap, and so must the queries that see a slot:
    as they are where sentences stand one after the other.

    `biases` are in `projected` already, added without a gradient. Theirs is summed up here, where
    that of `projected` is in registers.
    """
    return _forward(projected, biases, mask_B1QM, heads)[0]


def _forward(
    projected: Projected, biases: tuple[Array, ...], mask_B1QM: Array, heads: int
) -> tuple[Array, Any]:
    batch, _, queries, memory = mask_B1QM.shape
    slots = -(-max(queries, memory) // BLOCK) * BLOCK
    seen_BQM = mask_B1QM[:, 0]
    spans = _spans(seen_BQM, slots), _spans(jnp.swapaxes(seen_BQM, 1, 2), slots)
    out = jax.ShapeDtypeStruct((batch, queries, heads, projected[0].shape[-1]), projected[0].dtype)
    lse = jax.ShapeDtypeStruct((batch, heads, slots), jnp.float32)
    out_BQHK, lse_BHQ = _call(_attend, (*spans[0], *projected), (out, lse), heads)
    return out_BQHK, (projected, spans, out_BQHK, lse_BHQ)


def _backward(heads: int, saved: Any, bar_BQHK: Array) -> tuple[Projected, tuple[Array, ...], None]:
    projected, spans, out_BQHK, lse_BHQ = saved
    # Of each query Σ weights · ∂weights. Here and not in the kernel, where each block of queries
    # passes by several times.
    delta_BQH = (out_BQHK.astype(jnp.float32) * bar_BQHK.astype(jnp.float32)).sum(-1)
    missing = lse_BHQ.shape[-1] - delta_BQH.shape[1]
    delta_BHQ = jnp.pad(jnp.swapaxes(delta_BQH, 1, 2), [(0, 0), (0, 0), (0, missing)])
    read = *spans[0], *spans[1], bar_BQHK, lse_BHQ, delta_BHQ, *projected
    batch, slots, each = len(out_BQHK), lse_BHQ.shape[-1], len(projected)
    sums = [
        jax.ShapeDtypeStruct((batch, slots // BLOCK, *x.shape[2:]), jnp.float32) for x in projected
    ]
    found = _call(_attend_back, read, (*projected, *sums), heads)
    biases = tuple(total.sum((0, 1)).reshape(-1) for total in found[each:])
    return found[:each], biases, None


attention.defvjp(_forward, _backward)


def _spans(seen_BOS: Bool[Array, "batch own other"], slots: int) -> Spans:
    """Padded to a number of slots with slots that see nothing."""
    some_BO = seen_BOS.any(-1)
    first_BO = jnp.where(some_BO, seen_BOS.argmax(-1), 2**30)
    end_BO = jnp.where(some_BO, seen_BOS.shape[-1] - seen_BOS[..., ::-1].argmax(-1), 0)
    missing = [(0, 0), (0, slots - seen_BOS.shape[1])]
    first_BO = jnp.pad(first_BO, missing, constant_values=2**30).astype(jnp.int32)
    end_BO = jnp.pad(end_BO, missing).astype(jnp.int32)
    first_BI = first_BO.reshape(len(first_BO), -1, BLOCK).min(-1) // BLOCK
    end_BI = -(-end_BO.reshape(len(end_BO), -1, BLOCK).max(-1) // BLOCK)
    return jnp.stack([first_BO, end_BO], axis=1), jnp.stack([first_BI, end_BI], axis=1)


def _call(
    program: Callable[..., None], read: tuple[Array, ...], written: tuple[Any, ...], heads: int
) -> tuple[Array, ...]:
    """A program for each block of slots, row and head. It has before it all of the row's slots and
    heads, and reads and writes the parts it needs.
    """

    def of_row(array: Any) -> pl.BlockSpec:
        rest = array.shape[1:]
        return pl.BlockSpec((None, *rest), lambda i, b, h: (b, *(0 for _ in rest)))

    batch, slots = read[0].shape[0], read[0].shape[-1]
    found: Sequence[Array] = pl.pallas_call(
        partial(program, heads=heads),
        grid=(slots // BLOCK, batch, heads),
        in_specs=[of_row(array) for array in read],
        out_specs=[of_row(array) for array in written],
        out_shape=[jax.ShapeDtypeStruct(array.shape, array.dtype) for array in written],
        name=program.__name__.strip("_"),
        **pallas_options(num_warps=2, num_stages=3),
    )(*read)
    return tuple(found)


# --- What a program does ------------------------------------------------------------------------


class _Head(NamedTuple):
    """One head of (slots, heads, width)."""

    ref: Any
    head: Array

    def load(self, block: Array) -> Float[Array, "block width"]:
        """Zeros beyond the last slot."""
        other = None if self._whole else 0.0
        return triton.load(self._at(block), mask=self._mask(block), other=other)

    def store(self, block: Array, value: Float[Array, "block width"]) -> None:
        triton.store(self._at(block), value.astype(self.ref.dtype), mask=self._mask(block))

    def _at(self, block: Array) -> Any:
        return self.ref.at[_slots(block), self.head]

    @property
    def _whole(self) -> bool:
        """Whether it has slots for every program: the other side may have more of them."""
        return self.ref.shape[0] == pl.num_programs(0) * BLOCK

    def _mask(self, block: Array) -> Bool[Array, "block 1"] | None:
        return None if self._whole else (_numbers(block) < self.ref.shape[0])[:, None]


def _slots(block: Array) -> Any:
    return pl.dslice(block * BLOCK, BLOCK)


def _numbers(block: Array) -> Int[Array, " block"]:
    return block * BLOCK + jnp.arange(BLOCK)


class _Span:
    """What the slots of a block see of the other side."""

    def __init__(self, ref: Any, blocks_ref: Any, block: Array):
        self.first, self.end = ref[0, _slots(block)], ref[1, _slots(block)]
        self.blocks = blocks_ref[0, block], blocks_ref[1, block]

    def of(self, other: Array) -> Bool[Array, "own other"]:
        """In another block."""
        number = _numbers(other)[None]
        return (self.first[:, None] <= number) & (number < self.end[:, None])

    def fold(self, function: Callable[[Array, T], T], start: T) -> T:
        """Over the blocks that any of them sees."""
        return lax.fori_loop(*self.blocks, function, start)


def _parts(projected: tuple[Any, ...], heads: int) -> tuple[_Head, _Head, _Head]:
    """Queries, keys and values of this program's head."""
    head = pl.program_id(2)
    before = heads if len(projected) == 1 else 0
    both = projected[-1]
    return (
        _Head(projected[0], head),
        _Head(both, head + before),
        _Head(both, head + before + heads),
    )


def _attend(spans_ref: Any, blocks_ref: Any, *refs: Any, heads: int) -> None:
    *projected, out_ref, lse_ref = refs
    block, head = pl.program_id(0), pl.program_id(2)
    q, k, v = _parts(tuple(projected), heads)
    span = _Span(spans_ref, blocks_ref, block)
    q_QK = q.load(block)
    scale = _PER_NAT / q_QK.shape[-1] ** 0.5

    def add_block(other: Array, so_far: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        out_QK, most_Q, sum_Q = so_far
        seen_QM = span.of(other)
        scores_QM = jnp.where(seen_QM, triton.dot(q_QK, k.load(other).T), -jnp.inf)
        now_Q = jnp.maximum(most_Q, scores_QM.max(-1) * scale)
        weights_QM = jnp.exp2(scores_QM * scale - now_Q[:, None])
        shrink_Q = jnp.exp2(most_Q - now_Q)
        found_QK = triton.dot(weights_QM.astype(q_QK.dtype), v.load(other))
        out_QK = out_QK * shrink_Q[:, None] + found_QK
        return out_QK, now_Q, sum_Q * shrink_Q + weights_QM.sum(-1)

    zero_Q = jnp.zeros(BLOCK, jnp.float32)
    nothing = jnp.zeros(q_QK.shape, jnp.float32), zero_Q + _LOWEST, zero_Q
    out_QK, most_Q, sum_Q = span.fold(add_block, nothing)
    sum_Q = jnp.where(sum_Q > 0.0, sum_Q, 1.0)
    _Head(out_ref, head).store(block, out_QK / sum_Q[:, None])
    lse_ref[head, _slots(block)] = most_Q + jnp.log2(sum_Q)


def _attend_back(
    query_spans_ref: Any,
    query_blocks_ref: Any,
    memory_spans_ref: Any,
    memory_blocks_ref: Any,
    bar_ref: Any,
    lse_ref: Any,
    delta_ref: Any,
    *refs: Any,
    heads: int,
) -> None:
    block, head = pl.program_id(0), pl.program_id(2)
    each = len(refs) // 3
    (q, k, v), (q_bar, k_bar, v_bar), sums = (
        _parts(refs[first : first + each], heads) for first in range(0, 3 * each, each)
    )

    def write(gradient: _Head, total: _Head, value: Array) -> None:
        gradient.store(block, value)
        total.ref[block, total.head] = value.sum(0)

    bar = _Head(bar_ref, head)
    scale = q.ref.shape[-1] ** -0.5

    span = _Span(query_spans_ref, query_blocks_ref, block)
    q_QK, bar_QK = q.load(block), bar.load(block)
    lse_Q, delta_Q = lse_ref[head, _slots(block)], delta_ref[head, _slots(block)]

    def to_queries(memory: Array, q_bar_QK: Array) -> Array:
        k_MK = k.load(memory)
        scores_QM = triton.dot(q_QK, k_MK.T) * (scale * _PER_NAT)
        weights_QM = jnp.where(span.of(memory), jnp.exp2(scores_QM - lse_Q[:, None]), 0.0)
        weights_bar_QM = triton.dot(bar_QK, v.load(memory).T)
        scores_bar_QM = weights_QM * (weights_bar_QM - delta_Q[:, None])
        return q_bar_QK + triton.dot(scores_bar_QM.astype(k_MK.dtype), k_MK)

    zero = jnp.zeros(q_QK.shape, jnp.float32)
    write(q_bar, sums[0], span.fold(to_queries, zero) * scale)

    seen = _Span(memory_spans_ref, memory_blocks_ref, block)
    k_MK, v_MK = k.load(block), v.load(block)

    def to_memory(queries: Array, so_far: tuple[Array, Array]) -> tuple[Array, Array]:
        k_bar_MK, v_bar_MK = so_far
        q_QK, bar_QK = q.load(queries), bar.load(queries)
        lse_Q, delta_Q = lse_ref[head, _slots(queries)], delta_ref[head, _slots(queries)]
        scores_MQ = triton.dot(k_MK, q_QK.T) * (scale * _PER_NAT)
        weights_MQ = jnp.where(seen.of(queries), jnp.exp2(scores_MQ - lse_Q[None]), 0.0)
        v_bar_MK += triton.dot(weights_MQ.astype(bar_QK.dtype), bar_QK)
        weights_bar_MQ = triton.dot(v_MK, bar_QK.T)
        scores_bar_MQ = weights_MQ * (weights_bar_MQ - delta_Q[None])
        return k_bar_MK + triton.dot(scores_bar_MQ.astype(q_QK.dtype), q_QK), v_bar_MK

    k_bar_MK, v_bar_MK = seen.fold(to_memory, (zero, zero))
    write(k_bar, sums[1], k_bar_MK * scale)
    write(v_bar, sums[2], v_bar_MK)
