from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aiayn.data.rows import make_rows
from aiayn.evidence.gpt_checks import GPT1
from aiayn.model import language_model, transformer
from aiayn.model import layers as model_layers
from aiayn.model.dropout import row_noise
from aiayn.model.interface import AutoregressiveModel
from aiayn.model.language_model import LanguageModel
from aiayn.model.structure import abstract_parameters, by_name, count_parameters
from aiayn.model.transformer import VOCABULARY_MULTIPLE, DecoderLayer, EncoderLayer, causal_mask
from tests.support.models import MODEL, drawn_by_numpy, logits, on_device

WRITER = replace(MODEL, kind="decoder")
pytestmark = pytest.mark.usefixtures("strict_dtypes")


def _row(*texts):
    """Texts one after another in a row of twelve slots."""
    ids = [number for text in texts for number in text]
    segments = [place for place, text in enumerate(texts, 1) for _ in text]
    sides = [np.array([each + [0] * (12 - len(each))], np.int32) for each in (ids, segments)]
    none = np.zeros((1, 0), np.int32)
    return on_device(make_rows(none, none, *sides, bos=2))


@pytest.fixture(scope="module")
def writer():
    return drawn_by_numpy(WRITER)


def test_it_is_what_training_asks_of_a_model(writer):
    assert isinstance(nnx.merge(*writer), AutoregressiveModel)


def test_a_word_changes_nothing_before_it(writer):
    before = logits(*writer, _row([5, 6, 7, 8, 9, 3]))
    after = logits(*writer, _row([5, 6, 7, 40, 41, 3]))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (before[:, 4] != after[:, 4]).any()


def test_texts_in_one_row_do_not_see_each_other(writer):
    alone = logits(*writer, _row([7, 8, 9, 3]))[0, :4]
    first, second = (logits(*writer, _row(text, [7, 8, 9, 3])) for text in ([5, 6, 3], [9, 9, 3]))
    np.testing.assert_array_equal(first[0, 3:7], second[0, 3:7])
    np.testing.assert_allclose(first[0, 3:7], alone, atol=1e-5)


def test_its_layer_is_the_decoders_without_attention_to_an_encoder():
    """Whose middle sublayer, where it adds nothing, is a norm of what is normal already."""
    layer = DecoderLayer(MODEL, rngs=nnx.Rngs(0))
    own = EncoderLayer(MODEL, rngs=nnx.Rngs(1))
    for name in ("self_attention", "self_norm", "feed_forward", "feed_forward_norm"):
        nnx.update(getattr(own, name), nnx.state(getattr(layer, name)))
    out = layer.cross_attention.out
    out.kernel[...], out.bias[...] = jnp.zeros_like(out.kernel[...]), jnp.zeros_like(out.bias[...])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, MODEL.d_model)), jnp.float32)
    segments = jnp.ones((1, 5), jnp.int32)
    mask = causal_mask(segments)
    with_memory = layer(x, x, mask, mask)
    # Which changes it by its epsilon alone.
    np.testing.assert_allclose(with_memory, own(x, mask), atol=1e-4)


def test_its_parameters_are_named_as_the_decoders_are():
    own = by_name(abstract_parameters(WRITER, 300))
    translators = by_name(abstract_parameters(MODEL, 300))
    assert own.items() <= translators.items()
    left = translators.keys() - own.keys()
    assert all("encoder." in name or ".cross_" in name for name in left)


def test_gpt_1_has_as_many_parameters_as_published():
    words = 40_478
    spare = -words % VOCABULARY_MULTIPLE * GPT1.d_model
    assert count_parameters(GPT1, words) - spare == 116_534_784


def test_the_embedding_is_scaled_unless_the_recipe_says_otherwise():
    config = replace(WRITER, positions="learned", max_positions=8)
    ids, positions = jnp.array([[5, 6]]), jnp.array([[0, 1]])
    for scaled, factor in ((True, MODEL.d_model**0.5), (False, 1.0)):
        model = LanguageModel(replace(config, scale_embedding=scaled), 300, rngs=nnx.Rngs(0))
        wanted = model.embedding[...][ids] * factor + model.tgt_positions[...][positions]
        np.testing.assert_allclose(model.embed(ids, positions, "tgt"), wanted, rtol=1e-6)


def test_dropout_is_on_the_embedding_the_attention_and_each_sublayer(monkeypatch):
    rates = []
    for module in (language_model, transformer, model_layers):
        monkeypatch.setattr(module, "dropout", lambda x, rate, _: rates.append(rate) or x)
    config = replace(WRITER, num_layers=1, attention_dropout_rate=0.2, relu_dropout_rate=0.3)
    noise = row_noise(jax.random.key(0), jnp.int32(0), jnp.arange(1))
    model = LanguageModel(config, 300, rngs=nnx.Rngs(0))
    jax.eval_shape(model.features, _row([5, 6, 3]), noise)
    assert rates == [0.1, 0.2, 0.1, 0.3, 0.1]
