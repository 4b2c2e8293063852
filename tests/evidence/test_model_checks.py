"""A claim about the model fails when the model's code is broken."""

from dataclasses import replace

import jax.numpy as jnp
import pytest

import aiayn.evidence.model_checks
import aiayn.model.transformer
from aiayn.evidence.claims import entries

_weights = aiayn.model.transformer.attention_weights


def _unscaled(q, k, mask):
    return _weights(q * q.shape[-1] ** 0.5, k, mask)


def _pre_norm(self, x, mask, noise=None):
    normal = self.self_norm(x)
    x = x + self.self_attention(normal, normal, mask)
    return x + self.feed_forward(self.feed_forward_norm(x))


def _other_heads(self, x):
    """As if the columns of a head lay h apart."""
    return jnp.moveaxis(x.reshape(*x.shape[:2], -1, self.config.num_heads), 3, 1)


BROKEN = {
    "heads": (aiayn.model.transformer.MultiHeadAttention, "_split", _other_heads),
    "attention": (aiayn.model.transformer, "attention_weights", _unscaled),
    "causal-mask": (
        aiayn.model.transformer,
        "causal_mask",
        lambda s: aiayn.model.transformer.padding_mask(s, s),
    ),
    "post-norm": (aiayn.model.transformer.EncoderLayer, "__call__", _pre_norm),
    "positions": (
        aiayn.model.transformer,
        "sinusoids",
        lambda p, d, layout: jnp.zeros((*p.shape, d)),
    ),
    "layers": (
        aiayn.evidence.model_checks,
        "BASE_MODEL",
        replace(aiayn.evidence.model_checks.BASE_MODEL, num_layers=5),
    ),
}


@pytest.mark.parametrize("id", BROKEN)
def test_a_claim_fails_when_its_code_is_broken(id, monkeypatch):
    (entry,) = (entry for entry in entries({}, {}) if entry.id == id)
    monkeypatch.setattr(*BROKEN[id])
    assert entry.decide().status == "fails"
