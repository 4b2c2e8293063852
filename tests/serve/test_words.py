"""Next words, held against the rule by which the search draws and against whole texts' scores."""

import jax.numpy as jnp
import numpy as np
import pytest

from aiayn.decoding.controls import drawn
from aiayn.decoding.wishes import Wishes
from aiayn.errors import UserError
from aiayn.serve.words import chances, next_words
from tests.support.models import TOKENIZER
from tests.support.served import translator, writer

# Five words: e^2 : e^1 : e^1 : 1 : e^-2.
LOGITS = np.array([1.0, 2.0, 0.0, 1.0, -2.0], np.float32)


@pytest.fixture(scope="module")
def text():
    return writer()


def test_probabilities_are_those_of_scoring_each_continuation(text):
    found = next_words(text, "one two", temperature=0.7)
    (ids,) = TOKENIZER.encode(["one two"])
    scored = text.writer.log_probs([[*ids, word.id] for word in found.words[:5]])
    for word, log_probs in zip(found.words, scored, strict=False):
        assert np.log(word.probability) == pytest.approx(log_probs[-1], abs=1e-4)
        if word.text is not None:
            assert word.text == TOKENIZER.decode([[*ids, word.id]])[0]
    ranks = [word.probability for word in found.words]
    assert ranks == sorted(ranks, reverse=True)
    assert found.num_words == found.num_kept == TOKENIZER.num_words
    assert sum(word.chosen for word in found.words) <= 1 + 1e-9


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"top_k": 2},
        {"top_k": 3, "temperature": 0.5},
        {"top_p": 0.6},
        {"top_p": 0.9, "temperature": 2.0, "top_k": 4},
        {"min_p": 0.3},
        {"min_p": 0.05, "top_p": 0.99},
        {"temperature": 0.0},
    ],
)
def test_what_may_be_drawn_is_what_the_search_draws_from(wishes):
    # Noise that favours one word above all others draws it if and only if it may be drawn.
    asked = Wishes(sample=1, **wishes)
    found = chances(LOGITS, asked)
    assert found.sum() == pytest.approx(1.0)

    def settings(name, dtype):
        value = getattr(asked, name)
        return None if value is None else jnp.full(5, value, dtype)

    heat = 1.0 if asked.temperature is None else asked.temperature
    words = drawn(
        jnp.tile(LOGITS, (5, 1)),
        1e3 * jnp.eye(5),
        jnp.full(5, heat, jnp.float32),
        settings("top_k", jnp.int32),
        settings("top_p", jnp.float32),
        settings("min_p", jnp.float32),
    )
    kept = [word for word, drawn_word in enumerate(np.asarray(words)) if word == drawn_word]
    assert kept == np.flatnonzero(found).tolist()
    # Among those kept, the ratio is that of the tempered softmax.
    if heat:
        ratios = np.exp((LOGITS[kept] - 2.0) / heat)
        np.testing.assert_allclose(found[kept] / found[1], ratios, rtol=1e-6)


def test_by_hand():
    # Of e^2, e, e, 1 and e^-2 the first three sum to e^2 + 2e.
    found = chances(LOGITS, Wishes(sample=1, top_k=3))
    total = np.e**2 + 2 * np.e
    np.testing.assert_allclose(found, [np.e / total, np.e**2 / total, 0, np.e / total, 0])


def test_a_text_goes_on_with_what_is_text_alone(text, monkeypatch):
    special = [TOKENIZER.pad, TOKENIZER.bos, TOKENIZER.eos, TOKENIZER.unknown]
    (spelled,) = TOKENIZER.encode(["two"])
    half, word = TOKENIZER.ids(["<0xC3>"])[0], spelled[0]
    logits = np.full(TOKENIZER.num_words, -9.0, np.float32)
    logits[[*special, half, word]] = np.arange(6.0, 0.0, -1.0)
    monkeypatch.setattr("aiayn.serve.words._logits", lambda writer, ids: logits)
    found = {each.id: each.text for each in next_words(text, "one").words}
    assert [found[n] for n in (*special, half)] == [None] * 5
    assert found[word] == TOKENIZER.decode([[*TOKENIZER.encode(["one"])[0], word]])[0]


def test_a_text_that_never_ends_is_not_drawn_to_end(text, monkeypatch):
    monkeypatch.setattr(type(TOKENIZER), "has_eos", False)
    found = {word.id: word for word in next_words(text, "one", temperature=0.0).words}
    never = next_words(text, "one")
    assert never.num_kept == TOKENIZER.num_words - 1
    assert found.keys() == {word.id for word in never.words}


def test_what_cannot_be_shown_is_refused(text):
    with pytest.raises(UserError, match="pair translates; wanted a language model"):
        next_words(translator(), "one")
    with pytest.raises(UserError, match="temperature is -1"):
        next_words(text, "one", temperature=-1.0)
    (length,) = map(len, TOKENIZER.encode(["one " * 50]))
    with pytest.raises(UserError, match=f"The text has {length} tokens; wanted 0 to 31"):
        next_words(text, "one " * 50)
