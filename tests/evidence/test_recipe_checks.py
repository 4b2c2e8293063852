"""A claim about training or decoding fails when its code is broken."""

from dataclasses import replace
from typing import Any

import jax
import pytest

import aiayn.decoding.search
import aiayn.evaluation.average
import aiayn.model.transformer
import aiayn.training.mesh
import aiayn.training.optim
from aiayn.evidence.claims import entries

_rate = aiayn.training.optim.learning_rate
_adam = aiayn.training.optim.optimizer
_step = aiayn.training.mesh.train_step


def _step_of_a_sum(state, rows, key, *, optimizer, **about):
    """As if the gradient were not divided by the tokens of an update."""

    def update(grads, *arguments, **options):
        tokens = (rows.tgt_segments_BT > 0).sum()
        return optimizer.update(jax.tree.map(lambda g: g * tokens, grads), *arguments, **options)

    return _step(state, rows, key, optimizer=optimizer._replace(update=update), **about)


_jitted_search: Any = aiayn.decoding.search.search

BROKEN = {
    "dropout": (aiayn.model.transformer, "dropout", lambda x, rate, noise: x),
    "schedule": (aiayn.training.optim, "learning_rate", lambda *a: 2 * _rate(*a)),
    "adam": (aiayn.training.optim, "optimizer", lambda m, t: _adam(m, replace(t, adam_b2=0.999))),
    "adam, step": (aiayn.training.mesh, "train_step", _step_of_a_sum),
    "averaging": (aiayn.evaluation.average, "average", lambda kept, steps: kept.params(steps[-1])),
    "beam": (aiayn.decoding.search, "length_penalty", lambda length, alpha: length**alpha),
}


@pytest.mark.parametrize(
    "id", [pytest.param(id, marks=[pytest.mark.slow] * ("adam" in id)) for id in BROKEN]
)
def test_a_claim_fails_when_its_code_is_broken(id, monkeypatch):
    (entry,) = (entry for entry in entries({}, {}) if entry.id == id.partition(",")[0])
    monkeypatch.setattr(*BROKEN[id])
    _jitted_search.clear_cache()
    assert entry.decide().status == "fails"
