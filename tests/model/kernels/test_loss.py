import jax
import jax.numpy as jnp
import pytest

from aiayn.model.kernels.loss import lse_and_gradient
from aiayn.model.loss import _lse_and_gradient
from tests.support.near import assert_near


# A program has 8,192 columns at a time.
@pytest.mark.parametrize("num_words", [300, 384, 8_200])
def test_the_loss_and_its_gradient_are_the_models(random, num_words):
    logits = 5.0 * random(6, -(-num_words // 128) * 128)
    word = jnp.asarray([0, 1, num_words - 1, 7, 100, 2])
    weight = jnp.asarray([1.0, 1.0, 1.0, 0.0, 1.0, 0.5])
    settings = num_words, 0.9, 0.1 / num_words
    wanted = jax.jit(_lse_and_gradient, static_argnums=(3, 4, 5))(logits, word, weight, *settings)
    assert_near(lse_and_gradient(logits, word, weight, *settings), wanted)
