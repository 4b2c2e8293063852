"""Models for CTranslate2, a fast C++ engine for CPUs and GPUs, from ours.

The folder holds what `ctranslate2.Translator` reads, of a language model `ctranslate2.Generator`,
and the tokenizer with whose pieces it is fed. Of a parser it is the model without its grammar, so
that outputs may be no trees. CTranslate2 is no dependency of this program; it is wanted only here.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from aiayn.data.tokenizer import Tokenizer
from aiayn.errors import UserError
from aiayn.model.saved import Model
from aiayn.model.transformer import sinusoids
from aiayn.system.files import new_folder, write_bytes

NUM_POSITIONS = 1_024
"""Rows of the table that sinusoids become, or more if training had longer sentences; the engine
refuses longer ones."""


def export(model: Model, out: Path, quantization: str = "float32") -> None:
    """Write `model` for CTranslate2 into the new folder `out`; whole or not at all.

    Raises:
        UserError: CTranslate2 is not installed or cannot hold such a model, or `out` is there.
    """
    if out.exists():
        raise UserError(f"{out} exists already; wanted a new folder.")
    spec = _spec(model)
    with new_folder(out) as building:
        spec.validate()
        spec.optimize(quantization=quantization)
        spec.save(str(building))
        for name, content in model.tokenizer.files().items():
            write_bytes(building / name, content)


def _spec(model: Model) -> Any:
    try:
        specs: Any = import_module("ctranslate2.specs")
        common: Any = import_module("ctranslate2.specs.common_spec")
    except ImportError:
        raise UserError("CTranslate2 is not installed; run: pip install ctranslate2") from None
    config, tokenizer = model.experiment.model, model.tokenizer
    width = config.d_model // config.num_heads
    if (config.d_k, config.d_v) != (width, width):
        raise UserError(
            f"CTranslate2 needs heads of d_model/h = {width}; "
            f"d_k is {config.d_k}, d_v {config.d_v}."
        )
    activation = {
        "relu": common.Activation.RELU,
        "swish": common.Activation.SWISH,
        "gelu": common.Activation.GELUTanh,
    }[config.activation]
    is_text = config.kind == "decoder"
    kind = specs.TransformerDecoderModelSpec if is_text else specs.TransformerSpec
    sizes = config.num_layers, config.num_heads
    spec = kind.from_config(*sizes, pre_norm=False, activation=activation)
    # Copies: CTranslate2 quantises in place.
    params = {name: np.array(value) for name, value in model.params.items()}
    num_words = tokenizer.num_words
    num_outputs = config.num_outputs or num_words
    table = params["embedding"][:num_words]
    predicted = table[:num_outputs].copy()
    for name in ("decoder",) if is_text else ("encoder", "decoder"):
        side = getattr(spec, name)
        side.position_encodings.encodings = _positions(model, name)
        side.scale_embeddings = config.scale_embedding
        for number, layer in enumerate(side.layer):
            _set_layer(layer, params, f"{name}.{number}")
    spec.decoder.embeddings.weight = predicted
    spec.decoder.projection.weight = predicted
    if config.logits_bias:
        spec.decoder.projection.bias = params["logits_bias"][:num_outputs]
    pieces = tokenizer.pieces(range(num_outputs))
    spec.config.bos_token = pieces[tokenizer.bos]
    spec.config.eos_token = pieces[tokenizer.eos]
    spec.config.unk_token = pieces[tokenizer.unknown]
    spec.config.layer_norm_epsilon = config.layer_norm_epsilon
    if is_text:
        spec.register_vocabulary(pieces)
        return spec
    spec.encoder.embeddings[0].weight = table
    spec.register_source_vocabulary(_source_pieces(tokenizer, num_outputs))
    spec.register_target_vocabulary(pieces)
    spec.config.decoder_start_token = pieces[tokenizer.bos]
    spec.config.add_source_eos = True
    return spec


def _source_pieces(tokenizer: Tokenizer, num_outputs: int) -> list[str]:
    """The pieces of a source by their ids. A parser's symbols are none of them: each has a name
    that no piece has, since a word may be spelled as a symbol is."""
    pieces = tokenizer.pieces(range(tokenizer.num_words))
    if num_outputs == tokenizer.num_words:
        return pieces
    names = [
        piece if piece in tokenizer.special else f"<unused {number}>"
        for number, piece in enumerate(pieces[:num_outputs])
    ]
    return names + pieces[num_outputs:]


def _positions(model: Model, stack: str) -> np.ndarray:
    """What is added to the embedding at each position: T2T's vector of the target language too."""
    config = model.experiment.model
    if config.positions == "learned":
        table = model.params["src_positions" if stack == "encoder" else "tgt_positions"]
        if config.kind == "decoder":  # further ones were never trained; the engine refuses them
            table = table[: model.experiment.data.max_tokens]
    else:
        every = jnp.arange(max(NUM_POSITIONS, model.experiment.data.max_tokens))[None]
        table = np.asarray(sinusoids(every, config.d_model, config.positions)[0])
    if config.target_space_embedding and stack == "encoder":
        return table + model.params["target_space"][0]
    return table


def _set_layer(layer: Any, params: Mapping[str, np.ndarray], name: str) -> None:
    _set_attention(layer.self_attention, params, name, "self", ("query", "key", "value"))
    if hasattr(layer, "attention"):
        _set_attention(layer.attention, params, name, "cross", ("query",), ("key", "value"))
    _set_dense(layer.ffn.linear_0, params, f"{name}.feed_forward.inner")
    _set_dense(layer.ffn.linear_1, params, f"{name}.feed_forward.outer")
    _set_norm(layer.ffn.layer_norm, params, f"{name}.feed_forward_norm")


def _set_attention(
    attention: Any, params: Mapping[str, np.ndarray], name: str, use: str, *fused: tuple[str, ...]
) -> None:
    """Projections that read the same input are one product there."""
    for linear, parts in zip(attention.linear, (*fused, ("out",)), strict=True):
        _set_dense(linear, params, *(f"{name}.{use}_attention.{part}" for part in parts))
    _set_norm(attention.layer_norm, params, f"{name}.{use}_norm")


def _set_dense(linear: Any, params: Mapping[str, np.ndarray], *names: str) -> None:
    linear.weight = np.concatenate([params[f"{name}.kernel"].T for name in names])
    linear.bias = np.concatenate([params[f"{name}.bias"] for name in names])


def _set_norm(norm: Any, params: Mapping[str, np.ndarray], name: str) -> None:
    norm.gamma = params[f"{name}.scale"]
    norm.beta = params[f"{name}.bias"]
