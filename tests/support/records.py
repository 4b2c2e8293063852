"""Records as runs and benchmarks write them, with figures that are easy to compute with."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from aiayn.bench.toolkits import Point, ToolkitRun
from aiayn.evaluation.scores import Score, Scores
from aiayn.evidence.records import RunRecord
from aiayn.experiments import load_experiment
from aiayn.system.records import Hardware, read

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


def contest_record() -> dict[str, Any]:
    """Training beside a peer, in three rounds: twice as fast, a little faster, half as fast."""

    def contender(*seconds: float) -> dict[str, Any]:
        memory = {"peak_rss_bytes": 10**9, "peak_device_bytes": None}
        return {
            "rounds": [{"seconds_per_step": s, "others": 0.1, **memory} for s in seconds],
            "median_seconds_per_step": seconds[1],
            "target_tokens_per_second": 1.0,
            "share_of_xla_product": 0.5,
            "first_step_seconds": 2.0,
        }

    return {
        "bench": "train",
        "workload": "T1",
        "contenders": {"aiayn": contender(1.0, 2.0, 4.0), "hf": contender(2.0, 2.2, 2.0)},
        "ratios": {"hf": [2.0, 1.1, 0.5]},
        "ceilings": {"datasheet_flops_per_second": 4e11},
        "xla_product_flops_per_second": [1e11, 2e11],
        "best_xla_product_flops_per_second": 2e11,
        "flops_per_step": 1e11,
        "commit": "0123456789abcdef",
        "versions": {"jax": "0", "python": "3"},
        "hardware": {
            "platform": "cpu",
            "device": "cpu",
            "num_devices": 1,
            "num_processes": 1,
            "cpu": "a CPU",
            "cpu_count": 2,
        },
    }


def scores_of_bleu(bleu: float, uncased: float = 41.0) -> Scores:
    """A few figures, one of them not taken."""
    names = {"sacrebleu": bleu, "chrf2": 60.0, "tokenised-lc": uncased, "compound-split": None}
    entries = tuple(Score(name, value, "", "") for name, value in names.items())
    return Scores("en", "de", 1, entries)


def run_record(**changes: Any) -> RunRecord:
    """A run of the phrasebook, with figures that are easy to recognise."""
    about: dict[str, Any] = {
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
        "scores": {
            "seen": {
                "last checkpoint": scores_of_bleu(30.126),
                "average of 5": scores_of_bleu(31.0),
            }
        },
    }
    record = read(RESULTS / "phrasebook.json", RunRecord, "a run")
    return replace(record, **{**about, **changes})


def toolkit_run(**changes: Any) -> ToolkitRun:
    """A training of the phrasebook by another toolkit, beside `run_record`."""
    like = run_record()
    values: dict[str, Any] = {
        "commit": "fedcba9876543210",
        "versions": {**like.versions, "torch": "2.13.0"},
        "hardware": like.hardware,
        "toolkit": "fairseq",
        "experiment": "phrasebook",
        "config_hash": like.config_hash,
        "config": like.config,
        "definitions": {"updates": "as many", "course": "after each epoch"},
        "data": like.data,
        "parameters": 1_234_567,
        "sessions": 2,
        "updates": 10,
        "seconds": 600.0,
        "tokens_per_second": 4_321.0,
        "peak_bytes": 1_500_000_000,
        "course": [Point(5, 300.0, 3.0, 20.0), Point(10, 600.0, 2.0, 36.0)],
        "scores": {"seen": {"last": scores_of_bleu(27.0), "average of 5": scores_of_bleu(29.5)}},
    }
    return ToolkitRun(**{**values, **changes})
