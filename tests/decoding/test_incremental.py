from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aiayn.decoding.incremental import IncrementalDecoder, lay_out
from tests.support.models import (
    MODEL,
    NUM_WORDS,
    TOKENIZER,
    drawn_by_numpy,
    logits,
    random_pairs,
    unpacked_rows,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_a_step_gives_the_logits_of_the_uncached_model():
    # Two hypotheses of each of two sentences, which change places with every word. The second
    # sentence begins a step later, and the first ends one before; what a step without a word of its
    # own writes is written again by the next. One slot is never written.
    graphdef, params = drawn_by_numpy()
    batch, beam, length, room = 2, 2, 4, 5
    pairs = random_pairs([(6, length - 1)] * batch * beam, seed=3)
    sources = [pairs[sentence * beam][0] for sentence in range(batch)]
    pairs = [(sources[n // beam], target) for n, (_, target) in enumerate(pairs)]
    rows = unpacked_rows(pairs)
    wanted_NTV = np.asarray(logits(graphdef, params, rows))
    wanted_BWTV = wanted_NTV.reshape(batch, beam, *wanted_NTV.shape[1:])
    words_BWT = np.asarray(rows.tgt_in_BT).reshape(batch, beam, -1)

    model = nnx.merge(graphdef, params)
    decoder = IncrementalDecoder(model, lay_out(graphdef, params))
    step = jax.jit(decoder.step)
    caches = jax.jit(partial(decoder.start, batch, beam, room, rows.src_BS.shape[1]))()
    sides = (rows.src_BS, rows.src_segments_BS, rows.src_positions_BS)
    caches = jax.jit(decoder.read)(caches, jnp.arange(batch), *(each[::beam] for each in sides))
    places_BWT = np.zeros((batch, beam, room), np.int32)
    for time in range(length + 1):
        age_B = np.array([min(time, length - 1), max(time - 1, 0)])
        order_BW = np.stack([[0, 1] if age % 2 else [1, 0] for age in age_B])
        for sentence, age in enumerate(age_B):
            places_BWT[sentence, :, age] = order_BW[sentence]  # of the hypotheses; now by place:
        by_place_BWT = np.take_along_axis(places_BWT, order_BW[..., None], axis=1)
        word_BW = np.stack([words_BWT[b, order_BW[b], age_B[b]] for b in range(batch)])
        logits_VN, caches = step(
            jnp.asarray(word_BW),
            caches,
            jnp.asarray(age_B),
            jnp.asarray(by_place_BWT),
            rows.src_segments_BS[::beam],
        )
        found_BWV = np.asarray(logits_VN).T.reshape(batch, beam, -1)
        for b, age in enumerate(age_B):
            wanted_WV = wanted_BWTV[b, order_BW[b], age, :NUM_WORDS]
            np.testing.assert_allclose(found_BWV[b, :, :NUM_WORDS], wanted_WV, atol=2e-5)
        assert (found_BWV[..., NUM_WORDS:] < -1e38).all(), "no word"


def test_the_bias_is_one_more_column_of_the_matrix_and_rows_without_a_word_have_the_lowest():
    config = replace(MODEL, num_layers=1, logits_bias=True)
    graphdef, params = drawn_by_numpy(config, TOKENIZER.num_words)
    params["logits_bias"] = jnp.arange(len(params["embedding"]), dtype=jnp.float32)
    table_VE = np.asarray(lay_out(graphdef, params).table_VE)
    words, width = TOKENIZER.num_words, config.d_model
    np.testing.assert_array_equal(table_VE[:, :width], params["embedding"])
    np.testing.assert_array_equal(table_VE[:words, width], np.arange(words))
    assert len(table_VE) > words
    assert (table_VE[words:, width] == np.finfo(np.float32).min).all()
    assert not table_VE[:, width + 1 :].any()
