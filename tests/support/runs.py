"""How the tests train: here, or by the command line."""

import io
import os
import subprocess
import sys

import jax
import numpy as np
from rich.console import Console

from aiayn.data.prepare import prepare
from aiayn.evaluation.validation import validator
from aiayn.training.loop import train


def train_here(experiment, run_dir, data_dir, console=None):
    prepared = prepare(experiment.data, data_dir, progress=False)
    train(experiment, run_dir, prepared, console or Console(file=io.StringIO()), validator)
    return prepared


def environment(num_devices):
    """For other processes: compiling as little as this one, into the same cache."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", f"device_count={num_devices}")
    return {
        "XLA_FLAGS": flags,
        "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,  # pyright: ignore[reportAttributeAccessIssue]
    }


def command_line(experiment, data_dir, tmp_path, run):
    """The command line that trains `experiment`, and how to run it: on one device, quietly."""
    config = tmp_path / f"{experiment.name}.py"
    config.write_text(
        "from aiayn.config import Experiment\n"
        f"config = Experiment.from_dict({experiment.to_dict()!r})\n"
    )
    folders = ["--run-dir", str(tmp_path / run), "--data-dir", str(data_dir)]
    environment = {**os.environ, "XLA_FLAGS": ""}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "env": environment}
    return [sys.executable, "-m", "aiayn", "train", str(config), *folders], quiet


def assert_bit_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
