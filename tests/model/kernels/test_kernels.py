"""The kernels for GPUs against the lines of the model that they stand for.

Pallas interprets them here. On a GPU the same tests compile them:
AIAYN_TEST_PLATFORM=cuda make test ARGS='-n0 tests/model/kernels/test_kernels.py'
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import pallas as pl
from jax.sharding import PartitionSpec as P

import aiayn.model.kernels
import aiayn.model.kernels.attention as fused
import aiayn.training.mesh
from aiayn.bench.scaling import devices, lowered
from aiayn.bench.worker import rows_of
from aiayn.bench.workloads import TRAINING, Training
from aiayn.config import ModelConfig, TrainConfig
from aiayn.data.rows import make_rows
from aiayn.model.dropout import row_noise
from aiayn.model.flops import traced_training_flops, training_flops
from aiayn.model.kernels.loss import lse_and_gradient
from aiayn.model.layers import LayerNorm, add_and_norm
from aiayn.model.loss import _lse_and_gradient
from aiayn.model.structure import build
from aiayn.model.transformer import attention, causal_mask, padding_mask
from aiayn.training.mesh import (
    compiler_options,
    data_mesh,
    mapped_evaluation_step,
)
from aiayn.training.optim import optimizer
from aiayn.training.step import initial_state, loss_and_gradient

ON_GPU = jax.default_backend() == "gpu"
NEAR = 5e-3 if ON_GPU else 2e-5
"""Of the norm. A GPU multiplies float32 in TF32."""


def assert_near(found, wanted, near=NEAR):
    for one, same in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert (one.shape, one.dtype) == (same.shape, same.dtype)
        one, same = (np.asarray(x, np.float64) for x in (one, same))
        assert np.linalg.norm(one - same) <= near * np.linalg.norm(same) + 1e-6


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


@pytest.fixture
def no_stray_access(monkeypatch):
    """Every program may touch its slots of a row: the interpreter pads what is too short for that,
    a GPU goes on into the next row.
    """

    def strict(function):
        def access(part, *values, mask=None, **others):
            assert mask is not None or part.ref.shape[0] == pl.num_programs(0) * fused.BLOCK
            return function(part, *values, mask=mask, **others)

        return access

    for name in ("load", "store"):
        monkeypatch.setattr(fused.triton, name, strict(getattr(fused.triton, name)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    ("kind", "queries", "memory"),
    [
        *((kind, n, n) for kind in ("encoder", "decoder") for n in (64, 192, 100, 7)),
        *(("cross", *sizes) for sizes in [(64, 66), (64, 100), (128, 64), (100, 36), (192, 192)]),
    ],
)
def test_attention_is_the_models(random, no_stray_access, dtype, kind, queries, memory):
    def rows(slots):  # one sentence, two of them, none
        return sentences([slots], [slots // 2, slots // 3], [], slots=slots)

    segments, heads, d_k = rows(queries), 2, 16
    mask = causal_mask(segments) if kind == "decoder" else padding_mask(segments, rows(memory))
    q, k, v = (random(3, n, heads, d_k).astype(dtype) for n in (queries, memory, memory))
    real = (segments > 0)[..., None, None].astype(dtype)
    bar = random(3, queries, heads, d_k).astype(dtype) * real

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
    near = NEAR if dtype == jnp.float32 else 2e-2
    assert_near(found * real, wanted * real, near)
    assert_near(back(bar), back_by_model(bar), near)


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


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("slots", [64, 100, 7, 36])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_add_and_norm_is_the_models(random, monkeypatch, slots, rate, dtype):
    noise = row_noise(jax.random.key(1), jnp.int32(3), jnp.arange(2))

    def both(x, y, scale, bias):
        norm = LayerNorm(128, 1e-6)
        norm.scale, norm.bias = nnx.Param(scale), nnx.Param(bias)
        return add_and_norm(norm, x, y, rate, noise)

    x, y, bar = (random(2, slots, 128).astype(dtype) for _ in range(3))
    arguments = x, y, random(128), random(128)
    wanted, back = jax.vjp(both, *arguments)
    monkeypatch.setattr(aiayn.model.kernels, "use_kernels", lambda: True)
    found, back_by_kernel = jax.vjp(both, *arguments)
    near = NEAR if dtype == jnp.float32 else 2e-2
    assert_near(found, wanted, near)
    assert_near(back_by_kernel(bar), back(bar), near)


# --- Loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_words", [300, 384, 8_200])
def test_the_loss_and_its_gradient_are_the_models(random, num_words):
    logits = 5.0 * random(6, -(-num_words // 128) * 128)
    word = jnp.asarray([0, 1, num_words - 1, 7, 100, 2])
    weight = jnp.asarray([1.0, 1.0, 1.0, 0.0, 1.0, 0.5])
    settings = num_words, 0.9, 0.1 / num_words
    wanted = _lse_and_gradient(logits, word, weight, *settings)
    assert_near(lse_and_gradient(logits, word, weight, *settings), wanted)


# --- All together -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"d_k": 24, "d_v": 24},
        {"attention_dropout_rate": 0.1},
        {"matmul_dtype": "bfloat16"},
    ],
)
def test_a_step_by_kernels_has_the_same_loss_and_gradient(monkeypatch, change):
    """Packed rows whose sides differ in width, one of them empty; where there is no kernel for the
    heads too. On two devices, where there are two; and the loss of evaluation. In bfloat16 kernels
    are as near to float32 as the model's lines are.
    """
    sizes = {"num_layers": 1, "d_model": 128, "d_ff": 64, "num_heads": 2, "d_k": 32, "d_v": 32}
    exact = ModelConfig(**{**sizes, "matmul_dtype": "float32"})
    config = replace(exact, **change)
    src, tgt, segments = rows_of(Training(config, 300, 4, width=64, length=20, steps_per_round=1))
    src, src_segments, tgt, segments = (x.copy() for x in (src, segments, tgt, segments))
    for array in (src, src_segments, tgt, segments):
        array[-1] = 0
    src, src_segments = (np.pad(x, [(0, 0), (0, 2)]) for x in (src, src_segments))
    rows = jax.tree.map(jnp.asarray, make_rows(src, src_segments, tgt, segments, bos=2))
    train = TrainConfig()
    state = initial_state(config, 300, 0, optimizer(config, train))
    mesh = data_mesh(jax.devices()[:2])

    def both_losses_and_gradient(config, by_kernels):
        monkeypatch.setattr(aiayn.model.kernels, "use_kernels", lambda: by_kernels)
        graphdef = build(config, 300)
        mapped = jax.shard_map(
            partial(loss_and_gradient, graphdef=graphdef, config=train),
            mesh=mesh,
            in_specs=(P(), P(None, "data"), P()),
            out_specs=P(),
            check_vma=False,
        )
        rounds = jax.tree.map(lambda x: x[None], rows)
        *sums, grads = jax.jit(mapped)(state, rounds, jax.random.key(0))
        for layer in jax.tree.leaves(grads, is_leaf=lambda x: isinstance(x, dict) and "key" in x):
            if isinstance(layer, dict):  # there is nothing but rounding in it
                layer["key"]["bias"] *= 0.0
        return *sums, *mapped_evaluation_step(graphdef, mesh)(state.params, rows), grads

    found, wanted = (both_losses_and_gradient(config, each) for each in (True, False))
    if config.matmul_dtype == "float32":
        assert_near(found, wanted)
        return
    true = both_losses_and_gradient(exact, False)
    for one, same, right in zip(*map(jax.tree.leaves, (found, wanted, true)), strict=True):
        error, usual = np.linalg.norm(one - right), np.linalg.norm(same - right)
        assert error <= 2.0 * usual + 1e-3 * np.linalg.norm(right)


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
    assert aiayn.model.kernels.use_kernels() == uses


@pytest.fixture
def like_on_a_gpu(monkeypatch):
    device = type("Device", (), {"compute_capability": "9.0"})
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [device()])
    assert aiayn.model.kernels.use_kernels()


def test_what_is_only_read_is_without_kernels(like_on_a_gpu):
    config = ModelConfig(num_layers=1, d_model=128, d_ff=64, num_heads=2, d_k=32, d_v=32)
    sizes = config, 384, 20, 20
    assert traced_training_flops(*sizes) == pytest.approx(training_flops(*sizes), rel=1e-6)
    assert "all_reduce" in lowered(TRAINING["tiny"], devices(2)).as_text()
    assert aiayn.model.kernels.use_kernels(), "as before"


def test_xla_knows_what_it_is_told_on_a_gpu(monkeypatch):
    monkeypatch.setattr(aiayn.training.mesh, "use_kernels", lambda: False)
    assert compiler_options() is None
    monkeypatch.setattr(aiayn.training.mesh, "use_kernels", lambda: True)
    options = compiler_options()
    assert options
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2
    with pytest.raises(Exception, match="xla_gpu_unheard_of"):
        jax.jit(lambda x: x + 1, compiler_options={"xla_gpu_unheard_of": 1})(1)
