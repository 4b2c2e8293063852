import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aiayn.model.dropout import dropout, fold, row_noise

RATE = 0.1
KEY = jax.random.key(3)


def _mask(noise, shape=(64, 128)):
    """True where an element is kept."""
    ones = jnp.ones((noise.shape[0], *shape))
    return np.asarray(dropout(ones, RATE, noise) > 0)


def _noise(step=0, rows=8):
    return row_noise(KEY, jnp.int32(step), jnp.arange(rows))


def test_kept_elements_are_scaled_and_the_rest_zero():
    x = jnp.full((4, 1000), 3.0)
    out = np.asarray(dropout(x, RATE, _noise(rows=4)))
    np.testing.assert_allclose(sorted(set(out.ravel().tolist())), [0.0, 3.0 / 0.9], rtol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_what_stays_of_bfloat16_is_scaled_as_float32(rate):
    x = jnp.arange(1.0, 257.0)[None].repeat(4, axis=0)
    whole, half = (dropout(x.astype(t), rate, _noise(rows=4)) for t in (jnp.float32, jnp.bfloat16))
    np.testing.assert_array_equal(half, whole.astype(jnp.bfloat16))


def test_the_largest_rate_that_may_be_drops_nearly_all():
    assert np.count_nonzero(dropout(jnp.ones((4, 1000)), 1 - 1e-11, _noise(rows=4))) == 0


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_the_rate_is_met(rate):
    out = np.asarray(dropout(jnp.ones((64, 128, 64)), rate, _noise(rows=64)))
    # 524,288 coins: five standard deviations of the share are 5·√(p(1−p)/n).
    assert abs((out == 0).mean() - rate) < 5 * (rate * (1 - rate) / out.size) ** 0.5


def test_no_rate_or_no_noise_changes_nothing():
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(dropout(x, 0.0, _noise(rows=2)), x)
    np.testing.assert_array_equal(dropout(x, 0.5, None), x)
    assert fold(None, 3) is None


def test_rows_steps_and_places_have_independent_masks():
    # Two independent masks agree on a share 0.9² + 0.1² of the elements; n = 65,536 per pair.
    masks = [
        _mask(_noise(step=0)),
        _mask(_noise(step=1)),
        _mask(fold(_noise(step=0), 0)),
        _mask(fold(_noise(step=0), 1)),
        _mask(fold(fold(_noise(step=0), 0), 1)),
        _mask(fold(fold(_noise(step=0), 1), 0)),
        np.roll(_mask(_noise(step=0)), 1, axis=0),
    ]
    p = RATE**2 + (1 - RATE) ** 2
    tolerance = 5 * (p * (1 - p) / masks[0].size) ** 0.5
    for a, b in itertools.combinations(masks, 2):
        assert abs((a == b).mean() - p) < tolerance


def test_a_mask_has_no_visible_structure():
    mask = _mask(_noise(rows=32), (64, 64)).astype(float) - (1 - RATE)
    # Neighbours in every direction and at powers of two are uncorrelated.
    tolerance = 5 / mask.size**0.5
    for axis, shift in itertools.product((0, 1, 2), (1, 2, 4, 8, 16)):
        correlation = (mask * np.roll(mask, shift, axis=axis)).mean() / (RATE * (1 - RATE))
        assert abs(correlation) < tolerance
    # So are the slots and the features: their shares spread as those of coins do.
    for axis in (1, 2):
        shares = mask.mean(axis=tuple({0, 1, 2} - {axis}))
        wanted = (RATE * (1 - RATE) * mask.shape[axis] / mask.size) ** 0.5
        assert 0.6 * wanted < shares.std() < 1.5 * wanted


def test_a_rows_mask_does_not_depend_on_its_batch():
    whole = _mask(row_noise(KEY, jnp.int32(5), jnp.arange(8)))
    part = _mask(row_noise(KEY, jnp.int32(5), jnp.array([6, 2])))
    np.testing.assert_array_equal(part, whole[[6, 2]])
