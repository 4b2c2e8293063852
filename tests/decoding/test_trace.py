"""A search that is watched finds what one finds that is not, and competes as the model says."""

import jax
import numpy as np
import pytest

from aiayn.decoding.trace import trace_of
from tests.support.models import TOKENIZER, logits, unpacked_rows
from tests.support.served import translator as served

SOURCE = "one two three"


@pytest.fixture(scope="module")
def translator():
    return served().translator


@pytest.fixture(scope="module")
def trace(translator):
    (ids,) = TOKENIZER.encode([SOURCE])
    return trace_of(translator, ids, [], num_best=3)


def test_it_finds_what_the_search_finds(translator, trace):
    ((*wanted,),) = translator.detailed([SOURCE], num_best=3, details=False)
    for words, score, each in zip(
        trace.found.words_AWT[0], trace.found.scores_AW[0], wanted, strict=True
    ):
        assert words[: len(each.tokens)].tolist() == TOKENIZER.ids(each.tokens)
        assert score == pytest.approx(each.score, rel=1e-5)
    assert not trace.found.cut_A.any()
    longest = max(len(each.tokens) for each in wanted)
    assert longest <= trace.num_steps <= len(TOKENIZER.encode([SOURCE])[0]) + 8 + 1


def test_the_first_words_that_compete_are_the_most_probable_of_the_model(translator, trace):
    (ids,) = TOKENIZER.encode([SOURCE])
    rows = unpacked_rows([(ids, [])], width=32)
    first_V = jax.nn.log_softmax(
        logits(translator.programs.graphdef, translator.params, rows)[0, 0]
    )
    wanted = np.argsort(-np.asarray(first_V))[:6]
    assert trace.steps.word_BC[0].tolist() == wanted.tolist()
    np.testing.assert_allclose(trace.steps.log_probs_BC[0], first_V[wanted], atol=1e-4)
    assert not trace.steps.parent_BC[0].any(), "all continue the one beginning"


def test_the_best_that_do_not_end_live_on(trace):
    for step in range(int(trace.num_steps) - 1):
        log_probs_C, words_C, _, next_W = (part[step] for part in trace.steps)
        living = [n for n in range(6) if words_C[n] != TOKENIZER.eos and log_probs_C[n] > -np.inf]
        found = [n for n in next_W.tolist() if n in living]
        assert found == living[:3]


def test_what_is_forced_is_all_that_competes(translator):
    (ids,) = TOKENIZER.encode([SOURCE])
    forced = [7, 9]
    trace = trace_of(translator, ids, forced, num_best=3)
    for step, word in enumerate(forced):
        there = trace.steps.log_probs_BC[step] > -np.inf
        assert trace.steps.word_BC[step][there].tolist() == [word]
    assert np.asarray(trace.found.words_AWT)[0, :, :2].tolist() == [forced] * 3
