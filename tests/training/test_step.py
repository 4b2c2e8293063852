from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import aiayn.training.step
from aiayn.config import ModelConfig, TrainConfig
from aiayn.data.rows import Rows, rows_of_texts
from aiayn.model.structure import build, flatten
from aiayn.training.mesh import (
    data_mesh,
    mapped_evaluation_step,
    mapped_train_step,
    replicated,
    sharded,
)
from aiayn.training.optim import optimizer
from aiayn.training.step import TrainState, initial_state, train_step
from tests.support.models import MODEL as TWO_LAYERS
from tests.support.models import NUM_WORDS, random_pairs, unpacked_rows

MODEL = replace(TWO_LAYERS, num_layers=1)
WRITER = replace(MODEL, kind="decoder")
GPT_1 = replace(
    WRITER,
    positions="learned",
    max_positions=8,
    activation="gelu",
    scale_embedding=False,
    attention_dropout_rate=0.1,
    initializer="normal",
)
CONFIG = TrainConfig(warmup_steps=4)
ADAM = optimizer(MODEL, CONFIG)
GRAPHDEF = build(MODEL, NUM_WORDS)
KEY = jax.random.key(9)
LENGTHS = [(3, 5), (7, 2), (4, 4), (6, 6), (2, 3), (5, 1), (3, 3), (2, 7)]


def _rows(num_rounds: int, seed: int = 0, empty: int = 0, config: ModelConfig = MODEL) -> Rows:
    """Eight real rows, then `empty` ones, in `num_rounds` rounds."""
    pairs = random_pairs(LENGTHS, seed)
    rows = unpacked_rows(pairs, 8)
    if config.kind == "decoder":
        rows = rows_of_texts([target for _, target in pairs], bos=2, eos=3, width=8)
    padded = [np.pad(field, ((0, empty), (0, 0))) for field in rows]
    per_round = (len(LENGTHS) + empty) // num_rounds
    return Rows(*(f.reshape(num_rounds, per_round, f.shape[1]) for f in padded))


@cache
def _update(num_devices: int, config: ModelConfig):
    mesh = data_mesh(jax.devices()[:num_devices])
    return mapped_train_step(build(config, NUM_WORDS), CONFIG, ADAM, mesh)


@cache
def _run(num_devices: int, num_rounds: int, empty: int = 0, config: ModelConfig = MODEL):
    """Losses and final parameters of a few updates."""
    mesh, update = data_mesh(jax.devices()[:num_devices]), _update(num_devices, config)
    state, losses = replicated(initial_state(config, NUM_WORDS, 1, ADAM), mesh), []
    for step in range(3):
        rows = _rows(num_rounds, step, empty, config)
        state, metrics = update(state, sharded(rows, mesh, 1), KEY)
        losses.append(float(metrics.loss / metrics.tgt_tokens))
        assert (int(metrics.src_tokens) == 0) == (config.kind == "decoder")
    return losses, state


def _assert_same(a, b):
    np.testing.assert_allclose(a[0], b[0], rtol=2e-6)
    first, second = flatten(a[1].params), flatten(b[1].params)
    for name in first:
        # A bias on keys adds the same to all scores of a query, which softmax ignores: its gradient
        # is rounding alone, and Adam makes steps of full length of that.
        if not name.endswith("key.bias"):
            np.testing.assert_allclose(
                first[name], second[name], rtol=1e-3, atol=2e-5, err_msg=name
            )


def test_one_device_and_six_in_rounds_with_empty_rows_train_alike_dropout_included():
    # Each round has one row for each device, and the second round four empty ones.
    _assert_same(_run(1, 1), _run(6, 2, empty=4))


@pytest.mark.parametrize(
    "config", [WRITER, pytest.param(GPT_1, marks=pytest.mark.slow)], ids=["paper", "gpt1"]
)
def test_a_language_model_trains_alike_on_one_device_and_on_eight_in_rounds(config):
    # Of sixteen rows, one for each device in each round, half are empty.
    _assert_same(_run(1, 1, config=config), _run(8, 2, empty=8, config=config))


@pytest.mark.slow
def test_the_same_step_runs_under_pmap():
    step = partial(train_step, graphdef=GRAPHDEF, config=CONFIG, optimizer=ADAM)
    mapped = jax.pmap(step, axis_name="data", in_axes=(None, 1, None), out_axes=None)
    state, losses = initial_state(MODEL, NUM_WORDS, 1, ADAM), []
    for number in range(3):
        # Split each round between two devices: (round, device, row, slot).
        rows = _rows(2, number)
        split = Rows(*(f.reshape(f.shape[0], 2, -1, f.shape[-1]) for f in rows))
        state, metrics = mapped(state, split, KEY)
        losses.append(float(metrics.loss / metrics.tgt_tokens))
    _assert_same(_run(1, 1), (losses, state))


def test_dropout_differs_between_updates_and_rows():
    mesh = data_mesh(jax.devices()[:1])
    update = _update(1, MODEL)
    rows = _rows(1)
    losses = []
    for first in (0, 7):
        state = initial_state(MODEL, NUM_WORDS, 1, ADAM)._replace(step=jnp.int32(first))
        _, metrics = update(replicated(state, mesh), sharded(rows, mesh, 1), KEY)
        losses.append(float(metrics.loss))
    assert losses[0] != losses[1]


def test_metrics_count_real_tokens_only():
    mesh = data_mesh(jax.devices()[:6])
    state = replicated(initial_state(MODEL, NUM_WORDS, 1, ADAM), mesh)
    _, metrics = _update(6, MODEL)(state, sharded(_rows(2, empty=4), mesh, 1), KEY)
    assert int(metrics.src_tokens) == sum(s + 1 for s, _ in LENGTHS)
    assert int(metrics.tgt_tokens) == sum(t + 1 for _, t in LENGTHS)


def test_an_update_that_is_not_finite_changes_nothing_but_the_step():
    mesh = data_mesh(jax.devices()[:1])
    update = _update(1, MODEL)
    state = initial_state(MODEL, NUM_WORDS, 1, ADAM)
    # Finite, but its square is not: the variance of the first norm.
    huge = {**state.params, "embedding": state.params["embedding"] * 1e30}
    before = jax.device_get(state._replace(params=huge))
    after, metrics = update(replicated(before, mesh), sharded(_rows(1), mesh, 1), KEY)
    assert not (np.isfinite(metrics.loss) and np.isfinite(metrics.grad_norm))
    assert int(after.step) == 1
    jax.tree.map(np.testing.assert_array_equal, after[:2], before[:2])
    assert flatten(after.params).keys() == flatten(before.params).keys()


@pytest.mark.parametrize(("loss", "gradient"), [(np.nan, 1.0), (1.0, np.inf), (1.0, 1.0)])
def test_an_update_needs_both_a_loss_and_a_gradient(loss, gradient, monkeypatch):
    params = {"kernel": np.ones((2, 3), np.float32)}
    sums = jnp.float32(loss), jnp.float32(1.0), jnp.int32(3), jnp.int32(5)
    grads = {"kernel": jnp.full((2, 3), gradient, jnp.float32)}
    monkeypatch.setattr(aiayn.training.step, "loss_and_gradient", lambda *_, **__: (*sums, grads))
    step = partial(train_step, graphdef=GRAPHDEF, config=CONFIG, optimizer=ADAM)
    state = TrainState(params, ADAM.init(params), jnp.int32(0))
    after, _ = jax.jit(step)(state, _rows(1), KEY)
    is_left = loss + gradient != 2.0
    assert np.array_equal(after.params["kernel"], params["kernel"]) == is_left


def test_evaluation_is_the_plain_loss_without_dropout():
    state = initial_state(MODEL, NUM_WORDS, 1, ADAM)
    rows = Rows(*(f[0] for f in _rows(1)))
    sums = []
    for count in (1, 4):
        mesh = data_mesh(jax.devices()[:count])
        evaluate = mapped_evaluation_step(GRAPHDEF, mesh)
        loss, tokens = evaluate(replicated(state.params, mesh), sharded(rows, mesh, 0))
        sums.append((float(loss), int(tokens)))
    assert sums[0] == pytest.approx(sums[1], rel=1e-6)
    # Untrained, a word costs about ln V, here within a tenth.
    assert sums[0][0] / sums[0][1] == pytest.approx(np.log(NUM_WORDS), rel=0.1)


def test_the_state_is_donated():
    mesh = data_mesh(jax.devices()[:1])
    update = _update(1, MODEL)
    state = replicated(initial_state(MODEL, NUM_WORDS, 1, ADAM), mesh)
    update(state, sharded(_rows(1), mesh, 1), KEY)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_an_update_goes_by_the_mean_gradient_of_a_target_token():
    # Adam hides a factor of the gradient; plain descent shows it.
    def descend(updates, state, params=None, **_):
        return jax.tree.map(jnp.negative, updates), state

    plain = optax.GradientTransformationExtraArgs(lambda params: (), descend)
    rows = _rows(1)
    assert int((rows.src_segments_BS > 0).sum()) != int((rows.tgt_segments_BT > 0).sum())
    mesh = data_mesh(jax.devices()[:1])
    before = initial_state(MODEL, NUM_WORDS, 1, ADAM)._replace(opt_state=())
    kept = flatten(before.params)
    update = mapped_train_step(GRAPHDEF, CONFIG, plain, mesh)
    after, metrics = update(replicated(before, mesh), sharded(rows, mesh, 1), KEY)
    changes = (value - kept[name] for name, value in flatten(after.params).items())
    norm = np.sqrt(sum(np.square(change).sum() for change in changes))
    assert float(metrics.grad_norm) == pytest.approx(norm, rel=1e-3)
