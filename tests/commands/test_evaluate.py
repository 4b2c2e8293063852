import io
import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from aiayn.__main__ import main
from aiayn.model.saved import load_model
from aiayn.model.structure import unflatten
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.run_folder import in_use
from aiayn.training.step import TrainState
from tests.commands.test_verb import refusal
from tests.faults import folders, readers
from tests.support.models import language_model
from tests.support.trees import random_parser


@pytest.fixture
def run(tmp_path):
    """A run with its record and nothing else."""
    readers.write(tmp_path / "run", folders.run_folder())
    return tmp_path / "run"


def test_evaluate_reads_files_and_standard_input(model, tmp_path, capsys, monkeypatch):
    for name, text in (("src", "one two\nthree\n"), ("ref", "four\nfive six\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = ["--src", tmp_path / "src", "--ref", tmp_path / "ref"]
    assert main(["evaluate", str(model), *map(str, files)]) == 0
    assert "nrefs:1|" in capsys.readouterr().out
    assert main(["evaluate", str(model), *map(str, [*files, tmp_path / "src"])]) == 0
    assert "nrefs:2|" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one two\nthree\n")))
    assert main(["evaluate", str(model), "--src", "-", *map(str, files[2:])]) == 0
    assert "nrefs:1|" in capsys.readouterr().out
    assert "is one text" in refusal(capsys, "evaluate", model, "--src", "-", "--ref", "-")
    assert "wanted as many" in refusal(capsys, "evaluate", model, *files, model / "config.json")
    assert str(tmp_path) in refusal(capsys, "evaluate", model, "--src", tmp_path, *files[2:])
    for half in (files[:2], files[2:]):
        assert "--src and --ref go together" in refusal(capsys, "evaluate", model, *half)
    assert "no test sets of its own" in refusal(capsys, "evaluate", model)
    assert "--data-dir is for the test sets of a run" in refusal(
        capsys, "evaluate", model, *files, "--data-dir", tmp_path
    )


@pytest.mark.parametrize("verb", ["average", "evaluate", "sweep"])
def test_a_folder_that_is_no_run_is_refused(verb, tmp_path, capsys):
    assert f"{tmp_path} is no run directory" in refusal(capsys, verb, tmp_path)


@pytest.mark.parametrize("verb", ["average", "sweep", "replay"])
def test_a_model_that_comes_along_is_named_as_one_where_a_run_is_wanted(verb, capsys):
    assert "phrasebook is a model that comes along; wanted a run" in refusal(
        capsys, verb, "phrasebook"
    )


def test_a_file_in_place_of_a_model_is_named_as_one(tmp_path, capsys):
    (tmp_path / "in.txt").write_text("Good morning.\n")
    assert "in.txt is a file; wanted a run" in refusal(
        capsys, "attention", tmp_path / "in.txt", "a"
    )


def test_info_needs_a_run_or_a_model(tmp_path, capsys):
    assert "no config.json" in refusal(capsys, "info", tmp_path)


def test_info_of_another_programs_model_and_of_a_run_that_has_only_begun(run, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text('{"model_type": "marian"}')
    assert "other is no run or model directory, though it" in refusal(
        capsys, "info", tmp_path / "other"
    )
    (run / "result.json").unlink()
    assert main(["info", str(run)]) == 0
    assert capsys.readouterr().out == f"{run} was begun, and has no checkpoint yet.\n"


def test_info_shows_a_model(model, capsys):
    assert main(["info", str(model)]) == 0
    shown = capsys.readouterr().out
    assert main(["info", str(model), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["record"] is None
    assert f"\n  {info['model']['parameters']:,} parameters, " in shown
    assert info["model"]["params_sha256"].startswith(shown.split()[-1])


def test_another_format_is_refused_with_its_number(run, model, tmp_path, capsys):
    readers.write(tmp_path / "model", folders.model_folder())
    for verb, folder in (("evaluate", run), ("average", run), ("info", tmp_path / "model")):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "format": 99}))
        error = refusal(capsys, verb, folder)
        assert "config.json" in error
        assert "99" in error


def test_a_record_of_something_else_is_refused(run, capsys):
    for other in ({}, {"claims": []}):
        (run / "result.json").write_text(json.dumps({"experiment": "x", **other}))
        assert "result.json is no record of a run" in refusal(capsys, "info", run)
    (run / "result.json").write_text("{")
    assert "result.json" in refusal(capsys, "info", run)


def test_average_asks_for_what_the_run_kept(run, capsys):
    assert "checkpoint" in refusal(capsys, "average", run)
    assert "--last is 0; wanted 1 or more" in refusal(capsys, "average", run, "--last", 0)


@pytest.mark.parametrize("made", [language_model, random_parser])
def test_average_writes_the_mean_whatever_kind_the_model_is_of(made, run, capsys):
    model, about = made(), json.loads((run / "config.json").read_text())
    about |= {"experiment": model.experiment.to_dict(), "hash": model.experiment.hash()}
    (run / "config.json").write_text(json.dumps(about))
    checkpoints = Checkpoints(run / "checkpoints", keep_last=3)
    for step, factor in ((1, 9.0), (2, 1.0), (3, 3.0)):
        params = unflatten({n: np.float32(factor) * v for n, v in model.params.items()})
        state = TrainState(params, (), jnp.asarray(step))
        checkpoints.save(state, model.experiment, model.tokenizer)
    checkpoints.close()
    assert main(["average", str(run), "--last", "2"]) == 0
    assert f"{run}/model: average of steps 2, 3\n" in capsys.readouterr().out
    mean = load_model(run / "model")
    assert (mean.experiment, mean.tokenizer.model) == (model.experiment, model.tokenizer.model)
    assert mean.params.keys() == model.params.keys()
    for name, value in model.params.items():
        np.testing.assert_array_equal(mean.params[name], 2 * value, err_msg=name)


def test_a_run_is_scored_with_other_test_sets_but_not_with_other_training(run, tmp_path, capsys):
    for change in ("train.seed=2", "data.limit=3", "data.train_files=x", "name=other", "nothing"):
        said = refusal(capsys, "evaluate", run, "--set", "decode.beam_size=2", "--set", change)
        assert f"--set {change!r}: a trained run can be scored with other values of" in said
    for name in ("src", "ref"):
        (tmp_path / name).write_text("one\n")
    files = ["--src", tmp_path / "src", "--ref", tmp_path / "ref"]
    assert "has no use" in refusal(capsys, "evaluate", run, *files, "--set", "decode.beam_size=2")


@pytest.mark.parametrize("verb", ["evaluate", "sweep"])
def test_data_that_is_not_found_is_asked_for_and_not_made(verb, run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refusal(capsys, verb, run)
    assert f"The prepared data of {run} is not in {tmp_path}/data. Say" in said
    assert "--data-dir DIR" in said
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_average_waits_for_no_one_who_works_in_the_run(run, capsys):
    with in_use(run):
        assert f"{run} is in use by process" in refusal(capsys, "average", run)
