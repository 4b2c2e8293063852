"""What the settings of an OpenAIGPTLMHeadModel (GPT-1) of Hugging Face's mean here.

A key that is absent means Hugging Face's default. A key that would change the output and has no
counterpart here is refused by name, as is one that nobody knows. How to write, with what
temperature and how far, is the user's to say, not the folder's; but a folder that bans words or
sets them is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiayn.config import ModelConfig
from aiayn.errors import naming
from aiayn.interop.marian_config import OF_SEARCH
from aiayn.interop.settings import EVERYWHERE, Known, Settings, check_kind, is_number, words

KIND = {"openai-gpt": "OpenAIGPTLMHeadModel"}
"""The model_type, and the class of transformers'."""

DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 40_478,
    "n_positions": 512,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "afn": "gelu",
    "resid_pdrop": 0.1,
    "embd_pdrop": 0.1,
    "attn_pdrop": 0.1,
    "layer_norm_epsilon": 1e-5,
    "eos_token_id": None,
}
"""Settings that are heeded, with the values that OpenAIGPTConfig gives where a file has none."""
_FIXED: Mapping[str, Any] = {
    "tie_word_embeddings": True,
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
}
_HARMLESS = (EVERYWHERE | OF_SEARCH) - DEFAULTS.keys() | words(
    """initializer_range predict_special_tokens is_decoder pad_token_id summary_type
    summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout"""
)
"""Settings that change no output of an OpenAIGPTLMHeadModel; the last are of another head."""
_ALIASES = {
    "n_ctx": "n_positions",
    "max_position_embeddings": "n_positions",
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
}
_OF_WORDS = words(
    """bad_words_ids suppress_tokens begin_suppress_tokens sequence_bias force_words_ids constraints
    forced_bos_token_id forced_eos_token_id forced_decoder_ids"""
)
"""Settings of the search that say which words a text has; none is heeded."""
_KNOWN = Known(DEFAULTS, _FIXED, _HARMLESS, _ALIASES)

_ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "silu": "swish", "swish": "swish"}
"""By the names that transformers gives them in this model, whose `gelu` is the form with tanh."""


def model_config(config: Mapping[str, Any], where: Path) -> ModelConfig:
    """Our settings for an OpenAIGPTConfig.

    Raises:
        UserError: the model is of another kind than ours; the setting is named.
    """
    check_kind(config, where, KIND)
    settings = Settings(config, where, _KNOWN)
    settings.check_keys()
    width, heads = settings.whole("n_embd"), settings.whole("n_head")
    if width % heads:
        raise settings.wrong("n_embd", f"a multiple of the {heads} heads")
    activation = settings["afn"]
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise settings.wrong("afn", f"one of {', '.join(_ACTIVATIONS)}")
    dropout = settings.rate("resid_pdrop")
    if settings.rate("embd_pdrop") != dropout:
        raise settings.wrong("embd_pdrop", f"resid_pdrop, {dropout}, since there is one rate here")
    epsilon = settings["layer_norm_epsilon"]
    if not is_number(epsilon) or epsilon <= 0:
        raise settings.wrong("layer_norm_epsilon", "a positive number")
    values: dict[str, Any] = {
        "kind": "decoder",
        "num_layers": settings.whole("n_layer"),
        "d_model": width,
        "d_ff": 4 * width,  # which no setting says
        "num_heads": heads,
        "d_k": width // heads,
        "d_v": width // heads,
        "dropout_rate": dropout,
        "attention_dropout_rate": settings.rate("attn_pdrop"),
        "activation": _ACTIVATIONS[activation],
        "positions": "learned",
        "max_positions": settings.whole("n_positions"),
        "scale_embedding": False,
        "layer_norm_epsilon": float(epsilon),
    }
    with naming(where):
        return ModelConfig(**values)


def num_words(config: Mapping[str, Any], where: Path) -> int:
    """The pieces of the vocabulary."""
    return Settings(config, where, _KNOWN).whole("vocab_size")


def end_of_text(
    config: Mapping[str, Any], generation: Mapping[str, Any] | None, where: Path
) -> int | None:
    """The id that ends a text, by generation_config.json, else by config.json; GPT-1 has none."""
    path, values = where / "config.json", config
    if generation is not None:
        path, values = where / "generation_config.json", generation
    found = Settings(values, path, _KNOWN)
    for key in sorted(_OF_WORDS & values.keys()):
        if values[key] or type(values[key]) is int:  # the id 0 is one too
            raise found.wrong(key, "none, since the words of a text are the user's to say")
    eos = found["eos_token_id"]
    if isinstance(eos, list) and len(eos) == 1:
        eos = eos[0]
    last = num_words(config, where / "config.json") - 1
    if eos is not None and (type(eos) is not int or not 0 <= eos <= last):
        raise found.wrong("eos_token_id", f"one id, 0 to {last}, or none")
    return eos
