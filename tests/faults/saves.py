"""Save one checkpoint after another, and print the process's resident memory after each.

python -m tests.faults.saves COUNT
"""

import sys
import tempfile
from pathlib import Path

import jax.numpy as jnp

from aiayn.system.environment import configure_jax
from aiayn.system.memory import use_large_pages
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.optim import optimizer
from aiayn.training.step import initial_state
from tests.faults.folders import EXPERIMENT, SIZES, tokenizer


def resident_bytes(pid: int | str = "self") -> int:
    """Bytes of a process that are in memory; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    lines = [line for line in text.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


def main(count: int) -> None:
    configure_jax()
    adam = optimizer(SIZES, EXPERIMENT.train)
    state = initial_state(SIZES, tokenizer().num_words, 1, adam)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep_last=2)
        for number in range(1, count + 1):
            state = state._replace(step=jnp.int32(number))
            checkpoints.save(state, EXPERIMENT, tokenizer(), 2.0)
            print(resident_bytes(), flush=True)
        checkpoints.close()


if __name__ == "__main__":
    use_large_pages()  # as training does
    main(int(sys.argv[1]))
