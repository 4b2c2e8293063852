"""The settings in a config of Hugging Face's.

A key that is absent means Hugging Face's default. A key that would change the output and has no
counterpart here is refused by name, as is one that nobody knows.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aiayn.errors import UserError
from aiayn.system.files import read_json


class Known(NamedTuple):
    """The settings of one kind of config."""

    defaults: Mapping[str, Any]
    """Those that are heeded, with the values that transformers gives where a file has none."""
    fixed: Mapping[str, Any]
    """Those that have one value here, which is Hugging Face's default as well."""
    harmless: frozenset[str]
    """Those that change no output, or are read elsewhere."""
    aliases: Mapping[str, str]


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


EVERYWHERE = words(
    """model_type architectures transformers_version _name_or_path name_or_path _commit_hash
    torch_dtype dtype gradient_checkpointing num_labels _num_labels id2label label2id problem_type
    finetuning_task task_specific_params tokenizer_class bos_token_id sep_token_id cls_token_id
    use_cache return_dict output_attentions output_hidden_states output_past torchscript
    use_bfloat16 tf_legacy_loss chunk_size_feed_forward attn_implementation _attn_implementation
    _attn_implementation_autoset"""
)
"""Settings of any config that change no output."""


def read_table(path: Path) -> dict[str, Any]:
    """A file of JSON that a folder of Hugging Face's must have."""
    if not path.is_file():
        raise UserError(f"{path.parent} holds no {path.name}; wanted a model of Hugging Face's.")
    return read_json(path)


def check_kind(config: Mapping[str, Any], where: Path, kinds: Mapping[str, str]) -> str:
    """The `model_type` of a config: one of `kinds`, which have their class of transformers' beside
    them.

    Raises:
        UserError: it is another, and says which.
    """
    if "model_type" not in config:
        if {"format", "data", "model"} <= config.keys():
            raise UserError(f"{where} is of a model of aiayn's own; use it as it is.")
        classes = " or ".join(kinds.values())
        raise UserError(f"{where} has no model_type; wanted the config.json of {classes}.")
    found, named = config["model_type"], config.get("architectures")
    if not isinstance(found, str) or found not in kinds:
        of = f" ({', '.join(map(str, named))})" if isinstance(named, list) and named else ""
        wanted = " or ".join(map(repr, kinds))
        why = _OTHERS.get(str(found), "")
        raise UserError(f"{where}: model_type is {found!r}; wanted {wanted}{of}{why}.")
    if named and named != [kinds[found]]:
        raise UserError(f"{where}: architectures is {named!r}; wanted {[kinds[found]]}.")
    return found


_OTHERS = {
    "gpt2": ", since GPT-2 has its norms before the sublayers (pre-norm), and no model here does",
}
"""Why a model that looks like one of these is not read."""


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


class Settings:
    """The settings in a file, Hugging Face's defaults behind them."""

    def __init__(self, given: Mapping[str, Any], where: Path, known: Known):
        self.where, self._known = where, known
        self.given = dict(given)
        for alias, key in known.aliases.items():
            if alias in given and self.given.setdefault(key, given[alias]) != given[alias]:
                raise self.wrong(key, f"{alias}, {given[alias]!r}")

    def __getitem__(self, key: str) -> Any:
        return self.given[key] if key in self.given else self._known.defaults[key]

    def wrong(self, key: str, wanted: str) -> UserError:
        return UserError(f"{self.where}: {self.said(key)}; wanted {wanted}.")

    def said(self, key: str) -> str:
        """The setting and its value, and where that comes from if not from the file."""
        if key in self.given:
            return f"{key} is {self.given[key]!r}"
        return f"{self.where.name} has no {key}, which means {self._known.defaults[key]!r}"

    def check_keys(self) -> None:
        """Raises UserError for a key that is not heeded and could change the output."""
        known = self._known
        for key in self.given:
            if key in known.fixed:
                if (self.given[key] or False) != (known.fixed[key] or False):
                    raise self.wrong(key, repr(known.fixed[key]))
            elif key not in {*known.defaults, *known.harmless, *known.aliases}:
                self.refuse_unknown(key)

    def refuse_unknown(self, key: str) -> None:
        """Raises UserError unless the value of a key that nobody knows says nothing."""
        if self.given[key] not in (None, False, 0, "", [], {}):
            raise UserError(
                f"{self.where}: {key} is {self.given[key]!r}, which is not known here and may "
                "change what the model says; where it does not, take it out of the file."
            )

    def whole(self, key: str, least: int = 1) -> int:
        value = self[key]
        if type(value) is not int or value < least:
            raise self.wrong(key, f"a whole number, {least} or more")
        return value

    def rate(self, key: str) -> float:
        if not is_number(self[key]) or not 0 <= self[key] < 1:
            raise self.wrong(key, "0 <= rate < 1")
        return float(self[key])

    def flag(self, key: str) -> bool:
        if not isinstance(self[key], bool):
            raise self.wrong(key, "true or false")
        return self[key]
