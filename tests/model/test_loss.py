import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aiayn.model.loss
from aiayn.data.rows import Rows
from aiayn.model.loss import smoothed_cross_entropy, token_log_probs
from tests.support.models import MODEL, drawn_by_numpy, one_packed_row, random_pairs, unpacked_rows

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def _inputs(num_words=100, num_rows=128):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 5, 8)), jnp.float32)
    embedding = jnp.asarray(rng.normal(size=(num_rows, 8)), jnp.float32)
    word = jnp.asarray(rng.integers(0, num_words, (3, 5)), jnp.int32)
    weight = jnp.asarray(rng.integers(0, 2, (3, 5)), jnp.float32)
    return x, embedding, word, weight


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary_smoothed_or_not():
    x, weight = jnp.zeros((1, 2, 8)), jnp.ones((1, 2))
    word = jnp.zeros((1, 2), jnp.int32)
    for smoothing in (0.0, 0.1):
        losses = smoothed_cross_entropy(x, jnp.ones((128, 8)), word, weight, 100, smoothing)
        np.testing.assert_allclose(losses, 2 * math.log(100), rtol=1e-6)


def test_two_words_by_hand():
    # Logits 0 and ln 3: probabilities 1/4 and 3/4. The right word is the second. With ε = 0.2
    # over all words it gets 0.9, the other 0.1; over the others only, 0.8 and 0.2.
    x = jnp.ones((1, 1, 1))
    embedding = jnp.zeros((128, 1)).at[1, 0].set(math.log(3))
    word, weight = jnp.ones((1, 1), jnp.int32), jnp.ones((1, 1))
    wrong, right = math.log(4), math.log(4 / 3)
    for over, share in (("all", 0.1), ("others", 0.2)):
        smoothed, plain = smoothed_cross_entropy(x, embedding, word, weight, 2, 0.2, over)
        assert float(smoothed) == pytest.approx((1 - share) * right + share * wrong, rel=1e-5)
        assert float(plain) == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("over", ["all", "others"])
@pytest.mark.parametrize("at_once", [256, 4])
def test_value_and_gradient_equal_autodiff_of_the_definition(over, at_once, monkeypatch):
    # Four tokens at a time: four chunks, the last one not full.
    monkeypatch.setattr(aiayn.model.loss, "num_tokens_at_once", lambda _: at_once)
    x, embedding, word, weight = _inputs()

    def definition(x, embedding):
        log_probs = jax.nn.log_softmax((x @ embedding.T)[..., :100])
        right = jax.nn.one_hot(word, 100)
        target = 0.9 * right + (0.1 / 100 if over == "all" else 0.1 / 99 * (1 - right))
        return -((target * log_probs).sum(-1) * weight).sum()

    def ours(x, embedding):
        return smoothed_cross_entropy(x, embedding, word, weight, 100, 0.1, over)[0]

    def values_and_gradients(function):
        found = jax.jit(jax.value_and_grad(lambda *a: 2.5 * function(*a), (0, 1)))(x, embedding)
        return jax.tree.leaves((jax.jit(function)(x, embedding), found))

    found, wanted = values_and_gradients(ours), values_and_gradients(definition)
    for got, same in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, same, rtol=1e-4, atol=1e-5)
    assert not np.any(found[3][100:]), "rows of no word receive no gradient"


def test_a_bias_of_the_logits_counts_and_learns():
    x, embedding, word, weight = _inputs()
    bias = jnp.asarray(np.random.default_rng(1).normal(size=128), jnp.float32)

    def definition(bias):
        log_probs = jax.nn.log_softmax((x @ embedding.T + bias[None, None])[..., :100])
        target = 0.9 * jax.nn.one_hot(word, 100) + 0.1 / 100
        return -((target * log_probs).sum(-1) * weight).sum()

    def ours(bias):
        return smoothed_cross_entropy(x, embedding, word, weight, 100, 0.1, bias_V=bias)[0]

    found, wanted = (jax.jit(jax.value_and_grad(f))(bias) for f in (ours, definition))
    for got, same in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, same, rtol=1e-4, atol=1e-5)
    log_probs = token_log_probs(x.reshape(-1, 8), embedding, word.reshape(-1), 100, bias)
    _, plain = smoothed_cross_entropy(x, embedding, word, jnp.ones_like(weight), 100, bias_V=bias)
    np.testing.assert_allclose(-log_probs.sum(), plain, rtol=1e-5)


def test_the_plain_loss_carries_no_gradient():
    x, embedding, word, weight = _inputs()
    gradient = jax.grad(lambda x: smoothed_cross_entropy(x, embedding, word, weight, 100, 0.1)[1])(
        x
    )
    assert not np.any(gradient)


@pytest.mark.parametrize("at_once", [256, 4])
def test_log_probs_are_those_of_the_plain_loss(at_once, monkeypatch):
    monkeypatch.setattr(aiayn.model.loss, "num_tokens_at_once", lambda _: at_once)
    x, embedding, word, weight = _inputs()
    log_probs = token_log_probs(x.reshape(-1, 8), embedding, word.reshape(-1), 100)
    _, plain = smoothed_cross_entropy(x, embedding, word, jnp.ones_like(weight), 100)
    np.testing.assert_allclose(-log_probs.sum(), plain, rtol=1e-5)


def test_packed_loss_and_gradients_equal_unpacked_ones():
    graphdef, params = drawn_by_numpy(replace(MODEL, num_layers=1))
    pairs = random_pairs([(3, 5), (7, 2), (4, 4)])

    def alike(rows):  # of one shape, to compile for once
        return Rows(*(jnp.pad(x, [(0, 3 - len(x)), (0, 17 - x.shape[1])]) for x in rows))

    @jax.jit
    @jax.value_and_grad
    def value_and_grad(params, rows):
        return nnx.merge(graphdef, params).loss(rows, smoothing=0.1)[0]

    packed = value_and_grad(params, alike(one_packed_row(pairs, spare=0)))
    unpacked = value_and_grad(params, alike(unpacked_rows(pairs)))
    for a, b in zip(jax.tree.leaves(packed), jax.tree.leaves(unpacked), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
