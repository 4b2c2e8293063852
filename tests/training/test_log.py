import jax.numpy as jnp
import pytest

from aiayn.experiments import load_experiment
from aiayn.training.log import Log, read_metrics
from aiayn.training.step import Metrics


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
    assert row.get("loss", 2.0) == 2.0, "20 nats over 10 tokens, those not applied left out"
    assert ("loss" in row) == (1 in finite)
