"""A model on disk: config, tokenizer, weights, and their checksums."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from aiayn.config import Experiment
from aiayn.data.tokenizer import Tokenizer
from aiayn.errors import UserError, naming
from aiayn.model.eight_bits import from_bytes, in_bytes
from aiayn.model.structure import parameter_shapes
from aiayn.system.checkout import included_model
from aiayn.system.checksums import SUMS, find_damage, sha256
from aiayn.system.files import (
    FORMAT,
    check_format,
    new_folder,
    read_json,
    write_bytes,
    write_text,
)


@dataclass(frozen=True)
class Model:
    """All that translation needs: config, tokenizer, parameters by dotted name."""

    experiment: Experiment
    tokenizer: Tokenizer
    params: Mapping[str, np.ndarray]


def check_kind(model: Model, wanted: Literal["encoder_decoder", "decoder"]) -> None:
    """Raises UserError, with what suits it, for a model of another kind."""
    name, data = model.experiment.name, model.experiment.data
    if model.experiment.task == "parsing":
        raise UserError(
            f"{name} is a parser, which makes trees of words (`aiayn parse`); wanted one that "
            f"{'goes on with a text' if wanted == 'decoder' else 'translates'}."
        )
    if model.experiment.model.kind == wanted:
        return
    if wanted == "decoder":
        raise UserError(
            f"{name} translates from {data.src} to {data.tgt}, which `aiayn translate` does; "
            "wanted a language model."
        )
    raise UserError(
        f"{name} is a language model, which goes on with a text (`aiayn generate`); wanted one "
        "that translates."
    )


_SUMMED = ("config.json", "tokenizer.model", "weights.safetensors")
"""Models of earlier versions have no sum of the config."""


def save_model(folder: Path, model: Model, small: bool = False) -> None:
    """Write `config.json`, `tokenizer.model`, `weights.safetensors` and the checksums of all;
    all or nothing. `small` stores a byte for each number of a matrix."""
    with new_folder(folder) as building:
        about = {"format": FORMAT, **model.experiment.portable()}
        write_text(building / "config.json", json.dumps(about, indent=1))
        write_bytes(building / "tokenizer.model", model.tokenizer.model)
        weights = {name: np.ascontiguousarray(value) for name, value in model.params.items()}
        tensors = in_bytes(weights) if small else weights
        write_bytes(building / "weights.safetensors", save(tensors))
        sums = {name: sha256(building / name) for name in _SUMMED}
        write_text(building / SUMS, json.dumps(sums, indent=1))


def load_model(folder: Path) -> Model:
    """A model that `save_model` wrote. Nothing in the folder is run as code.

    Raises:
        UserError: a missing or damaged file, or a tokenizer that does not fit the weights.
    """
    for name in (*_SUMMED, SUMS):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} holds no {name}; wanted a model as `aiayn average` writes it."
            )
    config = folder / "config.json"
    about = read_json(config)
    check_format(about.pop("format", None), config)
    with naming(config):
        experiment = Experiment.from_dict(about)
    if damage := find_damage(folder):
        raise UserError(
            f"{damage} Write the model anew as it was written: `aiayn average`, `import`, or "
            "`export --small`."
        )
    tokenizer = Tokenizer.load(folder / "tokenizer.model")
    params = from_bytes(read_tensors(folder / "weights.safetensors"))
    check_fit(experiment, tokenizer, params, folder)
    return Model(experiment, tokenizer, params)


_POINTER = b"version https://git-lfs"
"""What a file begins with that Git left in place of a large one."""


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name. Raises UserError if they cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, LookupError, ValueError, OverflowError, AttributeError) as error:
        with path.open("rb") as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise UserError(
                    f"{path} is a pointer of Git LFS, not the weights; run: git lfs pull"
                ) from None
        raise UserError(f"{path} is damaged, or has numbers of a type unknown here: {error}") from (
            None
        )


def check_fit(
    experiment: Experiment, tokenizer: Tokenizer, params: Mapping[str, np.ndarray], where: Path
) -> None:
    """Raises UserError unless these are the weights that the config and the tokenizer need."""
    if experiment.model.num_layers > len(params):  # nor count on to a million
        raise UserError(
            f"{where}: the config needs {experiment.model.num_layers:,} layers, but the weights "
            f"hold {len(params)} tensors. The config belongs to another model."
        )
    needed = parameter_shapes(experiment.model, tokenizer.num_words)
    for name, shape in needed.items():
        found = params[name].shape if name in params else None
        if found == shape:
            if params[name].dtype.kind != "f" or not np.isfinite(params[name]).all():
                raise UserError(f"{where}: the weights hold values in {name} that are no numbers.")
            continue
        if name == "embedding":
            raise UserError(
                f"{where}: the tokenizer has {tokenizer.num_words:,} words, which need an "
                f"embedding of {shape}, but the weights hold {found}. The tokenizer belongs "
                "to another model."
            )
        raise UserError(
            f"{where}: the config needs {name} of shape {shape}, but the weights hold "
            f"{found}. The config belongs to another model."
        )
    if extra := sorted(set(params) - set(needed)):
        raise UserError(f"{where}: the config knows no {extra[0]}, which the weights hold.")


MODEL = "model"
"""The averaged model in a run directory: what `translate` uses."""


def model_of(path: Path) -> Model:
    """The model in a run directory, in a model's own, or one that comes along, by its name."""
    path = included_model(path)
    folder = path / MODEL if (path / MODEL).is_dir() else path
    if path.is_file():
        raise UserError(
            f"{path} is a file; wanted a run directory or a model directory. A text to work on is "
            f"standard input: < {path}"
        )
    if not folder.is_dir():
        raise UserError(f"{path} does not exist; wanted a run directory or a model directory.")
    if (path / "checkpoints").is_dir() and folder == path:
        raise UserError(f"{path} holds no averaged model yet; run: aiayn average {path}")
    return load_model(folder)
