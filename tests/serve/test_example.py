"""The stored example is made of the answers that the page gets."""

import msgspec
import pytest

from aiayn.serve import example
from aiayn.serve.beams import beam
from tests.support.served import translator


def test_it_is_what_the_routes_give_with_few_digits(monkeypatch):
    monkeypatch.setattr(example, "TEXT", "one two three")
    monkeypatch.setattr(example, "PAIR", ("one two three four", "four two three one"))
    served = translator()
    written = example.as_json(example.example_of(served))
    found = msgspec.json.decode(written, type=example.Example)
    wanted = beam(served, "one two three")
    assert [output.text for output in found.beam.best] == [each.text for each in wanted.best]
    for output, each in zip(found.beam.best, wanted.best, strict=True):
        assert output.path == each.path
        assert output.score == pytest.approx(each.score, abs=1e-6)
        # The sum that the page writes out has four digits.
        assert round(output.log_prob / output.penalty, 4) == round(output.score, 4)
    (first, *_) = wanted.steps[0]
    assert found.beam.steps[0][0].log_prob == pytest.approx(first.log_prob, abs=0.0005)
    assert found.attention.target == wanted.best[0].text
    assert found.space.texts == list(example.PAIR)
