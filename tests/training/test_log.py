from aiayn.training.log import read_metrics


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
