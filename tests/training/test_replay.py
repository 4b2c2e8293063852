"""Losses and gradients that are not finite: counted, left out, and kept to be looked at again."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import aiayn.training.loop
from aiayn.__main__ import main
from aiayn.config import DataConfig, Experiment
from aiayn.data.rows import Rows
from aiayn.errors import UserError
from aiayn.training.log import read_metrics
from aiayn.training.mesh import data_mesh
from aiayn.training.optim import optimizer
from aiayn.training.replay import _rounds_of_one_device, look
from aiayn.training.step import TrainState
from tests.support.models import MODEL, NUM_WORDS, drawn_by_numpy, random_pairs, unpacked_rows
from tests.support.runs import diverging, reverse_experiment, train_here


@pytest.fixture
def two_devices(monkeypatch):
    monkeypatch.setattr(aiayn.training.loop, "data_mesh", lambda: data_mesh(jax.devices()[:2]))


@pytest.fixture
def updates(monkeypatch):
    """The rows and the metrics of each update; `spoil` are the numbers of those without a loss."""
    mapped_train_step = aiayn.training.loop.mapped_train_step
    seen = SimpleNamespace(rows=[], metrics=[], spoil=())

    def watched(*arguments):
        update = mapped_train_step(*arguments)

        def shown(state, rows, key):
            seen.rows.append(rows)
            state, metrics = update(state, rows, key)
            seen.metrics.append(metrics)
            spoilt = len(seen.rows) in seen.spoil
            return state, metrics._replace(loss=jnp.asarray(jnp.nan)) if spoilt else metrics

        return shown

    monkeypatch.setattr(aiayn.training.loop, "mapped_train_step", watched)
    return seen


def test_training_gives_up_after_ten_updates_that_are_not_finite(
    corpus, data_dir, tmp_path, capsys, two_devices, updates
):
    experiment = reverse_experiment(corpus, num_steps=16, checkpoint_every=16, log_every=4)
    broken = diverging(experiment)
    with pytest.raises(UserError, match="10 steps in a row, the first of them 2") as stopped:
        train_here(broken, tmp_path / "run", data_dir)
    rows = read_metrics(tmp_path / "run/metrics.jsonl")
    assert [(row["step"], row["skipped"]) for row in rows] == [(4, 3), (8, 4), (12, 4)]
    assert ["loss" in row for row in rows] == [True, False, False]

    assert main(["replay", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == str(stopped.value).splitlines()[1:-1], "computed again, it is the same"
    assert lines[0].startswith("Step 2: the loss is ")
    assert lines[1].startswith("All ")
    assert lines[1].endswith(" parameters are finite.")
    assert "the first on the way is embedding" in lines[2]
    assert ", is not finite: 0" in lines[3]
    # Embeddings and weights of some 1e28 overflow in the first product of both.
    assert "transformer.py" in lines[4]
    assert lines[4].endswith("return x @ kernel_IO.")
    kept = load_file(tmp_path / "run/not_finite/rows.safetensors")
    for name, field in updates.rows[1]._asdict().items():
        np.testing.assert_array_equal(kept[name], field, err_msg=name)


def test_updates_before_a_stop_count_too(corpus, data_dir, tmp_path, one_device, updates):
    updates.spoil = range(3, 13)
    for num_steps in (8, 16):
        experiment = reverse_experiment(
            corpus, num_steps=num_steps, checkpoint_every=8, log_every=4
        )
        if num_steps == 8:
            train_here(experiment, tmp_path / "run", data_dir)
            continue
        with pytest.raises(UserError, match="10 steps in a row, the first of them 3"):
            train_here(experiment, tmp_path / "run", data_dir)
    assert len(updates.rows) == 12


def test_a_damaged_update_is_none_of_a_runs_checkpoints(
    corpus, data_dir, tmp_path, one_device, updates, capsys
):
    updates.spoil = range(1, 13)
    experiment = reverse_experiment(corpus, num_steps=16, checkpoint_every=16, log_every=4)
    with pytest.raises(UserError, match="10 steps in a row"):
        train_here(experiment, tmp_path / "run", data_dir)
    folder = tmp_path / "run/not_finite"
    largest = max(folder.glob("0/state/**/*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(b"x" + largest.read_bytes()[1:])
    assert main(["replay", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert f"Remove {folder} and train again" in said
    assert "result.json" not in said


def test_rows_of_many_devices_are_computed_by_one_in_more_rounds():
    rows = unpacked_rows(random_pairs([(5, 5)] * 12), width=8)
    rounds = Rows(*(field.reshape(2, 6, 8) for field in rows))
    for slots, size in ((1_000, 6), (47, 3), (16, 2), (1, 1)):
        found = _rounds_of_one_device(rounds, slots)
        assert found.tgt_in_BT.shape == (12 // size, size, 8)
        for field, wanted in zip(found, rows, strict=True):
            np.testing.assert_array_equal(field.reshape(12, 8), wanted)


def test_an_update_of_a_language_model_is_looked_at_too():
    experiment = Experiment(
        "text",
        task="language_model",
        data=DataConfig(src="", tgt="de"),
        model=replace(MODEL, kind="decoder"),
    )
    rows = unpacked_rows(random_pairs([(5, 5)] * 6), width=8)
    none = np.zeros((6, 0), np.int32)
    sources = {name: none for name in Rows._fields if name.startswith("src")}
    rounds = Rows(*(field.reshape(2, 3, field.shape[-1]) for field in rows._replace(**sources)))
    _, params = drawn_by_numpy(experiment.model)
    params["embedding"] = params["embedding"].at[0].set(jnp.nan)
    adam = optimizer(experiment.model, experiment.train)
    state = TrainState(params, adam.init(params), jnp.zeros((), jnp.int32))
    lines = list(look(experiment, NUM_WORDS, state, rounds))
    assert lines[0] == "Step 1: the loss is nan nats in all."
    assert "the first on the way is embedding" in lines[1]
    assert lines[3].endswith("of 0 to 5.")


def test_nothing_to_replay_is_refused(tmp_path, capsys):
    assert main(["replay", str(tmp_path)]) == 2
    assert f"{tmp_path / 'not_finite'} is not there" in capsys.readouterr().err


def test_an_update_that_is_not_finite_is_counted_and_left_out(
    corpus, data_dir, tmp_path, one_device, updates
):
    updates.spoil = (3,)
    experiment = reverse_experiment(corpus, num_steps=4, checkpoint_every=4, log_every=4)
    train_here(experiment, tmp_path / "run", data_dir)
    row = read_metrics(tmp_path / "run/metrics.jsonl")[0]
    assert row["skipped"] == 1
    applied = [metrics for number, metrics in enumerate(updates.metrics, 1) if number != 3]
    mean = sum(float(m.loss) for m in applied) / sum(int(m.tgt_tokens) for m in applied)
    assert row["loss"] == pytest.approx(mean)
    assert row["tokens"] == sum(int(m.src_tokens + m.tgt_tokens) for m in updates.metrics)
