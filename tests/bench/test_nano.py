"""Without PyTorch it is said where the recipe is, and results show both models."""

import io

import pytest
from rich.console import Console

from aiayn.bench.nano import bench_nano, figures
from aiayn.errors import UserError
from aiayn.evidence.bench_tables import render_simpler
from tests.support.records import run_record


def test_without_pytorch_it_says_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("aiayn.bench.nano.find_spec", lambda name: None)
    with pytest.raises(UserError, match="after make parity"):
        bench_nano(tmp_path, tmp_path, Console(file=io.StringIO()))


def test_a_run_of_another_machine_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("aiayn.bench.nano.find_spec", lambda name: True)
    monkeypatch.setattr("aiayn.bench.nano.read_run", lambda run_dir: (None, ""))
    monkeypatch.setattr("aiayn.bench.nano.read_record", lambda run_dir: run_record())
    with pytest.raises(UserError, match=r"was trained on 2 cores, a CPU; this is .*as long"):
        bench_nano(tmp_path, tmp_path, Console(quiet=True))


def test_results_show_nats_of_a_character_and_the_time_of_both():
    common = {"characters": 1_000, "seconds": 66.4, "parameters": 9_000}
    record = {
        "bench": "nano",
        "experiment": "plays",
        "ours": {**common, "nats": 1_612.0, "updates": 2_000},
        "nano": {**common, "nats": 1_900.0, "updates": 7_500},
        "commit": "0123456789abcdef",
        "versions": {"jax": "0", "python": "3"},
        "hardware": {
            **{"platform": "cpu", "device": "cpu", "num_devices": 1, "num_processes": 1},
            **{"cpu": "a CPU", "cpu_count": 2},
        },
    }
    text = render_simpler([record])
    recipe = "nanoGPT's recipe, trained as long, 1.900"
    assert f"| plays | dev | nats per character | 1.612 | {recipe} |" in text
    _, ours, theirs = figures(record)
    assert ours == ["ours", "1.612", "66 s", "2,000", "9,000"]
    assert theirs == ["nanoGPT's recipe", "1.900", "66 s", "7,500", "9,000"]
