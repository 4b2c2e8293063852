import itertools
import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aiayn.config import DecodeConfig, Experiment
from aiayn.decoding.ensemble import mean_log_probs, stacked
from aiayn.decoding.programs import Programs
from aiayn.decoding.search import search
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.model.saved import Model
from aiayn.model.structure import flatten
from tests.support.models import MODEL, TOKENIZER, drawn_by_numpy, unpacked_rows

BOS, EOS = 2, 3
ONE_LAYER = replace(MODEL, num_layers=1)
WORDS = 8
"""Of which 4 to 7 can be said besides EOS, and the special ones."""


def _models(*seeds, num_words=WORDS):
    return [drawn_by_numpy(ONE_LAYER, num_words, seed)[1] for seed in seeds]


def _together(*members):
    return jax.tree.map(lambda *each: jnp.stack(each), *members)


@pytest.fixture(scope="module")
def programs():
    return Programs(ONE_LAYER, WORDS, keep=False)


def _found(programs, params):
    rows = unpacked_rows([([4, 5, 6], []), ([7, 4], [])], 16)
    weights = programs.lay_out(params)
    settings = {"alpha": 0.0, "bos": BOS, "eos": EOS, "beam_size": 64, "num_best": 20}
    sources = map(jnp.asarray, (rows.src_BS, rows.src_segments_BS))
    return search(
        programs.graphdef,
        params,
        weights,
        *sources,
        jnp.array([3, 3], jnp.int32),
        at_once=2,
        room=3,
        **settings,
    )


def test_the_mean_is_of_probabilities():
    logits = jnp.log(jnp.array([[[0.2, 0.8]], [[0.6, 0.4]]]))
    found = jnp.exp(mean_log_probs(logits + 3.0, axis=2))
    np.testing.assert_allclose(found, [[0.4, 0.6]], rtol=1e-6)


def test_copies_of_a_model_are_the_model(programs):
    (one,) = _models(1)
    alone, copies = _found(programs, one), _found(programs, _together(one, one, one))
    np.testing.assert_array_equal(alone.words_AWT, copies.words_AWT)
    np.testing.assert_allclose(alone.scores_AW, copies.scores_AW, rtol=1e-5)


def test_a_wide_enough_beam_finds_all_outputs_by_the_mean_of_the_models(programs):
    """All outputs of at most two words, whose probabilities are means word by word."""
    members = _models(1, 2)
    found = _found(programs, _together(*members))
    outputs = [[], *([w] for w in range(WORDS)), *itertools.product(range(WORDS), repeat=2)]
    outputs = [list(words) for words in outputs if EOS not in words]
    for number, source in enumerate(([4, 5, 6], [7, 4])):
        rows = unpacked_rows([(source, words) for words in outputs], 16)
        each = np.array([programs.forced_words(params, rows) for params in members], np.float64)
        lengths = [len(words) + 1 for words in outputs]
        mean = np.log(np.exp(each).mean(axis=0))
        scores = [row[:length].sum() for row, length in zip(mean, lengths, strict=True)]
        wanted = sorted(scores, reverse=True)[:20]
        np.testing.assert_allclose(found.scores_AW[number], wanted, rtol=1e-4)
        best = outputs[int(np.argmax(scores))]
        assert found.words_AWT[number, 0].tolist()[: len(best) + 1] == [*best, EOS]
        whole = programs.forced(_together(*members), rows)
        np.testing.assert_allclose(whole, scores, rtol=1e-4)


def test_the_order_of_models_does_not_matter(programs):
    members = _models(1, 2)
    one, other = (_found(programs, _together(*each)) for each in (members, members[::-1]))
    np.testing.assert_array_equal(one.words_AWT, other.words_AWT)
    np.testing.assert_allclose(one.scores_AW, other.scores_AW, atol=1e-5)


def _saved(seed, name="small", config=ONE_LAYER, tokenizer=TOKENIZER):
    _, params = drawn_by_numpy(config, tokenizer.num_words, seed)
    experiment = Experiment(name, model=config, decode=DecodeConfig(slots_per_batch=1_024))
    return Model(experiment, tokenizer, flatten(params))


def test_what_is_reported_is_the_score_of_the_output_of_an_ensemble_too():
    translator = Translator(_saved(1), others=[_saved(2)])
    ((best, *_),) = translator.detailed(["one two"], num_best=2)
    penalty = ((5 + len(best.tokens)) / 6) ** translator.config.length_penalty
    assert sum(best.log_probs) == pytest.approx(best.score * penalty, rel=1e-4)
    assert math.isfinite(best.score)


def test_models_that_do_not_belong_together_are_refused_by_what_differs():
    from aiayn.data.tokenizer import train_tokenizer

    other = train_tokenizer(["un deux trois quatre cinq six sept huit neuf dix"] * 3, 300)
    with pytest.raises(UserError, match=r"other, has another tokenizer \(\w{12}\) than small"):
        stacked(_saved(1), [_saved(2, "other", tokenizer=other)])
    wide = replace(ONE_LAYER, d_ff=24)
    with pytest.raises(UserError, match=r"Model 3 .*wide, has model.d_ff 24; wanted 20, as small"):
        stacked(_saved(1), [_saved(2), _saved(3, "wide", wide)])
    stacked(_saved(1), [_saved(2, config=replace(ONE_LAYER, dropout_rate=0.3))])
    back = _saved(2, "back")
    data = replace(back.experiment.data, src="de", tgt="en")
    back = Model(replace(back.experiment, data=data), TOKENIZER, back.params)
    with pytest.raises(UserError, match=r"Model 2 .*back, has data\.src 'de'; wanted 'en'"):
        stacked(_saved(1), [back])


def test_a_line_is_as_long_as_each_of_the_models_may_read():
    short = _saved(2)
    data = replace(short.experiment.data, max_tokens=12)
    short = Model(replace(short.experiment, data=data), TOKENIZER, short.params)
    assert Translator(_saved(1), others=[short]).max_tokens == 12
