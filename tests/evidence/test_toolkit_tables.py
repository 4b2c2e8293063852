"""Toolkits stand beside the runs of ours whose course is kept, each by its own seconds."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from msgspec.structs import replace

from aiayn.bench.toolkits import of_ours, of_toolkit
from aiayn.errors import UserError
from aiayn.evidence.plots import plot_courses
from aiayn.evidence.toolkit_tables import render_toolkits
from aiayn.experiments import load_experiment
from aiayn.system.records import Hardware
from tests.support.figures import points
from tests.support.records import run_record, toolkit_run

ROWS = (
    {"step": 5, "tokens": 1_000, "tokens_per_second": 10.0, "peak_bytes": 10**9},
    {"step": 5, "dev_loss": 2.5, "dev_bleu": 35.0},
    {"step": 10, "tokens": 2_000, "tokens_per_second": 20.0, "peak_bytes": 2 * 10**9},
    {"step": 10, "dev_loss": 1.5, "dev_bleu": 40.0},
)


def _ours(**changes):
    return run_record(metrics=ROWS, dev_scores=((1.0, 35.0),), **changes)


def test_the_table_has_ours_and_theirs_by_the_same_figures():
    text = render_toolkits([toolkit_run()], [_ours(), run_record()])
    assert "### phrasebook by other toolkits" in text
    assert "Of the test sets BLEU, by the mean of the last weights unless said oth" in text
    assert "| s to 35 BLEU on 200 sentences of dev |" in text
    assert "| aiayn | 1 | 31.00 | 30.13 | 4.48 | 10 | 150 | 100 | 13 | 2.0 GB |" in text
    assert "| fairseq | 1 | 29.50 | 27.00 | 7.39 | 10 | 600 | 600 | 4,321 | 1.5 GB |" in text
    assert text.count("| aiayn |") == 1, "of the other run nobody knows the course"
    assert "fairseq, seed 1: commit fedcba987654, sessions 2, torch 2.13.0" in text
    assert "Updates: as many. Course: after each epoch." in text


def test_a_run_of_another_recipe_is_not_beside_them_and_another_seed_is():
    other = load_experiment("phrasebook").with_overrides(["train.num_steps=7"])
    seed = load_experiment("phrasebook").with_overrides(["train.seed=2"])
    runs = [_ours(config=other.to_dict()), _ours(config=seed.to_dict())]
    theirs = [toolkit_run(), toolkit_run(config=other.to_dict(), toolkit="hf")]
    text = render_toolkits(theirs, runs)
    assert "| aiayn | 2 | 31.00" in text
    assert text.count("| aiayn |") == 1
    assert "| fairseq |" in text
    assert "hf" not in text
    assert render_toolkits(theirs[1:], runs) == ""


def test_a_run_from_other_first_weights_is_beside_them_by_its_own_name():
    def of(name):
        return {"experiment": name, "config": load_experiment(name).to_dict()}

    quarter = "multi30k_ende_wu2021_quarter"
    runs = [_ours(**of(f"{quarter}_normal")), _ours(**of(quarter)), _ours(**of("phrasebook"))]
    runs.append(_ours(**of("multi30k_ende_wu2021")))  # which goes on for longer
    text = render_toolkits([toolkit_run(**of(quarter))], runs)
    rows = [line.split(" | ")[0] for line in text.splitlines() if " | 1 | " in line]
    assert rows == ["| aiayn", "| aiayn, initializer normal", "| fairseq"]


def test_a_run_on_other_text_is_not_beside_them():
    def other(run):
        return replace(run, data=replace(run.data, fingerprint="other"))

    text = render_toolkits([toolkit_run()], [other(_ours()), _ours()])
    assert text.count("| aiayn |") == 1
    with pytest.raises(UserError, match=r"peers of phrasebook are of 2 texts; wanted one"):
        render_toolkits([toolkit_run(), other(toolkit_run())], [])


def test_of_no_toolkit_there_is_nothing():
    assert render_toolkits([], [_ours()]) == ""


def test_the_picture_has_a_line_for_each_training_by_updates_and_by_minutes(
    tmp_path: Path, figures: list[Figure]
):
    every = [of_ours(_ours(), ROWS), of_toolkit(toolkit_run())]
    plot_courses("phrasebook", every, tmp_path / "it.png")
    by_updates, by_minutes = figures[0].axes
    assert [points(line) for line in by_updates.lines] == [
        [[5, 2.5], [10, 1.5]],
        [[5, 3.0], [10, 2.0]],
    ]
    assert [points(line) for line in by_minutes.lines] == [
        [[100 / 60, 2.5], [150 / 60, 1.5]],
        [[5.0, 3.0], [10.0, 2.0]],
    ]
    styles = [line.get_linestyle() for line in by_updates.lines]
    assert styles == ["-", "--"]
    legend = by_updates.get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["aiayn, seed 1", "fairseq, seed 1"]


def test_minutes_are_of_one_kind_of_machine(tmp_path: Path, figures: list[Figure]):
    here = of_ours(_ours(), ROWS)
    there = of_ours(_ours(hardware=Hardware("gpu", "H100", 1, 1, "a CPU", 2)), ROWS)
    plot_courses("phrasebook", [here, there, of_toolkit(toolkit_run())], tmp_path / "it.png")
    by_updates, by_minutes = figures[0].axes
    assert (len(by_updates.lines), len(by_minutes.lines)) == (3, 2)


def test_a_training_without_its_memory_has_a_dash():
    rows = tuple({k: v for k, v in row.items() if k != "peak_bytes"} for row in ROWS)
    text = render_toolkits([toolkit_run()], [replace(_ours(), metrics=rows)])
    assert "| aiayn | 1 | 31.00 | 30.13 | 4.48 | 10 | 150 | 100 | 13 | – |" in text
