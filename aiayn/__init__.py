"""Attention Is All You Need (Vaswani et al. 2017), reproduced in JAX.

    import aiayn

    model = aiayn.load("runs/phrasebook")
    model.translate(["Good morning.", "Where is the station?"])

The names in `__all__` are the interface, which docs/python.md explains. All other names and modules
are private: they may change with any version. Importing the package is quick, since JAX is imported
with the first name that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig
    from aiayn.data.trees import Bracket, Tree
    from aiayn.decoding.heads import Looks
    from aiayn.decoding.outputs import Detailed, Hypothesis
    from aiayn.decoding.parser import Parse
    from aiayn.decoding.writer import Written
    from aiayn.errors import Preempted, UserError
    from aiayn.evaluation.record import Record
    from aiayn.experiments import load_experiment
    from aiayn.interface import (
        PairScore,
        TrainedLanguageModel,
        TrainedModel,
        load,
        load_language_model,
        read_record,
        train,
    )

__version__ = "0.1.0"
__all__ = [
    "Bracket",
    "DataConfig",
    "DecodeConfig",
    "Detailed",
    "Experiment",
    "Hypothesis",
    "Looks",
    "ModelConfig",
    "PairScore",
    "Parse",
    "Preempted",
    "Record",
    "TrainConfig",
    "TrainedLanguageModel",
    "TrainedModel",
    "Tree",
    "UserError",
    "Written",
    "__version__",
    "load",
    "load_experiment",
    "load_language_model",
    "read_record",
    "train",
]

_MODULES = {
    "aiayn.config": ("DataConfig", "DecodeConfig", "Experiment", "ModelConfig", "TrainConfig"),
    "aiayn.data.trees": ("Bracket", "Tree"),
    "aiayn.decoding.heads": ("Looks",),
    "aiayn.decoding.outputs": ("Detailed", "Hypothesis"),
    "aiayn.decoding.parser": ("Parse",),
    "aiayn.errors": ("Preempted", "UserError"),
    "aiayn.evaluation.record": ("Record",),
    "aiayn.experiments": ("load_experiment",),
    "aiayn.decoding.writer": ("Written",),
    "aiayn.interface": (
        *("PairScore", "TrainedLanguageModel", "TrainedModel"),
        *("load", "load_language_model", "read_record", "train"),
    ),
}
"""Where each name is defined."""


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
