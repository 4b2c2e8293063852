"""The tree of a search, held against the search itself."""

import math

import numpy as np
import pytest

from aiayn.decoding.search import length_penalty
from aiayn.errors import UserError
from aiayn.serve.beams import beam, path_to
from tests.support.models import TOKENIZER
from tests.support.served import translator, writer

SOURCE = "one two three"


@pytest.fixture(scope="module")
def served():
    return translator()


@pytest.fixture(scope="module")
def found(served):
    return beam(served, SOURCE)


def test_the_best_outputs_are_those_of_translate(served, found):
    (wanted,) = served.model.translate([SOURCE], num_best=3)
    assert [output.text for output in found.best] == [each.text for each in wanted]
    for output, hypothesis in zip(found.best, wanted, strict=True):
        assert output.score == pytest.approx(hypothesis.score, rel=1e-5)


def test_a_score_is_the_sum_over_the_penalty(found):
    for output in found.best:
        steps = [found.steps[n][place] for n, place in enumerate(output.path)]
        assert output.length == len(steps)
        assert steps[-1].fate == "ends"
        assert steps[-1].score == pytest.approx(output.score, rel=1e-6)
        assert output.log_prob == steps[-1].log_prob
        product = math.prod(candidate.probability for candidate in steps)
        assert math.log(product) == pytest.approx(output.log_prob, abs=1e-4)
        assert output.penalty == pytest.approx(float(length_penalty(len(steps), found.alpha)))
        assert output.score == pytest.approx(output.log_prob / output.penalty, rel=1e-6)


def test_probabilities_are_those_of_the_model(served, found):
    # Along the path of each output, against what scoring the whole output gives word by word.
    for output in found.best:
        ids = [found.steps[n][place].id for n, place in enumerate(output.path)][:-1]
        (src,) = TOKENIZER.encode([SOURCE])
        (by_word,) = served.translator.forced([(src, ids)], served.translator.programs.forced_words)
        probabilities = [found.steps[n][p].probability for n, p in enumerate(output.path)]
        np.testing.assert_allclose(np.log(probabilities), by_word[: len(ids) + 1], atol=1e-4)


def test_each_step_continues_what_lives_and_as_many_live_as_the_beam_is_wide(found):
    for before, step in zip([[], *found.steps], found.steps, strict=False):
        ranks = [candidate.log_prob for candidate in step]
        assert ranks == sorted(ranks, reverse=True)
        for candidate in step:
            if before:
                parent = before[candidate.parent]
                assert parent.fate == "lives"
                assert candidate.log_prob <= parent.log_prob
            else:
                assert candidate.parent is None
        going_on = [candidate for candidate in step if candidate.id != TOKENIZER.eos]
        assert [each.fate for each in going_on[:3]] == ["lives"] * len(going_on[:3])
        assert all(each.fate == "dropped" for each in going_on[3:])
        ends = [n for n, each in enumerate(step) if each.fate == "ends"]
        assert all(n < 3 and step[n].id == TOKENIZER.eos for n in ends)


def test_the_output_begins_with_any_branch_that_is_forced(served, found):
    branches = [(2, place) for place, each in enumerate(found.steps[2]) if each.fate == "dropped"]
    for step, place in branches[:2]:
        path = path_to(found.steps, step, place)
        prefix = [found.steps[n][p].id for n, p in enumerate(path)]
        forced = beam(served, SOURCE, prefix)
        assert [token.id for token in forced.prefix] == prefix
        for output in forced.best:
            ids = [forced.steps[n][p].id for n, p in enumerate(output.path)]
            assert ids[:3] == prefix
        # What the whole hypothesis has in probability does not depend on being forced.
        last = forced.steps[2][forced.best[0].path[2]]
        assert last.log_prob == pytest.approx(found.steps[2][place].log_prob, abs=1e-4)


def test_what_no_search_can_do_is_refused(served):
    with pytest.raises(UserError, match="text is a language model"):
        beam(writer(), SOURCE)
    for number in (-1, TOKENIZER.num_words, TOKENIZER.eos, TOKENIZER.bos, TOKENIZER.pad):
        with pytest.raises(UserError, match=f"prefix has the id {number}; wanted"):
            beam(served, SOURCE, [number])
    (length,) = map(len, TOKENIZER.encode([SOURCE]))
    with pytest.raises(UserError, match=f"prefix has 99 ids; wanted at most {length + 8}"):
        beam(served, SOURCE, [5] * 99)
