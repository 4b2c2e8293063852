"""What a compiler says of a program is read right, and what it refuses is told."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aiayn.__main__ import main
from aiayn.bench import targets
from aiayn.bench.targets import CHIPS, PROGRAMS, described
from aiayn.evidence.bench_tables import render_bench
from aiayn.system.environment import PEAK_FLOPS

FITS = {
    "device": "TPU v5 lite",
    "devices": 8,
    "memory": 16e9,
    "bytes": 4e9,
    "collectives": {"all-reduce": 2},
    "flops": 3e12,
    "bytes_accessed": 1e9,
    "least_seconds": 0.02,
    "compile_seconds": 31.4,
}


def test_a_program_is_described_by_what_it_holds_and_does():
    mesh = Mesh(np.array(jax.devices()), ("data",))
    rows, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec()))

    def total(x, y):
        return (x @ y).sum(axis=0), y + 1

    x = jax.ShapeDtypeStruct((8 * mesh.size, 16), jnp.float32, sharding=rows)
    y = jax.ShapeDtypeStruct((16, 16), jnp.float32, sharding=whole)
    made = jax.jit(total, donate_argnums=1, out_shardings=whole).lower(x, y).compile()
    found = described(made)
    assert found["collectives"] == {"all-reduce": 1}
    assert 2 * 8 * 16 * 16 <= found["flops"] <= 1.2 * 2 * 8 * 16 * 16, "of one device"
    # Its eighth of x, y, which is written over, and the sums.
    assert found["bytes"] >= 4 * (8 * 16 + 16 * 16 + 16)
    assert found["bytes"] < 4 * (8 * 16 + 16 * 16 + 16) + 60_000, "and code"


def test_every_kind_of_chip_has_a_peak_and_no_kind_is_taken_for_another():
    kinds = {"TPU v4": 275e12, "TPU v5 lite": 197e12, "TPU v5": 459e12, "TPU v6 lite": 918e12}
    assert len(kinds) == sum(chip.platform == "tpu" for chip in CHIPS.values())
    for kind, peak in kinds.items():
        assert PEAK_FLOPS[kind] == peak


def test_all_targets_are_recorded_and_shown_with_those_that_refuse(tmp_path, capsys, monkeypatch):
    asked = []

    def compiled(python, topology, program):
        asked.append((topology, program))
        return {"fault": "Ran out of memory."} if topology == "v4:2x2x1" else FITS

    monkeypatch.chdir(tmp_path)
    for name in (".venv-tpu", ".venv-cuda"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin/python").touch()
    monkeypatch.setattr(targets, "_version", lambda python: f"compiler {python.parts[-3]}")
    monkeypatch.setattr(targets, "_compiled_by", compiled)
    assert main(["bench", "compile", "--out", str(tmp_path)]) == 0
    assert sorted(asked) == sorted((topology, name) for name in PROGRAMS for topology in CHIPS)
    assert "Ran out of memory." in capsys.readouterr().out
    record = json.loads((tmp_path / "compile.json").read_text())
    assert record["programs"]["base"]["tokens"] == 26_208
    text = render_bench([record])
    fits = "8 devices; 4.00 GB a device; 25% of its memory; 2 all-reduce collectives"
    paced = "3.00 TFLOP a device; 20.0 ms at least; 1,310,400 tokens/s at most; 31 s to compile"
    (row,) = (line for line in text.splitlines() if line.startswith("| base, 26,208 tokens |"))
    assert f"| {fits}; {paced} |" in row
    assert "| Ran out of memory. |" in row
    assert "compiler .venv-tpu and compiler .venv-cuda compiled each program on a CPU" in text


def test_without_the_compiler_the_error_says_what_installs_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "compile"]) == 2
    assert "`make .venv-tpu/.done` installs that for TPUs" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["nothing", "tiny"])
def test_a_compiler_that_fails_is_told_by_its_last_line(program, tmp_path):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho first >&2\necho {program} is refused >&2\nexit 1\n")
    python.chmod(0o755)
    assert targets._compiled_by(python, "v5e:2x4", program) == {"fault": f"{program} is refused"}
