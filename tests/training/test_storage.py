"""Disks that are full, read-only or somebody else's: one line that says so, and nothing torn."""

import os
import subprocess
from pathlib import Path

import pytest

from aiayn.training.checkpoint import Checkpoints
from tests.faults import runs


def _mount(folder: Path, options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own that holds 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or not _mount(folder, "size=1m"):
        pytest.skip("wants to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _train(experiment: Path, folder: Path) -> tuple[int, str]:
    """Train in `folder`: the exit status, and the last line of what it said of errors."""
    command = runs.command(experiment, folder)
    done = subprocess.run(command, env=runs.environment(), capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("aiayn: ")]
    return done.returncode, lines[-1] if lines else ""


def test_a_disk_that_is_full_or_read_only_is_said_and_the_run_goes_on_later(tmp_path, small_disk):
    experiment = runs.write_experiment(tmp_path, num_steps=12, every=3)
    status, said = _train(experiment, small_disk)
    assert status == 2
    assert said.endswith(": the disk is full.")
    for step in Checkpoints(small_disk / "run/checkpoints", read_only=True).steps():
        Checkpoints.open(small_disk / "run").check(step)

    assert _mount(small_disk, "remount,ro,size=64m")
    status, said = _train(experiment, small_disk)
    assert status == 2
    assert said.endswith(": the file system is read-only.")

    assert _mount(small_disk, "remount,rw,size=64m")
    assert _train(experiment, small_disk)[0] == 0
    assert _train(experiment, tmp_path)[0] == 0
    assert runs.differences(runs.ending(small_disk / "run"), runs.ending(tmp_path / "run")) == []
