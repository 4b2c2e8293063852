"""What the sublayers of the Transformer are made of: affine maps, layer normalisation (§3.1)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from aiayn.dropout import Noise, dropout
from aiayn.kernels import use_kernels


class Dense(nnx.Module):
    """x W + b, Glorot-uniform W (T2T's initialiser), in the type of x."""

    def __init__(self, num_inputs: int, num_outputs: int, *, rngs: nnx.Rngs):
        init = nnx.initializers.glorot_uniform()
        self.kernel = nnx.Param(init(rngs.params(), (num_inputs, num_outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((num_outputs,), jnp.float32))

    def __call__(self, x: Float[Array, "*shape inputs"]) -> Float[Array, "*shape outputs"]:
        y = x @ self.kernel[...].astype(x.dtype)
        return y + self.bias[...].astype(x.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


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
        from aiayn.kernels import norm as kernels

        if kernels.fits(x_BTD.shape[-1]):
            scale_D, bias_D = norm.scale[...], norm.bias[...]
            with jax.named_scope("norm"):
                return kernels.add_and_norm(
                    x_BTD, y_BTD, scale_D, bias_D, noise_B2, rate, norm.epsilon
                )
    return norm(x_BTD + dropout(y_BTD, rate, noise_B2))
