"""Records as runs and benchmarks write them, with figures that are easy to compute with."""

from typing import Any

from aiayn.experiments import load_experiment


def contest_record() -> dict[str, Any]:
    """Training beside a peer, in three rounds: twice as fast, a little faster, half as fast."""

    def contender(*seconds: float) -> dict[str, Any]:
        memory = {"peak_rss_bytes": 10**9, "peak_device_bytes": None}
        return {
            "rounds": [{"seconds_per_step": s, "others": 0.1, **memory} for s in seconds],
            "median_seconds_per_step": seconds[1],
            "target_tokens_per_second": 1.0,
            "share_of_ceiling": 0.5,
            "first_step_seconds": 2.0,
        }

    return {
        "bench": "train",
        "workload": "T1",
        "contenders": {"aiayn": contender(1.0, 2.0, 4.0), "hf": contender(2.0, 2.2, 2.0)},
        "ratios": {"hf": [2.0, 1.1, 0.5]},
        "ceilings": {"matmul_flops_per_second": 2e11, "datasheet_flops_per_second": 4e11},
        "flops_per_step": 1e11,
        "commit": "0123456789abcdef",
        "versions": {"jax": "0", "python": "3"},
        "hardware": {"platform": "cpu", "cpu_count": 2, "cpu": "a CPU"},
    }


def run_record(**changes: Any) -> dict[str, Any]:
    """A finished run of the phrasebook."""

    def scores(bleu: float) -> dict[str, Any]:
        names = {"sacrebleu": bleu, "chrf2": 60.0, "tokenised-lc": 41.0, "compound-split": None}
        return {"entries": [{"name": n, "value": v} for n, v in names.items()]}

    return {
        "experiment": "phrasebook",
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
        "hardware": {"platform": "cpu", "cpu_count": 2, "cpu": "a CPU"},
        "versions": {"jax": "0.10.2", "python": "3.11.7"},
        "scores": {"seen": {"last checkpoint": scores(30.126), "average of 5": scores(31.0)}},
        **changes,
    }
