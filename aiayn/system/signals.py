"""SIGTERM, by which machines are taken away."""

import atexit
import multiprocessing
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from aiayn.errors import Preempted


def stop_on_sigterm() -> None:
    """Wherever it does nothing else: before and after training, and around runs that train."""

    def stop(*_: object) -> None:
        raise Preempted("SIGTERM came; what was trained is saved.")

    signal.signal(signal.SIGTERM, stop)
    # Python would take the handler away before it ends, and then there is nothing to save.
    atexit.register(signal.signal, signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def sigterm_asked() -> Generator[Callable[[int], bool]]:
    """Whether to stop after a step; SIGTERM does nothing until the end, where Preempted answers it.

    A normal end sends it again, to do what it did before; an error says more than it. A worker ends
    by it all the same: nobody waits for what it has to say, and its pool would wait for it. Only a
    main thread can put it off. Of several processes JAX has caught it since they met, and they
    agree on the step, which each must ask about once.
    """
    import jax
    from jax.experimental.multihost_utils import reached_preemption_sync_point

    came: list[None] = []  # handlers nest, so no lock
    if jax.process_count() > 1:
        yield reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: bool(came)
        return
    before = signal.signal(signal.SIGTERM, lambda *_: came.append(None))
    answered = False
    try:
        yield lambda step: bool(came)
    except BaseException as error:
        answered = isinstance(error, Preempted) or multiprocessing.parent_process() is None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if came and not answered:
            signal.raise_signal(signal.SIGTERM)
