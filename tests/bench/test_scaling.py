"""What a step sends is counted in its program; times are arithmetic, done here by hand."""

import json
import re
from functools import cache

import jax
import numpy as np
import pytest

import aiayn.bench.scaling as scaling
from aiayn.__main__ import main
from aiayn.bench.scaling import Sent, devices, lowered, reduce_seconds, sent
from aiayn.bench.workloads import TRAINING
from aiayn.evidence.bench_tables import render_bench
from aiayn.model.structure import abstract_parameters, count_parameters
from aiayn.training.mesh import data_mesh

TINY = TRAINING["tiny"]
LOWERED = cache(lowered)
"""Each takes seconds, and most of them more than one test looks at."""


def _gradients_once():
    """Two losses and every gradient in float32, the tokens of either side in int32."""
    leaves = jax.tree.leaves(abstract_parameters(TINY.model, TINY.num_words))
    return Sent(len(leaves) + 4, 4 * (count_parameters(TINY.model, TINY.num_words) + 4))


def test_a_step_sends_its_gradients_once_however_many_devices_there_are():
    for size in (2, 1_024):
        assert sent(LOWERED(TINY, devices(size)).as_text()) == _gradients_once()
    assert sent(LOWERED(TINY, devices(1)).as_text()) == Sent(0, 0), "to itself"


def test_what_is_compiled_for_eight_devices_sends_what_was_lowered():
    program = lowered(TINY, data_mesh())
    assert sent(program.as_text()) == _gradients_once()
    compiled = program.compile().as_text()
    reduced = re.findall(r"= (.*?) all-reduce\(", compiled)
    sizes = [
        4 * int(np.prod([int(n) for n in shape.split(",") if n]))
        for operands in reduced
        for shape in re.findall(r"[fs]32\[([\d,]*)\]", operands)
    ]
    assert len(reduced) == 2, "one for each type"
    assert sum(sizes) == sent(program.as_text()).bytes


def test_other_collectives_count_too():
    program = """
    %1 = "stablehlo.all_reduce"(%0) <{replica_groups = dense<[[0, 1]]> : tensor<1x2xi64>}> ({
    ^bb0(%a: tensor<f32>, %b: tensor<f32>):
      %c = stablehlo.add %a, %b : tensor<f32>
      stablehlo.return %c : tensor<f32>
    }) : (tensor<3x5xf32>) -> tensor<3x5xf32>
    %2 = "stablehlo.all_gather"(%1) <{dim = 0 : i64}> : (tensor<7xbf16>) -> tensor<14xbf16>
    %3 = stablehlo.add %2, %2 : tensor<14xbf16>
    """
    assert sent(program) == Sent(2, 3 * 5 * 4 + 7 * 2)


def test_reducing_takes_what_the_assumptions_say():
    # 350 MB over 350 GB/s: 7/8 of a millisecond there and back each; and 2 · 2 · 3 messages.
    assert reduce_seconds(350_000_000, 1) == 0
    assert reduce_seconds(350_000_000, 8) == pytest.approx(2 * 7 / 8 * 1e-3 + 12 * 5e-6)
    # Between two hosts, each device sends half of its eighth, over 50 GB/s, there and back.
    between = 2 * 1 / 2 * 350e6 / 8 / 50e9
    expected = 2 * 7 / 8 * 1e-3 + between + 16 * 5e-6
    assert reduce_seconds(350_000_000, 16) == pytest.approx(expected)


def test_scaling_is_recorded_and_shown(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scaling, "STEP_SECONDS", {"tiny": 1.0})
    monkeypatch.setattr(scaling, "lowered", LOWERED)
    monkeypatch.setattr(scaling, "SIZES", (1, 2, 4, 16))
    assert main(["bench", "scaling", "--out", str(tmp_path)]) == 0
    assert "no time is measured" in capsys.readouterr().out
    record = json.loads((tmp_path / "scaling.json").read_text())
    one, _, four, sixteen = record["workloads"]["tiny"]["sizes"]
    # Eight rows: no more than eight devices have work.
    assert [row["rows_per_device"] for row in (one, four, sixteen)] == [8, 2, 1]
    assert one["efficiency"] == 1
    assert four["efficiency"] == pytest.approx(1, abs=1e-3)
    assert sixteen["efficiency"] == pytest.approx(0.5, abs=1e-2)
    # With as much work for each device, nothing grows but the messages, microseconds of a second.
    growth = record["workloads"]["tiny"]["growth"]
    assert growth == pytest.approx({"collectives": 0, "bytes": 0, "seconds": 0}, abs=1e-4)
    assert growth["seconds"] > 1e-6
    assert {*one, "ends_at", "growth"} - set(record["definitions"]) == {"devices"}
    assert "| 16 |" in render_bench([record])
    assert (tmp_path / "scaling.png").stat().st_size > 0
