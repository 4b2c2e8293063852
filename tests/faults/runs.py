"""A run that takes seconds, in a real process; what it ends with, and how far it is on disk."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from aiayn.model.saved import load_model
from aiayn.model.structure import flatten, params_sha256
from aiayn.training.log import read_metrics
from tests.support.compiling import QUICKLY
from tests.support.corpora import copy_corpus
from tests.support.runs import of_text, reverse_experiment

ROOT = Path(__file__).parents[2]
NUM_STEPS, EVERY = 24, 6
_OF_TIME = (
    *("seconds", "tokens_per_second", "tgt_tokens_per_second", "waiting_for_rows"),
    "peak_bytes",
)


def write_experiment(
    folder: Path,
    num_steps: int = NUM_STEPS,
    every: int = EVERY,
    log_every: int = 1,
    text: bool = False,
) -> Path:
    """A corpus and the file of an experiment on it, so small that nearly all time is start-up; the
    experiment is a translator's, or on `text` alone a language model's.

    Few words, and never few of them in a sentence: the model soon says words rather than nothing.
    """
    copy_corpus(folder / "corpus", num_train=300, num_words=5, shortest=6)
    experiment = reverse_experiment(
        folder / "corpus",
        num_steps=num_steps,
        checkpoint_every=every,
        log_every=log_every,
        warmup_steps=4,
        keep_last=3,
        keep_best=1,
        validate_sentences=2,
    ).with_overrides(
        [
            "model.num_layers=1",
            "model.d_model=32",
            "model.d_ff=32",
            "model.num_heads=2",
            "model.d_k=8",
            "model.d_v=8",
            "model.dropout_rate=0.1",
            "data.vocab_size=300",
            "data.max_tokens=16",
            "data.src_tokens_per_update=200",
            "data.tgt_tokens_per_update=200",
            "decode.beam_size=2",
            "decode.average_last=2",
            "decode.max_extra_tokens=2",
        ]
    )
    if text:
        experiment = of_text(experiment)
    path = folder / "experiment.py"
    path.write_text(
        "from aiayn.config import Experiment\n"
        f"config = Experiment.from_dict({experiment.to_dict()!r})\n"
    )
    return path


def command(experiment: Path, folder: Path, program: Sequence[str] = ("aiayn",)) -> list[str]:
    """The command line that trains in `folder`; `program` is a module and what it is told first."""
    folders = ["--run-dir", str(folder / "run"), "--data-dir", str(folder / "data")]
    return [sys.executable, "-m", *program, "train", str(experiment), *folders]


def environment() -> dict[str, str]:
    """That of a process which trains: on one device, compiling little, and that only once."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": QUICKLY,
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def ending(run_dir: Path) -> dict[str, Any]:
    """All that a run ends with and that has nothing to do with time, by name."""
    record = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    found = {
        f"result.json: {name}": record[name]
        for name in ("averaged_steps", "params_sha256", "updates", "tokens", "scores")
    }
    found["result.json: dev"] = _timeless(record["dev"])
    for number, row in enumerate(read_metrics(run_dir / "metrics.jsonl")):
        found[f"metrics.jsonl: row {number}"] = _timeless(row)
    for path in sorted([*run_dir.glob("outputs/**/*.*"), *run_dir.glob("samples.txt")]):
        found[str(path.relative_to(run_dir))] = path.read_text(encoding="utf-8")
    found["model"] = params_sha256(load_model(run_dir / "model").params)
    checkpoints = run_dir / "checkpoints"
    for step in complete(checkpoints):
        found[f"checkpoint {step}"] = _state_sha256(checkpoints / str(step) / "state")
    found["left over"] = [name for name in _names(checkpoints) if not name.isdigit()]
    return found


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """The names under which two endings are not the same.

    A checkpoint too many is no loss if it is whole: the kill came before it was to be deleted.
    """
    names = sorted(found.keys() | wanted.keys())
    missing = object()
    return [
        name
        for name in names
        if found.get(name, missing) != wanted.get(name, missing)
        and not (name.startswith("checkpoint") and name not in wanted and found[name])
    ]


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in _OF_TIME}


def _state_sha256(folder: Path) -> str:
    """One hash over parameters, optimiser and step; nothing where they cannot be read."""
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            state = flatten(checkpointer.restore(folder))
    except (OSError, ValueError):
        return ""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = np.asarray(jax.device_get(state[name]))
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode() + value.tobytes())
    return digest.hexdigest()


def complete(folder: Path) -> list[int]:
    """Steps whose checkpoint has its final name."""
    return sorted(int(name) for name in _names(folder) if name.isdigit())


def _names(folder: Path) -> Iterator[str]:
    with suppress(OSError):  # it is not there, or goes away meanwhile
        yield from [path.name for path in folder.iterdir()]


def _stamp(path: Path) -> tuple[int, int]:
    """Another whenever the file is replaced."""
    with suppress(OSError):
        found = path.stat()
        return found.st_ino, found.st_mtime_ns
    return 0, 0


@dataclass(frozen=True)
class Disk:
    """How far a run is, by what lies in its directory."""

    config: tuple[int, int]
    sessions: tuple[int, ...]
    """The steps they went on from."""
    inode: int
    """Of metrics.jsonl, which is replaced when a run goes on."""
    trained: int
    validated: int
    complete: tuple[int, ...]
    unfinished: bool
    training: bool
    """The folder for what SIGTERM interrupts is there from a training's begin to its end."""
    interrupted: int
    model: tuple[int, int]
    record: tuple[int, int]

    @classmethod
    def read(cls, run_dir: Path) -> "Disk":
        rows = read_metrics(run_dir / "metrics.jsonl")
        checkpoints = run_dir / "checkpoints"
        return cls(
            config=_stamp(run_dir / "config.json"),
            sessions=tuple(row["from_step"] for row in read_metrics(run_dir / "sessions.jsonl")),
            inode=_stamp(run_dir / "metrics.jsonl")[0],
            trained=max((row["step"] for row in rows if "tokens" in row), default=0),
            validated=max((row["step"] for row in rows if "dev_loss" in row), default=0),
            complete=tuple(complete(checkpoints)),
            unfinished=any("-tmp" in name for name in _names(checkpoints)),
            training=(run_dir / "interrupted").is_dir(),
            interrupted=max(complete(run_dir / "interrupted"), default=0),
            model=_stamp(run_dir / "model"),
            record=_stamp(run_dir / "result.json"),
        )

    @property
    def newest(self) -> int:
        return max(self.complete, default=0)

    def phase(self, before: "Disk") -> str:
        """Where in its course the process was that left this and was started with `before`."""
        if self.config == before.config:
            return "start-up"
        if self.newest < NUM_STEPS or self.training:
            if before.newest < NUM_STEPS and len(self.sessions) == len(before.sessions):
                return "start-up"
            if self.inode == before.inode:
                return "restoring"
            if self.unfinished:
                return "writing a checkpoint"
            if self.validated > self.newest:
                return "before a checkpoint"
            if self.newest > before.newest and self.trained == self.newest:
                return "after a checkpoint"
            stopped = before.interrupted > before.newest and before.interrupted % EVERY == 0
            if self.trained <= max(before.newest, before.interrupted) and not stopped:
                return "compiling"
            return "validating" if self.trained % EVERY == 0 else "updating"
        if self.model == before.model:
            return "averaging"
        return "evaluating" if self.record == before.record else "exiting"
