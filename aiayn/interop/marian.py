"""Models of Marian as Hugging Face keeps them (the OPUS-MT ones), read into this one.

A folder as `save_pretrained` writes it: `config.json`, `model.safetensors` in one file or several,
`vocab.json`, `source.spm`, `target.spm`, `tokenizer_config.json`, `generation_config.json`. Nothing
in it is run as code.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from aiayn.config import DataConfig, Experiment, ModelConfig
from aiayn.data.tokenizer import PairTokenizer
from aiayn.errors import UserError, naming
from aiayn.interop.marian_config import DEFAULTS, KIND, Search, model_config
from aiayn.interop.settings import read_table
from aiayn.interop.tensors import Tensors, read_state
from aiayn.model.saved import Model, check_fit
from aiayn.model.transformer import VOCABULARY_MULTIPLE, sinusoids
from aiayn.system.files import as_text, read_json

_NEVER = -1e4
"""Added to the logit of what must never be said, such as padding, whose logit is 0 in Marian."""
_NEAR = 5e-3
"""Between a sinusoid in float32 and the same in bfloat16."""

_TABLE = "model.shared.weight"
_COPIES = (
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
"""Where the same matrix stands once more, in files of some versions."""
_SPECIAL = "<pad>", "</s>", "<unk>"
_TOKENIZER = {
    "tokenizer_class": ("MarianTokenizer",),
    "separate_vocabs": (),
    "sp_model_kwargs": (),
    "unk_token": ("<unk>",),
    "eos_token": ("</s>",),
    "pad_token": ("<pad>",),
}
"""Settings of the tokenizer with the values that they may have, if any."""


def read_marian(folder: Path) -> Model:
    """The model in a folder of Hugging Face's.

    Raises:
        UserError: a file is missing or damaged, or the model is of another kind than ours.
    """
    path, about = folder / "config.json", folder / "generation_config.json"
    config = read_table(path)
    sizes = model_config(config, path)
    src, tgt = _languages(folder)
    with naming(path):
        data = DataConfig(corpus="imported", src=src, tgt=tgt, vocab_size=_num_words(config))
    vocabulary = _vocabulary(folder, config)
    search = Search(config, read_json(about) if about.is_file() else None, vocabulary, folder)
    tokenizer = _tokenizer(folder, vocabulary, search.starts_with)
    data = replace(data, max_tokens=search.max_tokens())
    name = as_text(folder.resolve().name)
    experiment = Experiment(name, "custom", data, sizes, decode=search.decode())
    never_said = search.never_said()
    state, where = read_state(folder, KIND["marian"])
    params = marian_params(state, sizes, where, tokenizer.num_words)
    check_fit(experiment, tokenizer, params, folder)
    params["logits_bias"][never_said] = _NEVER
    return Model(experiment, tokenizer, params)


def marian_params(
    state: Mapping[str, np.ndarray], config: ModelConfig, where: Path, num_words: int | None = None
) -> dict[str, np.ndarray]:
    """Our parameters, by dotted name, from the state dict of a MarianMTModel.

    Raises:
        UserError: a tensor is missing, has another shape than the config needs (and as many rows
            as `num_words`, where given), or is none that such a model has.
    """
    tensors = Tensors(state, where, KIND["marian"])
    width, inner = config.d_model, config.d_ff
    name = next((name for name in (_TABLE, *_COPIES) if name in state), _TABLE)
    table = tensors.take(name, (num_words, width))
    for copy in (_TABLE, *_COPIES):
        if copy in state and not np.array_equal(tensors.take(copy, table.shape), table):
            raise UserError(f"{where}: {copy} is another matrix than {name}; wanted the same.")
    missing = -len(table) % VOCABULARY_MULTIPLE
    bias = tensors.take("final_logits_bias", (1, len(table)))[0]
    params = {
        "embedding": np.pad(table, ((0, missing), (0, 0))),
        "logits_bias": np.pad(bias, (0, missing)),
    }
    for stack, attentions in (
        ("encoder", {"self_attn": "self"}),
        ("decoder", {"self_attn": "self", "encoder_attn": "cross"}),
    ):
        _check_sinusoids(tensors, where, f"model.{stack}.embed_positions.weight", width)
        for number in range(config.num_layers):
            theirs, ours = f"model.{stack}.layers.{number}", f"{stack}.{number}"
            dense = {
                "fc1": ("feed_forward.inner", (inner, width)),
                "fc2": ("feed_forward.outer", (width, inner)),
            }
            norms = {"final_layer_norm": "feed_forward_norm"}
            for attention, use in attentions.items():
                norms[f"{attention}_layer_norm"] = f"{use}_norm"
                for projection, name in (
                    ("q", "query"),
                    ("k", "key"),
                    ("v", "value"),
                    ("out", "out"),
                ):
                    full = f"{use}_attention.{name}"
                    dense[f"{attention}.{projection}_proj"] = full, (width, width)
            for their_name, (name, shape) in dense.items():
                kernel = tensors.take(f"{theirs}.{their_name}.weight", shape)
                params[f"{ours}.{name}.kernel"] = kernel.T
                bias = tensors.take(f"{theirs}.{their_name}.bias", shape[:1])
                params[f"{ours}.{name}.bias"] = bias
            for their_name, name in norms.items():
                for part, their_part in (("scale", "weight"), ("bias", "bias")):
                    vector = tensors.take(f"{theirs}.{their_name}.{their_part}", (width,))
                    params[f"{ours}.{name}.{part}"] = vector
    tensors.check_all_read()
    return {name: np.ascontiguousarray(value) for name, value in params.items()}


def _check_sinusoids(tensors: Tensors, where: Path, name: str, width: int) -> None:
    """Raises UserError if a table of positions is there and is not the one that is computed."""
    if name not in tensors:
        return
    found = tensors.take(name, (None, width))
    wanted = sinusoids(jnp.arange(len(found))[None], width, "huggingface")[0]
    if not np.allclose(found, np.asarray(wanted), rtol=0, atol=_NEAR):
        raise UserError(
            f"{where}: {name} holds other positions than sinusoids; learned ones of "
            "Marian are not read."
        )


def _languages(folder: Path) -> tuple[str, str]:
    path = folder / "tokenizer_config.json"
    about = read_table(path)
    for key, wanted in _TOKENIZER.items():
        found = about.get(key)
        found = found.get("content") if isinstance(found, dict) and "content" in found else found
        if found and found not in wanted:
            raise UserError(f"{path}: {key} is {found!r}; wanted {' or '.join(wanted) or 'none'}.")
    _check_added(folder)
    src, tgt = (str(about.get(f"{side}_lang") or side) for side in ("source", "target"))
    if src == tgt:  # a group of languages on either side
        return f"{src}_source", f"{tgt}_target"
    return src, tgt


def _check_added(folder: Path) -> None:
    """Raises UserError for a token that was added to the pieces: transformers makes it one wherever
    it stands, and here it would be cut up."""
    for name, key in (
        ("tokenizer_config.json", "additional_special_tokens"),
        ("tokenizer_config.json", "added_tokens_decoder"),
        ("special_tokens_map.json", "additional_special_tokens"),
        ("added_tokens.json", None),
    ):
        path = folder / name
        table = read_json(path) if path.is_file() else {}
        found = table.get(key) or [] if key else list(table)
        for each in found.values() if isinstance(found, dict) else found:
            token = each.get("content") if isinstance(each, dict) else each
            if token not in _SPECIAL:
                raise UserError(
                    f"{path} adds the token {token!r}; wanted none besides {', '.join(_SPECIAL)}."
                )


def _num_words(config: Mapping[str, Any]) -> int:
    return config.get("vocab_size", DEFAULTS["vocab_size"])


def _vocabulary(folder: Path, config: Mapping[str, Any]) -> dict[str, int]:
    """The ids of all pieces."""
    path = folder / "vocab.json"
    vocabulary = read_table(path)
    if len(vocabulary) != _num_words(config):
        raise UserError(
            f"{path} has {len(vocabulary):,} words; config.json expects {_num_words(config):,}."
        )
    for piece in _SPECIAL:
        if piece not in vocabulary:
            raise UserError(f"{path} has no {piece}; wanted the vocabulary of a Marian model.")
    for piece, number in vocabulary.items():
        if type(number) is not int:
            raise UserError(f"{path}: {piece!r} is {number!r}; wanted the number of a piece.")
    return vocabulary


def _tokenizer(
    folder: Path, vocabulary: Mapping[str, int], starts_with: int | None
) -> PairTokenizer:
    files: dict[str, str] = {}
    for side in ("source", "target"):
        path = folder / f"{side}.spm"
        if not path.is_file():
            raise UserError(f"{folder} holds no {side}.spm.")
        files[side] = base64.b64encode(path.read_bytes()).decode()
    model = {**files, "vocabulary": vocabulary, "starts_with": starts_with}
    with naming(folder):
        return PairTokenizer(json.dumps(model).encode())
