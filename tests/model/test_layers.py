import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aiayn.model.dropout import dropout, row_noise
from aiayn.model.layers import (
    Dense,
    LayerNorm,
    _transposed,
    add_and_norm,
    first_vectors,
    only_words,
    product,
    relu,
    word_logits,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_an_affine_map_by_hand():
    layer = Dense(2, 3, "glorot", rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    layer.bias[...] = jnp.array([10.0, 20.0, 30.0])
    np.testing.assert_allclose(layer(jnp.array([[1.0, -1.0]])), [[7.0, 17.0, 27.0]])


def test_parameters_are_drawn_as_glorot_has_it():
    # Glorot: uniform within ±√(6/(inputs + outputs)), here ±0.1, whose deviation is 0.1/√3.
    kernel = np.asarray(Dense(200, 400, "glorot", rngs=nnx.Rngs(0)).kernel[...])
    assert 0.099 < np.abs(kernel).max() <= 0.1
    assert kernel.std() == pytest.approx(0.1 / 3**0.5, rel=0.01)
    # The embedding: N(0, 1/d_model), here of 400.
    numbers = np.asarray(first_vectors(jax.random.key(0), (200, 400), "glorot"))
    assert (numbers.mean(), numbers.std()) == pytest.approx((0.0, 0.05), abs=0.001)


def test_a_product_has_the_gradients_of_a_product():
    rng = np.random.default_rng(0)
    x, kernel, bar = (jnp.asarray(rng.normal(size=s)) for s in ((2, 3, 5), (5, 7), (2, 3, 7)))
    found, back = jax.vjp(product, x, kernel)
    wanted, own_back = jax.vjp(jnp.matmul, x, kernel)
    np.testing.assert_array_equal(found, wanted)
    for one, same in zip(back(bar), own_back(bar), strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-5, atol=1e-6)


def test_an_array_is_transposed_whatever_its_first_element_is():
    for first in (-1.0, 0.0, 1.0, np.nan):
        x = jnp.arange(6.0).reshape(2, 3).at[0, 0].set(first)
        np.testing.assert_array_equal(jax.jit(_transposed)(x), x.T)


def test_relu_and_its_derivative():
    x = jnp.array([-2.0, 0.0, 3.0])
    y, slope = jax.jvp(relu, (x,), (jnp.full(3, 5.0),))
    np.testing.assert_array_equal(y, [0, 0, 3])
    np.testing.assert_array_equal(slope, [0, 0, 5])


def test_layer_norm_by_hand():
    # 1, 3 have mean 2 and variance 1; with an epsilon of 3 that is divided by √4.
    norm = LayerNorm(2, 3.0)
    np.testing.assert_allclose(norm(jnp.array([[1.0, 3.0]])), [[-0.5, 0.5]], rtol=1e-6)
    norm.scale[...], norm.bias[...] = jnp.array([2.0, 4.0]), jnp.array([10.0, 20.0])
    np.testing.assert_allclose(norm(jnp.array([[1.0, 3.0]])), [[9.0, 22.0]], rtol=1e-6)
    along_first = norm(jnp.array([[1.0], [3.0]]), axis=0)
    np.testing.assert_allclose(along_first, [[9.0], [22.0]], rtol=1e-6)


def test_a_sublayers_output_is_dropped_then_added_then_normalised():
    x, y = jnp.array([[[1.0, 4.0, 2.0, 8.0]] * 3]), jnp.ones((1, 3, 4))
    norm, noise = LayerNorm(4, 1e-6), row_noise(jax.random.key(1), jnp.int32(0), jnp.arange(1))
    np.testing.assert_array_equal(add_and_norm(norm, x, y, 0.5, None), norm(x + y))
    dropped = dropout(y, 0.5, noise)
    assert 0 < np.count_nonzero(dropped) < dropped.size
    np.testing.assert_array_equal(add_and_norm(norm, x, y, 0.5, noise), norm(x + dropped))


def test_scores_of_words_by_hand():
    # Three words and a row of none: x · rows is 5, 11, 17, to which a bias may be added.
    embedding = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    x, bias = jnp.array([[1.0, 2.0]]), jnp.array([0.5, 1.0, 1.5, 2.0])
    lowest = np.finfo(np.float32).min
    np.testing.assert_allclose(word_logits(x, embedding, 3), [[5, 11, 17, lowest]])
    np.testing.assert_allclose(word_logits(x, embedding, 3, bias), [[5.5, 12, 18.5, lowest]])
    np.testing.assert_allclose(only_words(bias, 4), bias)
