"""GPT-1's claims: its count by hand, and that a check sees what is broken."""

import jax
import pytest

from aiayn.evidence import gpt_checks
from aiayn.evidence.gpt_checks import GPT1, PARAMETERS, WORDS
from aiayn.model import language_model
from aiayn.model.transformer import padding_mask


def test_the_count_of_parameters_by_hand():
    # Four products of 768 x 768 and two of 768 x 3,072 with their biases, and two norms.
    layer = 4 * (768 * 768 + 768) + 2 * 768 * 3_072 + 3_072 + 768 + 2 * 2 * 768
    assert layer == 7_087_872
    assert 40_478 * 768 + 512 * 768 + 12 * layer == PARAMETERS
    assert gpt_checks.parameters()[:2] == (f"{PARAMETERS:,}", True)


def test_sizes_are_those_of_the_paper_and_other_ones_are_seen(monkeypatch):
    assert gpt_checks.sizes()[:2] == ("12 layers, 768, 12 heads, 3,072", True)
    shapes = gpt_checks.abstract_parameters(GPT1, WORDS)
    shallow = {**shapes, "decoder": {n: shapes["decoder"][n] for n in range(11)}}
    monkeypatch.setattr(gpt_checks, "abstract_parameters", lambda *_: shallow)
    assert not gpt_checks.sizes().holds


@pytest.mark.slow
def test_the_block_the_mask_and_the_activation_hold_and_another_one_is_seen(monkeypatch):
    for check in (gpt_checks.block, gpt_checks.causality, gpt_checks.gelu):
        assert check().holds, check.__name__
    monkeypatch.setattr(language_model, "causal_mask", lambda s_BT: padding_mask(s_BT, s_BT))
    assert not gpt_checks.causality().holds, "words look ahead"
    assert not gpt_checks.block().holds
    monkeypatch.undo()
    monkeypatch.setattr("aiayn.model.transformer.activation", lambda config: jax.nn.relu)
    assert not gpt_checks.gelu().holds
