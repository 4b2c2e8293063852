"""Every committed record is of its type, and loses nothing that its type names."""

import json
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from aiayn.errors import UserError
from aiayn.evidence.records import (
    Ablation,
    Benchmark,
    Faults,
    RunRecord,
    Sweep,
    ToolkitRun,
    is_stale,
    load_benchmarks,
    load_records,
)
from aiayn.system import records

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
KINDS = {
    ".": RunRecord,
    "sweeps": Sweep,
    "reliability": Faults,
    "peers": ToolkitRun,
    **dict.fromkeys(("ablations", "pretraining", "parsed_text"), Ablation),
}


@pytest.mark.parametrize("folder", [name for name in KINDS if (RESULTS / name).is_dir()])
def test_what_is_read_from_a_committed_record_is_what_it_holds(folder):
    paths = sorted((RESULTS / folder).glob("*.json"))
    assert paths
    for path in paths:
        wanted = json.loads(path.read_text(encoding="utf-8"))
        found = msgspec.to_builtins(records.read(path, KINDS[folder], "its kind"))
        found = json.loads(json.dumps(found))
        if folder == "reliability":  # each part of which has more figures of its own
            found["details"] = {k: v | found["details"][k] for k, v in wanted["details"].items()}
            found = {**wanted, **found, "rule": wanted.get("rule", "")}
            wanted.setdefault("rule", "")
        assert found == wanted, path.name


def test_the_head_of_every_committed_benchmark_is_checked(tmp_path):
    found = load_benchmarks(RESULTS)
    assert len(found) == len(list((RESULTS / "bench").glob("*.json"))) > 0
    assert all({"bench", "definitions", "hardware"} <= record.keys() for record in found)
    del found[0]["definitions"]
    records.write(tmp_path / "bench" / "x.json", found[0])
    with pytest.raises(UserError, match=r"x\.json is no record of a benchmark: it lacks def"):
        load_benchmarks(tmp_path)
    assert set(Benchmark.__struct_fields__) <= {*found[0], "definitions"}


def test_bleu_on_dev_is_read_from_metrics_that_lie_beside_a_record():
    paths, with_metrics = sorted(RESULTS.glob("*.json")), set[str]()
    for path, record in zip(paths, load_records(RESULTS), strict=True):
        metrics = path.with_suffix(".metrics.jsonl")
        lines = metrics.read_text().splitlines() if metrics.is_file() else []
        rows = [row for row in map(json.loads, lines) if "dev_bleu" in row]
        assert record.dev_scores == tuple((row["seconds"], row["dev_bleu"]) for row in rows)
        with_metrics |= {path.stem} if rows else set()
    assert "multi30k_ende-h100" in with_metrics
    assert "phrasebook" not in with_metrics


def test_a_record_is_stale_once_a_setting_of_its_experiment_differs():
    record = records.read(RESULTS / "phrasebook.json", RunRecord, "a run")
    assert not is_stale(record)
    train = {**record.config["train"], "seed": record.config["train"]["seed"] + 1}
    assert is_stale(replace(record, config={**record.config, "train": train}))
