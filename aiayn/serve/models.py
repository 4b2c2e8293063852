"""The models that a server offers, loaded at its start, by the names that requests use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aiayn.data.tokenizer import Tokenizer
from aiayn.decoding.translator import Translator
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError
from aiayn.interface import TrainedLanguageModel, TrainedModel, load, load_language_model
from aiayn.model.saved import check_kind, model_of
from aiayn.system.files import read_json, user_os_errors

_RECORD = "result.json"
"""Of a run directory; not imported, since its module imports the training code."""


@dataclass(frozen=True)
class Served:
    """A model and what a client is told about it."""

    name: str
    path: Path
    kind: Literal["translation", "language_model"]
    model: TrainedModel | TrainedLanguageModel
    record: dict[str, Any] | None
    """The run's scores and settings, where the model lies in a finished run."""

    @property
    def translator(self) -> Translator:
        """Of a model that translates."""
        assert isinstance(self.model, TrainedModel)
        return self.model._translator  # pyright: ignore[reportPrivateUsage]

    @property
    def writer(self) -> Writer:
        """Of a language model."""
        assert isinstance(self.model, TrainedLanguageModel)
        return self.model._writer  # pyright: ignore[reportPrivateUsage]

    @property
    def tokenizer(self) -> Tokenizer:
        """Of either."""
        if self.kind == "translation":
            return self.translator.tokenizer
        return self.writer.tokenizer

    @property
    def languages(self) -> tuple[str, str]:
        """The codes of the source and the target; a language model has no source."""
        data = self.model.experiment.data
        return data.src, data.tgt


def load_served(named: Sequence[tuple[str, Path]]) -> Mapping[str, Served]:
    """The models of some directories by their names, in this order.

    Raises:
        UserError: one cannot be loaded, or is a parser, or two have the same name.
    """
    found: dict[str, Served] = {}
    for name, path in named:
        if name in found:
            raise UserError(
                f"{name} names both {found[name].path} and {path}; wanted different names."
            )
        found[name] = _served(name, path)
    return found


def _served(name: str, path: Path) -> Served:
    with user_os_errors(path):
        model = model_of(path)
        record = read_json(path / _RECORD) if (path / _RECORD).is_file() else None
    kind = model.experiment.model.kind
    check_kind(model, kind)  # both, but no parser
    if kind == "decoder":
        return Served(name, path, "language_model", load_language_model(path), record)
    return Served(name, path, "translation", load(path), record)
