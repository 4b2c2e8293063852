"""The parts of sublayers: affine maps, ReLU, layer normalisation, scores of words (§3)."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Key

from aiayn.model.dropout import Noise, dropout
from aiayn.model.kernels import norm_kernel

NORMAL_SCALE = 0.02
"""Standard deviation of all random weights of GPT-1 (Radford et al. 2018), later of BERT and of
Hugging Face's Marian, whatever the size."""


@partial(jax.jit, static_argnums=(1, 2))
def gaussian(key: Key[Array, ""], shape: tuple[int, int], scale: float) -> Float[Array, "*shape"]:
    """Normal numbers with mean 0. One program: its operations one by one round differently."""
    return nnx.initializers.normal(scale)(key, shape, jnp.float32)


def first_matrix(
    key: Key[Array, ""], shape: tuple[int, int], initializer: str, joint_outputs: int = 0
) -> Float[Array, "*shape"]:
    """Random weights of a map: `glorot`'s, uniform within ±√(6/(inputs + outputs)), or `normal`.

    T2T draws maps of the same input as one: `t2t` is `glorot` with the outputs of all of them.
    """
    if initializer == "normal":
        return gaussian(key, shape, NORMAL_SCALE)
    drawn = nnx.initializers.glorot_uniform()(key, shape, jnp.float32)
    if initializer == "glorot" or not joint_outputs:
        return drawn
    return drawn * (sum(shape) / (shape[0] + joint_outputs)) ** 0.5


def first_vectors(
    key: Key[Array, ""], shape: tuple[int, int], initializer: str
) -> Float[Array, "*shape"]:
    """Random vectors of words or places, rows of d_model: N(0, 1/d_model) beside Glorot's maps."""
    return gaussian(key, shape, NORMAL_SCALE if initializer == "normal" else shape[1] ** -0.5)


class Dense(nnx.Module):
    """x W + b, in the type of x. W is random at first, b zero."""

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        initializer: str,
        joint_outputs: int = 0,
        *,
        rngs: nnx.Rngs,
    ):
        shape = num_inputs, num_outputs
        self.kernel = nnx.Param(first_matrix(rngs.params(), shape, initializer, joint_outputs))
        self.bias = nnx.Param(jnp.zeros((num_outputs,), jnp.float32))

    def __call__(self, x: Float[Array, "*shape inputs"]) -> Float[Array, "*shape outputs"]:
        y = product(x, self.kernel[...].astype(x.dtype))
        return y + self.bias[...].astype(x.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


def product(
    x: Float[Array, "*shape inputs"], kernel_IO: Float[Array, "inputs outputs"]
) -> Float[Array, "*shape outputs"]:
    """x W. On CPU the gradient by W has its own rule: XLA is slow at products that sum over the
    first axis of both factors, so one of them is transposed first.
    """
    return _product(x, kernel_IO) if jax.default_backend() == "cpu" else x @ kernel_IO


@jax.custom_vjp
def _product(
    x: Float[Array, "*shape inputs"], kernel_IO: Float[Array, "inputs outputs"]
) -> Float[Array, "*shape outputs"]:
    return x @ kernel_IO


def _forward(x: Array, kernel_IO: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel_IO, (x, kernel_IO)


def _backward(saved: tuple[Array, Array], bar: Array) -> tuple[Array, Array]:
    x, kernel_IO = saved
    x_NI, bar_NO = (array.reshape(-1, array.shape[-1]) for array in (x, bar))
    return bar @ kernel_IO.T, _transposed(x_NI) @ bar_NO


_product.defvjp(_forward, _backward)


def _transposed(x_NI: Float[Array, "rows columns"]) -> Float[Array, "columns rows"]:
    """xᵀ as an array of its own. XLA's CPU backend transposes tile by tile; but if it fuses that
    with the computation of x, it goes through memory column by column, up to ten times as slowly.
    The branch prevents the fusion; both of its sides are the same.
    """
    return lax.cond(x_NI[0, 0] > 0, jnp.transpose, jnp.transpose, x_NI)


@jax.custom_jvp
def relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """max(0, x) of eq. 2 (§3.3)."""
    return jnp.maximum(x, 0)


@relu.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Derivative from the output, so the input need not be saved."""
    y = relu(*primals)
    return y, jnp.where(y != 0, tangents[0], 0)


class LayerNorm(nnx.Module):
    """Layer normalisation (§3.1), computed in float32; the paper gives no ε."""

    def __init__(self, d_model: int, epsilon: float):
        self.epsilon = epsilon
        self.scale = nnx.Param(jnp.ones((d_model,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((d_model,), jnp.float32))

    @jax.named_scope("norm")
    def __call__(self, x: Float[Array, "*shape"], axis: int = -1) -> Float[Array, "*shape"]:
        """Over the features, which lie along `axis`."""
        wide = x.astype(jnp.float32)
        centred = wide - wide.mean(axis, keepdims=True)
        variance = jnp.square(centred).mean(axis, keepdims=True)
        normal = centred * lax.rsqrt(variance + self.epsilon)
        shape = [1] * x.ndim
        shape[axis] = -1
        return (normal * self.scale[...].reshape(shape) + self.bias[...].reshape(shape)).astype(
            x.dtype
        )


def add_and_norm(
    norm: LayerNorm,
    x_BTD: Float[Array, "batch target d_model"],
    y_BTD: Float[Array, "batch target d_model"],
    rate: float,
    noise_B2: Noise | None,
) -> Float[Array, "batch target d_model"]:
    """LayerNorm(x + Dropout(y)), which is around every sublayer (§3.1, §5.4)."""
    if noise_B2 is not None and (kernel := norm_kernel(x_BTD.shape[-1])):
        scale_D, bias_D = norm.scale[...], norm.bias[...]
        with jax.named_scope("norm"):
            return kernel(x_BTD, y_BTD, scale_D, bias_D, noise_B2, rate, norm.epsilon)
    return norm(x_BTD + dropout(y_BTD, rate, noise_B2))


def word_logits(
    x: Float[Array, "*shape d_model"],
    embedding_VD: Float[Array, "vocabulary d_model"],
    num_words: int,
    bias_V: Float[Array, " vocabulary"] | None = None,
) -> Float[Array, "*shape vocabulary"]:
    """x times the transposed embedding (§3.4); the lowest float in columns without a word."""
    logits = x @ embedding_VD.astype(x.dtype).T
    if bias_V is not None:
        logits = logits + bias_V.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
    return only_words(logits, num_words)


def only_words(
    logits: Float[Array, "*shape vocabulary"], num_words: int
) -> Float[Array, "*shape vocabulary"]:
    """The logits, with the lowest float in columns from `num_words` on."""
    if num_words == logits.shape[-1]:
        return logits
    shape = *logits.shape[:-1], logits.shape[-1] - num_words
    lowest = jnp.full(shape, jnp.finfo(logits.dtype).min, logits.dtype)
    return lax.dynamic_update_slice_in_dim(logits, lowest, num_words, axis=-1)
