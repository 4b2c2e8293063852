import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import aiayn.model.kernels
from aiayn.model.dropout import row_noise
from aiayn.model.layers import LayerNorm, add_and_norm
from tests.support.near import NEAR, assert_near


# A program of the forward pass has 512 features at a time: 4 slots of 128, 2 of 256. One of the
# backward pass has 8 slots of 256, in a loop of four.
@pytest.mark.parametrize(
    ("slots", "d_model", "rate", "dtype"),
    [
        (8, 128, 0.3, jnp.float32),
        (19, 256, 0.3, jnp.float32),
        (16, 256, 0.0, jnp.float32),
        (7, 128, 0.3, jnp.bfloat16),
        *(
            pytest.param(slots, 128, rate, dtype, marks=pytest.mark.slow)
            for slots in (64, 100, 36)
            for rate in (0.0, 0.3)
            for dtype in (jnp.float32, jnp.bfloat16)
        ),
        pytest.param(40, 1024, 0.3, jnp.float32, marks=pytest.mark.slow),
    ],
)
def test_add_and_norm_is_the_models(random, monkeypatch, slots, d_model, rate, dtype):
    noise = row_noise(jax.random.key(1), jnp.int32(3), jnp.arange(2))
    x, y, bar = (random(2, slots, d_model).astype(dtype) for _ in range(3))
    scale, bias = random(d_model), random(d_model)

    def value_and_gradients(by_kernel):
        monkeypatch.setattr(aiayn.model.kernels, "use_kernels", lambda: by_kernel)

        def sublayer(x, y, scale, bias):
            norm = LayerNorm(d_model, 1e-1)
            norm.scale, norm.bias = nnx.Param(scale), nnx.Param(bias)
            return add_and_norm(norm, x, y, rate, noise)

        @jax.jit
        def both(*arguments):
            found, back = jax.vjp(sublayer, *arguments)
            return found, back(bar)

        assert ("pallas_call" in str(both.trace(x, y, scale, bias).jaxpr)) == by_kernel
        return both(x, y, scale, bias)

    near = NEAR if dtype == jnp.float32 else 2e-2
    assert_near(value_and_gradients(True), value_and_gradients(False), near)
