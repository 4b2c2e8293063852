import json

import pytest

from aiayn.__main__ import main
from tests.commands.test_verb import refusal
from tests.faults import folders, readers


@pytest.fixture
def run(tmp_path):
    """A run with its record and nothing else."""
    readers.write(tmp_path / "run", folders.run_folder())
    return tmp_path / "run"


def test_evaluate_reads_files(model, tmp_path, capsys):
    for name, text in (("src", "one two\nthree\n"), ("ref", "four\nfive six\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = ["--src", tmp_path / "src", "--ref", tmp_path / "ref"]
    assert main(["evaluate", str(model), *map(str, files)]) == 0
    assert "nrefs:1|" in capsys.readouterr().out
    assert main(["evaluate", str(model), *map(str, [*files, tmp_path / "src"])]) == 0
    assert "nrefs:2|" in capsys.readouterr().out
    assert "wanted as many" in refusal(capsys, "evaluate", model, *files, model / "config.json")
    assert str(tmp_path) in refusal(capsys, "evaluate", model, "--src", tmp_path, *files[2:])
    for half in (files[:2], files[2:]):
        assert "--src and --ref go together" in refusal(capsys, "evaluate", model, *half)
    assert "no test sets of its own" in refusal(capsys, "evaluate", model)


@pytest.mark.parametrize("verb", ["average", "evaluate", "sweep"])
def test_a_folder_that_is_no_run_is_refused(verb, tmp_path, capsys):
    assert f"{tmp_path} is no run directory" in refusal(capsys, verb, tmp_path)


def test_info_needs_a_run_or_a_model(tmp_path, capsys):
    assert "no config.json" in refusal(capsys, "info", tmp_path)


def test_info_shows_a_model(model, capsys):
    assert main(["info", str(model)]) == 0
    shown = capsys.readouterr().out
    assert main(["info", str(model), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["record"] is None
    assert shown == f"model: {info['model']['parameters']:,} parameters\n"


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
