"""Runs, checkpoints, models and records that earlier versions wrote are read as they were."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from aiayn.__main__ import main
from aiayn.experiments import load_experiment
from aiayn.training.run_folder import read_run

FIXTURE = Path(__file__).parent / "fixtures" / "format1.tar.gz"


@pytest.fixture
def old(tmp_path, monkeypatch):
    """The folder that 8d97de3 worked in, with `run`, `corpus` and what its commands printed."""
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_record_and_every_checkpoint_are_read_bit_for_bit(old, capsys):
    assert main(["info", "run", "--json"]) == 0
    found, wanted = json.loads(capsys.readouterr().out), json.loads((old / "info.json").read_text())
    assert set(wanted["checkpoints"]) == {"10", "20"}
    # What a model is was not told then.
    assert {**found, "model": None} == {**wanted, "model": None}
    assert found["model"].items() >= wanted["model"].items()


def test_the_model_translates_to_the_same_words_and_scores(old, capsysbinary, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((old / "in.txt").read_bytes())))
    assert main(["translate", "run", "--num-best", "4"]) == 0
    found, wanted = (
        [line.split("\t") for line in text.decode().splitlines()]
        for text in (capsysbinary.readouterr().out, (old / "best.tsv").read_bytes())
    )
    assert [(n, text) for n, _, text in found] == [(n, text) for n, _, text in wanted]
    assert [float(s) for _, s, _ in found] == pytest.approx(
        [float(s) for _, s, _ in wanted], abs=2e-4
    )


def test_a_given_translation_has_the_same_score(old, capsys):
    assert main(["score", "run", "in.txt", "ref.txt"]) == 0
    (found, tokens), (wanted, as_many) = (
        text.split() for text in (capsys.readouterr().out, (old / "score.tsv").read_text())
    )
    assert tokens == as_many
    assert float(found) == pytest.approx(float(wanted), abs=2e-4)


def test_averaging_its_checkpoints_gives_the_same_model(old, capsys):
    assert main(["average", "run"]) == 0
    assert main(["info", "run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.split("\n", 1)[1])
    wanted = json.loads((old / "info.json").read_text())["model"]
    assert found["model"].items() >= wanted.items()


def test_it_is_finished_for_the_experiment_that_it_ran(old, capsys):
    experiment, _ = read_run(Path("run"))
    assert experiment == load_experiment("tiny.py")
    assert main(["train", "tiny.py", "--run-dir", "run", "--data-dir", "data"]) == 0
    assert "run is finished: 20 updates." in capsys.readouterr().out


def test_training_goes_on_from_its_checkpoint(old, capsys, one_device):
    more = ["--set", "train.num_steps=22", "--set", "train.checkpoint_every=11"]
    assert main(["train", "tiny.py", "--run-dir", "run", "--data-dir", "data", *more]) == 0
    assert "Resuming from step 20 of 22." in capsys.readouterr().out
