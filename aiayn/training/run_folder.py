"""A run directory: which experiment it holds, what trained it, and whether it is finished.

config.json     the experiment, its hash, and the fingerprint of the prepared data
sessions.jsonl  a line for each time that training began or went on: from which step, with which
                code, on which machine
"""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from aiayn.config import Experiment
from aiayn.data.prepare import Prepared
from aiayn.errors import UserError, naming
from aiayn.model.transformer import matmul_dtype
from aiayn.system.environment import environment
from aiayn.system.files import (
    FORMAT,
    check_format,
    locked,
    read_json,
    user_os_errors,
    write_bytes,
    write_text,
)
from aiayn.training.log import read_metrics

RECORD = "result.json"
"""Written last of all."""
NOT_FINITE = "not_finite"
"""Holds the update that training gave up at."""

_MAY_CHANGE = (
    "train.num_steps",
    "train.log_every",
    "train.validate_sentences",
    "train.checkpoint_every",
    "train.keep_last",
    "train.keep_best",
    "train.slots_per_device",
    "decode.",
    "data.folder",
)
"""Settings that a run may be resumed with other values of."""


def read_run(run_dir: Path) -> tuple[Experiment, str]:
    """The experiment that a run directory holds, and the fingerprint of the data it is trained on.

    Raises:
        UserError: it is no run directory, or one of another format.
    """
    path = run_dir / "config.json"
    no_run = UserError(f"{run_dir} is no run directory: no usable config.json in it.")
    try:
        about = read_json(path)
    except (OSError, UserError):
        raise no_run from None
    check_format(about.get("format"), path)
    if not {"experiment", "data_fingerprint"} <= about.keys():
        raise no_run
    with naming(path):
        return Experiment.from_dict(about["experiment"]), str(about["data_fingerprint"])


@contextmanager
def in_use(run_dir: Path) -> Generator[None]:
    """Keep other processes out of a run directory; it is made where it is not there.

    Of processes that compute as one, each has a lock of its own.

    Raises:
        UserError: another process is at work in it.
    """
    with user_os_errors(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
    with user_os_errors(run_dir), locked(run_dir / f"lock.{jax.process_index()}", wait=False):
        yield


def check_run(experiment: Experiment, run_dir: Path, prepared: Prepared) -> None:
    """Refuse a directory that holds another run; changes nothing.

    Raises:
        UserError: naming the settings that differ.
    """
    if not (run_dir / "config.json").is_file():
        return
    found, fingerprint = read_run(run_dir)
    changed = [
        f"{key} (there {there!r}, now {now!r})"
        for key, there, now in differences(found.to_dict(), experiment.to_dict())
        if not key.startswith(_MAY_CHANGE)
    ]
    if fingerprint != prepared.fingerprint:
        changed.append("the prepared data")
    if changed:
        raise UserError(
            f"{run_dir} holds another run; different: {', '.join(changed)}. "
            "Choose another directory, or delete that one to start anew."
        )


def open_run(experiment: Experiment, run_dir: Path, prepared: Prepared) -> None:
    """Write the experiment, manifest and tokenizer of a run into its directory."""
    about = {
        "format": FORMAT,
        "experiment": experiment.to_dict(),
        "hash": experiment.hash(),
        "data_fingerprint": prepared.fingerprint,
    }
    with user_os_errors(run_dir):
        write_text(run_dir / "config.json", json.dumps(about, indent=1) + "\n")
        write_text(run_dir / "manifest.json", prepared.manifest.to_json())
        write_bytes(run_dir / "tokenizer.model", prepared.tokenizer.model)


def begin_session(experiment: Experiment, run_dir: Path, step: int) -> None:
    """Record that training starts from `step` with this code on this machine."""
    session = {
        "from_step": step,
        "matmul_dtype": str(matmul_dtype(experiment.model)),
        **environment(),
    }
    path = run_dir / "sessions.jsonl"
    # Written anew: a line that a kill cut off would take all later ones with it.
    lines = [json.dumps(row) + "\n" for row in [*read_metrics(path), session]]
    with user_os_errors(path):
        write_text(path, "".join(lines))


def read_sessions(run_dir: Path) -> list[dict[str, Any]]:
    """The sessions that trained the run, oldest first.

    Raises:
        UserError: the directory says nothing of them.
    """
    found = read_metrics(run_dir / "sessions.jsonl")
    if not found:
        raise UserError(f"{run_dir} does not say what trained it: no usable sessions.jsonl in it.")
    return found


def differences(a: Any, b: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """The dotted names of what two configs as dictionaries do not share, and both values."""
    if isinstance(a, dict):
        return [d for key in a for d in differences(a[key], b[key], f"{prefix}{key}.")]
    a, b = (tuple(x) if isinstance(x, list) else x for x in (a, b))
    return [] if a == b else [(prefix[:-1], a, b)]
