"""Several processes that compute as one: how they meet, who writes, and how they end together.

Every process runs the same command over its own devices; JAX joins these into one mesh. The first
process alone writes and speaks. The others read what it wrote, so the run directory and the
prepared data lie in a file system that all of them see.

JAX itself finds the processes of a Slurm step, a TPU pod, a Kubernetes job and Open MPI. Elsewhere
three variables say it: JAX_COORDINATOR_ADDRESS (host:port of the first process, any free port),
JAX_NUM_PROCESSES and JAX_PROCESS_ID (0 is the first).
"""

import atexit
import itertools
import json
import os
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from orbax.checkpoint.multihost import get_barrier_sync_fn

from aiayn.errors import LostProcess, Preempted, UserError
from aiayn.system.refusals import refused

HEARTBEAT_SECONDS = 100
"""After so long without a sign of life from a process, JAX ends all others."""
_LONGEST_WAIT = 7 * 24 * 3600
"""Seconds. The first process may prepare a corpus meanwhile; if it dies, nobody waits for it."""
_LOST = re.compile(r"gloo|nccl|heartbeat|barrier|coordination", re.IGNORECASE)
"""In what JAX says where it misses another process."""
T = TypeVar("T")
_barriers = itertools.count()
_LONGEST_MEETING = 300
"""Seconds for which a process waits for the first sign of the others."""
_COUNTED_BY = {
    "SLURM_STEP_NUM_TASKS": "SLURM_PROCID",
    "SLURM_NTASKS": "SLURM_PROCID",
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",
}
"""Variables by which Slurm and Open MPI tell a process how many there are, and which it is."""


@contextmanager
def joined() -> Generator[None]:
    """Compute with the other processes, where there are any; before anything else uses a device.

    All leave together. With an error a process leaves at once, so that the others miss it and end
    too, instead of waiting for it for ever.

    Raises:
        UserError: the variables contradict themselves, or processes have unequal devices.
        LostProcess: another process is gone.
    """
    _meet()
    try:
        yield
        wait_for_all()
    except Preempted:  # which all agreed on
        wait_for_all()
        raise
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        lost = not isinstance(error, UserError) and _LOST.search(str(error))
        status = LostProcess.status if lost else _status(error)
        atexit.register(_leave, status)  # runs before JAX's own, which waits for the others
        if lost:
            raise LostProcess(
                f"process {jax.process_index()} of {jax.process_count()} misses another one, whose "
                f"own message says why it ended ({str(error).splitlines()[0]})"
            ) from error
        raise


def _status(error: BaseException) -> int:
    """What a process that is alone ends with."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    return getattr(error, "status", UserError.status if refused(error) else 1)


def _leave(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _meet() -> None:
    names = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    given = {name: os.environ[name] for name in names if name in os.environ}
    if given.get("JAX_NUM_PROCESSES") == "1" or jax.distributed.is_initialized():
        return
    address = os.environ.get("JAX_COORDINATOR_ADDRESS")
    if not given:
        if any(os.environ.get(name) == "1" for name in _COUNTED_BY):
            return  # alone, with every device that it is given
        _check_slurm(os.environ)
        _say_who_is_waited_for(os.environ)
        try:
            _initialize()
        except ValueError as error:
            if address or "coordinator_address" not in str(error):
                raise UserError(
                    f"JAX finds no cluster here that it knows ({error}); wanted "
                    f"{' and '.join(names)} beside JAX_COORDINATOR_ADDRESS."
                ) from None
            return  # a process of its own
        except RuntimeError as error:
            if address or "before any JAX calls" not in str(error):
                raise
            return  # a part of a program that computes already
    else:
        numbers = [given.get(name, "") for name in names]
        if not (
            address and all(n.isdecimal() for n in numbers) and int(numbers[1]) < int(numbers[0])
        ):
            raise UserError(
                f"JAX_COORDINATOR_ADDRESS is {address!r}, JAX_NUM_PROCESSES {numbers[0]!r}, "
                f"JAX_PROCESS_ID {numbers[1]!r}; wanted all three: host:port of the first process, "
                "how many there are, and which of them this is, counted from 0."
            )
        count, number = map(int, numbers)
        # Should nobody answer there, JAX ends this process with few words of its own.
        print(f"aiayn: process {number} of {count} meets the others at {address}", file=sys.stderr)
        _initialize(
            coordinator_address=address,
            num_processes=count,
            process_id=number,
            cluster_detection_method="deactivate",
        )
    if jax.local_device_count() * jax.process_count() != jax.device_count():
        raise UserError(
            f"Process {jax.process_index()} has {jax.local_device_count()} of the "
            f"{jax.device_count()} devices of {jax.process_count()} processes; wanted as many in "
            "each."
        )


def _initialize(**options: Any) -> None:
    """Meet the others, in a thread: JAX waits in C++, where no Ctrl-C comes through, and would end
    with a C++ stack.

    Raises:
        LostProcess: they do not come.
    """
    failed: list[BaseException] = []

    def meet() -> None:
        try:
            jax.distributed.initialize(
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                initialization_timeout=2 * _LONGEST_MEETING,
                **options,
            )
        except BaseException as error:
            failed.append(error)

    meeting = Thread(target=meet, daemon=True)
    meeting.start()
    try:
        meeting.join(_LONGEST_MEETING)
        if meeting.is_alive():
            raise LostProcess(f"the other processes did not come within {_LONGEST_MEETING} seconds")
    except BaseException as error:
        # JAX would wait for them once more at the end of the process.
        atexit.register(_leave, getattr(error, "status", 130))
        raise
    if failed:
        raise failed[0]


def _say_who_is_waited_for(environment: Mapping[str, str]) -> None:
    """A line where a cluster's variables speak of others, which nobody may have started."""
    for count, number in _COUNTED_BY.items():
        if environment.get(count, "").isdecimal() and environment.get(number, "").isdecimal():
            print(
                f"aiayn: process {environment[number]} of {environment[count]} by {count} waits "
                f"for the others; to compute alone, start it with {count}=1.",
                file=sys.stderr,
            )
            return


def _check_slurm(environment: Mapping[str, str]) -> None:
    """JAX gives each task of Slurm one GPU: with fewer tasks than GPUs some would stand idle."""
    found = environment.get("SLURM_GPUS_ON_NODE", "")
    gpus = int(found) if found.isdecimal() else 0
    tasks = re.findall(r"\d+", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    if tasks and int(tasks[0]) < gpus:
        raise UserError(
            f"Slurm starts {tasks[0]} tasks on a node with {gpus} GPUs; wanted a task for each: "
            f"--ntasks-per-node={gpus}."
        )


def first() -> bool:
    """Whether this is the process that writes and speaks."""
    return jax.process_index() == 0


def wait_for_all() -> None:
    """Return once every process has come here."""
    get_barrier_sync_fn()(key=f"aiayn {next(_barriers)}", timeout_ms=_LONGEST_WAIT * 1000)


def check_same(what: str, number: int) -> None:
    """Refuse to continue where processes read different numbers from a file system that all see.

    Raises:
        UserError: with the number of each process.
    """
    found = np.atleast_1d(process_allgather(np.int32(number))).tolist()
    if len(set(found)) > 1:
        raise UserError(
            f"The {what} is not the same to all processes, in their order {found}: a host has not "
            "seen yet what another wrote, or they see different folders. Start again in a minute."
        )


def share(count: int) -> slice:
    """Which of `count` rows this process holds: as many as every other one, in their order."""
    each = count // jax.process_count()
    return slice(jax.process_index() * each, (jax.process_index() + 1) * each)


def shared_out(work: Callable[[Sequence[str]], Sequence[T]], lines: Sequence[str]) -> list[T]:
    """`work(lines)`, of which every process does a share and receives all; JSON can hold it."""
    count = jax.process_count()
    mine = list(work(lines[jax.process_index() :: count]))
    if count == 1:
        return mine
    found: list[Any] = [None] * len(lines)
    for number, share in enumerate(_gathered(mine)):
        found[number::count] = share
    return found


def told(value: Any) -> Any:
    """The first process's value, which JSON can hold, in every process."""
    return value if jax.process_count() == 1 else _gathered(value)[0]


def _gathered(mine: Any) -> list[Any]:
    """What every process gave, in their order; each has to give something that JSON can hold."""
    text = np.frombuffer(json.dumps(mine).encode(), np.uint8)
    sizes = process_allgather(np.int32(len(text)))
    padded = process_allgather(np.pad(text, (0, int(sizes.max()) - len(text))))
    return [json.loads(row[:size].tobytes()) for row, size in zip(padded, sizes, strict=True)]
