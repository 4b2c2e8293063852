"""Tiny models as a server holds them: a translator and a language model of random weights."""

from pathlib import Path
from typing import Any

from aiayn.config import DataConfig, DecodeConfig, Experiment
from aiayn.interface import TrainedLanguageModel, TrainedModel
from aiayn.model.saved import Model
from aiayn.model.structure import flatten
from aiayn.serve.models import Served
from tests.support.models import MODEL, TOKENIZER, drawn_by_numpy, language_model


def translator(name: str = "pair", record: dict[str, Any] | None = None) -> Served:
    """One that is sure enough of itself to end its outputs, with a beam of three."""
    _, params = drawn_by_numpy(num_words=TOKENIZER.num_words)
    experiment = Experiment(
        "small",
        data=DataConfig(src="en", tgt="de", max_tokens=40),
        model=MODEL,
        decode=DecodeConfig(beam_size=3, max_extra_tokens=8),
    )
    model = Model(experiment, TOKENIZER, flatten(params))
    return Served(name, Path(name), "translation", TrainedModel(model), record)


def writer(name: str = "text") -> Served:
    """One that goes on with a text."""
    model = TrainedLanguageModel(language_model())
    return Served(name, Path(name), "language_model", model, None)
