"""SIGTERM, by which machines are taken away: what is saved, and how a run goes on."""

import os
import signal

import pytest

import aiayn.tasks
import aiayn.training.loop
from aiayn.__main__ import main
from aiayn.decoding.translator import Translator
from aiayn.errors import Preempted, UserError
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.log import read_metrics
from tests.support.runs import (
    assert_bit_equal,
    command_line,
    copied,
    reverse_experiment,
    straight_experiment,
    train_here,
)

pytestmark = pytest.mark.usefixtures("one_device")


def test_sigterm_saves_the_step_it_comes_in_and_nothing_else_is_different(
    corpus, data_dir, straight, tmp_path, monkeypatch
):
    experiment, run_dir = straight_experiment(corpus), tmp_path / "run"
    advance = aiayn.training.loop.TrainingProgress.advance
    calls = []

    def interrupted(progress):
        advance(progress)
        calls.append(None)
        if len(calls) in (4, 7, 12):  # in step 4, saved anyway, between two rows, in the last
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(aiayn.training.loop.TrainingProgress, "advance", interrupted)
    close = Checkpoints.close

    def stopped_again(checkpoints):
        os.kill(os.getpid(), signal.SIGTERM)  # while it waits for what is being written
        close(checkpoints)

    with monkeypatch.context() as while_stopped:
        while_stopped.setattr(Checkpoints, "close", stopped_again)
        before = signal.getsignal(signal.SIGTERM)
        for step in (4, 7, 12):
            with pytest.raises(Preempted, match=f"step {step} of 12 is saved"):
                train_here(experiment, run_dir, data_dir)
            assert signal.getsignal(signal.SIGTERM) == before
    train_here(experiment, run_dir, data_dir)
    assert len(calls) == 12, "no step ran twice"
    assert not (run_dir / "interrupted").exists()
    _assert_same_end(run_dir, straight)


def _assert_same_end(run_dir, straight):
    found, wanted = (Checkpoints.open(folder) for folder in (run_dir, straight))
    assert found.steps() == wanted.steps() == [4, 8, 12], "the same are averaged"
    for step in wanted.steps():
        assert_bit_equal(found.params(step), wanted.params(step))
    found, wanted = (read_metrics(folder / "metrics.jsonl") for folder in (run_dir, straight))
    assert max(r.get("tokens", 0) for r in found) == max(r.get("tokens", 0) for r in wanted)


def test_sigterm_ends_a_validation_which_is_done_anew(
    corpus, data_dir, straight, tmp_path, monkeypatch
):
    run_dir = copied(straight, tmp_path / "run", newest=4)
    best, batches = Translator.best, []

    def stopped(translator, lines, on_done):
        batches.append(None)
        if len(batches) in (1, 3):  # of step 8, and of step 12, which is the last
            os.kill(os.getpid(), signal.SIGTERM)
        return best(translator, lines, on_done)

    monkeypatch.setattr(Translator, "best", stopped)
    for step in (8, 12):
        with pytest.raises(Preempted, match=f"step {step} of 12 is saved"):
            train_here(straight_experiment(corpus), run_dir, data_dir)
        kept = sorted(path.name for path in (run_dir / "checkpoints").glob("[0-9]*"))
        assert kept == ["4", "8"][: step // 4 - 1]
    # As a kill leaves it between the validation's row and its checkpoint.
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "dev_loss": 1.0, "seconds": 1.0}\n')
    train_here(straight_experiment(corpus), run_dir, data_dir)
    _assert_same_end(run_dir, straight)
    rows = [read_metrics(folder / "metrics.jsonl") for folder in (run_dir, straight)]
    found, wanted = ([(r["step"], r.get("loss"), r.get("dev_loss")) for r in each] for each in rows)
    assert found == wanted


def test_what_sigterm_saved_past_a_lower_aim_is_not_gone_on_from(
    corpus, data_dir, tmp_path, monkeypatch
):
    experiment = reverse_experiment(corpus, num_steps=8, checkpoint_every=8, validate_sentences=0)
    advance, steps = aiayn.training.loop.TrainingProgress.advance, []

    def stopped(progress):
        advance(progress)
        steps.append(None)
        if len(steps) in (6, 10):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(aiayn.training.loop.TrainingProgress, "advance", stopped)
    lower = experiment.with_overrides(["train.num_steps=4"])
    for asked, step in ((experiment, 6), (lower, 4)):
        with pytest.raises(Preempted, match=f"step {step} of {asked.train.num_steps} is saved"):
            train_here(asked, tmp_path / "run", data_dir)
    train_here(lower, tmp_path / "run", data_dir)
    assert len(steps) == 10, "no step ran twice"
    assert Checkpoints.open(tmp_path / "run").steps() == [4]


def test_sigterm_in_the_evaluation_ends_well(corpus, data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(aiayn.training.loop, "train", lambda *_: None)
    monkeypatch.setattr(
        aiayn.tasks, "evaluate_run", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    command, _ = command_line(reverse_experiment(corpus), data_dir, tmp_path, "run")
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(command[3:]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "what was trained is saved. The same command resumes." in capsys.readouterr().err


def test_an_error_says_more_than_the_sigterm_that_came_before_it(
    corpus, data_dir, tmp_path, monkeypatch
):
    def stopped_and_broken(progress):
        os.kill(os.getpid(), signal.SIGTERM)
        raise UserError("the disk is full")

    def stop(*_):
        raise Preempted("saved")

    monkeypatch.setattr(aiayn.training.loop.TrainingProgress, "advance", stopped_and_broken)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        with pytest.raises(UserError, match="the disk is full"):
            train_here(reverse_experiment(corpus, num_steps=2), tmp_path / "run", data_dir)
    finally:
        signal.signal(signal.SIGTERM, before)
