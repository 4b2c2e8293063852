"""One function over many jobs, in worker processes where there are enough of them."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import TypeVar

from aiayn.errors import UserError

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
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, context, _start_worker)
    pending: deque[tuple[Job, Future[Result]]] = deque()
    try:
        for job in jobs:
            pending.append((job, pool.submit(function, job)))
            if len(pending) > 2 * num_workers:
                done, future = pending.popleft()
                yield done, future.result()
        for done, future in pending:
            yield done, future.result()
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process was ended from outside or could not start: memory ran out, or the "
            "calling script has no `if __name__ == '__main__':`."
        ) from error
    except BaseException:  # Ctrl-C, a job that failed: nobody waits for the others' results
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
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
