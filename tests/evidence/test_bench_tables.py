from aiayn.evidence.bench_tables import render_bench
from tests.support.records import contest_record, run_record


def test_a_contest_is_summed_up_in_one_line_above_its_own_table():
    text = render_bench([contest_record()])
    assert "| of the ceiling |" in text
    line = "| Training, workload T1 | hf | 1.10 (0.50–2.00) | – | 2 cores, a CPU | 0123456789ab |"
    assert line in text
    # 1e11 FLOPs in 2 seconds are an eighth of the data sheet's 4e11 a second.
    assert "(MFU) ours has 12.5%" in text
    assert text.index(line) < text.index("## Training, workload T1, beside hf")


SHARED = {
    key: run_record()[key] for key in ("config", "config_hash", "commit", "hardware", "versions")
}


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
    record = {**SHARED, "bench": "data", "runs": [run], "definitions": {"peak_rss_bytes": "what"}}
    wanted = "| 1,000 | 5 MB | 90 s | text 30 s, rows 60 s | 11 | 17 | – | – | text 2.3 GB, rows"
    assert wanted in render_bench([record])
    assert "data.png" not in render_bench([record]), "of one size nothing grows"
    definitions = {"peak_rss_bytes": "what", "peak_own_bytes": "that"}
    growth = {"text": {"stages": 0.987, "peak_own_bytes": 0.0}, "rows": {"stages": 1.0}}
    grown = render_bench([{**record, "definitions": definitions, "growth": growth}])
    assert "| text | 0.99 | 0.00 |\n| rows | 1.00 | – |" in grown
    assert "Its own: that." in grown
    assert "(results/bench/data.png)" in grown
