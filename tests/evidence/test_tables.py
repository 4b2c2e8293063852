import json
import shutil

import msgspec
import pytest
from msgspec.structs import replace

from aiayn.errors import UserError
from aiayn.evidence.bench_tables import render_bench
from aiayn.evidence.records import (
    Ablation,
    Point,
    Row,
    Sweep,
    load,
    load_ablations,
    load_records,
)
from aiayn.evidence.tables import (
    _draw,
    between_markers,
    main,
    render_ablations,
    render_sweeps,
)
from aiayn.experiments import load_experiment
from aiayn.system.records import read, write
from tests.support.records import RESULTS, run_record, toolkit_run


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
    about["hardware"] = run_record().hardware
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
    wanted = "+0.048 | +0.693 ± 0.000 same | -0.7 | -1.00 ± 0.00 same |"
    assert f"| B1 | d_k 2 | 1,000 | 30 | {wanted}" in text
    assert "Signs in nats: 2 of 2 the same, 0 the other, 0 open; in BLEU: 2 of 2 the same" in text
    assert "3.0 h of processes, 2 at once, on 2 cores, a CPU" in text
    write(tmp_path / "ablations/table3_miniature.json", record)
    assert load_ablations(tmp_path) == [replace(record, file="table3_miniature.json")]


def test_every_record_that_holds_what_its_picture_shows_gets_it(tmp_path):
    for folder in ("ablations", "sweeps"):
        shutil.copytree(RESULTS / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.png"))
    write(tmp_path / "peers/phrasebook-fairseq-1.json", toolkit_run())
    again = tmp_path / "sweeps/multi30k_ende-seed2.json"
    shutil.copyfile(tmp_path / "sweeps/multi30k_ende.json", again)
    _draw(tmp_path)
    drawn = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    kept = [path for folder in ("ablations", "sweeps") for path in (RESULTS / folder).glob("*.png")]
    wanted = [str(path.relative_to(RESULTS)) for path in kept]
    assert drawn == sorted([*wanted, "peers/phrasebook.png", "sweeps/multi30k_ende-seed2.png"])
    text = render_sweeps(load(tmp_path / "sweeps", Sweep, "a sweep"))
    assert "length penalty: multi30k_ende (multi30k_ende-seed2)\n" in text
    assert "length penalty: multi30k_ende\n" in text


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
    assert "| beam_size | 1: 31.00 (1.000); **4: 34.00 (1.000)** |" in text
    assert "A run of 20 updates, not as the experiment has it: train.num_steps is 20, not " in text
    plain = render_sweeps([replace(record, config=load_experiment("phrasebook").to_dict())])
    assert "A run of 20 updates, by `aiayn sweep`. Each" in plain
    assert "| setting | BLEU (13a) by its value |" in plain
    of_trees = render_sweeps([replace(record, measure="F1", signature="evalb:collins")])
    assert "| setting | F1 by its value |" in of_trees
    assert "in brackets the length of the outputs by that of the references" in plain
    assert "in brackets the constituents found by those that are right" in of_trees
    of_tokens = replace(record, signature="nrefs:1|tok:none|smooth:exp")
    assert "| setting | BLEU, tokens as they are by its value |" in render_sweeps([of_tokens])
    assert "free" not in of_trees
    points["4"] = replace(points["4"], free=22.5)
    with_free = render_sweeps([replace(record, measure="F1", series={"beam_size": points})])
    wanted = "1: 31.00 (1.000); **4: 34.00 (1.000), free search 22.50**"
    assert f"| beam_size | {wanted} |" in with_free


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
        key: msgspec.to_builtins(getattr(run_record(), key))
        for key in ("commit", "hardware", "versions")
    }
    record = {**shared, "bench": "data", "runs": [run], "definitions": {"peak_rss_bytes": "what"}}
    wanted = "| 1,000 | 5 MB | 90 s | text 30 s, rows 60 s | 11 | 17 | – | – | text 2.3 GB, rows"
    assert wanted in render_bench([record])
    assert "data.png" not in render_bench([record]), "of one size nothing grows"
    definitions = {"peak_rss_bytes": "what", "peak_own_bytes": "that"}
    growth = {"text": {"stages": 0.987, "peak_own_bytes": 0.0}, "rows": {"stages": 1.0}}
    grown = render_bench([{**record, "definitions": definitions, "growth": growth}])
    assert "three sizes: text 0.99 and 0.00, rows 1.00 and –. Its own: that." in grown
    assert "Its own: that." in grown
    assert "(results/bench/data.png)" in grown
