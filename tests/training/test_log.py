import json
import math
import zlib
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import aiayn.training.log
from aiayn.config import Experiment
from aiayn.data.rows import Rows
from aiayn.experiments import load_experiment
from aiayn.model.flops import matmul_flops
from aiayn.training.log import Log, read_metrics, totals_of, what_is_lost
from aiayn.training.step import Metrics
from tests.support.models import MODEL


def test_metrics_of_a_run_are_complete(straight):
    rows = read_metrics(straight / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 4, 6, 8, 8, 10, 12, 12]
    assert rows[0].keys() >= {
        "loss",
        "perplexity",
        "learning_rate",
        "tokens_per_second",
        "padding",
        "src_tokens_per_update",
        "tgt_tokens_per_update",
    }
    assert all(0.0 <= row["waiting_for_rows"] <= 1.0 for row in rows if "loss" in row)
    assert rows[-1].keys() >= {"dev_loss", "dev_perplexity", "dev_bleu"}
    assert list((straight / "tensorboard").glob("events*"))


@pytest.fixture
def clock(monkeypatch):
    """The time that the log sees, in seconds."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(aiayn.training.log.time, "perf_counter", lambda: now.seconds)
    return now


def _metrics(*values):
    """Loss, plain loss, source and target tokens, norm of the gradient."""
    return Metrics(*(jnp.asarray(value) for value in values))


def test_a_row_by_hand(tmp_path, clock, monkeypatch):
    experiment = Experiment("small", model=MODEL)
    log = Log(tmp_path, experiment)
    log.peak = 1e9
    slots = np.zeros((2, 5, 30)), np.zeros((2, 5, 20))
    log.count_slots(Rows(slots[0], slots[0], slots[0], *[slots[1]] * 4))

    def items():
        clock.seconds += 0.5
        yield "first"
        clock.seconds += 1.5
        yield "second"

    pending = []
    ahead = log.timed(items(), pending)
    assert next(ahead) == "first"
    pending.append(SimpleNamespace(loss=SimpleNamespace(is_ready=lambda: False)))
    assert next(ahead) == "second", "of which the devices noticed nothing"
    clock.seconds += 2.0
    monkeypatch.setattr("aiayn.training.log.peak_bytes", lambda: 7 * 10**8)
    first = log.write(2, [_metrics(60.0, 50.0, 100, 20, 3.0), _metrics(90.0, 70.0, 140, 40, 5.0)])
    # 240 source and 60 target tokens in 4 seconds; 150 and 120 nats over 60 tokens.
    flops = matmul_flops(MODEL, experiment.data.vocab_size, 240, 60)
    assert first == {
        "step": 2,
        "learning_rate": pytest.approx(2 * 12**-0.5 * 4_000**-1.5, rel=1e-5),
        "src_tokens_per_update": 120.0,
        "tgt_tokens_per_update": 30.0,
        "tokens_per_second": 75.0,
        "tgt_tokens_per_second": 15.0,
        "padding": 1 - 300 / 500,
        "waiting_for_rows": 0.125,
        "seconds": 4.0,
        "tokens": 300,
        "peak_bytes": 7 * 10**8,
        "loss": 2.5,
        "perplexity": pytest.approx(math.exp(2.0)),
        "grad_norm": 4.0,
        # Each product is computed forward, and twice backward: once for each of its gradients.
        "mfu": pytest.approx(3 * flops / 4.0 / 1e9),
    }
    clock.seconds += 1.0
    validation = log.write_validation(2, {"dev_loss": 2.0})
    assert validation == {"step": 2, "dev_loss": 2.0, "seconds": 5.0}
    log.slots = 30
    clock.seconds += 2.0
    second = log.write(3, [_metrics(8.0, 6.0, 10, 4, 1.0)])
    assert (second["seconds"], second["tokens"], second["tokens_per_second"]) == (7.0, 314, 7.0)
    assert (second["waiting_for_rows"], second["loss"]) == (0.0, 2.0)
    log.close()
    lines = (tmp_path / "metrics.jsonl").read_bytes()
    assert read_metrics(tmp_path / "metrics.jsonl") == [first, validation, second]
    assert log.totals() == {
        "seconds": 7.0,
        "src_tokens": 250,
        "tgt_tokens": 64,
        "skipped": 0,
        "in_a_row": 0,
        "crc32": zlib.crc32(lines),
        "dev": validation,
    }


def _four_rows():
    """Updates 1 to 6 in three rows, one of them skipped, and a validation after the fourth."""
    return [
        {
            **{"step": 2, "src_tokens_per_update": 5.5, "tgt_tokens_per_update": 7.0, "tokens": 25},
            "skipped": 1,
        },
        {"step": 4, "src_tokens_per_update": 6.0, "tgt_tokens_per_update": 7.0, "tokens": 51},
        {"step": 4, "dev_loss": 1.0},
        {"step": 6, "src_tokens_per_update": 4.0, "tgt_tokens_per_update": 3.5, "tokens": 66},
    ]


def _with_seconds(rows):
    return [{**row, "seconds": float(number)} for number, row in enumerate(rows)]


def test_totals_of_a_whole_log_and_what_is_lost_of_another():
    rows = _with_seconds(_four_rows())
    totals = totals_of(rows)
    assert (totals["src_tokens"], totals["tgt_tokens"], totals["seconds"]) == (31, 35, 3.0)
    assert totals["dev"] == rows[2]
    assert totals["skipped"] == 1
    for known in (totals, None):
        assert what_is_lost(rows, 6, known) == ""
        for number in (0, 1, 3):
            assert what_is_lost([*rows[:number], *rows[number + 1 :]], 6, known), number
        assert what_is_lost([], 6, known)
    # A log that was deleted in the middle of a run counts from nothing again.
    anew = [{**row, "tokens": row["tokens"] - 25} for row in rows[1:] if "tokens" in row]
    assert "lost lines before step 4" in what_is_lost(anew, 6, None)
    # What is not a total is known to be whole where a checkpoint has its sum.
    changed = [{**rows[0], "seconds": 9.0}, *rows[1:]]
    assert what_is_lost(changed, 6, totals) == "has lost lines, or was changed"
    assert what_is_lost([], 0, None) == ""


def test_the_log_goes_on_with_the_totals_of_a_checkpoint_whatever_is_left_of_its_lines(tmp_path):
    rows, path = _with_seconds(_four_rows()), tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    totals = totals_of(rows[:3])

    def resumed(step=4, validated=True, totals=totals):
        log = Log(tmp_path, load_experiment("phrasebook"))
        said = log.resume(step, validated, totals)
        log.close()
        return log.totals(), said

    assert resumed(6, totals=None) == (totals_of(rows), "")
    assert resumed(validated=False, totals=totals_of(rows[:2])) == (totals_of(rows[:2]), "")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert resumed() == (totals, "")
    assert read_metrics(path) == rows[:3]
    found, _ = resumed(totals={**totals, "in_a_row": 7})
    assert found["in_a_row"] == 7, "updates before a stop count"
    path.unlink()
    found, said = resumed()
    assert found == totals
    assert said == f"{path} has lost lines, or was changed."
    found, said = resumed(totals=None)
    assert said == f"{path} has lost its lines up to step 4."


@pytest.mark.parametrize(
    ("finite", "in_a_row"),
    [([1, 1], 0), ([0, 1, 0, 0], 2), ([1, 0], 1), ([0, 0, 0], 3), ([0, 1], 0)],
)
def test_updates_that_are_not_finite_are_counted_since_the_last_that_was(
    tmp_path, finite, in_a_row
):
    log = Log(tmp_path, load_experiment("phrasebook"))
    log.slots = 1_000
    tokens = jnp.int32(10)
    pending = [
        Metrics(jnp.float32(20.0 if good else jnp.nan), jnp.float32(30.0), tokens, tokens, tokens)
        for good in finite
    ]
    row = log.write(len(finite), pending)
    log.close()
    assert log.in_a_row == in_a_row
    assert row.get("skipped", 0) == finite.count(0)
    assert log.totals()["skipped"] == finite.count(0)
    # The rate of the update that was applied last; those skipped do not go on in the schedule.
    train, d_model = log.experiment.train, log.experiment.model.d_model
    applied = max(1, sum(finite))
    rate = train.learning_rate_constant * d_model**-0.5 * applied * train.warmup_steps**-1.5
    assert row["learning_rate"] == pytest.approx(rate)
    assert row.get("loss", 2.0) == 2.0, "20 nats over 10 tokens, those not applied left out"
    assert ("loss" in row) == (1 in finite)
