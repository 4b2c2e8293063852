"""The mean of the last checkpoints (§6.1)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from aiayn.errors import UserError
from aiayn.model.saved import MODEL, Model, save_model
from aiayn.system import hosts
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.run_folder import read_run


def average(checkpoints: Checkpoints, steps: Sequence[int]) -> dict[str, np.ndarray]:
    """The mean of the parameters at `steps` (§6.1), summed in float64.

    Raises:
        UserError: one of them is of another model.
    """
    _, tokenizer = checkpoints.about(steps[-1])
    total: dict[str, np.ndarray] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for step in steps:
        params = checkpoints.params(step)
        found = {name: value.shape for name, value in params.items()}
        shapes = shapes or found
        if found != shapes or checkpoints.about(step)[1].model != tokenizer.model:
            raise UserError(
                f"{checkpoints.folder / str(step)} is of another model than {steps[0]} and "
                f"{steps[-1]} beside it; wanted checkpoints of one run."
            )
        for name, value in params.items():
            total[name] = total.get(name, 0.0) + value.astype(np.float64)
    return {name: (value / len(steps)).astype(np.float32) for name, value in total.items()}


def average_run(run_dir: Path, last: int | None = None) -> tuple[Model, list[int]]:
    """Write the mean of the newest checkpoints to `run_dir/model`; the model and its steps.

    `last` says how many; None takes the experiment's number, or all where there are fewer.

    Raises:
        UserError: there are fewer checkpoints than that.
    """
    experiment, _ = read_run(run_dir)
    checkpoints = Checkpoints.open(run_dir)
    steps = checkpoints.last(last or experiment.decode.average_last)
    if last is not None and len(steps) != last:
        raise UserError(
            f"{run_dir} holds {len(steps)} checkpoints in a row; wanted {last} to average. "
            "Train on, or ask for another number (--last)."
        )
    hosts.check_same(f"last of {len(steps)} checkpoints in {run_dir}", steps[-1])
    _, tokenizer = checkpoints.about(steps[-1])
    model = Model(experiment, tokenizer, average(checkpoints, steps))
    if hosts.first():
        save_model(run_dir / MODEL, model)
    checkpoints.close()
    return model, steps
