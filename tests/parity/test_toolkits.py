"""The true toolkits train by the recipe they are given, go on where they were, and translate."""

import hashlib
import json
import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from aiayn.bench.recipe import (
    COURSE,
    WEIGHTS,
    Recipe,
    dictionary_path,
    output_path,
    read_pieces,
    text_path,
    write_pieces,
)
from aiayn.config import DecodeConfig, Experiment, ModelConfig, TrainConfig
from aiayn.model.structure import count_parameters

ROOT = Path(__file__).parents[2]
PYTHONS = {"hf": Path(sys.executable), "fairseq": ROOT / ".venv-fairseq" / "bin" / "python"}
WORDS = [f"▁w{number}" for number in range(124)]
MODEL = ModelConfig(
    num_layers=2,
    d_model=32,
    d_ff=48,
    num_heads=2,
    d_k=16,
    d_v=16,
    dropout_rate=0.1,
    positions="halves",
)
PAIRS, EPOCHS = 64, 4


@pytest.fixture(params=sorted(PYTHONS))
def toolkit(request):
    if request.param == "fairseq" and not (ROOT / ".venv-fairseq/.done").is_file():
        pytest.skip("`make .venv-fairseq/.done` installs fairseq")
    return request.param


def _recipe(epochs):
    """Two batches of 16 pairs are an update, and two updates an epoch."""
    experiment = Experiment(
        name="copy",
        preset="custom",
        model=MODEL,
        train=TrainConfig(num_steps=2 * epochs, warmup_steps=5, learning_rate_constant=0.5),
        decode=DecodeConfig(average_last=2, max_extra_tokens=5, beam_size=3),
    )
    return Recipe(experiment, "", PAIRS // 4, 16 * 7, ["one", "two"])


@pytest.fixture
def folder(tmp_path):
    """Sentences of six words, of which the target is a copy."""
    rng = random.Random(0)
    sizes = {"train": PAIRS, "valid": 9, "first": 3, "test.one": 4, "test.two": 5}
    for split, size in sizes.items():
        lines = [rng.choices(WORDS, k=6) for _ in range(size)]
        for side in ("src", "tgt"):
            write_pieces(text_path(tmp_path, split, side), lines)
    for side in ("src", "tgt"):
        write_pieces(dictionary_path(tmp_path, side), [[word, "1"] for word in WORDS])
    return tmp_path


def _worker(toolkit, what, folder):
    command = [str(PYTHONS[toolkit]), "-m", f"aiayn.bench.toolkit_{toolkit}", what, str(folder)]
    # With a thread for each core, workers that run side by side wait for each other: for minutes.
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=threads)
    assert done.returncode == 0, done.stderr
    return list(map(json.loads, done.stdout.splitlines())), done.stderr


def test_a_toolkit_trains_goes_on_and_translates(toolkit, folder):
    _recipe(EPOCHS - 1).write(folder)
    (about, *rows), _ = _worker(toolkit, "train", folder)
    assert about["parameters"] == count_parameters(MODEL, 4 + len(WORDS))
    assert [row["updates"] for row in rows] == [2, 4, 6]
    assert [row["epochs"] for row in rows] == pytest.approx([1, 2, 3])
    assert all(len(row["outputs"]) == 3 for row in rows)
    assert all(0 < row["dev_loss"] < 1.5 * math.log(128) for row in rows)
    (folder / COURSE).write_text("".join(json.dumps(row) + "\n" for row in rows))

    _recipe(EPOCHS).write(folder)
    (_, again), log = _worker(toolkit, "train", folder)
    assert again["updates"] == 8
    assert again["seconds"] > rows[-1]["seconds"]
    # Behind the warm-up of 5 updates eq. 3 is constant · d_model^−½ · step^−½. Both begin with a
    # step of 0; hf tells the rate of the last update, fairseq that of the next.
    step = {"hf": 7, "fairseq": 8}[toolkit]
    assert _rate(toolkit, log) == pytest.approx(0.5 * (32 * step) ** -0.5, rel=1e-3)

    assert _worker(toolkit, "translate", folder)[0] == []
    for name, count in (("one", 4), ("two", 5)):
        for weights in WEIGHTS:
            text = output_path(folder, weights, name).read_text(encoding="utf-8")
            lines = text.split("\n")[:-1]
            assert len(lines) == count
            assert set(" ".join(lines).split()) <= {*WORDS, "<unk>"}


def _rate(toolkit, log):
    """The learning rate of the last update, as its log has it."""
    if toolkit == "fairseq":
        rows = [line.partition("| train | ")[2] for line in log.splitlines()]
        return float(json.loads([row for row in rows if row][-1])["train_lr"])
    (told,) = (line for line in log.splitlines() if "'learning_rate'" in line)
    return float(told.partition("'learning_rate': '")[2].partition("'")[0])


def test_a_toolkit_that_has_done_all_updates_goes_no_further(toolkit, folder):
    _recipe(1).write(folder)
    (about, _), _ = _worker(toolkit, "train", folder)
    before = _checkpoints(folder)
    assert _worker(toolkit, "train", folder)[0] == [about]
    assert _checkpoints(folder) == before


def _checkpoints(folder):
    paths = sorted(path for path in (folder / "checkpoints").rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_a_checkpoint_that_was_not_written_to_its_end_is_not_gone_on_from(folder):
    _recipe(1).write(folder)
    _worker("hf", "train", folder)
    half = folder / "checkpoints" / "checkpoint-9"
    half.mkdir()
    (half / "model.safetensors").touch()
    _recipe(2).write(folder)
    (_, row), _ = _worker("hf", "train", folder)
    assert row["updates"] == 4
    _worker("hf", "translate", folder)


def test_both_learn_to_copy(toolkit, folder):
    """What is wrong in a batch, such as targets that are not shifted, would not be learnt, or at
    once."""
    experiment = _recipe(1).experiment
    train = TrainConfig(num_steps=300, warmup_steps=60, learning_rate_constant=1.0)
    recipe = _recipe(1)
    recipe = Recipe(
        replace(experiment, train=train), "", recipe.pairs_per_batch, recipe.slots_per_batch, []
    )
    recipe.write(folder)
    for side in ("src", "tgt"):  # dev is a part of train: three hundred updates learn no rule
        lines = read_pieces(text_path(folder, "train", side))
        write_pieces(text_path(folder, "valid", side), lines[:9])
        write_pieces(text_path(folder, "first", side), lines[:3])
    (_, *rows), _ = _worker(toolkit, "train", folder)
    assert rows[0]["dev_loss"] > math.log(128) - 1.0
    assert rows[-1]["dev_loss"] < 1.0
    assert rows[-1]["outputs"][0] == read_pieces(text_path(folder, "first", "tgt"))[0]
