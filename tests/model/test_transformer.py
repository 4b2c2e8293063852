import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aiayn.config import ModelConfig
from aiayn.model.structure import count_parameters
from aiayn.model.transformer import (
    attention,
    causal_mask,
    padding_mask,
    sinusoids,
)
from tests.support.models import (
    MODEL,
    NUM_WORDS,
    logits,
    one_packed_row,
    random_pairs,
    transformer,
    unpacked_rows,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_attention_weighs_values_by_softmax_of_scaled_scores():
    # d_k = 4, so the scores are 0 and ln 3, the weights 1/4 and 3/4, and the output 3/4 of 8.
    q = jnp.array([1.0, 0, 0, 0]).reshape(1, 1, 1, 4)
    k = jnp.zeros((1, 1, 2, 4)).at[0, 0, 1, 0].set(2 * math.log(3))
    v = jnp.array([0.0, 8.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(attention(q, k, v, jnp.ones((1, 1, 1, 2), bool)), 6.0, rtol=1e-6)
    only_first = jnp.array([True, False]).reshape(1, 1, 1, 2)
    np.testing.assert_allclose(attention(q, k, v, only_first), 0.0, atol=1e-30)


def test_a_query_that_may_look_nowhere_gets_the_mean_not_nan():
    v = jnp.array([2.0, 4.0]).reshape(1, 1, 2, 1)
    zeros = jnp.zeros((1, 1, 2, 3))
    out = attention(zeros[:, :, :1], zeros, v, jnp.zeros((1, 1, 1, 2), bool))
    np.testing.assert_allclose(out, 3.0)


def test_masks_keep_sentences_padding_and_the_future_apart():
    segments = jnp.array([[1, 1, 2, 0]])
    x = True
    o = False
    np.testing.assert_array_equal(
        padding_mask(segments, segments)[0, 0],
        [[x, x, o, o], [x, x, o, o], [o, o, x, o], [o, o, o, o]],
    )
    np.testing.assert_array_equal(
        causal_mask(segments)[0, 0],
        [[x, o, o, o], [x, x, o, o], [o, o, x, o], [o, o, o, o]],
    )


def test_interleaved_positions_are_the_papers_formula():
    # PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos of the same, for d = 6.
    wanted = [f(7 / 10_000 ** (2 * i / 6)) for i in range(3) for f in (math.sin, math.cos)]
    np.testing.assert_allclose(
        sinusoids(jnp.array([[7]]), 6, "interleaved")[0, 0], wanted, rtol=1e-5
    )


def test_halves_are_tensor2tensors_layout():
    # Timescales from 1 to 10,000 inclusive: exponents 0, 1/2, 1 for d = 6; sines first.
    angles = [7 / 10_000 ** (i / 2) for i in range(3)]
    wanted = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    np.testing.assert_allclose(sinusoids(jnp.array([[7]]), 6, "halves")[0, 0], wanted, rtol=1e-5)


def test_the_target_space_is_one_vector_more_on_every_source_word():
    # 32 rows of d_model 12, of which the first is added on the source side, and nothing else is.
    config = replace(MODEL, target_space_embedding=True)
    assert count_parameters(config, NUM_WORDS) - count_parameters(MODEL, NUM_WORDS) == 32 * 12
    graphdef, params = transformer(config)
    model = nnx.merge(graphdef, params)
    ids, positions = jnp.array([[5, 6]]), jnp.array([[0, 1]])
    more = model.embed(ids, positions, "src") - model.embed(ids, positions, "tgt")
    wanted = np.broadcast_to(params["target_space"][0], (1, 2, 12))
    np.testing.assert_allclose(more, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"positions": "learned", "max_positions": 16},
        {"positions": "halves", "target_space_embedding": True},
        {"positions": "huggingface", "activation": "swish", "logits_bias": True},
    ],
)
def test_packed_logits_equal_unpacked_ones(changes):
    graphdef, params = transformer(replace(MODEL, **changes))
    pairs = random_pairs([(3, 5), (7, 2), (4, 4)])
    packed = logits(graphdef, params, one_packed_row(pairs))
    unpacked = logits(graphdef, params, unpacked_rows(pairs, 12))
    start = 0
    for number, (_, target) in enumerate(pairs):
        length = len(target) + 1
        np.testing.assert_allclose(
            packed[0, start : start + length], unpacked[number, :length], rtol=2e-4, atol=2e-5
        )
        start += length


def test_a_word_is_seen_by_itself_and_later_slots_of_its_sentence_only():
    graphdef, params = transformer()
    rows = one_packed_row(random_pairs([(3, 4), (5, 3)]))  # target slots 0-4, 5-8, 9-11 empty
    before = np.asarray(logits(graphdef, params, rows))[0]
    for slot, last in ((2, 4), (5, 8), (8, 8)):
        changed = rows._replace(tgt_in_BT=rows.tgt_in_BT.at[0, slot].add(1))
        moved = np.abs(np.asarray(logits(graphdef, params, changed))[0] - before).max(axis=-1) > 0
        assert np.flatnonzero(moved[:9]).tolist() == list(range(slot, last + 1))


def test_a_source_word_is_seen_by_its_own_sentence_only():
    graphdef, params = transformer()
    rows = one_packed_row(random_pairs([(3, 4), (5, 3)]))
    before = np.asarray(logits(graphdef, params, rows))[0]
    changed = rows._replace(src_BS=rows.src_BS.at[0, 6].add(1))
    moved = np.abs(np.asarray(logits(graphdef, params, changed))[0] - before).max(axis=-1) > 0
    assert np.flatnonzero(moved[:9]).tolist() == [5, 6, 7, 8]


def test_padding_and_batch_mates_change_nothing():
    graphdef, params = transformer()
    pairs = random_pairs([(3, 5), (7, 2)])
    alone = logits(graphdef, params, unpacked_rows(pairs[:1]))
    together = logits(graphdef, params, unpacked_rows(pairs, 16))
    np.testing.assert_allclose(together[0, :6], alone[0], rtol=2e-4, atol=2e-5)


def test_unused_vocabulary_rows_are_never_predicted():
    graphdef, params = transformer()
    found = logits(graphdef, params, unpacked_rows(random_pairs([(2, 3)])))
    assert found.shape[-1] == 384
    assert float(jax.nn.softmax(found)[..., NUM_WORDS:].max()) == 0.0


def test_bfloat16_matmuls_stay_near_float32():
    wide, params = transformer()
    narrow, _ = transformer(ModelConfig(**{**MODEL.__dict__, "matmul_dtype": "bfloat16"}))
    rows = unpacked_rows(random_pairs([(5, 6)]))
    a, b = (logits(graphdef, params, rows)[..., :NUM_WORDS] for graphdef in (wide, narrow))
    assert b.dtype == jnp.bfloat16
    error = jnp.linalg.norm(a - b.astype(jnp.float32)) / jnp.linalg.norm(a)
    assert float(error) < 0.03
