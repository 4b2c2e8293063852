import json
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from aiayn.errors import UserError
from aiayn.evaluation.scores import Score, Scores
from aiayn.evidence.bench_tables import render_bench
from aiayn.evidence.records import (
    Ablation,
    Point,
    Row,
    RunRecord,
    Sweep,
    is_stale,
    load_ablations,
    load_records,
)
from aiayn.evidence.tables import (
    between_markers,
    main,
    render_ablations,
    render_full,
    render_short,
    render_sweeps,
)
from aiayn.experiments import load_experiment
from aiayn.system.records import Hardware, read, write

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


def _scores(bleu, uncased=41.0):
    names = {"sacrebleu": bleu, "chrf2": 60.0, "tokenised-lc": uncased, "compound-split": None}
    entries = tuple(Score(name, value, "", "") for name, value in names.items())
    return Scores("en", "de", 1, entries)


def test_a_figure_of_another_tokeniser_than_the_heading_has_names_it():
    entries = (Score("sacrebleu", 30.0, "nrefs:1|case:mixed|tok:zh|version:2", ""),)
    scores = {"seen": {"average of 5": Scores("en", "zh", 1, entries)}}
    assert "| 30.00 (zh) |" in render_short([_record(scores=scores)])
    assert "| 30.00 (zh) |" in render_full([_record(scores=scores)])


def _record(**changes):
    about = {
        "preset": "paper",
        "config": load_experiment("phrasebook").to_dict(),
        "config_hash": load_experiment("phrasebook").hash(),
        "commit": "0123456789abcdef",
        "parameters": 1234567,
        "seconds": 300.0,
        "updates": 10,
        "src_tokens_per_update": 99.0,
        "tgt_tokens_per_update": 101.0,
        "tokens_per_second": 5.0,
        "waiting_for_rows": None,
        "hardware": Hardware("cpu", "cpu", 1, 1, "a CPU", 2),
        "versions": {"jax": "0.10.2", "python": "3.11.7"},
        "scores": {"seen": {"last checkpoint": _scores(30.126), "average of 5": _scores(31.0)}},
    }
    record = read(RESULTS / "phrasebook.json", RunRecord, "a run")
    return replace(record, **{**about, **changes})


def test_the_short_table_shows_the_averaged_model():
    (row,) = (line for line in render_short([_record()]).splitlines() if "| seen |" in line)
    assert row.startswith("| phrasebook | seen | 31.00 | BLEU (13a) | 31.00 | – | – |")
    assert row.endswith("| 1,234,567 | 5 min, 2 cores, a CPU |")


def _captions(bleu, uncased, experiment="multi30k_ende", **changes):
    own = {"config": load_experiment(experiment).to_dict()}
    tests = {"test2016": {"average of 5": _scores(bleu, uncased)}}
    return _record(experiment=experiment, scores=tests, **{**own, **changes})


def test_the_short_table_shows_the_mean_and_the_best_run_beside_the_published_figure():
    runs = [
        _captions(30.0, 30.5),
        _captions(29.0, 32.0, parameters=2, file="best.json"),
        _captions(31.0, 31.5, parameters=3),
    ]
    (row,) = (line for line in render_short(runs).splitlines() if "test2016" in line)
    # By the published figure's ruler, 30.5, 31.5, 32: a deviation of √((25 + 1 + 16) / 72).
    ours = "31.33 ± 0.76, n = 3"
    best = "[32.00](experiments/results/best.json)"
    far = "-9.02, mean -9.69"  # 32 and 31.33 less 41.02
    assert f"| test2016 | {ours} | tokenised, uncased | {best} | 41.02 (Wu et al. 2021" in row
    assert f"| {far} | 2 | 5 min, 2 cores, a CPU |" in row
    (alone,) = (line for line in render_short(runs[:1]).splitlines() if "test20" in line)
    assert "| 30.50 | tokenised, uncased | 30.50 | 41.02 (Wu et al. 2021, 2.6M) | -10.52 |" in alone
    repeats = render_full(runs)
    assert f"| test2016 | 30.00 ± 1.00, n = 3 | – | – | 60.00 ± 0.00, n = 3 | {ours} |" in repeats
    assert "repeated" not in render_full(runs[:1])


def test_runs_that_differ_in_the_seed_are_repeats_of_the_experiments_own():
    def seed(number):
        changed = load_experiment("multi30k_ende").with_overrides([f"train.seed={number}"])
        return _captions(30.0, 30.0 + number, config=changed.to_dict())

    table = render_short([seed(2), seed(1), seed(3)])
    assert "| test2016 | 32.00 ± 1.00, n = 3 |" in table
    assert "stale" not in table
    # Without one of the experiment as it is, nothing says that it was ever run.
    assert "stale" in render_short([seed(2), seed(3)])
    # Nor is a run of other settings one more seed.
    other = load_experiment("multi30k_ende").with_overrides(["train.seed=2", "decode.beam_size=5"])
    table = render_short([seed(1), _captions(1.0, 1.0, config=other.to_dict())])
    assert "| multi30k_ende (stale: the experiment changed) | test2016 | 1.00 |" in table
    rows = render_full([seed(1), seed(2)]).splitlines()
    assert sum("| 2 | paper |" in row for row in rows) == 1, "the table of runs has the seed"


def test_a_stale_run_is_no_repeat_of_the_experiment():
    stale = {**load_experiment("phrasebook").to_dict(), "gone": 1}
    table = render_short([_record(), _record(config=stale)])
    assert table.count("| seen | 31.00 |") == 2


def test_the_full_table_shows_both_and_a_dash_for_what_was_not_taken():
    text = render_full([_record(file="x.json")])
    run = "[x](results/x.json)"
    assert f"| {run} | seen | last checkpoint | 30.13 | – | – | 60.00 | 41.00 | – | – | – |" in text
    assert f"| {run} | seen | average of 5 | 31.00 |" in text
    assert f"| {run} | 1 | paper | 1,234,567 | 10 | 99 + 101 | 5 min on 2 cores, a CPU |" in text
    assert "| – | 5 | 0123456789ab, " in text
    assert "| 0.4% | 5 | 0123456789ab, " in render_full([_record(waiting_for_rows=0.0042)])


def test_the_time_to_a_score_is_read_from_the_metrics_beside_a_record(tmp_path):
    write(tmp_path / "phrasebook.json", _record())
    seen = [(1.0, None), (20.0, 3.0), (30.0, 9.5), (40.0, 12.3), (60.0, 10.0)]
    rows = [{"seconds": s, "loss": 1.0} | ({} if b is None else {"dev_bleu": b}) for s, b in seen]
    (tmp_path / "phrasebook.metrics.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    text = render_full(load_records(tmp_path))
    assert "search 5 after 30 s, 10 after 40 s, 12.3 after 40 s, its highest." in text
    assert "Time to score" not in render_full([_record()])


def test_a_record_of_a_changed_experiment_is_shown_as_stale():
    assert not is_stale(_record())
    config = load_experiment("phrasebook").to_dict()
    other_seed = _record(config={**config, "train": {**config["train"], "seed": 2}})
    unknown_setting = _record(config={**config, "gone": 1})
    for old in (other_seed, unknown_setting):
        assert is_stale(old)
        assert "stale" in render_short([old])


def test_a_setting_that_came_after_a_record_does_not_make_it_stale():
    config = load_experiment("phrasebook").to_dict()
    decode = {key: value for key, value in config["decode"].items() if key != "score_dev"}
    assert not is_stale(_record(config={**config, "decode": decode}, config_hash="of its time"))


def test_text_goes_between_its_markers():
    readme = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n"
    wanted = "a\n<!-- x: begin -->\nnew\n<!-- x: end -->\nb\n"
    assert between_markers(readme, "x", "new") == wanted
    with pytest.raises(UserError, match="lacks the markers"):
        between_markers(readme, "y", "new")


def test_what_is_no_record_is_refused(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"experiment": "x"}), encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.json is no record"):
        load_records(tmp_path)


def test_the_committed_tables_are_those_of_the_records():
    assert main(["--check"]) == 0


def test_an_ablation_is_rendered_with_what_it_takes_to_repeat_it(tmp_path):
    miniature = read(RESULTS / "ablations/table3_miniature.json", Ablation, "an ablation")
    about = {"seconds": 1_800.0, "jobs": 2, "commits": ["0123456789abcdef"]}
    about["hardware"] = _record().hardware
    (run, *_) = miniature.rows["base"].runs

    def row(changes, perplexity, bleu):
        return Row(changes, 1_000, [replace(run, perplexity=perplexity, bleu=bleu, **about)] * 2)

    rows = {
        "base": row({}, 10.0, 20.0),
        "B1": row({"model.d_k": 2}, 20.0, 19.0),
        "C7": row({"model.d_ff": 4}, 9.0, 21.0),
    }
    record = replace(miniature, rows=rows)
    text = render_ablations([record])
    assert "commit 0123456789ab, config" in text
    assert "| B1 | d_k 2 | 1,000 | +0.048 | +0.693 ± 0.000 | -0.7 | -1.00 ± 0.00 |" in text
    assert "(Spearman): 1.00 in nats, 1.00 in BLEU" in text
    assert "3.0 h of processes, 2 at once, on 2 cores, a CPU" in text
    write(tmp_path / "ablations/table3_miniature.json", record)
    assert load_ablations(tmp_path) == [record]


def test_a_sweep_is_rendered_with_the_own_setting_in_bold():
    experiment = load_experiment("phrasebook").with_overrides(["train.num_steps=20"])
    points = {value: Point(30.0 + float(value), 1.0) for value in ("1", "4")}
    record = replace(
        read(RESULTS / "sweeps/multi30k_ende.json", Sweep, "a sweep"),
        experiment="phrasebook",
        config=experiment.to_dict(),
        kept_steps=[10, 20],
        series={"beam_size": points},
        around={"beam_size": 4},
    )
    text = render_sweeps([record])
    assert "| beam_size | 1 | 31.00 | 1.000 |" in text
    assert "| beam_size | **4** | 34.00 | 1.000 |" in text
    assert "A run of 20 updates, not as the experiment has it: train.num_steps is 20, not " in text
    plain = render_sweeps([replace(record, config=load_experiment("phrasebook").to_dict())])
    assert "A run of 20 updates. Each" in plain


def test_a_benchmark_of_data_is_rendered():
    run = {
        "pairs": 1_000,
        "text_bytes": 5e6,
        "seconds": 90.0,
        "stages": {"text": 30.0, "rows": 60.0},
        "pairs_per_second": 11.1,
        "packed_pairs_per_second": 16.6,
        "peak_rss_bytes": {"text": 2.34e9, "rows": 1e9},
        "fill": {"64": 0.97},
    }
    shared = {
        key: msgspec.to_builtins(getattr(_record(), key))
        for key in ("commit", "hardware", "versions")
    }
    record = {**shared, "bench": "data", "runs": [run], "definitions": {"peak_rss_bytes": "what"}}
    wanted = "| 1,000 | 5 MB | 90 s | text 30 s, rows 60 s | 11 | 17 | – | – | text 2.3 GB, rows"
    assert wanted in render_bench([record])
    assert "data.png" not in render_bench([record]), "of one size nothing grows"
    definitions = {"peak_rss_bytes": "what", "peak_own_bytes": "that"}
    growth = {"text": {"stages": 0.987, "peak_own_bytes": 0.0}, "rows": {"stages": 1.0}}
    grown = render_bench([{**record, "definitions": definitions, "growth": growth}])
    assert "| text | 0.99 | 0.00 |\n| rows | 1.00 | – |" in grown
    assert "Its own: that." in grown
    assert "(results/bench/data.png)" in grown
