import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aiayn.model.layers
import aiayn.model.transformer
from aiayn.data.rows import Rows
from aiayn.model.dropout import row_noise
from aiayn.model.structure import count_parameters
from aiayn.model.transformer import (
    DecoderLayer,
    EncoderLayer,
    FeedForward,
    MultiHeadAttention,
    activation,
    attention,
    causal_mask,
    padding_mask,
    sinusoids,
)
from tests.support.models import (
    MODEL,
    NUM_WORDS,
    drawn_by_numpy,
    logits,
    one_packed_row,
    random_pairs,
    unpacked_rows,
)

pytestmark = pytest.mark.usefixtures("strict_dtypes")


ONE_LAYER = replace(MODEL, num_layers=1)


def alike(rows, batch=3, width=20):
    """The rows with empty slots and empty rows added: of one shape, to compile for once."""
    missing = batch - len(rows.src_BS)
    return Rows(*(jnp.pad(x, [(0, missing), (0, width - x.shape[1])]) for x in rows))


def random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


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


def test_hugging_faces_layout_has_the_papers_frequencies():
    angles = [7 / 10_000 ** (2 * i / 6) for i in range(3)]
    wanted = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    found = sinusoids(jnp.array([[7]]), 6, "huggingface")[0, 0]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_heads_attend_side_by_side_and_are_joined_by_an_affine_map():
    layer = MultiHeadAttention(ONE_LAYER, rngs=nnx.Rngs(0))
    for number, part in enumerate((layer.query, layer.key, layer.value, layer.out)):
        part.bias[...] = random(*part.bias.shape, seed=number)
    x, memory = random(1, 3, 12), random(1, 4, 12, seed=1)
    mask = jnp.array([[True, True, False, True]] * 3)[None, None]

    def affine(part, x):
        return x @ np.asarray(part.kernel[...], np.float64) + np.asarray(part.bias[...])

    q, k, v = (
        affine(part, np.asarray(states[0], np.float64))
        for part, states in ((layer.query, x), (layer.key, memory), (layer.value, memory))
    )
    heads = []
    for head in range(2):  # d_k = 5, d_v = 7
        keys, values = slice(5 * head, 5 * head + 5), slice(7 * head, 7 * head + 7)
        scores = np.where(mask[0, 0], q[:, keys] @ k[:, keys].T / math.sqrt(5), -np.inf)
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        heads.append(weights @ v[:, values])
    wanted = affine(layer.out, np.concatenate(heads, axis=1))
    np.testing.assert_allclose(layer(x, memory, mask)[0], wanted, rtol=1e-4, atol=1e-5)


def test_the_feed_forward_network_by_hand():
    # Hidden: max(0, 1 − 3) = 0 and max(0, 2 + 1) = 3; then 3 · (4, 5) + (10, 20).
    layer = FeedForward(replace(MODEL, d_model=2, d_ff=2), rngs=nnx.Rngs(0))
    layer.inner.kernel[...], layer.inner.bias[...] = jnp.eye(2), jnp.array([-3.0, 1.0])
    layer.outer.kernel[...] = jnp.array([[100.0, 100.0], [4.0, 5.0]])
    layer.outer.bias[...] = jnp.array([10.0, 20.0])
    np.testing.assert_allclose(layer(jnp.array([[[1.0, 2.0]]])), [[[22.0, 35.0]]], rtol=1e-6)


def test_marians_activation_is_swish():
    swish = activation(replace(MODEL, activation="swish"))
    assert float(swish(jnp.float32(2.0))) == pytest.approx(2 / (1 + math.exp(-2)))


def test_each_sublayer_is_added_to_its_input_and_then_normalised():
    x, memory, ones = random(1, 4, 12), random(1, 3, 12, seed=1), jnp.ones((1, 1, 4, 3), bool)
    mask = causal_mask(jnp.ones((1, 4), jnp.int32))
    layer = EncoderLayer(ONE_LAYER, rngs=nnx.Rngs(0))
    y = layer.self_norm(x + layer.self_attention(x, x, mask))
    y = layer.feed_forward_norm(y + layer.feed_forward(y))
    np.testing.assert_allclose(layer(x, mask), y, rtol=1e-5, atol=1e-6)
    layer = DecoderLayer(ONE_LAYER, rngs=nnx.Rngs(0))
    y = layer.self_norm(x + layer.self_attention(x, x, mask))
    y = layer.cross_norm(y + layer.cross_attention(y, memory, ones))
    y = layer.feed_forward_norm(y + layer.feed_forward(y))
    np.testing.assert_allclose(layer(x, memory, mask, ones), y, rtol=1e-5, atol=1e-6)


def test_words_are_embedded_by_the_matrix_times_the_root_of_d_model():
    graphdef, params = drawn_by_numpy(ONE_LAYER)
    model = nnx.merge(graphdef, params)
    ids, positions = jnp.array([[5, 6]]), jnp.array([[0, 9]])
    wanted = params["embedding"][5:7] * math.sqrt(12) + sinusoids(positions, 12)[0]
    for side in ("src", "tgt"):
        np.testing.assert_allclose(model.embed(ids, positions, side)[0], wanted, rtol=1e-5)
    model = nnx.merge(*drawn_by_numpy(replace(ONE_LAYER, scale_embedding=False)))
    np.testing.assert_array_equal(model.embed_words(ids, "tgt")[0], params["embedding"][5:7])


def test_each_place_of_dropout_has_its_rate_and_noise_of_its_own(monkeypatch):
    seen = []

    def recorded(x, rate, noise):
        seen.append((rate, tuple(np.ravel(noise).tolist())))
        return x

    monkeypatch.setattr(aiayn.model.transformer, "dropout", recorded)
    monkeypatch.setattr(aiayn.model.layers, "dropout", recorded)
    # Sums before a norm by 0.1, weights of attention by 0.2, hidden features by 0.3.
    config = replace(ONE_LAYER, attention_dropout_rate=0.2, relu_dropout_rate=0.3)
    x, mask = random(1, 3, 12), jnp.ones((1, 1, 3, 3), bool)
    noise = row_noise(jax.random.key(0), jnp.int32(0), jnp.arange(1))
    EncoderLayer(config, rngs=nnx.Rngs(0))(x, mask, noise)
    encoder, seen[:] = seen.copy(), []
    DecoderLayer(config, rngs=nnx.Rngs(0))(x, x, mask, mask, noise)
    assert [rate for rate, _ in encoder] == [0.2, 0.1, 0.3, 0.1]
    assert [rate for rate, _ in seen] == [0.2, 0.1, 0.2, 0.1, 0.3, 0.1]
    for places in (encoder, seen):
        assert len({noise for _, noise in places if noise != (None,)}) == len(places)


@pytest.mark.parametrize("rate", ["dropout_rate", "attention_dropout_rate", "relu_dropout_rate"])
def test_each_rate_of_dropout_counts_with_noise_alone(rate):
    none = {"dropout_rate": 0.0, "attention_dropout_rate": 0.0, "relu_dropout_rate": 0.0}
    graphdef, params = drawn_by_numpy(replace(ONE_LAYER, **{**none, rate: 0.5}))
    rows = alike(unpacked_rows(random_pairs([(3, 5)] * 2)))
    noise = row_noise(jax.random.key(0), jnp.int32(0), jnp.arange(3))

    @jax.jit
    def features(params, *noise):
        return nnx.merge(graphdef, params).features(rows, *noise)

    plain, dropped = features(params), features(params, noise)
    assert np.isfinite(dropped).all()
    assert not np.allclose(plain[:2, :6], dropped[:2, :6])
    undropped = nnx.merge(drawn_by_numpy(replace(ONE_LAYER, **none))[0], params)
    np.testing.assert_allclose(jax.jit(undropped.features)(rows, noise), plain, rtol=1e-5)


def test_the_target_space_is_one_vector_more_on_every_source_word():
    # 32 rows of d_model 12, of which the first is added on the source side, and nothing else is.
    config = replace(ONE_LAYER, target_space_embedding=True)
    assert count_parameters(config, NUM_WORDS) - count_parameters(ONE_LAYER, NUM_WORDS) == 32 * 12
    graphdef, params = drawn_by_numpy(config)
    model = nnx.merge(graphdef, params)
    ids, positions = jnp.array([[5, 6]]), jnp.array([[0, 1]])
    more = model.embed(ids, positions, "src") - model.embed(ids, positions, "tgt")
    wanted = np.broadcast_to(params["target_space"][0], (1, 2, 12))
    np.testing.assert_allclose(more, wanted, rtol=1e-4, atol=1e-5)


def test_learned_positions_have_a_table_for_each_side():
    graphdef, params = drawn_by_numpy(replace(ONE_LAYER, positions="learned", max_positions=16))
    model = nnx.merge(graphdef, params)
    ids, positions = jnp.array([[5, 6]]), jnp.array([[0, 9]])
    for side in ("src", "tgt"):
        rows = params[f"{side}_positions"][jnp.array([0, 9])]
        wanted = params["embedding"][5:7] * math.sqrt(12) + rows
        np.testing.assert_allclose(model.embed(ids, positions, side)[0], wanted, rtol=1e-5)


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
    graphdef, params = drawn_by_numpy(replace(MODEL if not changes else ONE_LAYER, **changes))
    pairs = random_pairs([(3, 5), (7, 2), (4, 4)])
    packed = logits(graphdef, params, alike(one_packed_row(pairs)))
    unpacked = logits(graphdef, params, alike(unpacked_rows(pairs)))
    start = 0
    for number, (_, target) in enumerate(pairs):
        length = len(target) + 1
        np.testing.assert_allclose(
            packed[0, start : start + length], unpacked[number, :length], rtol=2e-4, atol=2e-5
        )
        start += length


def test_a_word_is_seen_by_itself_and_later_slots_of_its_sentence_only():
    graphdef, params = drawn_by_numpy()
    rows = alike(one_packed_row(random_pairs([(3, 4), (5, 3)])))  # target slots 0-4, 5-8
    before = np.asarray(logits(graphdef, params, rows))[0]
    for slot, last in ((2, 4), (5, 8), (8, 8)):
        changed = rows._replace(tgt_in_BT=rows.tgt_in_BT.at[0, slot].add(1))
        moved = np.abs(np.asarray(logits(graphdef, params, changed))[0] - before).max(axis=-1) > 0
        assert np.flatnonzero(moved[:9]).tolist() == list(range(slot, last + 1))


def test_a_source_word_is_seen_by_its_own_sentence_only():
    graphdef, params = drawn_by_numpy()
    rows = alike(one_packed_row(random_pairs([(3, 4), (5, 3)])))
    before = np.asarray(logits(graphdef, params, rows))[0]
    changed = rows._replace(src_BS=rows.src_BS.at[0, 6].add(1))
    moved = np.abs(np.asarray(logits(graphdef, params, changed))[0] - before).max(axis=-1) > 0
    assert np.flatnonzero(moved[:9]).tolist() == [5, 6, 7, 8]


def test_padding_and_batch_mates_change_nothing():
    graphdef, params = drawn_by_numpy()
    pairs = random_pairs([(3, 5), (7, 2)])
    alone = logits(graphdef, params, unpacked_rows(pairs[:1]))
    together = logits(graphdef, params, alike(unpacked_rows(pairs)))
    np.testing.assert_allclose(together[0, :6], alone[0], rtol=2e-4, atol=2e-5)


def test_unused_vocabulary_rows_are_never_predicted():
    graphdef, params = drawn_by_numpy()
    found = logits(graphdef, params, alike(unpacked_rows(random_pairs([(2, 3)]))))
    assert found.shape[-1] == 384
    assert float(jax.nn.softmax(found)[..., NUM_WORDS:].max()) == 0.0


@pytest.mark.parametrize("over", ["all", "others"])
def test_the_loss_is_that_of_the_logits(over):
    graphdef, params = drawn_by_numpy(replace(ONE_LAYER, logits_bias=True))
    rows = alike(unpacked_rows(random_pairs([(3, 5), (2, 2)])))

    @jax.jit
    def both(params, rows):
        model = nnx.merge(graphdef, params)
        return model(rows), model.loss(rows, None, 0.2, over), model.loss(rows)

    found, smoothed, plain = both(params, rows)
    log_probs = jax.nn.log_softmax(found[..., :NUM_WORDS])
    right = jax.nn.one_hot(rows.tgt_out_BT, NUM_WORDS)
    others = 0.2 / NUM_WORDS if over == "all" else 0.2 / (NUM_WORDS - 1) * (1 - right)
    for sums, target in ((smoothed, 0.8 * right + others), (plain, right)):
        loss = -((target * log_probs).sum(-1) * rows.weight_BT).sum()
        np.testing.assert_allclose(sums[0], loss, rtol=1e-5)
    np.testing.assert_allclose(smoothed[1], plain[1], rtol=1e-6)


def test_the_first_words_alone_are_predicted_where_that_is_asked():
    pairs = [(s, [word % 128 for word in t]) for s, t in random_pairs([(3, 5), (2, 2)])]
    rows = alike(unpacked_rows(pairs))
    graphdef, params = drawn_by_numpy(ONE_LAYER)
    every = logits(graphdef, params, rows)
    graphdef, _ = drawn_by_numpy(replace(ONE_LAYER, num_outputs=128))

    @jax.jit
    def found(params, rows):
        model = nnx.merge(graphdef, params)
        return model(rows), model.loss(rows, None, 0.2)

    first, (smoothed, _) = found(params, rows)
    np.testing.assert_allclose(first, every[..., :128], rtol=1e-6)
    log_probs = jax.nn.log_softmax(every[..., :128])
    target = 0.8 * jax.nn.one_hot(rows.tgt_out_BT, 128) + 0.2 / 128
    np.testing.assert_allclose(
        smoothed, -((target * log_probs).sum(-1) * rows.weight_BT).sum(), rtol=1e-5
    )


def test_bfloat16_matmuls_stay_near_float32():
    wide, params = drawn_by_numpy()
    narrow, _ = drawn_by_numpy(replace(MODEL, matmul_dtype="bfloat16"))
    rows = alike(unpacked_rows(random_pairs([(5, 6)])))
    real = rows.weight_BT[..., None]
    a, b = (logits(graphdef, params, rows)[..., :NUM_WORDS] for graphdef in (wide, narrow))
    assert b.dtype == jnp.bfloat16
    error = jnp.linalg.norm((a - b.astype(jnp.float32)) * real) / jnp.linalg.norm(a * real)
    assert float(error) < 0.03
