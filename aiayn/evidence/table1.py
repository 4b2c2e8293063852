"""What layers cost, counted in their programs: Table 1, and the FLOPs of a step (§4, §6.1).

Nothing here is a formula about itself. Products are counted in the traced program, sequential
operations are the loop trips of the compiled one, and path lengths follow from which positions the
Jacobian of one operation connects.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from aiayn.model import transformer as transformer
from aiayn.model.flops import dot_flops, exponent

States = Float[Array, "n d"]


# --- Table 1 ------------------------------------------------------------------------------------


def self_attention(x_nd: States) -> States:
    """The model's own attention of all positions to all, a single head of d."""
    x_11nd = x_nd[None, None]
    everywhere = jnp.ones((1, 1, 1, len(x_nd)), bool)
    return transformer.attention(x_11nd, x_11nd, x_11nd, everywhere)[0, 0]


def restricted_attention(x_nd: States, r: int) -> States:
    """Attention of each position to the `r` nearest ones."""
    n, d = x_nd.shape
    near = jnp.arange(n)[:, None] + jnp.arange(r)[None, :] - r // 2
    inside = (near >= 0) & (near < n)
    x_nrd = x_nd[jnp.clip(near, 0, n - 1)]
    scores_nr = jnp.einsum("nd,nrd->nr", x_nd, x_nrd) / d**0.5
    weights_nr = jax.nn.softmax(jnp.where(inside, scores_nr, -jnp.inf), axis=-1)
    return jnp.einsum("nr,nrd->nd", weights_nr, x_nrd)


def recurrent(x_nd: States, kernel_2dd: Float[Array, "2*d d"]) -> States:
    """An Elman layer: each state from this input and the state before."""

    def step(h_d: Float[Array, " d"], x_d: Float[Array, " d"]) -> tuple[Any, Any]:
        h_d = jnp.tanh(jnp.concatenate([x_d, h_d]) @ kernel_2dd)
        return h_d, h_d

    return lax.scan(step, jnp.zeros_like(x_nd[0]), x_nd)[1]


def recurrent_step(h_nd: States, kernel_2dd: Float[Array, "2*d d"]) -> States:
    """One sequential operation of `recurrent` at every position, on the states found so far."""
    before_nd = jnp.concatenate([jnp.zeros_like(h_nd[:1]), h_nd[:-1]])
    return jnp.tanh(jnp.concatenate([h_nd, before_nd], axis=1) @ kernel_2dd)


def convolution(x_nd: States, kernel_kdd: Float[Array, "k d d"], dilation: int = 1) -> States:
    """A convolution of `k` positions, `dilation` apart."""
    return lax.conv_general_dilated(
        x_nd[None],
        kernel_kdd,
        window_strides=(1,),
        padding="SAME",
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )[0]


def sequential_operations(function: Callable[..., Any], *arguments: Any) -> int:
    """Operations that wait for one another: the trips of the compiled program's loops, else 1."""
    text = jax.jit(function).lower(*arguments).compile().as_text() or ""
    trips = re.findall(r'"known_trip_count":\{"n":"(\d+)"\}', text)
    return max(map(int, trips), default=1)


def path_length(operations: Sequence[Callable[[States], States]], n: int, d: int = 2) -> int:
    """Operations until the last position depends on the first.

    They are applied one after another, the last of them again and again.
    """
    x_nd = jax.random.normal(jax.random.key(0), (n, d))
    reach_nn, connects_nn = np.eye(n, dtype=bool), np.eye(n, dtype=bool)
    length = 0
    while not reach_nn[-1, 0]:
        if length < len(operations):
            connects_nn = _connects(operations[length], x_nd)
        reach_nn = connects_nn @ reach_nn
        length += 1
        if length > n:
            raise ValueError("These operations never connect the two ends.")
    return length


def _connects(operation: Callable[[States], States], x_nd: States) -> Bool[np.ndarray, "n n"]:
    """Which position of the output depends on which of the input."""
    jacobian_ndnd = np.asarray(jax.jit(jax.jacrev(operation))(x_nd))
    return np.abs(jacobian_ndnd).max(axis=(1, 3)) > 0


@dataclass(frozen=True)
class LayerCost:
    """A row of Table 1, measured. Exponents say how a count grows with n, d, k or r."""

    flops: Mapping[int, int]
    """By n, at the d that `COUNTED_D` is."""
    exponents: Mapping[str, float]
    """Of the FLOPs, by n, d, k and r."""
    sequential: Mapping[int, int]
    """By n."""
    path: Mapping[int, int]
    """By n."""


COUNTED_N, COUNTED_D = (32, 64, 128, 256, 512, 1_024), 512
NUM_NEAR = 8
"""r, and k where its growth is not what is looked at."""
_SMALL_N = (8, 16, 32, 64)
"""For what is compiled and differentiated rather than traced."""


def table_1() -> dict[str, Callable[[], LayerCost]]:
    """Each layer type of Table 1, and how to find what its programs cost."""
    r = NUM_NEAR

    def shape(*sizes: int) -> Any:
        return jax.ShapeDtypeStruct(sizes, jnp.float32)

    def kernel(*sizes: int) -> Array:
        return jax.random.normal(jax.random.key(1), sizes)

    def attention_flops(n: int, d: int, _: int) -> int:
        return dot_flops(self_attention, shape(n, d))

    def recurrent_flops(n: int, d: int, _: int) -> int:
        return dot_flops(recurrent, shape(n, d), shape(2 * d, d))

    def convolution_flops(n: int, d: int, k: int) -> int:
        return dot_flops(convolution, shape(n, d), shape(k, d, d))

    def restricted_flops(n: int, d: int, r: int) -> int:
        return dot_flops(partial(restricted_attention, r=r), shape(n, d))

    def cost(
        flops: Callable[[int, int, int], int],
        third: str,
        layer: Callable[[States], States],
        operations: Sequence[Callable[[States], States]],
    ) -> LayerCost:
        by_n = {n: flops(n, COUNTED_D, r) for n in COUNTED_N}
        sizes = (64, 128, 256, 512)
        exponents = {
            "n": exponent(list(by_n), list(by_n.values())),
            "d": exponent(sizes, [flops(128, d, r) for d in sizes]),
        }
        if third:
            near = (2, 4, 8, 16)
            exponents[third] = exponent(near, [flops(128, 64, m) for m in near])
        sequential = {n: sequential_operations(layer, shape(n, 2)) for n in _SMALL_N}
        path = {n: path_length(operations, n) for n in _SMALL_N}
        return LayerCost(by_n, exponents, sequential, path)

    of_both, of_k = kernel(4, 2), kernel(r, 2, 2)
    dilated = [
        partial(convolution, kernel_kdd=of_k, dilation=r**level)
        for level in range(math.ceil(math.log(_SMALL_N[-1], r)) + 1)
    ]
    return {
        "self-attention": partial(cost, attention_flops, "", self_attention, [self_attention]),
        "recurrent": partial(
            cost,
            recurrent_flops,
            "",
            partial(recurrent, kernel_2dd=of_both),
            [partial(recurrent_step, kernel_2dd=of_both)],
        ),
        "convolutional": partial(
            cost,
            convolution_flops,
            "k",
            partial(convolution, kernel_kdd=of_k),
            dilated,
        ),
        "self-attention (restricted)": partial(
            cost,
            restricted_flops,
            "r",
            partial(restricted_attention, r=r),
            [partial(restricted_attention, r=r)],
        ),
    }
