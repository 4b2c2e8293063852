"""Benchmarks time what they say; the figures themselves are nobody's to assert."""

import json
import os
import sys
from dataclasses import replace
from functools import cache

import pytest
from rich.console import Console

from aiayn.__main__ import main
from aiayn.bench import contest
from aiayn.bench.contest import beside, figures, flops_of, summary
from aiayn.bench.definitions import ABOUT
from aiayn.bench.workloads import TRAINING, Generation
from aiayn.config import ModelConfig
from tests.support.records import contest_record
from tests.support.runs import environment


@pytest.mark.parametrize(("name", "gigaflops"), [("T1", 94.6), ("T2", 390.6)])
def test_flops_of_a_step_are_those_that_others_count(name, gigaflops):
    # Others' count of the same work: two FLOPs a multiply-add of every dot of a traced step.
    assert flops_of(TRAINING[name]) / 1e9 == pytest.approx(gigaflops, abs=0.05)


def test_flops_of_texts_by_hand():
    # One layer: 4 products of 2 x 2 and two of 2 x 3 are 28 multiply-adds a token; 5 words score 10
    # for each of the 3 that are written; token n looks at n tokens, 2 + 2 numbers each.
    sizes = {"num_layers": 1, "d_model": 2, "d_ff": 3, "num_heads": 1, "d_k": 2, "d_v": 2}
    workload = Generation(ModelConfig(kind="decoder", **sizes), 5, 1, 7, 2, 3)
    looks = 4 * (1 + 2 + 3 + 4 + 5)
    assert flops_of(workload) == 7 * 2 * (28 * 5 + 10 * 3 + looks)


CEILINGS = cache(contest._ceilings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "workload"),
    [
        *(("train", "tiny"), ("train", "tiny_text"), ("decode", "tiny")),
        *(("generate", "tiny"), ("prompt", "tiny")),
    ],
)
def test_a_workload_is_run_and_recorded(what, workload, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", environment(num_devices=1)["XLA_FLAGS"])  # as users have
    monkeypatch.setattr(contest, "_ceilings", CEILINGS)
    monkeypatch.setattr(contest, "BEAM_SIZES", (4,))
    assert main(["bench", what, "--workload", workload, "--out", str(tmp_path)]) == 0
    assert f", workload {workload}" in capsys.readouterr().out
    name, tokens = {
        "train": (f"train-{workload}", 8 * 16),
        "decode": ("decode-tiny-beam4", 4 * 5),
        "generate": ("generate-tiny", 2 * 7),
        "prompt": ("prompt-tiny", 1),
    }[what]
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    found, *others = record["contenders"].values()
    assert len(others) == (what == "prompt"), "which is ours beside ours"
    assert len(found["rounds"]) == 6
    if what == "train":
        losses = [r["loss"] for r in found["rounds"]]
        assert len(set(losses)) == 6, "each round is of other steps"
        assert max(losses) < 7.0  # ln 300 is 5.7
    elif what == "prompt":
        words = {r["word"] for each in (found, *others) for r in each["rounds"]}
        assert len(words) == 1, "in one pass and word by word"
    else:
        assert {r["tokens"] for r in found["rounds"]} == {tokens}, "every output has its length"
    assert found["target_tokens_per_second"] == pytest.approx(
        tokens / found["median_seconds_per_step"]
    )
    share = record["flops_per_step"] / found["median_seconds_per_step"]
    products = record["xla_product_flops_per_second"]
    assert len(set(products)) == 6, "measured anew in each round"
    assert found["share_of_xla_product"] == pytest.approx(share / max(products))
    assert record["hardware"]["platform"] == "cpu"
    assert found["rounds"][0]["programs"] == found["rounds"][-1]["programs"] > 0, "all compiled"
    keys = set(record) | set(found) | set(found["rounds"][0])
    assert keys - set(ABOUT) <= set(record["definitions"]), "every figure is defined"


def test_a_record_is_written_without_matplotlib_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(contest, "find_spec", lambda name: None)
    contest._write(tmp_path / "train-tiny.json", {"bench": "train"})
    assert [path.name for path in tmp_path.iterdir()] == ["train-tiny.json"]


def test_a_peer_that_was_not_at_its_best_is_named_so():
    record = {"ratios": {"ctranslate2": [1.0]}, "contenders": {"ctranslate2": {"threads": 2}}}
    assert beside(record) == "ctranslate2, batch by batch"
    record["contenders"]["ctranslate2"]["batches_at_once"] = 2
    assert beside(record) == "ctranslate2"


@pytest.mark.parametrize(("peer", "where"), [("hf", "parity"), ("fairseq", "fairseq")])
def test_a_peer_that_is_not_installed_is_named(tmp_path, capsys, monkeypatch, peer, where):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "train", "--workload", "tiny", "--peer", peer]) == 2
    assert f"`make .venv-{where}/.done` installs it" in capsys.readouterr().err


def test_ratios_are_of_the_same_round():
    record = contest_record()
    assert figures(record)[2][:3] == ["hf", "2.20", "2.00–2.20"], "three digits"
    assert "in pairs: hf 1.10 (2.00, 1.10, 0.50)." in summary(record)
    assert "At most 0.10 processors" in summary(record)
    record["contenders"]["hf"]["rounds"][1]["others"] = None
    assert summary(record).endswith("What else the machine did was not measured.")
    assert "of XLA's large product" in figures(record)[0]
    for found in record["contenders"].values():
        del found["share_of_xla_product"]
    assert "product" not in str(figures(record)[0]), "older records of decoding have none"


_CONTENDER = """
import sys
product, seconds = iter({products}), iter({seconds})
about = '"commit": "c", "versions": {{}}, "hardware": {{}}, "first_step_seconds": 1.0'
print("{{%s}}" % about, flush=True)
for line in sys.stdin:
    if line == "product\\n":
        print('{{"flops_per_second": %r}}' % next(product), flush=True)
    elif line == "1\\n":
        print('{{}}', flush=True)
    else:
        of_all = int(line) * next(seconds)
        print('{{"seconds": %r, "processor_seconds": 0.0}}' % of_all, flush=True)
"""


def test_ratios_medians_and_shares_of_a_contest_by_hand(monkeypatch):
    # 2 rows of 4 tokens of a step, and 80 FLOPs.
    workload = replace(TRAINING["tiny"], num_rows=2, width=4, length=4, steps_per_round=5)
    monkeypatch.setattr(type(workload), "warm_up", 1)

    def command(seconds, products=()):
        text = _CONTENDER.format(seconds=seconds, products=products)
        return [sys.executable, "-c", text], dict(os.environ)

    own = [1.0, 2.0, 4.0, 8.0, 8.0, 16.0]
    commands = {
        "aiayn": command(own, [10.0, 20.0, 160.0, 20.0, 40.0, 5.0]),
        "hf": command([2 * seconds for seconds in own], [50.0] * 5 + [80.0]),
    }
    limits = {"flops_per_step": 80.0, "ceilings": {"datasheet_flops_per_second": 400.0}}
    record = contest._contest("", workload, limits, commands, Console(quiet=True))
    assert record["ratios"] == {"hf": [2.0] * 6}, "the peer takes twice as long: ours is faster"
    ours, theirs = record["contenders"].values()
    # The medians of an even number lie between 4 and 8 seconds, and 8 and 16.
    assert (ours["median_seconds_per_step"], theirs["median_seconds_per_step"]) == (6.0, 12.0)
    assert ours["target_tokens_per_second"] == pytest.approx(8 / 6)
    # 80 FLOPs in 6 seconds, of 160 FLOP/s, the best of all rounds, and of 400.
    assert record["best_xla_product_flops_per_second"] == 160.0
    assert ours["share_of_xla_product"] == pytest.approx(80 / 6 / 160)
    assert theirs["share_of_xla_product"] == pytest.approx(80 / 12 / 160)
    assert ours["share_of_datasheet"] == pytest.approx(80 / 6 / 400)
    assert "hf 2.00 (2.00" in summary(record)
    # Theirs is measured in the same rounds, and no share is of it.
    assert theirs["product_flops_per_second"] == [50.0] * 5 + [80.0]
    assert "product_flops_per_second" not in ours
