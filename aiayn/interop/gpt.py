"""GPT-1 and models like it as Hugging Face keeps them, read into our language model.

A folder as `save_pretrained` writes it: `config.json`, `model.safetensors` in one file or several,
`tokenizer.json` or `vocab.json` with `merges.txt`, `generation_config.json`. Nothing in it is run
as code.

GPT-1 has no word that begins a text and none that ends one. So a text begins here as it does there:
with its own first word, in the place of BOS, read and never predicted; the tokenizer says so. And a
search needs the name of an end: where the folder has none it is one row more, whose logit is so low
that it takes no probability. So all logits are those of transformers, at each place, and texts end
at their limit, as there.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aiayn.config import DataConfig, Experiment, ModelConfig
from aiayn.data.tokenizer import WordTokenizer
from aiayn.errors import UserError, naming
from aiayn.interop.gpt_config import KIND, end_of_text, model_config, num_words
from aiayn.interop.settings import read_table
from aiayn.interop.tensors import Tensors, read_state
from aiayn.model.saved import Model, check_fit
from aiayn.model.transformer import VOCABULARY_MULTIPLE
from aiayn.system.files import as_text, read_json

_NEVER = -1e4
"""The logit of an EOS that the model does not have."""
_TABLE, _HEAD = "tokens_embed.weight", "lm_head.weight"
_PREFIX = "transformer."
"""Before all names but the head's; the first files, OpenAI's own among them, are without."""
_BUFFERS = re.compile(r"h\.\d+\.attn\.bias|position_ids")
"""The names of what is no weight, in files of some versions: the mask and the places counted."""
_DENSE = {
    "attn.c_proj": ("self_attention.out", 1, 1),
    "mlp.c_fc": ("feed_forward.inner", 1, 4),
    "mlp.c_proj": ("feed_forward.outer", 4, 1),
}
"""Their maps by ours, with the widths of input and output in d_model; kernels lie as ours do."""
_UNKNOWN = "<unk>"
_CLASSES = "OpenAIGPTTokenizer", "OpenAIGPTTokenizerFast"
_NORMS = {"ln_1": "self_norm", "ln_2": "feed_forward_norm"}


def read_gpt(folder: Path) -> Model:
    """The model in a folder of Hugging Face's.

    Raises:
        UserError: a file is missing or damaged, or the model is of another kind than ours.
    """
    path, about = folder / "config.json", folder / "generation_config.json"
    config = read_table(path)
    sizes, words = model_config(config, path), num_words(config, path)
    eos = end_of_text(config, read_json(about) if about.is_file() else None, folder)
    tokenizer = _tokenizer(folder, words, eos)
    context = sizes.max_positions
    width = -(-context // 8) * 8
    with naming(path):
        data = DataConfig(
            corpus="imported",
            src="",
            tgt="und",  # in no language that the folder names
            vocab_size=tokenizer.num_words,
            max_tokens=context,
            row_widths=(width,),
        )
    state, where = read_state(folder, KIND["openai-gpt"])
    params = gpt_params(state, sizes, where, words)
    if eos is None:
        sizes, params = replace(sizes, logits_bias=True), _with_end(params, words)
    # Widths of rows are multiples of 8: the rows of the table past the context are never read.
    sizes = replace(sizes, max_positions=width)
    table = params["tgt_positions"]
    params["tgt_positions"] = np.pad(table, ((0, width - context), (0, 0)))
    name = as_text(folder.resolve().name)
    experiment = Experiment(name, "custom", data, sizes, task="language_model")
    check_fit(experiment, tokenizer, params, folder)
    return Model(experiment, tokenizer, params)


def gpt_params(
    state: Mapping[str, np.ndarray], config: ModelConfig, where: Path, num_words: int | None = None
) -> dict[str, np.ndarray]:
    """Our parameters, by dotted name, from the state dict of an OpenAIGPTLMHeadModel.

    Raises:
        UserError: a tensor is missing, has another shape than the config needs (and as many rows
            as `num_words`, where given), or is none that such a model has.
    """
    bare = {name.removeprefix(_PREFIX): value for name, value in state.items()}
    named = {name: value for name, value in bare.items() if not _BUFFERS.fullmatch(name)}
    tensors = Tensors(named, where, KIND["openai-gpt"])
    width = config.d_model
    name = _HEAD if _HEAD in tensors and _TABLE not in tensors else _TABLE  # either may be left out
    table = tensors.take(name, (num_words, width))
    copy = tensors.take(_HEAD, table.shape) if name == _TABLE and _HEAD in tensors else table
    if not np.array_equal(copy, table):
        raise UserError(f"{where}: {_HEAD} is another matrix than {_TABLE}; wanted the same.")
    params = {
        "embedding": _padded(table),
        "tgt_positions": tensors.take("positions_embed.weight", (config.max_positions, width)),
    }
    for number in range(config.num_layers):
        theirs, ours = f"h.{number}", f"decoder.{number}"
        for part, shape in (("weight", (width, 3 * width)), ("bias", (3 * width,))):
            fused = tensors.take(f"{theirs}.attn.c_attn.{part}", shape)
            end = "kernel" if part == "weight" else "bias"
            for name, each in zip(("query", "key", "value"), np.split(fused, 3, -1), strict=True):
                params[f"{ours}.self_attention.{name}.{end}"] = each
        for their_name, (name, inputs, outputs) in _DENSE.items():
            shape = (inputs * width, outputs * width)
            params[f"{ours}.{name}.kernel"] = tensors.take(f"{theirs}.{their_name}.weight", shape)
            bias = tensors.take(f"{theirs}.{their_name}.bias", shape[1:])
            params[f"{ours}.{name}.bias"] = bias
        for their_name, name in _NORMS.items():
            for part, their_part in (("scale", "weight"), ("bias", "bias")):
                vector = tensors.take(f"{theirs}.{their_name}.{their_part}", (width,))
                params[f"{ours}.{name}.{part}"] = vector
    tensors.check_all_read()
    return {name: np.ascontiguousarray(value) for name, value in params.items()}


def _padded(table: np.ndarray) -> np.ndarray:
    """With unused rows up to the multiple that our embedding has."""
    missing = -len(table) % VOCABULARY_MULTIPLE
    return np.pad(table, [(0, missing)] + [(0, 0)] * (table.ndim - 1))


def _with_end(params: Mapping[str, np.ndarray], num_words: int) -> dict[str, np.ndarray]:
    """With a row for EOS behind the words, which is never said."""
    table = np.pad(params["embedding"][:num_words], ((0, 1), (0, 0)))
    bias = np.zeros(num_words + 1, np.float32)
    bias[num_words] = _NEVER
    return {**params, "embedding": _padded(table), "logits_bias": _padded(bias)}


def _tokenizer(folder: Path, words: int, eos: int | None) -> WordTokenizer:
    whole, vocabulary = folder / "tokenizer.json", folder / "vocab.json"
    path = whole if whole.is_file() else vocabulary
    if not path.is_file():
        raise UserError(f"{folder} holds no {whole.name} and no {path.name}; wanted one of them.")
    inner = read_json(whole) if path is whole else _from_vocabulary(folder)
    with naming(path):
        tokenizer = WordTokenizer(
            WordTokenizer.START + f'{json.dumps(inner)}, "eos": {json.dumps(eos)}}}'.encode()
        )
    found = tokenizer.num_words - (eos is None)
    if found != words:
        raise UserError(f"{path} has {found:,} words; config.json expects {words:,}.")
    return tokenizer


def _from_vocabulary(folder: Path) -> dict[str, Any]:
    """The tokenizer of `vocab.json` and `merges.txt` in the form of `tokenizer.json`."""
    _check_class(folder)
    ids, path = read_table(folder / "vocab.json"), folder / "merges.txt"
    if not path.is_file():
        raise UserError(f"{folder} holds no {path.name}, which goes with vocab.json.")
    return {
        "version": "1.0",
        "added_tokens": [_special(_UNKNOWN, ids[_UNKNOWN])] if _UNKNOWN in ids else [],
        "normalizer": {
            "type": "BertNormalizer",
            **{"clean_text": True, "handle_chinese_chars": True},
            **{"strip_accents": None, "lowercase": True},
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
        "model": {
            "type": "BPE",
            "unk_token": _UNKNOWN,
            "end_of_word_suffix": "</w>",
            "vocab": ids,
            "merges": _merges(path),
        },
    }


def _check_class(folder: Path) -> None:
    """Raises UserError for another class of tokenizers, whose vocab.json looks the same."""
    path = folder / "tokenizer_config.json"
    found = read_json(path).get("tokenizer_class") if path.is_file() else None
    if found not in (None, *_CLASSES):
        raise UserError(
            f"{path}: tokenizer_class is {found!r}, and there is no tokenizer.json; wanted that, "
            f"or {' or '.join(_CLASSES)}."
        )


def _special(piece: str, number: object) -> dict[str, Any]:
    """A piece that is one wherever it is in a text."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": piece, **flags, "special": True}


def _merges(path: Path) -> list[list[str]]:
    """The pairs of pieces that become one, most frequent first."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    lines = lines[1:] if lines[0].startswith("#version") else lines
    merges = [line.split(" ") for line in lines if line]
    for pair in merges:
        if len(pair) != 2:
            raise UserError(f"{path} has the line {' '.join(pair)!r}; wanted two pieces a line.")
    return merges
