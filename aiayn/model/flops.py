"""FLOPs of a step, counted in its program and by formula."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from aiayn.config import ModelConfig
from aiayn.data.rows import Rows
from aiayn.model.interface import AutoregressiveModel
from aiayn.model.kernels import without_kernels
from aiayn.model.structure import abstract_parameters, build


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


def exponent(sizes: Sequence[int], counts: Sequence[int | float]) -> float:
    """The p of counts ~ sizes^p, fitted in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(counts), 1)[0])


# --- A training step ----------------------------------------------------------------------------


def matmul_flops(config: ModelConfig, num_words: int, src_tokens: int, tgt_tokens: int) -> float:
    """Multiply-add FLOPs (2 per pair) of a forward pass without attention's length-squared part.

    A training step costs three times this: the pass, and both gradients of each product.
    """
    qk, v = config.num_heads * config.d_k, config.num_heads * config.d_v
    projections = config.d_model * (2 * qk + 2 * v)
    feed_forward = 2 * config.d_model * config.d_ff
    per_src = config.num_layers * (projections + feed_forward + config.d_model * (qk + v))
    cross = config.d_model * (qk + v) if config.kind == "encoder_decoder" else 0
    per_tgt = config.num_layers * (projections + feed_forward + cross)
    per_tgt += config.d_model * (config.num_outputs or num_words)
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
    graphdef: nnx.GraphDef[AutoregressiveModel] = build(config, num_words)
    params = abstract_parameters(config, num_words)
    sides = [jax.ShapeDtypeStruct((1, n), jnp.int32) for n in (src_length, tgt_length)]
    rows = Rows(*[sides[0]] * 3, *[sides[1]] * 4)

    def loss(params: Any, rows: Rows) -> Float[Array, ""]:
        return nnx.merge(graphdef, params).loss(rows, smoothing=0.1)[0]

    return dot_flops(jax.grad(loss), params, rows)
