"""The log-probability of each token, and the most probable ones in its place."""

import numpy as np
import pytest

from tests.support.models import TOKENIZER


def _score(engine, *arguments):
    return engine.score(*arguments).result(60)


def test_those_of_a_text_are_the_writers(text):
    (ids,) = TOKENIZER.encode(["one two three"])
    (wanted,) = text.served.writer.log_probs([ids])
    found = _score(text, [], TOKENIZER.bos, ids)
    np.testing.assert_allclose(found.log_probs_T, wanted, atol=1e-4)


def test_those_of_a_translation_add_up_to_its_score(pair):
    (source, target) = TOKENIZER.encode(["one two three", "six two"])
    ends = [TOKENIZER.eos]
    found = _score(pair, source + ends, TOKENIZER.bos, target + ends)
    ((log_prob, count),) = pair.served.translator.score([("one two three", "six two")])
    assert found.log_probs_T.sum() == pytest.approx(log_prob, abs=1e-4)
    assert len(found.log_probs_T) == count


def test_the_best_are_sorted_and_better_than_any_other(text):
    (ids,) = TOKENIZER.encode(["one two"])
    found = _score(text, [], TOKENIZER.bos, ids)
    assert (np.diff(found.best_log_probs_TC) <= 0).all()
    for place, number in enumerate(ids):
        in_place = dict(zip(found.best_TC[place], found.best_log_probs_TC[place], strict=True))
        own = found.log_probs_T[place]
        assert in_place.get(number, own) == own
        assert number in in_place or own <= min(in_place.values())
        others = found.best_TC[place][:2].tolist()
        each = [_score(text, [], TOKENIZER.bos, [*ids[:place], other]) for other in others]
        for one, wanted in zip(each, found.best_log_probs_TC[place], strict=False):
            assert one.log_probs_T[-1] == pytest.approx(wanted, abs=1e-4)
