from pathlib import Path

import pytest

from aiayn.errors import UserError
from aiayn.evidence.gpt_checks import GPT1
from aiayn.interop.gpt_config import end_of_text, model_config

WHERE = Path("gpt") / "config.json"
PUBLISHED = {
    # As the model of 2018 says it.
    "afn": "gelu",
    "architectures": ["OpenAIGPTLMHeadModel"],
    "attn_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "openai-gpt",
    "n_ctx": 512,
    "n_embd": 768,
    "n_head": 12,
    "n_layer": 12,
    "n_positions": 512,
    "n_special": 0,
    "predict_special_tokens": True,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 40478,
}


@pytest.mark.parametrize("config", [PUBLISHED, {"model_type": "openai-gpt"}])
def test_the_published_settings_are_those_of_the_paper_and_the_defaults(config):
    assert model_config(config, WHERE) == GPT1


@pytest.mark.parametrize(
    ("name", "ours"), [("gelu", "gelu"), ("silu", "swish"), ("swish", "swish"), ("relu", "relu")]
)
def test_activations_have_the_names_that_this_model_gives_them(name, ours):
    assert model_config({**PUBLISHED, "afn": name}, WHERE).activation == ours


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, r"'gpt2'; wanted 'openai-gpt' \(OpenAI.*norms before the sublay"),
        ({"architectures": ["OpenAIGPTDoubleHeadsModel"]}, "architectures is"),
        ({"afn": "gelu_new"}, "afn is 'gelu_new'; wanted one of gelu, relu, silu, swish"),
        ({"embd_pdrop": 0.2}, "embd_pdrop is 0.2; wanted resid_pdrop, 0.1"),
        ({"attn_pdrop": 1.0}, "attn_pdrop is 1.0; wanted 0 <= rate < 1"),
        ({"n_embd": 770}, "n_embd is 770; wanted a multiple of the 12 heads"),
        ({"n_embd": 36, "n_head": 4, "n_layer": "2"}, "n_layer is '2'; wanted a whole number"),
        ({"n_ctx": 256}, "n_positions is 512; wanted n_ctx, 256"),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon is 0; wanted a positive number"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False; wanted True"),
        ({"n_inner": 99}, "n_inner is 99, which is not known here"),
        ({"n_embd": 9, "n_head": 3}, "config.json: model.d_model is 9; wanted an even number"),
    ],
)
def test_what_has_no_counterpart_here_is_refused_by_name(changes, message):
    with pytest.raises(UserError, match=message):
        model_config({**PUBLISHED, **changes}, WHERE)


def test_a_text_ends_by_the_file_of_the_search_where_there_is_one():
    config = {**PUBLISHED, "eos_token_id": 7}
    assert end_of_text(PUBLISHED, None, WHERE.parent) is None
    assert end_of_text(config, None, WHERE.parent) == 7
    assert end_of_text(config, {}, WHERE.parent) is None
    assert end_of_text(config, {"eos_token_id": [9]}, WHERE.parent) == 9
    for odd in ("7", [7, 9], 40_478, True):
        with pytest.raises(
            UserError, match=r"generation_config.json: eos_token_id is .*wanted one"
        ):
            end_of_text(config, {"eos_token_id": odd}, WHERE.parent)
