"""What layers cost, counted in their programs: Table 1, and the FLOPs of a step (§4, §6.1).

Nothing here is a formula about itself. Products are counted in the traced program, sequential
operations are the loop trips of the compiled one, and path lengths follow from which positions the
Jacobian of one operation connects.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float

from aiayn import model as transformer
from aiayn.config import ModelConfig
from aiayn.kernels import without_kernels
from aiayn.loss import smoothed_cross_entropy
from aiayn.rows import Rows
from aiayn.step import build

States = Float[Array, "n d"]


def dot_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """FLOPs of all matrix products and convolutions in a program, 2 per multiply-add.

    The function is traced, not run; `arguments` may be shapes. A loop counts as often as it turns.
    The product of two vectors is a sum, and left out as other sums are.
    """
    with without_kernels():  # how often their loops turn does not show
        return _dot_flops(jax.make_jaxpr(function)(*arguments).jaxpr)


def _dot_flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        out_shape = equation.outvars[0].aval.shape if equation.outvars else ()
        out = math.prod(out_shape)
        if name == "dot_general" and out_shape:
            (contracted, _), _ = parameters["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += 2 * out * math.prod(left[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            out_axis = parameters["dimension_numbers"].rhs_spec[0]
            total += 2 * out * math.prod(kernel) // kernel[out_axis]
        turns = parameters["length"] if name == "scan" else 1
        total += turns * sum(map(_dot_flops, _inner_programs(parameters)))
    return total


def _inner_programs(parameters: Mapping[str, Any]) -> Iterator[Any]:
    for value in parameters.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            program = getattr(item, "jaxpr", item)
            if hasattr(program, "eqns"):
                yield program


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
    reach_nn = np.eye(n, dtype=bool)
    length = 0
    while not reach_nn[-1, 0]:
        operation = operations[min(length, len(operations) - 1)]
        reach_nn = _connects(operation, x_nd) @ reach_nn
        length += 1
        if length > n:
            raise ValueError("These operations never connect the two ends.")
    return length


def _connects(operation: Callable[[States], States], x_nd: States) -> Bool[np.ndarray, "n n"]:
    """Which position of the output depends on which of the input."""
    jacobian_ndnd = np.asarray(jax.jacrev(operation)(x_nd))
    return np.abs(jacobian_ndnd).max(axis=(1, 3)) > 0


def exponent(sizes: Sequence[int], counts: Sequence[int | float]) -> float:
    """The p of counts ~ sizes^p, fitted in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(counts), 1)[0])


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


def table_1() -> dict[str, LayerCost]:
    """Each layer type of Table 1 and what its programs cost."""
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
        "self-attention": cost(attention_flops, "", self_attention, [self_attention]),
        "recurrent": cost(
            recurrent_flops,
            "",
            partial(recurrent, kernel_2dd=of_both),
            [partial(recurrent_step, kernel_2dd=of_both)],
        ),
        "convolutional": cost(
            convolution_flops,
            "k",
            partial(convolution, kernel_kdd=of_k),
            dilated,
        ),
        "self-attention (restricted)": cost(
            restricted_flops,
            "r",
            partial(restricted_attention, r=r),
            [partial(restricted_attention, r=r)],
        ),
    }


# --- A training step ----------------------------------------------------------------------------


def matmul_flops(config: ModelConfig, num_words: int, src_tokens: int, tgt_tokens: int) -> float:
    """Multiply-add FLOPs (2 per pair) of a forward pass without attention's length-squared part.

    A training step costs three times this: the pass, and both gradients of each product.
    """
    qk, v = config.num_heads * config.d_k, config.num_heads * config.d_v
    projections = config.d_model * (2 * qk + 2 * v)
    feed_forward = 2 * config.d_model * config.d_ff
    per_src = config.num_layers * (projections + feed_forward + config.d_model * (qk + v))
    per_tgt = config.num_layers * (projections + feed_forward + config.d_model * (qk + v))
    per_tgt += config.d_model * num_words
    return 2.0 * (per_src * src_tokens + per_tgt * tgt_tokens)


def training_flops(config: ModelConfig, num_words: int, src_length: int, tgt_length: int) -> float:
    """FLOPs of the products of a training step for one sentence pair of these lengths, exactly.

    Three passes of equal cost: forward, and both gradients of each product. `matmul_flops` leaves
    out what grows with the square of the length; here it counts.
    """
    per_pair = matmul_flops(config, num_words, src_length, tgt_length)
    width = config.num_heads * (config.d_k + config.d_v)
    looks = src_length * src_length + tgt_length * tgt_length + tgt_length * src_length
    return 3 * (per_pair + 2.0 * config.num_layers * width * looks)


def decoding_flops(
    config: ModelConfig, num_words: int, src_length: int, tgt_length: int, beam_size: int = 1
) -> float:
    """FLOPs of the products that a search for an output of this length takes, exactly.

    The encoder, and its keys and values for the decoder, once; each hypothesis a decoder's step for
    each token of the output, which looks at the source and at the tokens up to itself.
    """
    looking = 2.0 * config.num_layers * config.num_heads * (config.d_k + config.d_v)
    encoder = matmul_flops(config, num_words, src_length, 0) + looking * src_length**2
    looks = tgt_length * src_length + tgt_length * (tgt_length + 1) // 2
    decoder = matmul_flops(config, num_words, 0, tgt_length) + looking * looks
    return encoder + beam_size * decoder


def traced_training_flops(
    config: ModelConfig, num_words: int, src_length: int, tgt_length: int
) -> int:
    """The same, counted in the program of the loss and its gradient."""
    graphdef = build(config, num_words)
    params = transformer.abstract_parameters(config, num_words)
    sides = [jax.ShapeDtypeStruct((1, n), jnp.int32) for n in (src_length, tgt_length)]
    rows = Rows(*[sides[0]] * 3, *[sides[1]] * 4)

    def loss(params: Any, rows: Rows) -> Float[Array, ""]:
        model = nnx.merge(graphdef, params)
        return smoothed_cross_entropy(
            model.features(rows),
            model.embedding[...],
            rows.tgt_out_BT,
            rows.weight_BT,
            num_words,
            0.1,
        )[0]

    return dot_flops(jax.grad(loss), params, rows)
