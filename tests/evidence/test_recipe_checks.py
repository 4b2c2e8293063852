"""A claim about training or decoding fails when its code is broken."""

import pytest

import aiayn.decoding.search
import aiayn.model.transformer
import aiayn.training.optim
from aiayn.evidence.claims import entries

_rate = aiayn.training.optim.learning_rate

BROKEN = {
    "dropout": (aiayn.model.transformer, "dropout", lambda x, rate, noise: x),
    "schedule": (aiayn.training.optim, "learning_rate", lambda *a: 2 * _rate(*a)),
    "beam": (aiayn.decoding.search, "length_penalty", lambda length, alpha: length**alpha),
}


@pytest.mark.parametrize("id", BROKEN)
def test_a_claim_fails_when_its_code_is_broken(id, monkeypatch):
    (entry,) = (entry for entry in entries({}, {}) if entry.id == id)
    monkeypatch.setattr(*BROKEN[id])
    assert entry.decide().status == "fails"
