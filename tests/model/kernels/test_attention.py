import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import pallas as pl

import aiayn.model.kernels.attention as fused
from aiayn.config import ModelConfig
from aiayn.model.kernels.attention import BLOCK, attend_by_kernel
from aiayn.model.transformer import MultiHeadAttention, attention, causal_mask, padding_mask
from tests.support.near import NEAR, assert_near


def sentences(*rows, slots):
    """Segments of rows that hold sentences of such lengths, filled up with padding."""
    found = np.zeros((len(rows), slots), np.int32)
    for row, lengths in zip(found, rows, strict=True):
        each = np.repeat(np.arange(1, len(lengths) + 1), lengths)
        row[: len(each)] = each
    return jnp.asarray(found)


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


# A block has 32 slots: less than one, one, some of a second, three of them; and cross attention
# with more blocks on either side, or as many, the last of them full on neither, one or both.
EDGES = [
    ("encoder", 32, 32),
    ("encoder", 36, 36),
    ("decoder", 7, 7),
    ("decoder", 96, 96),
    ("cross", 32, 34),
    ("cross", 70, 36),
]
LARGER = [
    *((kind, n, n) for kind in ("encoder", "decoder") for n in (64, 128, 100)),
    ("encoder", 7, 7),
    *(("cross", *sizes) for sizes in [(64, 66), (64, 100), (128, 64), (100, 36), (128, 128)]),
]


@pytest.mark.parametrize(
    ("kind", "queries", "memory", "dtype"),
    [
        *((*case, jnp.float32) for case in EDGES),
        ("decoder", 40, 40, jnp.bfloat16),
        *(
            pytest.param(*case, dtype, marks=pytest.mark.slow)
            for case in LARGER
            for dtype in (jnp.float32, jnp.bfloat16)
        ),
    ],
)
def test_attention_is_the_models(random, no_stray_access, dtype, kind, queries, memory):
    def rows(slots):  # one sentence, two of them, none
        return sentences([slots], [slots // 2, slots // 3], [], slots=slots)

    assert BLOCK == 32, "choose other EDGES"
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

    def value_and_gradients(function):
        @jax.jit
        def both(q, k, v, bar):
            found, back = jax.vjp(function, q, k, v)
            return found * real, back(bar)

        return both(q, k, v, bar)

    near = NEAR if dtype == jnp.float32 else 2e-2
    assert_near(value_and_gradients(by_kernel), value_and_gradients(by_model), near)


def test_attention_sums_up_the_gradient_of_biases(random):
    mask = causal_mask(sentences([10, 25], [20], slots=40))
    joint, bar = random(2, 40, 6, 16), random(2, 40, 2, 16)

    @jax.jit
    def gradients(joint, biases):
        return jax.vjp(lambda x, b: fused.attention((x,), (b,), mask, 2), joint, biases)[1](bar)

    of_joint, of_bias = gradients(joint, jnp.zeros(6 * 16))
    assert_near(of_bias, of_joint.sum((0, 1)).reshape(-1))


def test_a_query_that_sees_nothing_gets_zeros(random):
    mask = padding_mask(sentences([5], slots=9), sentences([5], slots=9))
    found = jax.jit(fused.attention, static_argnums=3)(
        (random(1, 9, 6, 16),), (jnp.zeros(6 * 16),), mask, 2
    )
    assert not np.asarray(found[:, 5:]).any()
    assert np.asarray(found[:, :5]).all()


@pytest.mark.parametrize("cross", [False, True])
def test_projections_are_joined_but_are_the_models(random, cross):
    config = ModelConfig(d_model=12, num_heads=2, d_k=16, d_v=16)
    layer = MultiHeadAttention(config, rngs=nnx.Rngs(0))
    for part in (layer.query, layer.key, layer.value):
        part.bias[...] = random(32)
    x = random(2, 7, 12)
    memory, slots = (random(2, 5, 12), 5) if cross else (x, 7)
    mask = padding_mask(sentences([7], [3, 4], slots=7), sentences([5], [2, 3], slots=slots))

    @jax.jit
    def both(x, memory):
        maps = layer.query, layer.key, layer.value
        found = attend_by_kernel(*maps, x, memory if cross else x, mask, 2)
        return layer.out(found), layer(x, memory, mask)

    seen = np.asarray(mask.any(-1))[:, 0, :, None]
    found, wanted = both(x, memory)
    assert_near(found * seen, wanted * seen)


def test_attention_has_a_kernel_for_usual_heads():
    assert fused.fits(64, 64, 0.0)
    assert not fused.fits(64, 64, 0.1), "dropout of weights"
    assert not fused.fits(64, 32, 0.0), "keys and values differ"
    assert not fused.fits(24, 24, 0.0), "no power of two"
    assert not fused.fits(8, 8, 0.0), "too small for its products"
