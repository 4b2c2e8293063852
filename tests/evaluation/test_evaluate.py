import json
from dataclasses import replace

import pytest

import aiayn.evaluation.evaluate
import aiayn.evaluation.record
import aiayn.training.run_folder
from aiayn.data.prepare import prepare
from aiayn.errors import UserError
from aiayn.evaluation.record import run_info
from aiayn.system.environment import hardware
from aiayn.training.run_folder import read_sessions
from tests.support.runs import copied, evaluate_here, straight_experiment, train_here


def test_the_record_holds_what_it_promises_and_nothing_of_this_machines_folders(
    corpus, data_dir, straight, tmp_path
):
    experiment = straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    run_dir = copied(straight, tmp_path / "run")
    about = {"path": str(tmp_path), "params_sha256": "abc", "taken": ["embedding"], "drawn": []}
    (run_dir / "initial.json").write_text(json.dumps(about))
    written = evaluate_here(run_dir, prepared)
    assert written["initial"] == {"params_sha256": "abc", "drawn": []}
    assert written["updates"] == experiment.train.num_steps
    assert written["config_hash"] == experiment.hash()
    assert 0.0 <= written["waiting_for_rows"] <= 1.0
    for folder in (corpus, data_dir, tmp_path):
        assert str(folder) not in json.dumps(written)
    for label in written["scores"]["test"].values():
        assert {entry["name"] for entry in label["entries"]} >= {"sacrebleu", "chrf2"}
    for name in ("curves.png", "scores.json", "manifest.json", "sessions.jsonl"):
        assert (run_dir / name).stat().st_size > 0
    info = run_info(run_dir)
    assert info["record"] == written
    assert info["model"]["params_sha256"] == written["params_sha256"]
    assert info["checkpoints"].keys() == {"4", "8", "12"}


def test_a_run_is_not_scored_on_other_data_than_its_own(
    corpus, data_dir, straight, tmp_path, decoded
):
    data = replace(straight_experiment(corpus).data, limit=500)
    other = prepare(data, data_dir, progress=False)
    with pytest.raises(UserError, match="trained on other data"):
        evaluate_here(copied(straight, tmp_path / "run"), other)
    assert not decoded


def test_a_run_whose_outputs_cannot_be_drawn_has_a_record_all_the_same(
    corpus, data_dir, straight, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        aiayn.evaluation.evaluate, "translate_file", lambda model, lines, *_: [""] * len(lines)
    )
    prepared = prepare(straight_experiment(corpus).data, data_dir, progress=False)
    run_dir = copied(straight, tmp_path / "run")
    assert evaluate_here(run_dir, prepared)["updates"] == 12
    assert not (run_dir / "attention.png").exists()


def test_a_record_says_what_trained_the_run_and_what_scored_it(
    corpus, data_dir, straight, tmp_path, decoded, one_device, monkeypatch
):
    run_dir = copied(straight, tmp_path / "run", newest=8)
    first = read_sessions(run_dir)[0]["hardware"]["device"]
    monkeypatch.setattr(aiayn.training.run_folder, "environment", lambda: _environment("second"))
    prepared = train_here(straight_experiment(corpus), run_dir, data_dir)
    # A kill between validation and checkpoint leaves rows that no checkpoint answers for.
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 14, "dev_loss": 0.0, "seconds": 1e9}\n')
    monkeypatch.setattr(aiayn.evaluation.record, "environment", lambda: _environment("third"))
    record = evaluate_here(run_dir, prepared)
    assert [(s["from_step"], s["hardware"]["device"]) for s in record["sessions"]] == [
        (0, first),
        (8, "second"),
    ]
    machines = record["hardware"]["device"], record["evaluated"]["hardware"]["device"]
    assert machines == ("second", "third")
    assert (record["updates"], record["dev"]["step"]) == (12, 12)
    assert record["seconds"] < 1e9


def _environment(machine):
    return {"commit": "0", "versions": {}, "hardware": {**hardware(), "device": machine}}
