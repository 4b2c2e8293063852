"""How the tests train: here, or by the command line; and a run that they share."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

import aiayn.training.loop
from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig
from aiayn.data.prepare import prepare
from aiayn.evaluation import validation
from aiayn.evaluation.evaluate import evaluate_run
from aiayn.evaluation.validation import validator
from aiayn.system.files import locked
from aiayn.training.loop import train
from aiayn.training.mesh import data_mesh


def train_here(experiment, run_dir, data_dir, console=None):
    prepared = prepare(experiment.data, data_dir, progress=False)
    train(experiment, run_dir, prepared, console or Console(file=io.StringIO()), validator)
    return prepared


def evaluate_here(run_dir, prepared):
    """The record that the evaluation writes."""
    evaluate_run(run_dir, prepared, Console(file=io.StringIO()))
    return json.loads((run_dir / "result.json").read_text())


def diverging(experiment):
    """The first update is applied and spoils the parameters, so the second is not finite."""
    return experiment.with_overrides(
        ["preset=custom", "train.learning_rate_constant=1e30", "train.warmup_steps=1"]
    )


_STEPS = {}
"""By all that they follow from; each run would trace its own anew."""
_OF_NO_STEP = {
    **{"num_steps": 1, "log_every": 1, "checkpoint_every": 1},
    **{"validate_sentences": 0, "keep_last": 1, "keep_best": 0, "seed": 1, "initial": ""},
}
"""The rhythm of a run and where it begins, on which no step depends."""


def train_on_one_device(monkeypatch):
    loop, mesh = aiayn.training.loop, data_mesh(jax.devices()[:1])
    train, evaluate = loop.mapped_train_step, validation.mapped_evaluation_step

    def mapped_train_step(graphdef, config, adam, mesh):
        made_from = graphdef, replace(config, **_OF_NO_STEP), mesh
        if made_from not in _STEPS:
            _STEPS[made_from] = train(graphdef, config, adam, mesh)
        return _STEPS[made_from]

    def mapped_evaluation_step(graphdef, mesh):
        if (graphdef, mesh) not in _STEPS:
            _STEPS[graphdef, mesh] = evaluate(graphdef, mesh)
        return _STEPS[graphdef, mesh]

    monkeypatch.setattr(loop, "data_mesh", lambda: mesh)
    monkeypatch.setattr(loop, "mapped_train_step", mapped_train_step)
    monkeypatch.setattr(validation, "mapped_evaluation_step", mapped_evaluation_step)


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """A folder that `make` fills, for the first worker that asks; the others wait for it."""
    with locked(folder.with_suffix(".lock")):
        if not folder.exists():
            unfinished = folder.with_suffix(".unfinished")
            make(unfinished)
            unfinished.rename(folder)
    return folder


def reverse_experiment(folder: Path, num_layers: int = 1, **train: int) -> Experiment:
    """Learn to reverse the sentences of `copy_corpus`."""
    return Experiment(
        name="reverse",
        data=DataConfig(
            corpus="reverse",
            src="aa",
            tgt="bb",
            folder=str(folder),
            train_files=("train.{lang}",),
            dev_files=("dev.{lang}",),
            test_files=("test=test.{lang}",),
            vocab_size=320,
            row_widths=(32,),
            max_tokens=32,
            src_tokens_per_update=600,
            tgt_tokens_per_update=600,
        ),
        model=ModelConfig(
            num_layers=num_layers,
            d_model=64,
            d_ff=128,
            num_heads=4,
            d_k=16,
            d_v=16,
            dropout_rate=0.0,
        ),
        train=TrainConfig(
            **{
                "num_steps": 600,
                "warmup_steps": 100,
                "checkpoint_every": 100,
                "log_every": 50,
                "keep_last": 5,
                "validate_sentences": 0,
                **train,
            }
        ),
        decode=DecodeConfig(average_last=3, max_extra_tokens=10),
    )


def straight_experiment(corpus, **train):
    """Three checkpoints of a tiny model, after 4, 8 and 12 updates."""
    settings = {"num_steps": 12, "checkpoint_every": 4, "log_every": 2, "validate_sentences": 5}
    return reverse_experiment(corpus, **(settings | train))


def of_text(pairs: Experiment) -> Experiment:
    """The same for a language model, which reads the target side alone."""
    data = replace(pairs.data, src="", src_tokens_per_update=DataConfig.src_tokens_per_update)
    model = replace(pairs.model, kind="decoder")
    return replace(pairs, task="language_model", data=data, model=model)


def copied(straight, run_dir, newest=12):
    """A copy of the run that nothing stopped, as a kill leaves it after step `newest`."""
    shutil.copytree(straight, run_dir)
    for path in (run_dir / "checkpoints").iterdir():
        if path.name.isdecimal() and int(path.name) > newest:
            shutil.rmtree(path)
    metrics = run_dir / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(line for line in lines if json.loads(line)["step"] <= newest))
    return run_dir


def environment(num_devices):
    """For other processes: compiling as little as this one, into the same cache."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", f"device_count={num_devices}")
    return {
        "XLA_FLAGS": flags,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,  # pyright: ignore[reportAttributeAccessIssue]
    }


def command_line(experiment, data_dir, tmp_path, run):
    """The command line that trains `experiment`, and how to run it: on one device, quietly."""
    config = tmp_path / f"{experiment.name}.py"
    config.write_text(
        "from aiayn.config import Experiment\n"
        f"config = Experiment.from_dict({experiment.to_dict()!r})\n"
    )
    folders = ["--run-dir", str(tmp_path / run), "--data-dir", str(data_dir)]
    environment = {**os.environ, "XLA_FLAGS": ""}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "env": environment}
    return [sys.executable, "-m", "aiayn", "train", str(config), *folders], quiet


def assert_bit_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
