import json
import tarfile
from pathlib import Path

import pytest

import aiayn.bench.start
from aiayn.__main__ import main
from aiayn.evidence.bench_tables import render_bench
from tests.support.runs import environment


@pytest.fixture
def trained(tmp_path):
    """The model that an earlier version trained."""
    with tarfile.open(Path(__file__).parents[1] / "fixtures" / "format1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "run"


@pytest.mark.slow
def test_a_start_is_timed_without_and_with_compiled_programs(
    trained, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("XLA_FLAGS", environment(num_devices=1)["XLA_FLAGS"])
    monkeypatch.setattr(aiayn.bench.start, "_TIMES", 2)
    monkeypatch.setattr(aiayn.bench.start, "_PEERS", {})  # tests/parity has them
    model = ["--model", str(trained)]
    assert main(["bench", "start", "--workload", "tiny", "--out", str(tmp_path), *model]) == 0
    assert "first update, compiled before" in capsys.readouterr().out
    record = json.loads((tmp_path / "start-tiny.json").read_text())
    assert {what: len(found) for what, found in record["seconds"].items()} == {
        "help": 2,
        "translate_cold": 1,
        "translate": 2,
        "cold": 1,
        "warm": 2,
    }
    assert record["seconds"].keys() == record["definitions"].keys()
    table = render_bench([record])
    assert "| first update, nothing compiled |" in table
    assert "| one sentence, compiled before |" in table
