"""`aiayn` with a promise broken, so that a harness can show that it notices.

python -m tests.faults.careless files|checkpoints|memory train ...
python -m tests.faults.careless requests serve ...
python -m tests.faults.careless lines translate ...
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orbax.checkpoint._src.path import atomicity

import aiayn.system.files


def _files() -> None:
    """Files are written in place."""
    aiayn.system.files.write_bytes = Path.write_bytes


def _checkpoints() -> None:
    """Checkpoints have their final name from the first."""
    atomicity._get_tmp_directory = lambda final_path: final_path


def _memory() -> None:
    """The metrics of every update are kept."""
    import aiayn.training.loop

    mapped_train_step = aiayn.training.loop.mapped_train_step
    kept: list[Any] = []

    def keeping(*arguments: Any) -> Callable[..., Any]:
        update = mapped_train_step(*arguments)

        def step(*arguments: Any) -> Any:
            state, metrics = update(*arguments)
            kept.append(metrics)
            return state, metrics

        return step

    aiayn.training.loop.mapped_train_step = keeping


def _requests() -> None:
    """Every request to a server is kept."""
    from aiayn.serve.engine import Engine

    submit = Engine.submit
    kept: list[Any] = []

    def keeping(self: Engine, asks: Any, deliver: Any) -> Any:
        kept.append(submit(self, asks, deliver))
        return kept[-1]

    Engine.submit = keeping


def _lines() -> None:
    """Every line of standard input is kept."""
    import aiayn.commands.translate

    windows = aiayn.commands.translate.windows
    kept: list[list[str]] = []

    def keeping(*arguments: Any) -> Iterator[list[str]]:
        for window in windows(*arguments):
            kept.append(window)
            yield window

    aiayn.commands.translate.windows = keeping


_BROKEN = {
    "files": _files,
    "checkpoints": _checkpoints,
    "memory": _memory,
    "requests": _requests,
    "lines": _lines,
}

if __name__ == "__main__":
    _BROKEN[sys.argv.pop(1)]()
    from aiayn.__main__ import main

    sys.exit(main(sys.argv[1:]))
