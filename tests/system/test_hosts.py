"""Real processes on the loopback, one CPU device each, against one process with as many."""

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
from rich.console import Console

import aiayn.training.loop
from aiayn.__main__ import main
from aiayn.data.prepare import prepare
from aiayn.errors import LostProcess, UserError
from aiayn.evaluation.validation import validator
from aiayn.experiments import load_experiment
from aiayn.system import hosts
from aiayn.system.memory import LARGE_PAGES
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.log import read_metrics
from aiayn.training.loop import train
from aiayn.training.mesh import data_mesh
from tests.faults.runs import write_experiment
from tests.support.runs import diverging, environment


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where runs are, and the data that they prepare."""
    return tmp_path_factory.mktemp("hosts")


def _experiment(folder, num_steps, checkpoint_every, text=False):
    return load_experiment(str(write_experiment(folder, num_steps, checkpoint_every, text=text)))


def _together(count, command, num_devices=1):
    """Start `command`, once for each process; alone it joins no others."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    together = {
        **os.environ,
        **environment(num_devices),
        **LARGE_PAGES,  # with which none starts over
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(count),
    }
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env={**together, "JAX_PROCESS_ID": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


_TRAIN = """
import sys
from aiayn.system import hosts
hosts.HEARTBEAT_SECONDS = {heartbeat}
import aiayn.evaluation.evaluate
aiayn.evaluation.evaluate._pictures = lambda *_: None  # the first draws them, alone
from aiayn.__main__ import main
sys.exit(main())
"""


def _train_together(count, experiment, run_dir, num_devices=1, heartbeat=100):
    config = run_dir.with_suffix(".py")
    config.write_text(
        "from aiayn.config import Experiment\n"
        f"config = Experiment.from_dict({experiment.to_dict()!r})\n"
    )
    folders = ["--run-dir", str(run_dir), "--data-dir", str(run_dir.parent / "data")]
    program = ["-c", _TRAIN.format(heartbeat=heartbeat)]
    return _together(count, [*program, "train", str(config), *folders], num_devices)


def _train_here(experiment, run_dir, monkeypatch):
    """In this process, on one device, without an evaluation."""
    monkeypatch.setattr(aiayn.training.loop, "data_mesh", lambda: data_mesh(jax.devices()[:1]))
    prepared = prepare(experiment.data, run_dir.parent / "data", progress=False)
    train(experiment, run_dir, prepared, Console(file=io.StringIO()), validator)


def _wait_for(reached, processes):
    while not reached():
        assert all(process.poll() is None for process in processes), _ends(processes)
        time.sleep(0.01)


def _ends(processes):
    """How each process ended: exit status, standard output, standard error."""
    return [(p.returncode, *output) for p in processes for output in [p.communicate()]]


def _succeed(processes):
    for status, _, errors in _ends(processes):
        assert status == 0, errors


def _figures(run_dir):
    """All that a run measured of its model: losses, and BLEU of what it translated."""
    names = "step", "loss", "grad_norm", "tokens", "dev_loss", "dev_bleu"
    rows = read_metrics(run_dir / "metrics.jsonl")
    return [{name: row[name] for name in names if name in row} for row in rows]


def _params(run_dir):
    checkpoints = Checkpoints.open(run_dir)
    return checkpoints.params(checkpoints.newest())


@pytest.mark.slow
def test_two_processes_one_of_them_killed_end_as_one_process_does(folder):
    experiment = _experiment(folder, num_steps=30, checkpoint_every=10)
    run_dir, alone = folder / "two", folder / "alone"
    # Killed while a checkpoint is written, it may be missed by the heartbeat alone.
    processes = _train_together(2, experiment, run_dir, heartbeat=20)
    _wait_for((run_dir / "checkpoints/10").is_dir, processes)
    processes[1].send_signal(signal.SIGKILL)
    survivor, killed = _ends(processes)
    assert killed[0] == -signal.SIGKILL
    # Ours where a step misses the other, JAX's where it finds out first.
    assert survivor[0] in (3, -signal.SIGABRT)
    assert "misses another one" in survivor[2] or "another task died" in survivor[2]

    _succeed(_train_together(2, experiment, run_dir))
    _succeed(_train_together(1, experiment, alone, num_devices=2))
    # The sum of two numbers has no order: bit for bit the same.
    assert _figures(run_dir) == _figures(alone)
    for name, value in _params(alone).items():
        np.testing.assert_array_equal(value, _params(run_dir)[name], err_msg=name)
    for path in (alone / "outputs").rglob("test.*"):
        assert path.read_text() == (run_dir / path.relative_to(alone)).read_text()
    steps = [row["step"] for row in read_metrics(run_dir / "metrics.jsonl") if "loss" in row]
    assert steps == list(range(1, 31)), "one process alone writes"
    assert len(list((run_dir / "tensorboard").iterdir())) == 2, "one file a start"


@pytest.mark.slow
def test_two_processes_train_a_language_model_as_one_does(folder):
    experiment = _experiment(folder, num_steps=10, checkpoint_every=5, text=True)
    run_dir, alone = folder / "two_of_text", folder / "text_alone"
    _succeed(_train_together(2, experiment, run_dir))
    _succeed(_train_together(1, experiment, alone, num_devices=2))
    assert _figures(run_dir) == _figures(alone)
    assert (run_dir / "samples.txt").read_text() == (alone / "samples.txt").read_text()
    for name, value in _params(alone).items():
        np.testing.assert_array_equal(value, _params(run_dir)[name], err_msg=name)


@pytest.mark.slow
def test_four_go_on_where_one_was_and_end_as_one_of_four_devices(folder, monkeypatch):
    experiment = _experiment(folder, num_steps=4, checkpoint_every=4)
    run_dir, alone = folder / "four", folder / "straight"
    _train_here(experiment, run_dir, monkeypatch)

    def longer(num_steps):
        return experiment.with_overrides([f"train.num_steps={num_steps}"])

    processes = _train_together(4, longer(5_000), run_dir)
    _wait_for(lambda: read_metrics(run_dir / "metrics.jsonl")[-1]["step"] >= 6, processes)
    processes[2].send_signal(signal.SIGTERM)
    for status, _, errors in _ends(processes):
        assert status == 0, errors
        assert "SIGTERM came; step " in errors
    stopped = max(int(path.name) for path in run_dir.glob("*/[0-9]*"))
    assert read_metrics(run_dir / "metrics.jsonl")[-1]["step"] == stopped

    _succeed(_train_together(4, longer(stopped + 2), run_dir))
    _succeed(_train_together(1, longer(stopped + 2), alone, num_devices=4))
    # The same rows; the sum of four gradients may be taken in another order, or of one at first.
    found, wanted = (_figures(run) for run in (run_dir, alone))
    assert [row["step"] for row in found] == [row["step"] for row in wanted]
    for row, same in zip(found, wanted, strict=True):
        assert row == pytest.approx(same, rel=1e-4)
    outputs = [path.relative_to(alone) for path in (alone / "outputs").rglob("test.*")]
    assert outputs
    for path in outputs:
        assert (run_dir / path).read_text() == (alone / path).read_text()


@pytest.mark.slow
def test_an_update_that_fails_two_processes_can_be_computed_again_by_one(folder, capsys):
    experiment = _experiment(folder, num_steps=12, checkpoint_every=12)
    broken = diverging(experiment)
    first, second = _ends(_train_together(2, broken, folder / "broken"))
    assert (first[0], second[0]) == (2, 2), first[2] + second[2]
    assert main(["replay", str(folder / "broken")]) == 0
    lines = capsys.readouterr().out
    assert lines.startswith("Step 2: the loss is ")
    assert lines in first[2], "as it said itself"


_PROGRAM = """
import os, signal, sys
from aiayn.system import hosts
from aiayn.errors import LostProcess, UserError
hosts.HEARTBEAT_SECONDS = {heartbeat}
try:
    with hosts.joined():
        def mark(mine):
            return [f"<{line}> of {len(mine)}" for line in mine]
        shared = hosts.shared_out(mark, [f"line {n}" for n in range(5)])
        told = hosts.told(["é", {}] if hosts.first() else None)
        print(hosts.share(6), shared, told, flush=True)
        if not hosts.first():
            {end}
        hosts.wait_for_all()
except (LostProcess, UserError) as error:
    print(error, file=sys.stderr)
    sys.exit(error.status)
"""


_ENDS = {
    "pass": 0,
    'raise UserError("the disk is full")': 2,
    "os.kill(os.getpid(), signal.SIGKILL)": -signal.SIGKILL,
}
"""What the second process does at the end, and its exit status."""


@pytest.mark.slow
def test_processes_share_work_and_leave_together():
    pairs = {}  # all at once, since two of them wait long
    for end, status in _ENDS.items():
        # Short only where a death is to be found out: paused processes show no life either.
        program = _PROGRAM.replace("{end}", end).replace("{heartbeat}", "10" if status else "3600")
        pairs[end] = _together(2, ["-c", program])
    shares = [f"<line {n}> of {size}" for n, size in enumerate((3, 2, 3, 2, 3))]
    for end, (first, other) in ((end, _ends(processes)) for end, processes in pairs.items()):
        assert other[0] == _ENDS[end], other[2]
        assert f"slice(0, 3, None) {shares} ['é', {{}}]" in first[1]
        assert f"slice(3, 6, None) {shares} ['é', {{}}]" in other[1]
        if _ENDS[end] == 0:
            assert first[0] == 0, first[2]
        else:
            # It waits where no device tells it that the other is gone: the heartbeat does.
            assert first[0] in (3, -signal.SIGABRT)
            assert "misses another one" in first[2] or "another task died" in first[2]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_COORDINATOR_ADDRESS is None, JAX_NUM_PROCESSES '2', "),
        (
            {
                "JAX_COORDINATOR_ADDRESS": "127.0.0.1:1",
                "JAX_NUM_PROCESSES": "2",
                "JAX_PROCESS_ID": "2",
            },
            "JAX_PROCESS_ID '2'; wanted all three",
        ),
    ],
)
def test_variables_that_contradict_themselves_are_refused(
    variables, message, tmp_path, capsys, monkeypatch
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "phrasebook", "--run-dir", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_address_alone_is_refused(tmp_path):
    variables = {**os.environ, "JAX_COORDINATOR_ADDRESS": "127.0.0.1:1"}
    command = [sys.executable, "-m", "aiayn", "train", "phrasebook", "--run-dir", str(tmp_path)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "wanted JAX_NUM_PROCESSES and JAX_PROCESS_ID beside JAX_COORDINATOR" in done.stderr


@pytest.mark.parametrize("tasks", ["1", "4(x2)"])
def test_a_gpu_without_a_task_of_slurm_is_refused(tasks, monkeypatch):
    for name, value in (
        ("SLURM_NTASKS", "8"),
        ("SLURM_STEP_TASKS_PER_NODE", tasks),
        ("SLURM_GPUS_ON_NODE", "8"),
    ):
        monkeypatch.setenv(name, value)
    wanted = rf"{tasks[0]} tasks on a node with 8 GPUs; .* --ntasks-per-node=8"
    with pytest.raises(UserError, match=wanted), hosts.joined():
        pass


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "1"},
        {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"},
        {"OMPI_COMM_WORLD_SIZE": "1"},
    ],
)
def test_a_lone_task_keeps_all_devices(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "8")
    monkeypatch.setattr(jax.distributed, "initialize", None)
    with hosts.joined():
        assert hosts.first()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
            "aiayn: process 0 of 4 by SLURM_NTASKS waits for the others; to compute alone, start "
            "it with SLURM_NTASKS=1.\n",
        ),
        (
            {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
            "aiayn: process 1 of 2 by OMPI_COMM_WORLD_SIZE waits for the others; to compute "
            "alone, start it with OMPI_COMM_WORLD_SIZE=1.\n",
        ),
        ({"SLURM_NTASKS": "4(x2)", "SLURM_GPUS_ON_NODE": "gpu:2"}, ""),
    ],
)
def test_who_is_waited_for_is_said_at_once(variables, said, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    heard = []
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda **_: heard.append(capsys.readouterr().err)
    )
    with hosts.joined():
        pass
    assert heard == [said]


def test_who_does_not_come_is_waited_for_no_longer(monkeypatch):
    release, left = threading.Event(), []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: release.wait())
    monkeypatch.setattr(hosts.atexit, "register", lambda leave, status: left.append(status))
    monkeypatch.setattr(hosts, "_LONGEST_MEETING", 0)
    with pytest.raises(LostProcess, match="did not come within 0 seconds"):
        hosts._initialize()
    release.set()
    assert left == [3], "JAX would wait for them again at the end"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (UserError("wanted another"), 2),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), 2),
        (ValueError("a fault"), 1),
    ],
)
def test_of_several_processes_each_ends_with_the_status_that_it_has_alone(
    monkeypatch, error, status
):
    left = []
    monkeypatch.setattr(hosts, "_meet", lambda: None)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts.atexit, "register", lambda leave, status: left.append(status))
    with pytest.raises(type(error)), hosts.joined():
        raise error
    assert left == [status]


def test_an_interrupt_ends_the_waiting(monkeypatch):
    left = []
    monkeypatch.setattr(hosts.atexit, "register", lambda leave, status: left.append(status))

    class Interrupted:
        def __init__(self, **_):
            pass

        def start(self):
            pass

        def join(self, _):
            raise KeyboardInterrupt

    monkeypatch.setattr(hosts, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        hosts._initialize()
    assert left == [130]


def test_processes_that_read_different_steps_do_not_go_on(monkeypatch):
    monkeypatch.setattr(hosts, "process_allgather", lambda mine: np.array([int(mine), 4]))
    hosts.check_same("newest step", 4)
    with pytest.raises(UserError, match=r"newest step is not the same .* \[6, 4\]"):
        hosts.check_same("newest step", 6)


def test_one_process_needs_no_others(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "1")
    with hosts.joined():
        assert hosts.first()
        assert hosts.share(6) == slice(0, 6)
        assert hosts.shared_out(lambda lines: [line * 2 for line in lines], ["a", ""]) == ["aa", ""]
        assert hosts.told(("any", 1)) == ("any", 1)
