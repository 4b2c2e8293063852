"""The kernels for GPUs against the lines of the model that they stand for.

Pallas interprets them here. On a GPU the same tests compile them:
JAX_PLATFORMS=cuda python -m pytest -n0 tests/test_kernels.py
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

import aiayn.kernels
import aiayn.kernels.attention as fused
import aiayn.layers
import aiayn.loss
import aiayn.model
from aiayn.bench.worker import rows_of
from aiayn.bench.workloads import Training
from aiayn.config import ModelConfig, TrainConfig
from aiayn.dropout import row_noise
from aiayn.kernels.loss import losses_and_gradient
from aiayn.layers import LayerNorm, add_and_norm
from aiayn.loss import _losses_and_gradient
from aiayn.model import attention, causal_mask, padding_mask
from aiayn.optim import optimizer
from aiayn.rows import make_rows
from aiayn.step import build, data_mesh, initial_state, loss_and_gradient

ON_GPU = jax.default_backend() == "gpu"
NEAR = 5e-3 if ON_GPU else 2e-5
"""Of the norm. A GPU multiplies float32 in TF32."""
MODULES = aiayn.model, aiayn.layers, aiayn.loss


def assert_near(found, wanted):
    for one, same in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (one.shape, one.dtype) == (same.shape, same.dtype)
        apart = np.linalg.norm(np.asarray(one, np.float64) - np.asarray(same, np.float64))
        assert apart <= NEAR * np.linalg.norm(np.asarray(same, np.float64)) + 1e-6


@pytest.fixture
def random():
    rng = np.random.default_rng(0)
    return lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)


def sentences(*rows, slots):
    """Segments of rows that hold sentences of such lengths, filled up with padding."""
    found = np.zeros((len(rows), slots), np.int32)
    for row, lengths in zip(found, rows, strict=True):
        each = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        row[: len(each)] = each
    return jnp.asarray(found)


# --- Attention ----------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [64, 192, 100, 7])
@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_attention_is_the_models(random, slots, kind):
    full, ragged = sentences([slots], [slots // 2, slots // 3], slots=slots)[:, None]
    segments = jnp.concatenate([full, ragged])
    memory = slots
    mask = causal_mask(segments) if kind == "decoder" else padding_mask(segments, segments)
    if kind == "cross":  # another length, and as many sentences
        memory = slots + 3
        other = sentences([memory], [slots // 3, slots // 2], slots=memory)
        mask = padding_mask(segments, other)
    heads, d_k = 2, 16
    q, k, v = (random(2, length, heads, d_k) for length in (slots, memory, memory))
    bar = random(2, slots, heads, d_k) * (segments > 0)[..., None, None]

    def by_kernel(q, k, v):
        joint = (
            (q, jnp.concatenate([k, v], 2)) if kind == "cross" else (jnp.concatenate([q, k, v], 2),)
        )
        biases = tuple(jnp.zeros(x.shape[2] * d_k) for x in joint)
        return fused.attention(joint, biases, mask, heads)

    def by_model(q, k, v):
        return jnp.swapaxes(attention(*(jnp.swapaxes(x, 1, 2) for x in (q, k, v)), mask), 1, 2)

    found, back = jax.vjp(jax.jit(by_kernel), q, k, v)
    wanted, back_by_model = jax.vjp(by_model, q, k, v)
    real = (segments > 0)[..., None, None]
    assert_near(jnp.where(real, found, 0.0), jnp.where(real, wanted, 0.0))
    assert_near(back(bar), back_by_model(bar))


def test_attention_sums_up_the_gradient_of_biases(random):
    mask = causal_mask(sentences([30, 40], [50], slots=70))
    joint, bar = random(2, 70, 6, 16), random(2, 70, 2, 16)
    _, back = jax.vjp(lambda x, b: fused.attention((x,), (b,), mask, 2), joint, jnp.zeros(6 * 16))
    of_joint, of_bias = back(bar)
    assert_near(of_bias, of_joint.sum((0, 1)).reshape(-1))


def test_a_query_that_sees_nothing_gets_zeros(random):
    mask = padding_mask(sentences([5], slots=9), sentences([5], slots=9))
    found = fused.attention((random(1, 9, 6, 16),), (jnp.zeros(6 * 16),), mask, 2)
    assert not np.asarray(found[:, 5:]).any()
    assert np.asarray(found[:, :5]).all()


def test_attention_has_a_kernel_for_usual_heads():
    assert fused.fits(64, 64, 0.0)
    assert not fused.fits(64, 64, 0.1), "dropout of weights"
    assert not fused.fits(64, 32, 0.0), "keys and values differ"
    assert not fused.fits(24, 24, 0.0), "no power of two"
    assert not fused.fits(8, 8, 0.0), "too small for its products"


# --- Sum, dropout and norm ----------------------------------------------------------------------


@pytest.mark.parametrize("slots", [64, 100, 7, 36])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_add_and_norm_is_the_models(random, monkeypatch, slots, rate):
    noise = row_noise(jax.random.key(1), jnp.int32(3), jnp.arange(2))

    def both(x, y, scale, bias):
        norm = LayerNorm(128, 1e-6)
        norm.scale, norm.bias = nnx.Param(scale), nnx.Param(bias)
        return add_and_norm(norm, x, y, rate, noise)

    arguments = random(2, slots, 128), random(2, slots, 128), random(128), random(128)
    bar = random(2, slots, 128)
    wanted, back = jax.vjp(both, *arguments)
    monkeypatch.setattr(aiayn.layers, "use_kernels", lambda: True)
    found, back_by_kernel = jax.vjp(both, *arguments)
    assert_near(found, wanted)
    assert_near(back_by_kernel(bar), back(bar))


# --- Loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_words", [300, 384, 8_200])
def test_losses_and_gradient_are_the_models(random, num_words):
    logits = 5.0 * random(6, -(-num_words // 128) * 128)
    word = jnp.asarray([0, 1, num_words - 1, 7, 100, 2])
    weight = jnp.asarray([1.0, 1.0, 1.0, 0.0, 1.0, 0.5])
    settings = num_words, 0.9, 0.1 / num_words
    wanted = _losses_and_gradient(logits, word, weight, *settings)
    assert_near(losses_and_gradient(logits, word, weight, *settings), wanted)


# --- All together -------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{}, {"d_k": 24, "d_v": 24}, {"attention_dropout_rate": 0.1}])
def test_a_step_by_kernels_has_the_same_loss_and_gradient(monkeypatch, change):
    """Packed rows whose sides differ in width; and where there is no kernel for the heads."""
    config = ModelConfig(
        **{"num_layers": 1, "d_model": 128, "d_ff": 64, "num_heads": 2, "d_k": 32, "d_v": 32}
        | change
    )
    src, tgt, segments = rows_of(Training(config, 300, 2, width=70, length=20, steps_per_round=1))
    rows = make_rows(src[:, :62], segments[:, :62], tgt, segments, bos=2)
    rows = jax.tree.map(lambda x: jnp.asarray(x)[None], rows)
    train = TrainConfig()
    state = initial_state(config, 300, 0, optimizer(config, train))

    def loss_and_gradient_now():
        function = partial(loss_and_gradient, graphdef=build(config, 300), config=train)
        mesh = data_mesh(jax.devices()[:1])
        mapped = jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(P(), P(None, "data"), P()),
            out_specs=P(),
            check_vma=False,
        )
        return jax.jit(mapped)(state, rows, jax.random.key(0))

    found = {}
    for answer in (False, True):
        for module in MODULES:
            monkeypatch.setattr(module, "use_kernels", lambda answer=answer: answer)
        found[answer] = loss_and_gradient_now()
    *sums, grads = found[True]
    *wanted_sums, wanted_grads = found[False]
    assert_near(sums, wanted_sums)
    for one in (grads, wanted_grads):  # of the keys' biases there is nothing but rounding
        for layer in jax.tree.leaves(one, is_leaf=lambda x: isinstance(x, dict) and "key" in x):
            if isinstance(layer, dict):
                layer["key"]["bias"] *= 0.0
    assert_near(grads, wanted_grads)


@pytest.mark.parametrize(
    ("backend", "capability", "uses"),
    [
        ("gpu", "9.0", True),
        ("gpu", "8.0", True),
        ("gpu", "7.5", False),
        ("gpu", "gfx942", False),
        ("tpu", None, False),
        ("cpu", None, False),
    ],
)
def test_kernels_are_for_gpus_that_have_bfloat16(monkeypatch, backend, capability, uses):
    device = type("Device", (), {"compute_capability": capability} if capability else {})
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    monkeypatch.setattr(jax, "devices", lambda: [device()])
    assert aiayn.kernels.use_kernels() == uses
