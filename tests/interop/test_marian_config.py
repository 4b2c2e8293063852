from pathlib import Path

import pytest

from aiayn.config import DecodeConfig
from aiayn.errors import UserError
from aiayn.interop.marian_config import Search, model_config

WHERE = Path("opus") / "config.json"
CONFIG = {
    # As the models of OPUS-MT say it, which came before generation_config.json.
    "_name_or_path": "opus",
    "_num_labels": 3,
    "activation_dropout": 0.0,
    "activation_function": "swish",
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "architectures": ["MarianMTModel"],
    "attention_dropout": 0.1,
    "bad_words_ids": [[99]],
    "bos_token_id": 0,
    "classif_dropout": 0.0,
    "d_model": 8,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 20,
    "decoder_layerdrop": 0.0,
    "decoder_layers": 3,
    "decoder_start_token_id": 99,
    "decoder_vocab_size": 100,
    "dropout": 0.2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 20,
    "encoder_layers": 3,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
    "id2label": {"0": "LABEL_0"},
    "is_encoder_decoder": True,
    "max_length": 512,
    "max_position_embeddings": 512,
    "model_type": "marian",
    "normalize_before": False,
    "num_beams": 6,
    "num_hidden_layers": 3,
    "pad_token_id": 99,
    "scale_embedding": True,
    "static_position_embeddings": True,
    "torch_dtype": "float16",
    "transformers_version": "4.22.0.dev0",
    "use_cache": True,
    "vocab_size": 100,
}
VOCABULARY = {"</s>": 0, "<unk>": 1, **{f"w{n}": n for n in range(2, 99)}, "<pad>": 99}


def search(generation=None, **changes):
    return Search({**CONFIG, **changes}, generation, VOCABULARY, WHERE.parent)


def test_a_config_of_opus_mt_is_read():
    found = model_config(CONFIG, WHERE)
    assert (found.num_layers, found.d_model, found.d_ff, found.num_heads) == (3, 8, 20, 2)
    assert (found.dropout_rate, found.attention_dropout_rate) == (0.2, 0.1)
    assert found.scale_embedding
    assert search().decode() == DecodeConfig(6, length_penalty=1.0, length_penalty_form="length")
    assert search().never_said() == [99, 99]
    assert search().starts_with == 99


def without(*keys):
    return {key: value for key, value in CONFIG.items() if key not in keys}


def test_a_key_that_is_absent_means_hugging_faces_default():
    assert not model_config(without("scale_embedding"), WHERE).scale_embedding
    bare = model_config(without("dropout", "attention_dropout", "activation_dropout"), WHERE)
    rates = bare.dropout_rate, bare.attention_dropout_rate, bare.relu_dropout_rate
    assert rates == (0.1, 0.0, 0.0)
    layers = without("encoder_layers", "decoder_layers", "num_hidden_layers")
    assert model_config(layers, WHERE).num_layers == 12
    with pytest.raises(UserError, match="has no activation_function, which means 'gelu'; wanted"):
        model_config(without("activation_function"), WHERE)
    with pytest.raises(UserError, match="has no decoder_start_token_id, which means 58100"):
        Search(without("decoder_start_token_id"), {}, VOCABULARY, WHERE.parent)
    # The search's own: one beam, as long as positions reach.
    assert search({}).decode().beam_size == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5", "d_model": "x"}, "model_type is 't5'; wanted 'marian'"),
        ({"model_type": ["marian"]}, r"model_type is \['marian'\]; wanted"),
        ({"architectures": ["MarianForCausalLM"]}, "architectures is"),
        ({"share_encoder_decoder_embeddings": False}, "share_encoder_decoder_embeddings is False"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False; wanted True"),
        ({"decoder_vocab_size": 101}, "decoder_vocab_size is 101; wanted one table"),
        ({"normalize_embedding": True}, "normalize_embedding is True; wanted False"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is"),
        ({"quantization_config": {"bits": 8}}, "quantization_config is .* not known here"),
        ({"rope_theta": 10_000.0}, "rope_theta is 10000.0, which is not known here"),
        ({"scale_embedding": "yes"}, "scale_embedding is 'yes'; wanted true or false"),
        ({"dropout": "0.1"}, "dropout is '0.1'; wanted 0 <= rate < 1"),
        ({"d_model": 8.0}, "d_model is 8.0; wanted a whole number"),
        ({"d_model": True}, "d_model is True; wanted a whole number"),
        ({"d_model": 9}, "d_model is 9; wanted a multiple of the 2 heads"),
        ({"encoder_attention_heads": 0}, "encoder_attention_heads is 0; wanted a whole number, 1"),
        ({"num_hidden_layers": 6}, "encoder_layers is 3; wanted num_hidden_layers, 6"),
    ],
)
def test_a_model_of_another_kind_is_refused_by_name(changes, message):
    with pytest.raises(UserError, match=message):
        model_config({**CONFIG, **changes}, WHERE)


def test_a_key_that_says_nothing_is_no_obstacle():
    model_config({**CONFIG, "of_tomorrow": None, "prefix": None, "pruned_heads": {}}, WHERE)
    search({"top_k": 50, "no_repeat_ngram_size": 0, "of_tomorrow": False, "early_stopping": True})


def test_generation_config_decides_where_it_is_there():
    given = {"num_beams": 3, "length_penalty": 0.5, "bad_words_ids": [[99], [7]], "max_length": 300}
    # What config.json says beside it, Hugging Face does not look at.
    found = search({**given, "decoder_start_token_id": 1}, num_beams=5, repetition_penalty=2.0)
    assert found.decode() == DecodeConfig(3, length_penalty=0.5, length_penalty_form="length")
    assert found.never_said() == [99, 99, 7]
    assert found.starts_with == 1


@pytest.mark.parametrize(
    ("limits", "source", "output"),
    [
        # Half of a narrow room is for what the output has more, which elsewhere is 50.
        ({}, 256, 306),
        ({"max_length": 101}, 50, 100),
        ({"max_length": 512, "max_new_tokens": 60}, 30, 60),
        ({"max_length": 20, "max_new_tokens": 60}, 30, 60),  # the latter counts
        ({"max_position_embeddings": 40, "max_length": 512}, 20, 40),
        ({"max_length": 10**12, "max_position_embeddings": 10**12}, 256, 306),
    ],
)
def test_neither_source_nor_output_is_longer_than_the_model_allows(limits, source, output):
    positions = limits.pop("max_position_embeddings", 512)
    found = search(limits, max_position_embeddings=positions)
    assert found.max_tokens() == source
    assert source + found.decode().max_extra_tokens == output


@pytest.mark.parametrize(
    ("generation", "message"),
    [
        ({"num_beams": 0}, "num_beams is 0; wanted 1 to 1,000"),
        ({"num_beams": 10**9}, "num_beams is 1000000000; wanted"),
        ({"length_penalty": -1.0}, "length_penalty is -1.0; wanted 0 to 10"),
        ({"length_penalty": "1"}, "length_penalty is '1'"),
        ({"max_length": 2}, "max_length and max_new_tokens allow 1 tokens"),
        ({"max_length": "long"}, "max_length is 'long'"),
        ({"bad_words_ids": [[99], [1, 2]]}, "bad_words_ids is .* one id each"),
        ({"bad_words_ids": [[100]]}, "bad_words_ids is"),
        ({"bad_words_ids": [[0]]}, "bad_words_ids is"),  # no output would end
        ({"bad_words_ids": 99}, "bad_words_ids is 99"),
        ({"decoder_start_token_id": 100}, "decoder_start_token_id is 100; wanted one of the 100"),
        ({"pad_token_id": 3}, "pad_token_id is 3; wanted 99"),
        ({"eos_token_id": [0, 5]}, "eos_token_id is .* wanted 0"),
        ({"forced_eos_token_id": 5}, "forced_eos_token_id is 5; wanted 0"),
        ({"forced_bos_token_id": 5}, "forced_bos_token_id is 5; wanted a search without it"),
        ({"forced_bos_token_id": 0}, "forced_bos_token_id is 0; wanted a search without it"),
        ({"no_repeat_ngram_size": 3}, "no_repeat_ngram_size is 3; wanted a search without it"),
        ({"do_sample": True}, "do_sample is True; wanted a search without it"),
        ({"of_tomorrow": 3}, "of_tomorrow is 3, which is not known here"),
    ],
)
def test_a_search_that_there_is_not_here_is_refused_by_name(generation, message):
    def read():
        found = search(generation)
        return found.decode(), found.never_said(), found.max_tokens()

    with pytest.raises(UserError, match=message) as caught:
        read()
    assert "generation_config.json" in str(caught.value)
