"""What a run directory says of itself, and what it refuses."""

import io
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import aiayn.training.loop
from aiayn.__main__ import main
from aiayn.config import Experiment, all_keys
from aiayn.data.corpus import open_pairs
from aiayn.data.prepare import Begun, fingerprint, prepare
from aiayn.errors import UserError
from aiayn.evaluation.record import finished_record, read_record
from aiayn.training.run_folder import (
    begin_session,
    begun_run,
    check_run,
    data_of_run,
    in_use,
    read_run,
    read_sessions,
)
from tests.support.runs import (
    command_line,
    copied,
    evaluate_here,
    reverse_experiment,
    straight_experiment,
    train_here,
)

pytestmark = pytest.mark.usefixtures("one_device")


def test_a_run_is_finished_once_its_record_is_of_the_experiment_asked_for(
    corpus, data_dir, straight, tmp_path, decoded, capsys
):
    run_dir, experiment = copied(straight, tmp_path / "run"), straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    assert finished_record(experiment, run_dir, prepared) is None
    record = evaluate_here(run_dir, prepared)
    assert finished_record(experiment, run_dir, prepared) == read_record(run_dir)

    greedy = experiment.with_overrides(["decode.beam_size=1", "decode.average_last=2"])
    assert finished_record(greedy, run_dir, prepared) is None
    longer = experiment.with_overrides(["train.num_steps=16"])
    assert finished_record(longer, run_dir, prepared) is None
    # What changes is how both rows of the table are decoded, and nothing is trained anew.
    train_here(greedy, run_dir, data_dir)
    decoded.clear()
    again = evaluate_here(run_dir, prepared)
    assert decoded == [greedy.decode] * 2
    assert again["averaged_steps"] == [8, 12]
    assert again["sessions"] == record["sessions"]
    assert finished_record(greedy, run_dir, prepared) == read_record(run_dir)

    assert main(["average", str(run_dir), "--last", "1"]) == 0
    said = capsys.readouterr().out
    assert "average of steps 12\n" in said
    assert "result.json has the scores of another average, of 2 steps; `aiayn evaluate" in said
    assert "--set decode.average_last=1` scores this one." in said
    assert main(["average", str(run_dir), "--last", "2"]) == 0
    assert "another average" not in capsys.readouterr().out
    assert main(["average", str(run_dir), "--last", "4"]) == 2
    assert "holds 3 checkpoints in a row" in capsys.readouterr().err
    assert main(["info", str(run_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"] == again

    with pytest.raises(UserError, match=r"at step 12 already; train.num_steps is 3"):
        train_here(experiment.with_overrides(["train.num_steps=3"]), run_dir, data_dir)
    assert read_run(run_dir)[0] == greedy, "a refused command changes nothing"


def test_a_run_that_was_scored_on_its_way_is_not_finished(
    corpus, data_dir, straight, tmp_path, decoded
):
    run_dir, experiment = copied(straight, tmp_path / "run", newest=8), straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    assert evaluate_here(run_dir, prepared)["updates"] == 8
    assert finished_record(experiment, run_dir, prepared) is None
    train_here(experiment, run_dir, data_dir)
    assert evaluate_here(run_dir, prepared)["updates"] == 12
    assert finished_record(experiment, run_dir, prepared) == read_record(run_dir)


def test_another_experiment_in_the_directory_is_refused_by_name(
    corpus, data_dir, straight, tmp_path
):
    run_dir = copied(straight, tmp_path / "run")
    other = straight_experiment(corpus).with_overrides(["model.d_ff=64"])
    with pytest.raises(UserError, match=r"model.d_ff \(there 128, now 64\)"):
        train_here(other, run_dir, data_dir)


def test_a_directory_of_another_format_is_refused(corpus, data_dir, straight, tmp_path):
    run_dir = copied(straight, tmp_path / "run")
    path = run_dir / "config.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 0'))
    with pytest.raises(UserError, match=r"config.json is of format 0; this version .* format 1"):
        train_here(straight_experiment(corpus), run_dir, data_dir)


def test_a_directory_that_another_process_works_in_is_refused(corpus, data_dir, tmp_path, capsys):
    experiment = reverse_experiment(corpus, num_steps=1)
    run_dir = tmp_path / "run"
    command, _ = command_line(experiment, data_dir, tmp_path, "run")
    with in_use(run_dir):
        assert main(command[3:]) == 2
    assert f"{run_dir} is in use by process {os.getpid()} on " in capsys.readouterr().err
    assert [path.name for path in run_dir.iterdir()] == ["lock.0"], "nothing was touched"


def test_a_session_that_a_kill_cut_off_hides_no_other(corpus, tmp_path):
    begin_session(reverse_experiment(corpus), tmp_path, 0)
    with (tmp_path / "sessions.jsonl").open("a") as file:
        file.write('{"from_step": 4, "comm')
    begin_session(reverse_experiment(corpus), tmp_path, 8)
    assert [session["from_step"] for session in read_sessions(tmp_path)] == [0, 8]


def _other_value(key, value):
    """Another value that the setting can have."""
    fixed = {
        "name": "other",
        "preset": "t2t_v1",
        "data.row_widths": (32, 64),
        "data.max_tokens": 24,
        "data.num_pairs": (2_000,),
        "model.positions": "learned",
        "model.activation": "swish",
        "model.matmul_dtype": "float32",
        "model.d_model": 32,
        "train.smoothing_over": "others",
        "train.num_steps": 99,
        "data.columns": ("2", "3"),
        "train.keep_last": 9,
        "train.initial_layers": 3,
        "decode.average_last": 2,
        "decode.length_penalty_form": "length",
        "model.initializer": "normal",
    }
    if key in fixed:
        return fixed[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return ("x=other.{lang}",)
    if isinstance(value, str):
        return f"{value}x"
    return (
        value / 2
        if isinstance(value, float) and value
        else value + (0.25 if value == 0.0 and isinstance(value, float) else 1)
    )


_MAY_CHANGE = {
    *("data.folder", "data.test_files", "train.num_steps", "train.log_every"),
    *("train.validate_sentences", "train.checkpoint_every", "train.keep_last", "train.keep_best"),
    "train.slots_per_device",
    *(key for key in all_keys(Experiment) if key.startswith("decode.")),
}


_OF_THE_TASK = {"task", "data.documents", "data.trees", "model.kind", "model.num_outputs"}
"""None of these has another value where the others have not."""


@pytest.mark.parametrize("key", sorted({*all_keys(Experiment)} - _OF_THE_TASK))
def test_a_run_goes_on_with_other_values_of_these_settings_and_no_others(corpus, tmp_path, key):
    # Of presets that mean a value only `custom` can have another.
    experiment = straight_experiment(corpus).with_overrides(["preset=custom"])
    if key == "train.initial_layers":  # of a model alone
        experiment = experiment.with_overrides(["train.initial=model"])
    values = experiment.to_dict()
    section, _, name = key.rpartition(".")
    table = values[section] if section else values
    there, table[name] = table[name], _other_value(key, table[name])
    if key == "preset":
        there, table[name] = "custom", "paper"
    about = {"format": 1, "experiment": experiment.to_dict(), "data_fingerprint": "0"}
    (tmp_path / "config.json").write_text(json.dumps(about))
    other = Experiment.from_dict(values)
    assert other != experiment
    if key in _MAY_CHANGE:
        assert begun_run(other, tmp_path) == Begun(experiment.data, "0", b"")
        return
    found = re.escape(f"different: {key} (there {there!r}, now {table[name]!r}). ")
    with pytest.raises(UserError, match=found):
        begun_run(other, tmp_path)


def test_a_run_does_not_go_on_with_other_data_and_the_file_is_named(
    corpus, data_dir, straight, tmp_path
):
    folder = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    experiment = straight_experiment(folder)
    run_dir = copied(straight, tmp_path / "run", newest=8)
    text = (folder / "train.bb").read_bytes()
    (folder / "train.bb").write_bytes(text.replace(b"red", b"rot", 1))
    before = sorted(path.read_bytes() for path in run_dir.rglob("*") if path.is_file())
    line = 1 + text[: text.index(b"red")].count(b"\n")
    # Where its data are, there is something to compare; where they are made anew, there is not.
    for root, first in (
        (data_dir, rf" \(line {line} of {folder / 'train.bb'}\)"),
        (tmp_path / "data", ""),
    ):
        prepared = prepare(
            experiment.data, root, progress=False, begun=begun_run(experiment, run_dir)
        )
        wanted = rf"changed since: train\.bb{first}\. Bring the old text back"
        with pytest.raises(UserError, match=wanted):
            check_run(experiment, run_dir, prepared)
    assert sorted(path.read_bytes() for path in run_dir.rglob("*") if path.is_file()) == before
    # It goes on where only what cleaning drops is another, and with the old text, wherever that is.
    for side in ("aa", "bb"):
        shutil.copy(corpus / f"train.{side}", folder)
        with (folder / f"train.{side}").open("ab") as file:
            file.write(b" \n")
    begun = begun_run(experiment, run_dir)
    prepared = prepare(experiment.data, data_dir, False, begun=begun)
    assert prepared.changed == {"train": ["train.aa", "train.bb"]}
    check_run(experiment, run_dir, prepared)
    for side in ("aa", "bb"):
        shutil.copy(corpus / f"train.{side}", folder)
    for root in (data_dir, tmp_path / "data"):
        begun = begun_run(experiment, run_dir)
        check_run(experiment, run_dir, prepare(experiment.data, root, False, begun=begun))
    with pytest.raises(UserError, match=r"changed since: train\.src"):
        check_run(
            experiment, run_dir, prepare(replace(experiment.data, limit=900), data_dir, False)
        )


def test_the_fingerprint_of_an_earlier_version_is_read_as_that_of_training(
    corpus, data_dir, straight, tmp_path
):
    run_dir = copied(straight, tmp_path / "run")
    about = json.loads((run_dir / "config.json").read_text())
    prepared = prepare(straight_experiment(corpus).data, data_dir, progress=False)
    assert about["data_fingerprint"] == prepared.fingerprint
    # Before, the test sets were a part of it.
    old = fingerprint(prepared.manifest, prepared.tokenizer.model, tests=True)
    assert old != prepared.fingerprint
    (run_dir / "config.json").write_text(json.dumps({**about, "data_fingerprint": old}))
    assert read_run(run_dir)[1] == prepared.fingerprint
    (run_dir / "manifest.json").unlink()
    assert read_run(run_dir)[1] == old
    check_run(straight_experiment(corpus), run_dir, prepared)


def test_the_data_of_a_run_is_found_where_it_was_trained_and_else_asked_for(
    corpus, data_dir, straight, tmp_path, monkeypatch
):
    run_dir, experiment = copied(straight, tmp_path / "run"), straight_experiment(corpus)
    monkeypatch.chdir(tmp_path)
    output = io.StringIO()
    console = Console(file=output)

    def found(place=None):
        return data_of_run(experiment, run_dir, place, console, open_pairs)

    assert found().folder.parent == data_dir
    assert not (tmp_path / "data").exists()
    about = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps({**about, "data_dir": str(tmp_path / "gone")}))
    with pytest.raises(
        UserError, match=rf"not in {tmp_path}/gone nor in {tmp_path}/data\. .*--data-dir"
    ):
        found()
    assert found(data_dir).folder.parent == data_dir
    assert not (tmp_path / "data").exists(), "nothing was prepared without being asked for"
    assert found(tmp_path / "data").fingerprint == read_run(run_dir)[1]
    assert "preparing it there anew" in " ".join(output.getvalue().split())
    assert found().folder.parent == tmp_path / "data"


def test_a_setting_that_decides_the_result_makes_it_another_run(corpus, data_dir, straight):
    experiment = straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    longer = experiment.with_overrides(["train.log_every=7", "train.num_steps=99"])
    check_run(longer, straight, prepared)
    for setting in ("train.seed=2", "model.dropout_rate=0.5", "train.label_smoothing=0.2"):
        key = setting.partition("=")[0]
        with pytest.raises(UserError, match=f"holds another run; different: {key}"):
            check_run(experiment.with_overrides([setting]), straight, prepared)


def test_a_run_that_is_scored_on_other_data_stays_what_it_was(
    corpus, data_dir, straight, tmp_path, decoded, capsys
):
    folder, run_dir = Path(shutil.copytree(corpus, tmp_path / "corpus")), tmp_path / "run"
    copied(straight, run_dir)
    for path in folder.glob("train.*"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-50]))
    names = "config.json", "manifest.json", "tokenizer.model"
    before = [(run_dir / name).read_bytes() for name in names]
    sets = ["--set", f"data.folder={folder}", "--set", "decode.beam_size=1"]
    assert main(["evaluate", str(run_dir), *sets, "--data-dir", str(tmp_path / "data")]) == 2
    assert "was trained on other data" in capsys.readouterr().err
    assert [(run_dir / name).read_bytes() for name in names] == before
    assert not decoded


def test_where_the_text_of_a_run_is_stays_known_however_often_it_is_scored(
    corpus, data_dir, straight, tmp_path, decoded, monkeypatch
):
    shutil.copytree(corpus, tmp_path / "corpus")
    monkeypatch.chdir(tmp_path)  # from which the folder is named
    experiment = straight_experiment(corpus).with_overrides(["data.folder=corpus"])
    run_dir = copied(straight, tmp_path / "run")
    command, _ = command_line(experiment, data_dir, tmp_path, "run")
    assert main(command[3:]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("few", "others"):
        sets = f"data.test_files={name}=test.{{lang}}"
        assert main(["evaluate", str(run_dir), "--set", sets]) == 0
        assert read_record(run_dir).scores.keys() == {name}


def test_a_finished_run_is_scored_again_on_other_test_sets_and_trained_no_further(
    corpus, data_dir, straight, tmp_path, decoded, capsys, monkeypatch
):
    folder = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    experiment = straight_experiment(corpus).with_overrides([f"data.folder={folder}"])
    run_dir = copied(straight, tmp_path / "run")
    command, _ = command_line(experiment, data_dir, tmp_path, "run")
    assert main(command[3:]) == 0
    first = read_record(run_dir)
    monkeypatch.setattr(aiayn.training.loop, "mapped_train_step", None)
    # Mended: `train` scores it again, and then has nothing left to do.
    for lang in ("aa", "bb"):
        lines = (folder / f"test.{lang}").read_text().splitlines(keepends=True)
        (folder / f"test.{lang}").write_text("".join(lines[:10]))
    for finished in (False, True):
        capsys.readouterr()
        assert main(command[3:]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert ("is finished: 12 updates" in said) == finished
        assert read_record(run_dir).data.tests["test"].sentences == 10
    # Others: by `evaluate`, within the record of the run.
    sets = "data.test_files=few=test.{lang},dev=dev.{lang}"
    monkeypatch.chdir(folder)  # where it was trained is known, its data and the files
    assert main(["evaluate", str(run_dir), "--set", sets]) == 0
    assert f"Scoring {run_dir} on few, dev." in capsys.readouterr().out
    record = read_record(run_dir)
    assert {name: t.sentences for name, t in record.data.tests.items()} == {"few": 10, "dev": 100}
    assert record.config["data"]["test_files"] == ["few=test.{lang}", "dev=dev.{lang}"]
    assert (record.sessions, record.updates) == (first.sessions, 12)
    assert record.data.fingerprint == first.data.fingerprint
    assert main([*command[3:], "--set", sets]) == 0
    assert "is finished" in " ".join(capsys.readouterr().out.split())
