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
    # Two hypotheses of each of two sentences, which change places with every word. The first word
    # is the third step of the search, so the slots of the cache go round; one is never written.
    graphdef, params = drawn_by_numpy()
    batch, beam, length, room, began = 2, 2, 4, 5, 3
    pairs = random_pairs([(6, length - 1)] * batch * beam, seed=3)
    sources = [pairs[sentence * beam][0] for sentence in range(batch)]
    pairs = [(sources[n // beam], target) for n, (_, target) in enumerate(pairs)]
    rows = unpacked_rows(pairs)
    wanted_NTV = np.asarray(logits(graphdef, params, rows))
    wanted_BWTV = wanted_NTV.reshape(batch, beam, *wanted_NTV.shape[1:])

    model = nnx.merge(graphdef, params)
    decoder = IncrementalDecoder(model, lay_out(graphdef, params))
    step = jax.jit(decoder.step)
    caches = jax.jit(partial(decoder.start, batch, beam, room, rows.src_BS.shape[1]))()
    sides = (rows.src_BS, rows.src_segments_BS, rows.src_positions_BS)
    caches = jax.jit(decoder.read)(caches, jnp.arange(batch), *(each[::beam] for each in sides))
    places_BWT = np.zeros((batch, beam, room), np.int32)
    for age in range(length):
        time, order_W = began + age, [0, 1] if age % 2 else [1, 0]
        places_BWT[:, :, time % room] = order_W  # of the hypotheses; now by place:
        word_BW = np.asarray(rows.tgt_in_BT).reshape(batch, beam, -1)[:, order_W, age]
        logits_VN, caches = step(
            jnp.asarray(word_BW),
            caches,
            jnp.asarray(time),
            jnp.full(batch, age),
            jnp.asarray(places_BWT[:, order_W]),
            rows.src_segments_BS[::beam],
        )
        found_BWV = np.asarray(logits_VN).T.reshape(batch, beam, -1)
        np.testing.assert_allclose(
            found_BWV[..., :NUM_WORDS], wanted_BWTV[:, order_W, age, :NUM_WORDS], atol=2e-5
        )
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
