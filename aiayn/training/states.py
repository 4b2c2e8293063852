"""The states of a run on disk, and the one that training resumes from.

`checkpoints/` holds those that are kept, validated and averaged: the same ones however often a run
was stopped. `interrupted/` holds the step that SIGTERM came in. The newest intact state of both
wins, unless a checkpoint is missing before it. Newer ones that are damaged, or hold a NaN or an
infinity, are moved to `damaged/`, and said.
"""

import shutil
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from aiayn.config import Experiment
from aiayn.data.tokenizer import Tokenizer
from aiayn.errors import UserError
from aiayn.system import hosts
from aiayn.system.files import user_os_errors
from aiayn.training.checkpoint import Checkpoints, set_aside, set_aside_damaged, steps_in
from aiayn.training.run_folder import NOT_FINITE
from aiayn.training.step import TrainState

_KEPT, _INTERRUPTED = "checkpoints", "interrupted"


class States:
    """The kept checkpoints and the interrupted step of one run, open for reading and writing."""

    def __init__(
        self, run_dir: Path, experiment: Experiment, tokenizer: Tokenizer, console: Console
    ):
        """Open both, with damaged ones set aside.

        Raises:
            UserError: no checkpoint is intact, or the run is past `train.num_steps`.
        """
        self.run_dir, self.experiment, self.tokenizer = run_dir, experiment, tokenizer
        self._console = console
        _set_aside_damaged(run_dir, experiment.train.num_steps, console)
        self._open()
        while self.is_finished and (spoilt := self._kept.spoilt(self.start)):
            self._set_aside_newest(spoilt[0])

    def _open(self) -> None:
        config = self.experiment.train
        with ExitStack() as stack:
            kept = Checkpoints(self.run_dir / _KEPT, config.keep_last, config.keep_best)
            self._kept = stack.enter_context(closing(kept))
            interrupted = Checkpoints(self.run_dir / _INTERRUPTED)
            self._interrupted = stack.enter_context(closing(interrupted))
            self.start = self._newest()
            self._stack = stack.pop_all()

    def _newest(self) -> int:
        most, newest = self.experiment.train.num_steps, self._kept.newest()
        stopped_at = self._stopped_at()
        self.is_between = newest < stopped_at
        """Whether the newest state is an interrupted one, which was not validated yet."""
        self.is_finished = newest == most
        start = max(stopped_at, newest)
        hosts.check_same(f"newest step in {self.run_dir}", start)
        if start > most:
            raise UserError(
                f"{self.run_dir} is at step {start:,} already; train.num_steps is {most:,}. "
                "Ask for as many or more, or choose another directory."
            )
        return start

    def _stopped_at(self) -> int:
        """The newest interrupted step that the run may go on from, 0 where there is none. One
        behind a checkpoint that is not there any more would leave that out for ever."""
        most, newest = self.experiment.train.num_steps, self._kept.newest()

        def is_next(step: int) -> bool:
            period = self._interrupted.about(step)[0].train.checkpoint_every
            return not newest or (step - 1) // period <= newest // period

        return max((n for n in self._interrupted.steps() if n <= most and is_next(n)), default=0)

    def restore(self, like: TrainState) -> TrainState | None:
        """The newest state, placed on devices as `like` is; None where there is none.

        One with a NaN or an infinity, which every further update would have as well, is set aside
        for the one before, and `start` becomes the step of that.

        Raises:
            UserError: it is the only one.
        """
        while self.start:
            found = self._newest_of().restore(self.start, like)
            if not (spoilt := _not_finite(found)):
                return found
            del found  # before another takes as much memory
            self._set_aside_newest(spoilt[0])
        return None

    def _set_aside_newest(self, tensor: str) -> None:
        name = _INTERRUPTED if self.is_between else _KEPT
        folder, aside = self.run_dir / name, self.run_dir / "damaged" / name
        is_last = name == _KEPT and len(self._kept.steps()) == 1 and not self._stopped_at()
        self.close()
        damage = f"{folder / str(self.start)} holds values in {tensor} that are no numbers."
        if is_last:
            raise UserError(
                f"{damage} No checkpoint is there before it. Move {folder} away to begin anew."
            )
        if hosts.first():
            with user_os_errors(folder):
                set_aside(folder / str(self.start), aside)
            self._console.print(f"{damage} It lies in {aside} now, for the one before.")
        hosts.wait_for_all()
        self._open()

    def totals(self) -> dict[str, Any] | None:
        """What the log said when the newest state was kept; None if an earlier version kept it."""
        return self._newest_of().totals(self.start) if self.start else None

    def _newest_of(self) -> Checkpoints:
        return self._interrupted if self.is_between else self._kept

    def keep(self, state: TrainState, dev_loss: float, totals: dict[str, Any]) -> None:
        """Begin to write a checkpoint; the state may be donated as soon as this returns."""
        self._kept.save(state, self.experiment, self.tokenizer, dev_loss, totals)

    def keep_interrupted(self, state: TrainState, totals: dict[str, Any]) -> None:
        """Begin to write the step that SIGTERM came in, unless it is there."""
        if int(state.step) not in self._interrupted.steps():
            self._interrupted.save(state, self.experiment, self.tokenizer, totals=totals)

    def close(self) -> None:
        """Return when everything begun is on disk; errors of the background surface here."""
        self._stack.close()


def _not_finite(state: TrainState) -> list[str]:
    """The tensors of a state that hold a NaN or an infinity, by name.

    On the host: jit would compile for seconds what is computed once.
    """
    spoilt: list[str] = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(state._asdict())[0]:
        values = np.asarray(leaf.addressable_data(0))
        if not np.isfinite(values).all():
            spoilt.append(jax.tree_util.keystr(path, simple=True, separator="."))
    return spoilt


def _set_aside_damaged(run_dir: Path, num_steps: int, console: Console) -> None:
    for name in (_INTERRUPTED, _KEPT) if hosts.first() else ():
        aside = run_dir / "damaged" / name
        # Little is lost with an interrupted step, or where one is left.
        intact = (step for step in steps_in(run_dir / _INTERRUPTED) if step <= num_steps)
        keep_one = name == _KEPT and not any(intact)
        for damage in set_aside_damaged(run_dir / name, aside, keep_one):
            console.print(f"{damage} Its checkpoint lies in {aside} now.")
    hosts.wait_for_all()


def forget_interruptions(run_dir: Path) -> None:
    """Remove what a finished run needs no more: the interrupted step, an update not finite."""
    if hosts.first():
        for name in (_INTERRUPTED, NOT_FINITE):
            shutil.rmtree(run_dir / name, ignore_errors=True)
