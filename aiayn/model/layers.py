"""What the sublayers of the Transformer are made of: affine maps, layer normalisation (§3.1)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from aiayn.model.dropout import Noise, dropout
from aiayn.model.kernels import use_kernels


class Dense(nnx.Module):
    """x W + b, Glorot-uniform W (T2T's initialiser), in the type of x."""

    def __init__(self, num_inputs: int, num_outputs: int, *, rngs: nnx.Rngs):
        init = nnx.initializers.glorot_uniform()
        self.kernel = nnx.Param(init(rngs.params(), (num_inputs, num_outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((num_outputs,), jnp.float32))

    def __call__(self, x: Float[Array, "*shape inputs"]) -> Float[Array, "*shape outputs"]:
        y = product(x, self.kernel[...].astype(x.dtype))
        return y + self.bias[...].astype(x.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


def product(
    x: Float[Array, "*shape inputs"], kernel_IO: Float[Array, "inputs outputs"]
) -> Float[Array, "*shape outputs"]:
    """x W. On CPU with a rule of its own for the gradient by W: XLA is slow at products that sum
    over the first axis of both factors, so one of them is turned around before.
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
    """xᵀ as an array. XLA's CPU backend copies an array tile by tile, but where it merges the copy
    with what computes x, it goes through memory column by column, up to ten times as slowly. Both
    ways of the branch are the same: it does nothing but keep them apart.
    """
    return lax.cond(x_NI[0, 0] > 0, jnp.transpose, jnp.transpose, x_NI)


class LayerNorm(nnx.Module):
    """Layer normalisation, computed in float32 (the paper names no ε)."""

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
    """LayerNorm(x + Dropout(y)): what stands around every sublayer (§3.1, §5.4)."""
    if use_kernels() and noise_B2 is not None:
        from aiayn.model.kernels import norm as kernels

        if kernels.fits(x_BTD.shape[-1]):
            scale_D, bias_D = norm.scale[...], norm.bias[...]
            with jax.named_scope("norm"):
                return kernels.add_and_norm(
                    x_BTD, y_BTD, scale_D, bias_D, noise_B2, rate, norm.epsilon
                )
    return norm(x_BTD + dropout(y_BTD, rate, noise_B2))
