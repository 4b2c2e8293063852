"""The same bytes from the same seed, on as many threads."""

import os
import subprocess
import sys

import pytest

from aiayn.model.structure import params_sha256
from aiayn.training.checkpoint import Checkpoints
from tests.faults import runs

_TRAIN = """
import os, sys
os.sched_setaffinity(0, {processors})
import aiayn.evaluation.evaluate, aiayn.interface
aiayn.evaluation.evaluate.evaluate_run = lambda *_: None  # only the trained parameters are compared
aiayn.interface.read_record = lambda _: None
from aiayn.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="wants two processors, and a choice among them",
)
def test_nproc_keeps_the_bits_of_two_processors_on_one(tmp_path):
    processors = sorted(os.sched_getaffinity(0))[:2]
    found = set()
    for name, chosen in (("two", processors), ("again", processors), ("one", processors[:1])):
        experiment = runs.write_experiment(tmp_path / name, num_steps=6, every=6)
        program, arguments = [sys.executable, "-c"], runs.command(experiment, tmp_path / name)[3:]
        subprocess.run(
            [*program, _TRAIN.format(processors=chosen), *arguments],
            env={**runs.environment(), "NPROC": "2"},
            check=True,
            capture_output=True,
        )
        found.add(params_sha256(Checkpoints.open(tmp_path / name / "run").params(6)))
    assert len(found) == 1
