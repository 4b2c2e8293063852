"""Training that starts from the weights of a model (`train.initial`) instead of random ones.

They are read once, before the first update: a run that has a state of its own resumes from that,
whatever has become of the model.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from aiayn.config import Experiment
from aiayn.data.tokenizer import Tokenizer
from aiayn.errors import UserError
from aiayn.model.saved import Model, model_of
from aiayn.model.structure import Params, flatten, params_sha256, unflatten
from aiayn.system import hosts
from aiayn.system.files import place, read_json, user_os_errors, write_text

_INITIAL = "initial.json"
"""In a run directory: the model that it started from, and which tensors it took."""
_SHARED = (
    *("d_model", "d_ff", "num_heads", "d_k", "d_v"),
    *("positions", "activation", "scale_embedding", "layer_norm_epsilon"),
)
"""Settings that give the weights their meaning; of others follows at most which weights there are.
"""


def check_initial(experiment: Experiment, run_dir: Path) -> None:
    """Refuse a model that a new run could not start from, before its data is prepared.

    Raises:
        UserError: there is none, or it is of other sizes.
    """
    if experiment.train.initial and not (run_dir / "config.json").is_file():
        _initial_model(experiment)


def _initial_model(experiment: Experiment) -> Model:
    path = experiment.train.initial
    model = model_of(place(path))
    theirs = {name: getattr(model.experiment.model, name) for name in _SHARED}
    changes = [
        f"--set model.{name}={value}"
        for name, value in theirs.items()
        if value != getattr(experiment.model, name)
    ]
    if changes:
        raise UserError(
            f"train.initial is {path!r}, a model of other settings than the experiment's; wanted "
            f"the same: {' '.join(changes)}"
        )
    return model


def start_from(
    experiment: Experiment, tokenizer: Tokenizer, drawn: Params, run_dir: Path, console: Console
) -> Params:
    """The weights of `train.initial`; those that it has not are left as they were drawn.

    What was taken, drawn and left out is shown, and kept in the run directory.

    Raises:
        UserError: the model has other sizes or pieces than the run.
    """
    path, model = experiment.train.initial, _initial_model(experiment)
    if _described(model.tokenizer) != _described(tokenizer):
        raise UserError(
            f"train.initial is {path!r}, whose tokenizer has other pieces than that of the data; "
            f"wanted the same: --set data.tokenizer={path}"
        )
    own = flatten(drawn)
    shared = own.keys() & model.params.keys()
    taken = sorted(n for n in shared if _layer_of(n) < experiment.train.initial_layers)
    for name in taken:
        found, wanted = model.params[name].shape, own[name].shape
        if found != wanted:
            raise UserError(
                f"train.initial is {path!r}, where {name} has the shape {found}; wanted {wanted}."
            )
    sha256 = params_sha256(model.params)
    hosts.check_same(f"model in {path}", int(sha256[:7], 16))
    about: dict[str, Any] = {
        "path": path,
        "params_sha256": sha256,
        "taken": taken,
        "drawn": sorted(own.keys() - {*taken}),
        "left_out": sorted(model.params.keys() - {*taken}),
    }
    if hosts.first():
        with user_os_errors(run_dir):
            write_text(run_dir / _INITIAL, json.dumps(about, indent=1) + "\n")
    lines = [f"Starting from {path}: {len(taken)} of its {len(model.params)} tensors."]
    for what, names in (("Drawn anew", about["drawn"]), ("Left out", about["left_out"])):
        lines += [f"{what}: {', '.join(names)}."] if names else []
    console.print("\n".join(lines))
    params = {name: np.asarray(model.params[name], own[name].dtype) for name in taken}
    return unflatten({**own, **params})


def _layer_of(name: str) -> int:
    """The number of the layer that a tensor is of; that of none is below all."""
    _, _, rest = name.partition(".")
    number, _, _ = rest.partition(".")
    return int(number) if number.isdecimal() else -1


def _described(tokenizer: Tokenizer) -> tuple[object, ...]:
    """The pieces by their ids, and what they mean beside themselves."""
    special = tokenizer.pad, tokenizer.bos, tokenizer.eos
    return (*special, *tokenizer.pieces(range(tokenizer.num_words)))


def read_initial(run_dir: Path) -> dict[str, Any] | None:
    """What a run started from, without this machine's path; None for random weights."""
    path = run_dir / _INITIAL
    if not path.is_file():
        return None
    return {key: v for key, v in read_json(path).items() if key not in ("path", "taken")}
