import json

import pytest

from aiayn.__main__ import main
from aiayn.bench.profile import Kernel, kernels, tables


def _event(name, begins, lasts, thread=1, module="jit_f"):
    about = {"ph": "X", "pid": 1, "tid": thread, "ts": begins, "dur": lasts}
    return {**about, "args": {"hlo_op": name, "hlo_module": module} if name else {}}


def test_a_kernels_time_is_its_own_and_its_part_the_innermost_scope():
    program = """
HloModule jit_f, is_scheduled=true
  %dot.1 = f32[8,4]{1,0} dot(%a, %b), metadata={op_name="jit(f)/transpose(jvp(attention))/dot"}
  ROOT fusion.2 = (f32[3]{0}, s32[]) fusion(%c), metadata={op_name="jit(f)/loss/dropout/mul"}
  %while.3 = s32[] while(%d), metadata={op_name="jit(f)/while"}
"""
    events = [
        _event("while.3", 0, 10_000),  # holds both runs of dot.1
        _event("dot.1", 1_000, 3_000),
        _event("dot.1", 5_000, 4_000),
        _event("fusion.2", 2_000, 6_000, thread=2),
        _event(None, 0, 50_000),
        _event("dot.1", 20_000, 9_000, module="jit_other"),
        {"ph": "M", "pid": 1, "name": "process_name"},
    ]
    assert kernels(events, program) == [
        Kernel("dot.1", "attention", "f32[8,4]", pytest.approx(0.007), 2),
        Kernel("fusion.2", "dropout", "(f32[3], s32[])", pytest.approx(0.006), 1),
        Kernel("while.3", "other", "s32[]", pytest.approx(0.003), 1),
    ]


def test_devices_that_run_side_by_side_take_no_longer_than_one():
    kernel = Kernel("dot.1", "attention", "f32[8,4]", 0.008, 16)

    def rows(devices):
        record = {"profile": "train", "workload": "T1", "steps": 4, "kernels": [kernel._asdict()]}
        parts, dearest = tables({**record, "hardware": {"num_devices": devices}})
        return [[*column.cells] for column in (*parts.columns[1:], *dearest.columns[3:])]

    assert rows(1) == [["2.00"], ["100.0%"], ["4"], ["2.00"], ["100.0%"]]
    assert rows(4) == [["0.50"], ["100.0%"], ["1"], ["0.50"], ["100.0%"]]


@pytest.mark.parametrize("what", ["train", "decode"])
def test_a_profile_names_the_parts_of_the_model(what, tmp_path, capsys):
    arguments = ["--workload", "tiny", "--profile", "--out", str(tmp_path)]
    assert main(["bench", what, *arguments]) == 0
    record = json.loads((tmp_path / f"profile-{what}-tiny.json").read_text())
    seen = {kernel["part"] for kernel in record["kernels"]}
    both = {"attention", "feed_forward", "norm"}
    assert both | {"train": {"loss", "optimizer"}, "decode": {"logits"}}[what] <= seen
    assert "feed_forward" in capsys.readouterr().out
    assert list((tmp_path / f"profile-{what}-tiny").rglob("*.trace.json.gz"))
