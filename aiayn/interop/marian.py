"""Models of Marian as Hugging Face keeps them (the OPUS-MT ones), read into this one.

A folder as `save_pretrained` writes it: `config.json`, `model.safetensors`, `vocab.json`,
`source.spm`, `target.spm`, `tokenizer_config.json`. Nothing in it is run as code.
"""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aiayn.config import DataConfig, Experiment, ModelConfig
from aiayn.data.tokenizer import PairTokenizer
from aiayn.errors import UserError, naming
from aiayn.model.saved import Model, check_fit, read_tensors
from aiayn.model.transformer import VOCABULARY_MULTIPLE
from aiayn.system.files import read_json

_MUST_BE = {
    "model_type": "marian",
    "scale_embedding": True,
    "share_encoder_decoder_embeddings": True,
    "tie_word_embeddings": True,
    "normalize_before": False,
    "normalize_embedding": False,
    "add_final_layer_norm": False,
    "static_position_embeddings": True,
}
"""Settings of Marian that this model fixes; a key that a config leaves out counts as this."""
_WHOLE = ("vocab_size", "decoder_start_token_id", "d_model")
_PAIRS = (
    ("layers", ("encoder_layers", "decoder_layers")),
    ("heads", ("encoder_attention_heads", "decoder_attention_heads")),
    ("d_ff", ("encoder_ffn_dim", "decoder_ffn_dim")),
)
"""Settings that encoder and decoder must share."""

_NEVER = -1e4
"""Added to the logit of padding, which is 0 in Marian's models and must never be said."""


def read_marian(folder: Path) -> Model:
    """The model in a folder of Hugging Face's.

    Raises:
        UserError: a file is missing or damaged, or the model is of another kind than ours.
    """
    config = _read_json(folder / "config.json")
    sizes = model_config(config, folder)
    src, tgt = _languages(folder)
    with naming(folder / "config.json"):
        data = DataConfig(corpus="imported", src=src, tgt=tgt, vocab_size=config["vocab_size"])
        experiment = Experiment(folder.resolve().name, "custom", data, sizes)
    tokenizer = _tokenizer(folder, config)
    path = folder / "model.safetensors"
    if not path.is_file():
        raise UserError(
            f"{folder} holds no model.safetensors. pytorch_model.bin is a pickle, which is code: "
            "where you trust it, load and save_pretrained it once."
        )
    params = marian_params(read_tensors(path), experiment.model, path)
    check_fit(experiment, tokenizer, params, folder)
    params["logits_bias"][tokenizer.pad] = _NEVER
    return Model(experiment, tokenizer, params)


def model_config(config: Mapping[str, Any], where: Path) -> ModelConfig:
    """Our settings for a MarianConfig.

    Raises:
        UserError: the model is of another kind than ours; the setting is named.
    """
    for key in (
        "model_type",
        "activation_function",
        *_WHOLE,
        *(key for _, pair in _PAIRS for key in pair),
    ):
        if key not in config:
            raise UserError(f"{where} has no {key}; wanted the config.json of a MarianMTModel.")
    for key in (*_WHOLE, *(key for _, pair in _PAIRS for key in pair)):
        if type(config[key]) is not int or config[key] < 0:
            raise UserError(f"{where}: {key} is {config[key]!r}; wanted a whole number.")
    for key, wanted in _MUST_BE.items():
        if config.get(key, wanted) != wanted:
            raise UserError(f"{where}: {key} is {config[key]!r}; wanted {wanted!r}.")
    for ours, theirs in _PAIRS:
        encoder, decoder = (config[key] for key in theirs)
        if encoder != decoder:
            raise UserError(
                f"{where}: the encoder's {ours} are {encoder}, the decoder's {decoder}; wanted as "
                "many."
            )
    activations = {"relu": "relu", "swish": "swish", "silu": "swish"}
    activation = config["activation_function"]
    if not isinstance(activation, str) or activation not in activations:
        raise UserError(
            f"{where}: activation_function is {activation!r}; wanted {', '.join(activations)}."
        )
    dropout = config.get("dropout", 0.1)
    if not isinstance(dropout, int | float):
        raise UserError(f"{where}: dropout is {dropout!r}; wanted a number.")
    width = config["d_model"] // max(1, config["encoder_attention_heads"])
    values: dict[str, Any] = {
        "num_layers": config["encoder_layers"],
        "d_model": config["d_model"],
        "d_ff": config["encoder_ffn_dim"],
        "num_heads": config["encoder_attention_heads"],
        "d_k": width,
        "d_v": width,
        "dropout_rate": float(dropout),
        "activation": activations[activation],
        "positions": "huggingface",
        "layer_norm_epsilon": 1e-5,  # PyTorch's default, which Hugging Face leaves
        "logits_bias": True,
    }
    return ModelConfig(**values)


def marian_params(
    state: Mapping[str, np.ndarray], config: ModelConfig, where: Path
) -> dict[str, np.ndarray]:
    """Our parameters, by dotted name, from the state dict of a MarianMTModel.

    Raises:
        UserError: a tensor is missing.
    """

    def tensor(*names: str) -> np.ndarray:
        for name in names:
            if name in state:
                return np.asarray(state[name], np.float32)
        raise UserError(f"{where} holds no {names[0]}.")

    table = tensor("model.shared.weight", "model.encoder.embed_tokens.weight", "lm_head.weight")
    if table.ndim != 2:
        raise UserError(f"{where} holds an embedding of shape {table.shape}; wanted two axes.")
    missing = -len(table) % VOCABULARY_MULTIPLE
    params = {
        "embedding": np.pad(table, ((0, missing), (0, 0))),
        "logits_bias": np.pad(tensor("final_logits_bias").reshape(-1), (0, missing)),
    }
    for stack, attentions in (
        ("encoder", {"self_attn": "self"}),
        ("decoder", {"self_attn": "self", "encoder_attn": "cross"}),
    ):
        for number in range(config.num_layers):
            theirs, ours = f"model.{stack}.layers.{number}", f"{stack}.{number}"
            dense = {"fc1": "feed_forward.inner", "fc2": "feed_forward.outer"}
            norms = {"final_layer_norm": "feed_forward_norm"}
            for attention, use in attentions.items():
                norms[f"{attention}_layer_norm"] = f"{use}_norm"
                for projection, name in (
                    ("q", "query"),
                    ("k", "key"),
                    ("v", "value"),
                    ("out", "out"),
                ):
                    dense[f"{attention}.{projection}_proj"] = f"{use}_attention.{name}"
            for their_name, name in dense.items():
                params[f"{ours}.{name}.kernel"] = tensor(f"{theirs}.{their_name}.weight").T
                params[f"{ours}.{name}.bias"] = tensor(f"{theirs}.{their_name}.bias")
            for their_name, name in norms.items():
                params[f"{ours}.{name}.scale"] = tensor(f"{theirs}.{their_name}.weight")
                params[f"{ours}.{name}.bias"] = tensor(f"{theirs}.{their_name}.bias")
    return {name: np.ascontiguousarray(value) for name, value in params.items()}


def _languages(folder: Path) -> tuple[str, str]:
    languages = _read_json(folder / "tokenizer_config.json")
    src, tgt = (str(languages.get(f"{side}_lang") or side) for side in ("source", "target"))
    if src == tgt:  # a group of languages on either side
        return f"{src}_source", f"{tgt}_target"
    return src, tgt


def _tokenizer(folder: Path, config: Mapping[str, Any]) -> PairTokenizer:
    vocabulary = _read_json(folder / "vocab.json")
    if len(vocabulary) != config["vocab_size"]:
        raise UserError(
            f"{folder / 'vocab.json'} has {len(vocabulary):,} words; config.json expects "
            f"{config['vocab_size']:,}."
        )
    files: dict[str, str] = {}
    for side in ("source", "target"):
        path = folder / f"{side}.spm"
        if not path.is_file():
            raise UserError(f"{folder} holds no {side}.spm.")
        files[side] = base64.b64encode(path.read_bytes()).decode()
    starts = config["decoder_start_token_id"]
    model = {**files, "vocabulary": vocabulary, "starts_with": starts}
    with naming(folder):
        return PairTokenizer(json.dumps(model).encode())


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path.parent} holds no {path.name}; wanted a model of Hugging Face's.")
    return read_json(path)
