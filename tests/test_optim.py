import jax.numpy as jnp
import numpy as np
import pytest

from aiayn.config import ModelConfig, TrainConfig
from aiayn.optim import learning_rate, optimizer


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
