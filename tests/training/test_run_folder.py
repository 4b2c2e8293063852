"""What a run directory says of itself, and what it refuses."""

import json
import os

import pytest

from aiayn.__main__ import main
from aiayn.data.prepare import prepare
from aiayn.errors import UserError
from aiayn.evaluation.record import finished_record, read_record
from aiayn.training.run_folder import (
    begin_session,
    check_run,
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
    assert "average of steps 12\n" in capsys.readouterr().out
    assert main(["average", str(run_dir), "--last", "4"]) == 2
    assert "holds 3 checkpoints in a row" in capsys.readouterr().err
    assert main(["info", str(run_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"] == again

    with pytest.raises(UserError, match=r"at step 12 already; train.num_steps is 3"):
        train_here(experiment.with_overrides(["train.num_steps=3"]), run_dir, data_dir)
    assert read_run(run_dir)[0] == greedy, "a refused command changes nothing"


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


def test_a_setting_that_decides_the_result_makes_it_another_run(corpus, data_dir, straight):
    experiment = straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    longer = experiment.with_overrides(["train.log_every=7", "train.num_steps=99"])
    check_run(longer, straight, prepared)
    for setting in ("train.seed=2", "model.dropout_rate=0.5", "train.label_smoothing=0.2"):
        key = setting.partition("=")[0]
        with pytest.raises(UserError, match=f"holds another run; different: {key}"):
            check_run(experiment.with_overrides([setting]), straight, prepared)
