"""Records as benchmarks write them, with figures that are easy to compute with."""

from typing import Any


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
