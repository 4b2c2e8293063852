"""One function over many jobs, in worker processes where there are enough of them."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from typing import TypeVar

from aiayn.errors import Preempted, UserError

Job = TypeVar("Job")
Result = TypeVar("Result")

POOL_FROM = 10
"""Jobs from which on worker processes are worth their start."""
MAX_WORKERS = 16
"""More than one reading process can feed."""


def parallel_map(
    function: Callable[[Job], Result], jobs: Iterable[Job], num_workers: int | None = None
) -> Generator[tuple[Job, Result], None, None]:
    """Each job with its result, in order, few jobs ahead: memory is bounded.

    `num_workers` 1 stays in this process; None decides by the number of jobs and of CPUs.

    Raises:
        UserError: a worker was ended from outside or could not start.
    """
    if num_workers is None:
        iterator = iter(jobs)
        ahead = list(islice(iterator, POOL_FROM))
        jobs = chain(ahead, iterator)
        num_workers = min(os.cpu_count() or 1, MAX_WORKERS) if len(ahead) == POOL_FROM else 1
    if num_workers == 1:
        for job in jobs:
            yield job, function(job)
        return
    pending: deque[tuple[Job, Future[Result]]] = deque()
    with _pool(num_workers) as pool:
        for job in jobs:
            pending.append((job, pool.submit(function, job)))
            if len(pending) > 2 * num_workers:
                done, future = pending.popleft()
                yield done, future.result()
        for done, future in pending:
            yield done, future.result()


def apart(function: Callable[[Job], Result], job: Job) -> Result:
    """The result of one job done in a process of its own, whose memory ends with it.

    Raises:
        UserError: as `parallel_map`.
    """
    with _pool(1) as pool:
        return pool.submit(function, job).result()


def as_finished(
    function: Callable[[Job], Result], jobs: Iterable[Job], num_workers: int
) -> Generator[tuple[Job, Result], None, None]:
    """As `parallel_map`, for long jobs: each with its result as soon as there is one. Unless there
    is one worker, each has a process of its own, so its compiled programs are freed when it ends.

    No job waits in a queue, so that where one fails, or on Ctrl-C, none begins any more; those that
    are going on may save what they have and raise Preempted.
    """
    if num_workers == 1:
        yield from parallel_map(function, jobs, 1)
        return
    waiting = iter(jobs)
    running: dict[Future[Result], tuple[Job, ProcessPoolExecutor]] = {}
    with _ended_with_us() as pools:

        def begin(count: int) -> None:
            for job in islice(waiting, count):
                pools.append(_new_pool(1))
                running[pools[-1].submit(_or_end, function, job)] = job, pools[-1]

        begin(num_workers)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job, pool = running.pop(future)
                yield job, future.result()
                pool.shutdown()
                begin(1)


def _or_end(function: Callable[[Job], Result], job: Job) -> Result:
    """The result of a job. A job told to stop ends its worker: the pool would wait for it."""
    try:
        return function(job)
    except Preempted:
        os._exit(0)


@contextmanager
def _pool(num_workers: int) -> Generator[ProcessPoolExecutor]:
    """Worker processes, as `_ended_with_us` ends them."""
    with _ended_with_us() as pools:
        pools.append(_new_pool(num_workers))
        yield pools[0]


def _new_pool(num_workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), _start_worker)


@contextmanager
def _ended_with_us() -> Generator[list[ProcessPoolExecutor]]:
    """A list for pools of worker processes: whatever goes wrong ends them all at once, and nobody
    waits for their results."""
    others = multiprocessing.active_children()  # of the program that called
    pools: list[ProcessPoolExecutor] = []
    try:
        yield pools
    except BaseException as error:
        for worker in multiprocessing.active_children():
            if worker not in others:
                worker.terminate()
        if not isinstance(error, BrokenProcessPool):
            raise
        raise UserError(
            "A worker process was ended from outside or could not start: memory ran out, or the "
            "calling script has no `if __name__ == '__main__':`."
        ) from error
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the main process, and end when that is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def outlive() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=outlive, daemon=True).start()
