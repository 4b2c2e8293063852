"""A pre-trained decoder beside a fresh one, by hand."""

import math

import pytest
from msgspec.structs import replace

from aiayn.evidence.plots import plot_pretraining
from aiayn.evidence.records import AblatedRun, Row, TextModel
from aiayn.evidence.tables import render_pretraining
from aiayn.evidence.transfer import (
    by_layers,
    by_size,
    differences,
    rows_of,
    summary,
    table_rows,
)
from aiayn.experiments import load_experiment
from tests.evidence.test_table3 import ABOUT, MINIATURE
from tests.support.figures import points


def _record(**bleu):
    """Of two seeds; names of rows begin with a letter here, and every perplexity is e^(10/BLEU)."""
    rows: dict[str, Row] = {}
    for name, scores in bleu.items():
        size, _, kind = name[1:].partition("_")
        changes = {"data.limit": int(size)}
        if kind != "fresh":
            changes["train.initial_layers"] = int(kind.removeprefix("moved"))
        runs = [
            AblatedRun(**ABOUT, seed=seed, perplexity=math.exp(10 / score), bleu=score)
            for seed, score in enumerate(scores, 1)
        ]
        rows[f"{size}-{kind}"] = Row(changes, 1_000, runs)
    config = load_experiment("pretraining").to_dict()
    config["model"]["num_layers"] = 2
    models = [TextModel(seed, 20.0 + seed, 1_800.0, "0") for seed in (1, 2)]
    pre = {"experiment": "pretraining", "config": config, "rows": rows, "text_models": models}
    return replace(MINIATURE, file="pretraining.json", **pre)


RECORD = _record(
    n20_fresh=[10.0, 20.0],
    n20_moved0=[10.5, 20.5],
    n20_moved1=[11.0, 23.0],
    n20_moved2=[14.0, 22.0],
    n90_fresh=[30.0, 40.0],
    n90_moved2=[31.0, 40.0],
)


def test_the_rows_are_three_sizes_and_a_curve_at_the_smallest():
    rows = rows_of(load_experiment("pretraining"))
    assert list(rows) == [
        *("2000-fresh", "2000-moved0", "2000-moved1", "2000-moved2", "2000-moved3"),
        *("10000-fresh", "10000-moved3", "50000-fresh", "50000-moved3"),
    ]
    assert rows["10000-fresh"] == {"data.limit": 10_000}
    assert rows["2000-moved0"] == {"data.limit": 2_000, "train.initial_layers": 0}


def test_a_seed_is_compared_with_a_fresh_decoder_of_the_same_seed_and_size():
    bleu = differences(RECORD, "bleu")
    assert {row: found.ours for row, found in bleu.items()} == {
        "20-moved0": (0.5, 0.5),
        "20-moved1": (1.0, 3.0),
        "20-moved2": (4.0, 2.0),
        "90-moved2": (1.0, 0.0),
    }
    nats = differences(RECORD, "nats")["20-moved2"]
    assert nats.ours == pytest.approx((10 / 14 - 1.0, 10 / 22 - 0.5))
    # The means with all layers, and without any.
    assert by_size(RECORD) == {20: (15.0, 18.0), 90: (35.0, 35.5)}
    assert {count: each.mean for count, each in by_layers(RECORD).items()} == {
        0: 0.5,
        1: 2.0,
        2: 3.0,
    }


def test_a_record_is_rendered_with_its_spread_and_its_origin():
    text = render_pretraining([RECORD])
    assert "| 20 | none, drawn at random | 2,000 | 2.18 | – | 15.0 | – |" in text  # (e + e^0.5) / 2
    assert "| +1.00 ± 0.00 |" not in text
    assert "| 20 | 1 and the embedding |" in text
    assert "| 17.0 | +2.00 ± 1.41 |" in text
    assert "results/pretraining/pretraining.png" in text
    hours = sum(run.seconds for row in RECORD.rows.values() for run in row.runs) / 3_600
    assert f"2 seeds, {hours + 1:.1f} h of processes" in text, (
        "with half an hour of each text model"
    )
    assert "perplexity on dev is 21.00 (seed 1), 22.00 (seed 2)." in text
    assert summary(RECORD).startswith("Means over 2 seeds ± standard deviation")
    single = replace(RECORD, rows={k: replace(r, runs=r.runs[:1]) for k, r in RECORD.rows.items()})
    assert "±" not in "\n".join(" | ".join(row) for row in table_rows(single))
    assert summary(single).startswith("One seed.")
    assert "1 seed, " in render_pretraining([single])


def test_the_picture_has_both_curves_and_each_count_of_layers(tmp_path, figures):
    plot_pretraining(RECORD, tmp_path / "pretraining.png")
    sizes, layers = figures[0].axes
    assert [points(line) for line in sizes.lines] == [
        [[20, 18.0], [90, 35.5]],
        [[20, 15.0], [90, 35.0]],
    ]
    drawn = [points(bar.lines[0]) for bar in layers.containers]
    assert drawn == [[[0, 0.5]], [[1, 2.0]], [[2, 3.0]]]
