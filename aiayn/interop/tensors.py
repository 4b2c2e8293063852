"""The weights in a folder of Hugging Face's: safetensors in one file or several.

Every tensor is asked for with the shape that the config means, and one that nothing asks for is
refused by name.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from aiayn.errors import UserError
from aiayn.model.saved import read_tensors
from aiayn.system.files import read_json

_OTHER_WEIGHTS = (
    *("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack"),
    *("rust_model.ot", "model.npz", "adapter_model.safetensors"),
)


def read_state(folder: Path, model: str) -> tuple[dict[str, np.ndarray], Path]:
    """All tensors of a `model` of transformers' by name, and the file that holds or lists them.

    Raises:
        UserError: a file is missing or damaged.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return read_tensors(whole), whole
    if not index.is_file():
        others = [name for name in _OTHER_WEIGHTS if (folder / name).exists()]
        found = f", but {', '.join(others)}" if others else ""
        place = json.dumps(str(folder), ensure_ascii=False)  # quotes that the shell's leave alone
        code = (
            f"from transformers import {model} as M; "
            f"M.from_pretrained({place}).save_pretrained({place})"
        )
        raise UserError(
            f"{folder} holds no model.safetensors{found}. A pytorch_model.bin is a pickle, which "
            "is code: where you trust one, run once, with torch and transformers installed: "
            f"python -c {shlex.quote(code)}"
        )
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
        raise UserError(f"{index} is damaged: it holds no weight_map of tensors to files.")
    state: dict[str, np.ndarray] = {}
    for name in sorted(set(shards.values())):
        if Path(name).name != name:
            raise UserError(f"{index} names the file {name!r}; wanted one of its own folder.")
        if not (folder / name).is_file():
            raise UserError(f"{folder} holds no {name}, a part of the weights by {index.name}.")
        state |= read_tensors(folder / name)
    for tensor, name in shards.items():
        if tensor not in state:
            raise UserError(f"{folder / name} holds no {tensor}, which {index.name} expects there.")
    return state, index


class Tensors:
    """A state dict that notes what is read of it."""

    def __init__(self, state: Mapping[str, np.ndarray], where: Path, model: str):
        self._state, self._where, self._model = state, where, model
        self._unread = set(state)

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def take(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """The tensor in float32; None in a shape is any length.

        Raises:
            UserError: it is missing, of another shape or no floating-point numbers.
        """
        if name not in self._state:
            raise UserError(f"{self._where} holds no {name}.")
        self._unread.discard(name)
        value = self._state[name]
        fits = len(value.shape) == len(shape)
        if not fits or any(n not in (None, m) for n, m in zip(shape, value.shape, strict=True)):
            wanted = ", ".join("any" if n is None else f"{n:,}" for n in shape)
            raise UserError(
                f"{self._where}: {name} has the shape {value.shape}; the config needs ({wanted}). "
                "The config belongs to another model."
            )
        if value.dtype.kind != "f" and value.dtype.name != "bfloat16":
            raise UserError(
                f"{self._where}: {name} holds numbers of type {value.dtype}; wanted float32, "
                "float16 or bfloat16."
            )
        return np.asarray(value, np.float32)

    def check_all_read(self) -> None:
        """Raises UserError for a tensor that no part of the model has asked for."""
        if unread := sorted(self._unread):
            others = f" and {len(unread) - 1:,} more" if len(unread) > 1 else ""
            raise UserError(
                f"{self._where} holds {unread[0]}{others}, which is no part of a {self._model} of "
                "this config, and would not be read."
            )
