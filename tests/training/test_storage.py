"""Disks that are full, read-only or somebody else's: one line that says so, and nothing torn."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from aiayn.__main__ import main
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


@pytest.fixture
def train(tmp_path, one_device, capsys):
    """Train a tiny model in a folder, as the command line does: the status, and the error."""
    experiment = runs.write_experiment(tmp_path, num_steps=6, every=3)
    before = signal.getsignal(signal.SIGTERM)

    def train(folder):
        status = main(runs.command(experiment, folder)[3:])
        lines = [line for line in capsys.readouterr().err.splitlines() if "aiayn: " in line]
        return status, lines[-1] if lines else ""

    yield train
    signal.signal(signal.SIGTERM, before)


# Of the writers whose event loop ended with the error that the disk is full.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_disk_that_is_full_or_read_only_is_said_and_the_run_goes_on_later(
    tmp_path, small_disk, train
):
    status, said = train(small_disk)
    assert status == 2
    assert said.endswith(": the disk is full.")
    for step in Checkpoints(small_disk / "run/checkpoints", read_only=True).steps():
        Checkpoints.open(small_disk / "run").check(step)

    assert _mount(small_disk, "remount,ro,size=64m")
    status, said = train(small_disk)
    assert status == 2
    assert said.endswith(": the file system is read-only.")

    assert _mount(small_disk, "remount,rw,size=64m")
    assert train(small_disk)[0] == 0
    assert train(tmp_path)[0] == 0
    assert runs.differences(runs.ending(small_disk / "run"), runs.ending(tmp_path / "run")) == []
