"""Benchmarks time what they say; the figures themselves are nobody's to assert."""

import json

import numpy as np
import pytest

from aiayn.__main__ import main
from aiayn.bench import figures, summary
from aiayn.bench_worker import rows_of
from aiayn.complexity import training_flops
from aiayn.workloads import WORKLOADS


def test_workloads_hold_the_tokens_they_name():
    for name, tokens in {"T1": 64 * 32, "T2": 32 * 32, "base": 25_200, "big": 25_200}.items():
        workload = WORKLOADS[name]
        src, tgt, segments = rows_of(workload)
        assert workload.tokens == tokens == (segments > 0).sum()
        assert segments.max() == workload.sentences_per_row
        for side in (src, tgt):
            assert ((side >= 4) == (segments > 0)).all(), "words where sentences are"
            assert side.max() < workload.num_words
        lengths = np.bincount(segments[0])[1:]
        assert lengths.tolist() == [workload.length] * workload.sentences_per_row


@pytest.mark.parametrize(("name", "gigaflops"), [("T1", 94.6), ("T2", 390.6)])
def test_flops_of_a_step_are_those_that_others_count(name, gigaflops):
    # Others' count of the same work: two FLOPs a multiply-add of every dot of a traced step.
    w = WORKLOADS[name]
    per_sentence = training_flops(w.model, w.num_words, w.length, w.length)
    assert w.num_sentences * per_sentence / 1e9 == pytest.approx(gigaflops, abs=0.05)


def test_a_workload_is_trained_and_recorded(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # one device, as users have
    assert main(["bench", "train", "--workload", "tiny", "--out", str(tmp_path)]) == 0
    assert "Training, workload tiny" in capsys.readouterr().out
    record = json.loads((tmp_path / "train-tiny.json").read_text())
    (found,) = record["contenders"].values()
    losses = [r["loss"] for r in found["rounds"]]
    assert len(set(losses)) == len(losses) == 6, "each round is of other steps"
    assert max(losses) < 7.0  # ln 300 is 5.7
    assert found["target_tokens_per_second"] == pytest.approx(
        4 * 16 / found["median_seconds_per_step"]
    )
    assert record["hardware"]["platform"] == "cpu"
    keys = set(record) | set(found) | set(found["rounds"][0])
    assert set(record["definitions"]) - keys == {"ratio"}


def test_a_peer_that_is_not_installed_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "train", "--workload", "tiny", "--peer", "hf"]) == 2
    assert "`make parity` installs the peers" in capsys.readouterr().err


def test_a_peer_is_not_asked_for_packed_rows(capsys):
    assert main(["bench", "train", "--workload", "base", "--peer", "hf"]) == 2
    assert "hf has no packed rows, which base is" in capsys.readouterr().err


def test_ratios_are_of_the_same_round():
    def rounds(*seconds):
        return [{"seconds_per_step": s, "others": 0.1, "peak_rss_bytes": 1e9} for s in seconds]

    def contender(*seconds):
        return {
            "rounds": rounds(*seconds),
            "median_seconds_per_step": seconds[1],
            "target_tokens_per_second": 1.0,
            "share_of_ceiling": 0.5,
            "first_step_seconds": 2.0,
        }

    contenders = {"aiayn": contender(1.0, 2.0, 4.0), "hf": contender(2.0, 2.2, 2.0)}
    record = {"contenders": contenders, "ratios": [2.0, 1.1, 0.5]}
    assert figures(record)[2][:3] == ["hf", "2.200", "2.000–2.200"]
    assert "Ratio 1.10, in pairs 2.00, 1.10, 0.50" in summary(record)
    assert "At most 0.10 processors" in summary(record)
