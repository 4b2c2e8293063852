"""Jobs in other processes: results in order, and nobody waits for what is no longer wanted."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from aiayn.errors import Preempted, UserError
from aiayn.system.signals import sigterm_asked
from aiayn.system.workers import as_finished, parallel_map


def _square_or_stay(number: int) -> int:
    if number == 1:
        raise UserError("one is refused")
    if number == 0:
        signal.pause()  # for ever, unless it is ended
    return number * number


def test_results_come_with_their_jobs_in_order():
    assert list(parallel_map(_square_or_stay, range(2, 9), 2)) == [(n, n * n) for n in range(2, 9)]


def test_a_job_that_fails_ends_the_others():
    # The second is refused while the third would never end.
    with pytest.raises(UserError, match="one is refused"):
        list(parallel_map(_square_or_stay, [2, 1, 0], 2))


def test_a_map_that_is_left_early_ends_its_own_workers_alone():
    other = multiprocessing.get_context("spawn").Process(target=_square_or_stay, args=(0,))
    other.start()
    try:
        found = parallel_map(_square_or_stay, range(2, 9), 2)
        assert next(found) == (2, 4)
        found.close()
        assert multiprocessing.active_children() == [other]
    finally:
        other.kill()
        other.join()


def _report_sigterm(job: tuple[str, int]) -> None:
    """Job 1 fails once job 0 has begun; job 0 ends when it is asked to, as training does."""
    folder, number = job
    (Path(folder) / f"began {number}").touch()
    if number == 0:
        came = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: came.set())
        (Path(folder) / "ready").touch()
        came.wait()
        (Path(folder) / "saved").touch()
        raise Preempted
    elif number == 1:
        while not (Path(folder) / "ready").exists():
            pass
        raise UserError("one is refused")


def test_long_jobs_come_as_they_end_and_none_begins_after_a_failure(tmp_path):
    assert {n * n for n in range(2, 9)} == {
        square for _, square in as_finished(_square_or_stay, range(2, 9), 2)
    }
    with pytest.raises(UserError, match="one is refused"):
        list(as_finished(_report_sigterm, [(str(tmp_path), n) for n in range(6)], 2))
    began = {path.name for path in tmp_path.glob("began *")}
    assert began == {"began 0", "began 1"}
    assert (tmp_path / "saved").exists()


def _process(_: int) -> int:
    return os.getpid()


def test_each_long_job_has_a_process_that_ends_with_it():
    found = as_finished(_process, range(4), 2)
    processes = [process for _, process in found]
    assert len({*processes, os.getpid()}) == 5
    assert multiprocessing.active_children() == []


def _die_or_train(job: tuple[str, int]) -> None:
    """Job 1 is ended from outside once job 0 trains, which ends when it is told to alone."""
    folder, number = job
    if number == 1:
        while not (Path(folder) / "ready").exists():
            threading.Event().wait(0.05)
        os._exit(9)
    _report_sigterm(job)


def test_a_worker_that_is_ended_from_outside_ends_the_others(tmp_path):
    with pytest.raises(UserError, match="was ended from outside"):
        list(as_finished(_die_or_train, [(str(tmp_path), n) for n in range(3)], 2))
    assert (tmp_path / "saved").exists()
    assert not (tmp_path / "began 2").exists()


def _fail_after_sigterm(job: tuple[str, int]) -> None:
    """Job 1 fails once job 0 trains; job 0 fails when SIGTERM comes, before it has answered it."""
    folder, number = job
    ready = Path(folder) / "ready"
    if number == 1:
        while not ready.exists():
            threading.Event().wait(0.05)
        raise UserError("one is refused")

    with sigterm_asked() as asked:
        ready.touch()
        while not asked(0):
            threading.Event().wait(0.05)
        raise UserError("the disk is full")


def test_a_worker_that_fails_after_sigterm_keeps_nobody_waiting(tmp_path):
    with pytest.raises(UserError, match="one is refused"):
        list(as_finished(_fail_after_sigterm, [(str(tmp_path), n) for n in range(2)], 2))
