import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aiayn.config import ModelConfig, TrainConfig
from aiayn.training.optim import learning_rate, optimizer


def test_learning_rate_by_hand():
    # 512^-0.5 = 0.0441942; 4000^-1.5 = 3.95285e-6; 4000^-0.5 = 0.0158114; 100000^-0.5 = 0.00316228
    assert float(learning_rate(1, 512, 4000)) == pytest.approx(1.74693e-7, rel=1e-5)
    assert float(learning_rate(4_000, 512, 4000)) == pytest.approx(6.98771e-4, rel=1e-5)
    assert float(learning_rate(100_000, 512, 4000)) == pytest.approx(1.39754e-4, rel=1e-5)
    assert float(learning_rate(4_000, 1024, 4000)) == pytest.approx(4.94106e-4, rel=1e-5)


def test_the_highest_rate_is_at_the_end_of_the_warm_up():
    rates = [float(learning_rate(step, 512, 40)) for step in range(1, 200)]
    assert np.argmax(rates) + 1 == 40
    assert rates[9] == pytest.approx(10 * rates[0], rel=1e-5), "the warm-up is linear"


def test_the_first_update_of_adam_moves_by_the_first_rate():
    # With bias correction the first step is rate * g / (|g| + ε), so one rate, sign of g.
    model, train = ModelConfig(), TrainConfig()
    adam = optimizer(model, train)
    params = {"w": jnp.array([1.0, 1.0])}
    updates, _ = adam.update({"w": jnp.array([3.0, -0.02])}, adam.init(params), params)
    rate = float(learning_rate(1, 512, 4000))
    np.testing.assert_allclose(updates["w"], [-rate, rate], rtol=1e-4)


def test_two_updates_of_adam_by_the_papers_formulas():
    model, train = ModelConfig(d_model=16), TrainConfig(warmup_steps=3)
    adam = optimizer(model, train)
    state = adam.init({"w": jnp.zeros(1)})
    w = m = v = 0.0
    got = jnp.zeros(1)
    for step, gradient in enumerate([0.5, -2.0], 1):
        updates, state = adam.update({"w": jnp.array([gradient])}, state, {"w": got})
        got = got + updates["w"]
        m = 0.9 * m + 0.1 * gradient
        v = 0.98 * v + 0.02 * gradient**2
        m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.98**step)
        w -= 16**-0.5 * step * 3**-1.5 * m_hat / (v_hat**0.5 + 1e-9)
    assert float(got[0]) == pytest.approx(w, rel=1e-4)


@pytest.mark.parametrize("jitted", [False, True])
def test_updates_are_optaxs_own(jitted):
    model, train = ModelConfig(d_model=16), TrainConfig(warmup_steps=3)
    ours = optimizer(model, train)
    theirs = optax.adam(
        lambda count: learning_rate(count + 1, 16, 3), train.adam_b1, train.adam_b2, train.adam_eps
    )
    update, other = (jax.jit(a.update) if jitted else a.update for a in (ours, theirs))
    rng = np.random.default_rng(0)
    params = {"w": jnp.zeros((3, 4)), "b": jnp.zeros(4)}
    state = same_state = theirs.init(params)
    assert jax.tree.structure(ours.init(params)) == jax.tree.structure(state), "older checkpoints"
    for _ in range(5):
        grads = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), params)
        updates, state = update(grads, state)
        same, same_state = other(grads, same_state)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=2e-6), (updates, state), (same, same_state)
        )


def test_an_update_that_is_not_finite_changes_nothing():
    adam = optimizer(ModelConfig(), TrainConfig())
    grads = {"w": jnp.array([1.0, -2.0])}
    _, state = adam.update(grads, adam.init(grads))
    updates, after = adam.update({"w": jnp.array([jnp.nan, 1.0])}, state, finite=False)
    assert not np.any(updates["w"])
    assert all(map(np.array_equal, jax.tree.leaves(state), jax.tree.leaves(after)))


def test_an_update_copies_neither_moment():
    adam = optimizer(ModelConfig(), TrainConfig())
    params = {"w": jnp.zeros((256, 256))}

    def update(params, state, grads, finite):
        updates, state = adam.update(grads, state, finite=finite)
        return optax.apply_updates(params, updates), state

    lowered = jax.jit(update, donate_argnums=(0, 1)).lower(params, adam.init(params), params, True)
    assert not re.findall(r"f32\[256,256\]\S* copy\(", lowered.compile().as_text())
