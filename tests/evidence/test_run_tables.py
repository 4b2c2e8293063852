import json

import pytest

from aiayn.errors import UserError
from aiayn.evaluation import record
from aiayn.evaluation.scores import Score, Scores
from aiayn.evidence.records import (
    is_stale,
    load_records,
)
from aiayn.evidence.run_tables import render_full, render_short
from aiayn.experiments import load_experiment
from aiayn.system.records import write
from tests.support.records import run_record, scores_of_bleu


def test_a_figure_of_another_tokeniser_than_the_heading_has_names_it():
    entries = (Score("sacrebleu", 30.0, "nrefs:1|case:mixed|tok:zh|version:2", ""),)
    scores = {"seen": {"average of 5": Scores("en", "zh", 1, entries)}}
    assert "| 30.00 (zh) |" in render_short([run_record(scores=scores)])
    assert "| 30.00 (zh) |" in render_full([run_record(scores=scores)])
    assert "| – |\n" in render_full([run_record(scores=scores)]), "it has one model alone"


def test_the_short_table_shows_the_averaged_model():
    (row,) = (line for line in render_short([run_record()]).splitlines() if "| seen |" in line)
    assert row.startswith("| phrasebook | seen | 31.00 | BLEU (13a) | 31.00 | – | – |")
    assert row.endswith("| 1,234,567 | 5 min, 2 cores, a CPU |")


def test_dev_is_in_the_short_table_where_nothing_else_was_scored():
    scores = scores_of_bleu(30.0, 31.0)
    of_dev, beside = {"dev": {"last": scores}}, {"seen": {"last": scores}, "dev": {"last": scores}}
    assert "| dev |" in render_short([run_record(scores=of_dev)])
    assert "| dev |" not in render_short([run_record(scores=beside)])
    assert "| dev |" in render_full([run_record(scores=beside)])


def _captions(bleu, uncased, experiment="multi30k_ende", **changes):
    own = {"config": load_experiment(experiment).to_dict()}
    tests = {"test2016": {"average of 5": scores_of_bleu(bleu, uncased)}}
    return run_record(experiment=experiment, scores=tests, **{**own, **changes})


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
    assert f"| test2016 | {ours} | BLEU, tokenised, uncased | {best} | 41.02 (Wu et al. 2021" in row
    assert f"| {far} | 2 | 5 min, 2 cores, a CPU |" in row
    (alone,) = (line for line in render_short(runs[:1]).splitlines() if "test20" in line)
    assert "| 30.50 | BLEU, tokenised, uncased | 30.50 | 41.02 (Wu et al." in alone
    assert "| -10.52 |" in alone


def test_of_experiments_on_one_text_the_short_table_has_the_best():
    text = record.TestSet(2, "a", "b")

    def on(experiment, bleu, test_text=text):
        scores = {"test2017": {"average of 5": scores_of_bleu(bleu, bleu)}}
        data = record.Data(fingerprint="0", source={}, pairs={}, tests={"test2017": test_text})
        config = load_experiment(experiment).to_dict()
        return run_record(experiment=experiment, scores=scores, data=data, config=config)

    names = "iwslt17_ende", "multi30k_ende", "tatoeba_ende"
    for best in range(3):
        runs = [on(name, 30.0 + (place == best)) for place, name in enumerate(names)]
        rows = [line for line in render_short(runs).splitlines() if "test2017" in line]
        assert [row.split(" | ")[0] for row in rows] == [f"| {names[best]}"]
        assert all(f"| {name} | test2017 |" in render_full(runs) for name in names)
    # What is best is the mean, not the best run; another text has a row of its own.
    runs = [on(names[0], 20.0), on(names[0], 32.0), on(names[1], 27.0)]
    assert "32.00" not in render_short(runs)
    assert f"| {names[1]} | test2017 | 27.00 |" in render_short(runs)
    runs.append(on(names[2], 1.0, record.TestSet(2, "a", "c")))
    assert f"| {names[2]} | test2017 | 1.00 |" in render_short(runs)


def test_what_was_published_has_a_row_whatever_else_is_better_on_its_text():
    text = record.TestSet(2, "a", "b")
    data = record.Data(fingerprint="0", source={}, pairs={}, tests={"test": text})
    runs = []
    for name, bleu in (("wmt14_ende_base", 27.0), ("wmt14_ende_big", 28.0)):
        scores = {"test": {"average of 5": scores_of_bleu(bleu, bleu)}}
        entries = (*scores["test"]["average of 5"].entries, Score("compound-split", bleu, "", ""))
        scores["test"]["average of 5"] = Scores("en", "de", 2, entries)
        config = load_experiment(name).to_dict()
        runs.append(run_record(experiment=name, scores=scores, data=data, config=config))
    table = render_short(runs)
    assert "| 27.3 (the paper's Table 2) | -0.30 |" in table
    assert "| 28.4 (the paper's Table 2) | -0.40 |" in table


@pytest.mark.parametrize(("bleu", "rows"), [(38.0, 1), (42.0, 2)])
def test_beside_a_published_figure_another_experiment_has_a_row_where_it_is_better(bleu, rows):
    text = record.TestSet(2, "a", "b")
    data = record.Data(fingerprint="0", source={}, pairs={}, tests={"test2016": text})

    def scored(name, bleu):
        entries = tuple(Score(ruler, bleu, "tok:none", "") for ruler in ("sacrebleu", "tokens"))
        scores = {"test2016": {"average of 10": Scores("en", "de", 2, entries)}}
        config = load_experiment(name).to_dict()
        return run_record(experiment=name, scores=scores, data=data, config=config)

    name = "multi30k_ende_wu2021"
    table = render_short([scored(f"{name}_quarter", bleu), scored(name, 40.0)])
    assert "| 41.02 (Wu et al. 2021, 2.6M) | -1.02 |" in table
    assert table.count("| test2016 |") == rows


def test_the_full_table_has_a_row_for_a_test_set_with_the_figure_of_each_run():
    runs = [
        _captions(30.0, 30.5),
        _captions(29.0, 32.0, file="best.json"),
        _captions(31.0, 31.5),
    ]
    every = "30.00 ± 1.00, n = 3: 30.00, [29.00](results/best.json), 31.00"
    uncased = "31.33 ± 0.76, n = 3"
    others = f"– | – | 60.00 ± 0.00, n = 3 | – | {uncased}"
    (row,) = (line for line in render_full(runs).splitlines() if "test2016" in line)
    assert row.startswith(f"| multi30k_ende | test2016 | average of 5 | {every} | {others} | ")
    (alone,) = (line for line in render_full(runs[1:2]).splitlines() if "test2016" in line)
    assert "| average of 5 | [29.00](results/best.json) | – | – | 60.00 |" in alone


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
    stale = "multi30k_ende (stale: not the settings that the experiment has now)"
    assert f"| {stale} | test2016 | 1.00 |" in table
    rows = render_full([seed(1), seed(2)]).splitlines()
    assert sum("| 2 | paper |" in row for row in rows) == 1, "the table of runs has the seed"


def test_a_mean_is_of_one_text():
    def on(text, file):
        tests = {"test2016": text} if text else {}
        data = record.Data(fingerprint="0", source={}, pairs={}, tests=tests)
        return _captions(30.0, 30.0, data=data, file=file)

    text, other = (record.TestSet(2, "a", ref) for ref in "bc")
    unknown = on(None, "0.json")
    assert "n = 3" in render_short([on(text, "1.json"), unknown, on(text, "2.json")])
    with pytest.raises(UserError, match=r"1.json and 3.json have other texts as test2016 of multi"):
        render_short([on(text, "1.json"), unknown, on(other, "3.json")])


def test_a_mean_is_of_runs_on_the_same_text_and_from_the_same_weights_alone():
    def on(bleu, fingerprint, file, **changes):
        data = record.Data(fingerprint=fingerprint, source={}, pairs={}, tests={})
        return _captions(bleu, bleu, data=data, file=file, **changes)

    runs = [on(1.0, "older", "a.json"), on(31.0, "text", "multi30k_ende.json")]
    runs += [on(33.0, "text", "z.json"), on(3.0, "text", "z.json", initial={"params_sha256": "0"})]
    text = render_full(runs)
    rows = [line.split(" | ") for line in text.splitlines() if "test2016" in line]
    assert [(name, value.partition(":")[0]) for name, _, _, value, *_ in rows] == [
        ("| multi30k_ende (on other text)", "[1.00](results/a.json)"),
        ("| multi30k_ende", "32.00 ± 1.41, n = 2"),
        ("| multi30k_ende", "[3.00](results/z.json)"),
    ]
    assert "other text" not in render_short(runs), "the README has the experiment's own"


def test_stale_runs_of_other_settings_have_no_mean():
    def stale(steps, bleu):
        changed = load_experiment("multi30k_ende").with_overrides([f"train.num_steps={steps}"])
        return _captions(bleu, bleu, config=changed.to_dict())

    rows = render_short([stale(2_000, 10.0), stale(3_000, 20.0), stale(2_000, 14.0)]).splitlines()
    values = [row.split(" | ")[2] for row in rows if "test2016" in row]
    assert values == ["12.00 ± 2.83, n = 2", "20.00"]


def test_text_of_tokens_is_compared_by_its_tokens_as_they_are():
    config = load_experiment("multi30k_ende_wu2021").to_dict()
    entries = (
        Score("sacrebleu", 29.0, "nrefs:1|case:mixed|tok:none|version:2", ""),
        Score("tokens", 29.0, "nrefs:1|case:mixed|tok:none|version:2", ""),
    )
    scores = {"test2017": {"average of 10": Scores("en", "de", 1, entries)}}
    run = run_record(experiment="multi30k_ende_wu2021", config=config, scores=scores)
    run.dev_scores = ((2.0, 5.5),)
    assert "| test2017 | 29.00 | BLEU, tokens as they are | 29.00 |" in render_short([run])
    text = render_full([run])
    assert "| average of 10 | – | – | – | – | – | – | – | – | 29.00 | – |" in text
    assert "| multi30k_ende_wu2021 | BLEU, tokens as they are | 200 | 2 s | 5.5 after 2 s |" in text


def test_a_stale_run_is_no_repeat_of_the_experiment():
    stale = {**load_experiment("phrasebook").to_dict(), "gone": 1}
    table = render_short([run_record(), run_record(config=stale)])
    assert table.count("| seen | 31.00 |") == 2


def test_the_full_table_shows_both_and_a_dash_for_what_was_not_taken():
    text = render_full([run_record(file="x.json")])
    run = "[x](results/x.json)"
    averaged = "[31.00](results/x.json) | – | – | 60.00 | – | 41.00 | – | – | –"
    assert f"| phrasebook | seen | average of 5 | {averaged} | 30.13 |" in text
    assert "| tokens as they are | the linked one, not averaged |" in text
    assert f"| {run} | 1 | paper | 1,234,567 | 10 | 99 + 101 | 5 min on 2 cores, a CPU |" in text
    assert "| – | 5 | 0123456789ab, " in text
    assert "| 0.4% | 5 | 0123456789ab, " in render_full([run_record(waiting_for_rows=0.0042)])


def test_the_time_to_a_score_is_read_from_the_metrics_beside_arun_record(tmp_path):
    write(tmp_path / "phrasebook.json", run_record())
    seen = [(1.0, None), (20.0, 3.0), (30.0, 9.5), (40.0, 12.3), (60.0, 10.0)]
    rows = [{"seconds": s, "loss": 1.0} | ({} if b is None else {"dev_bleu": b}) for s, b in seen]
    (tmp_path / "phrasebook.metrics.jsonl").write_text("".join(f"{json.dumps(r)}\n" for r in rows))
    text = render_full(load_records(tmp_path))
    assert "| run | by | sentences | 5 | 10 | highest |" in text
    run = "[phrasebook](results/phrasebook.json) | BLEU (13a) | 200"
    assert f"| {run} | 30 s | 40 s | 12.3 after 40 s |" in text
    assert "highest" not in render_full([run_record()])


def test_a_record_of_a_changed_experiment_is_shown_as_stale():
    assert not is_stale(run_record())
    config = load_experiment("phrasebook").to_dict()
    other_seed = run_record(config={**config, "train": {**config["train"], "seed": 2}})
    unknown_setting = run_record(config={**config, "gone": 1})
    for old in (other_seed, unknown_setting):
        assert is_stale(old)
        assert "stale" in render_short([old])


def test_a_setting_that_came_after_a_record_does_not_make_it_stale():
    config = load_experiment("phrasebook").to_dict()
    decode = {key: value for key, value in config["decode"].items() if key != "score_dev"}
    assert not is_stale(run_record(config={**config, "decode": decode}, config_hash="of its time"))


@pytest.mark.parametrize(
    ("experiment", "figures", "ours", "best"),
    [
        ("phrasebook_lm", ("nats_per_character", 0.25, 0.35), "nats per character", "0.25"),
        ("craft_parsing", ("f1", 70.5, 70.1), "F1", "70.50"),
    ],
)
def test_runs_of_other_tasks_have_the_figures_of_their_own(experiment, figures, ours, best):
    name, *values = figures
    config = load_experiment(experiment).to_dict()
    runs = [
        run_record(
            experiment=experiment,
            config=config,
            scores={"seen": {"last": Scores("", "", 1, (Score(name, value, "", ""),))}},
        )
        for value in values
    ]
    (row,) = (line for line in render_short(runs).splitlines() if "| seen |" in line)
    mean = f"{sum(values) / 2:.2f} ± "
    assert row.startswith(f"| {experiment} | seen | {mean}")
    assert f"| {ours} | {best} | – | – |" in row
    text = render_full([*runs, run_record()])
    assert f"| experiment | test set | weights | {ours} |" in text
    assert f"| {experiment} | seen | last | {mean}" in text
