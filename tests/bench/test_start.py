import json

import pytest

import aiayn.bench.start
from aiayn.__main__ import main
from aiayn.evidence.bench_tables import render_bench
from tests.support.runs import environment


@pytest.mark.slow
def test_a_start_is_timed_without_and_with_compiled_programs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", environment(num_devices=1)["XLA_FLAGS"])
    monkeypatch.setattr(aiayn.bench.start, "_TIMES", 2)
    assert main(["bench", "start", "--workload", "tiny", "--out", str(tmp_path)]) == 0
    assert "first update, compiled before" in capsys.readouterr().out
    record = json.loads((tmp_path / "start-tiny.json").read_text())
    assert {what: len(found) for what, found in record["seconds"].items()} == {
        "help": 2,
        "cold": 1,
        "warm": 2,
    }
    assert record["seconds"].keys() == record["definitions"].keys()
    assert "| first update, nothing compiled |" in render_bench([record])
