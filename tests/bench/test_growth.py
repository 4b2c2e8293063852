from dataclasses import replace

import pytest
from rich.console import Console

import aiayn.bench.growth
from aiayn.bench.growth import bench_growth, exponent, points
from aiayn.bench.workloads import DECODING, TRAINING
from aiayn.evidence.bench_tables import render_bench


@pytest.mark.slow
def test_growth_is_timed_and_fitted(tmp_path, monkeypatch):
    monkeypatch.setattr(aiayn.bench.growth, "_ROUNDS", 1)
    small = replace(TRAINING["tiny"], num_rows=32, num_words=600)
    few = replace(DECODING["tiny"], num_sentences=2)
    some = ("sentence length", "beam")

    def few_points(train, decode):
        found = points(train, decode)
        return {name: (found[name][0][:2], found[name][1]) for name in some}

    monkeypatch.setattr(aiayn.bench.growth, "points", few_points)
    record = bench_growth(tmp_path, Console(quiet=True), small, few)
    assert tuple(record["growth"]) == some
    for found in record["growth"].values():
        sizes, seconds = found["sizes"], found["seconds"]
        assert found["seconds_exponent"] == exponent(sizes[-3:], seconds[-3:])
    lengths = record["growth"]["sentence length"]
    # As many tokens in longer sentences: nothing grows but the products of attention.
    assert lengths["sizes"] == [16, 32]
    assert 0.0 < lengths["flops_exponent"] < 0.2
    # Twice the hypotheses take twice the decoder, but one encoder.
    assert 0.0 < record["growth"]["beam"]["flops_exponent"] < 1.0
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    assert "| sentence length | 16 | 32 |" in render_bench([record])
