"""Checkpoints of a run, their average, and the exported model (§6.1)."""

import base64
import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from orbax.checkpoint import checkpoint_managers

from aiayn.config import Experiment
from aiayn.data.tokenizer import Tokenizer
from aiayn.errors import UserError, naming
from aiayn.system.checksums import SUMS, find_damage, sha256
from aiayn.system.files import read_json, user_os_errors, write_text
from aiayn.training.step import TrainState

_DELETED = "deleted"
"""Where checkpoints go that are no longer kept, whole, before their files are removed."""

_PARAMS = "params."
"""How the names of their folders begin, one for each array."""


class _Manager(ocp.CheckpointManager):
    """Orbax's, which does not ask whether SIGTERM came.

    JAX counts who has asked about which step, and Orbax would ask once more, about an earlier one,
    from its own thread.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpoints:
    """The checkpoints of one run directory: written in the background, whole or not at all.

    Each holds the parameters, the optimiser, the step (which is also the position in the data, a
    pure function of seed and step), the config, the tokenizer and the totals of the log. The last
    `keep_last` and the `keep_best` of lowest dev loss stay. Whatever is read was compared with its
    checksums before.
    """

    def __init__(
        self,
        folder: Path,
        keep_last: int = 1,
        keep_best: int = 0,
        read_only: bool = False,
        advice: str = "",
    ):
        """`advice` is what to do about a damaged one that is none of a run's."""
        self.folder = folder.absolute()
        self._advice = advice
        self._saving = 0
        self._intact: set[int] = set()
        self._read_only = read_only
        policies: list[Any] = [checkpoint_managers.LatestN(keep_last)]
        if keep_best:
            policies.append(
                checkpoint_managers.BestN(
                    get_metric_fn=lambda metrics: metrics["dev_loss"], reverse=True, n=keep_best
                )
            )
        if not read_only:
            self._remove_deleted()
        with _readable(self.folder):
            try:
                self._manager = _Manager(
                    self.folder,
                    # Without them, it does not know the shapes of what it has not restored yet.
                    item_handlers={
                        # A folder for each array: of OCDBT's, TensorStore leaks every name.
                        "state": ocp.StandardCheckpointHandler(use_ocdbt=False),
                        "about": ocp.JsonCheckpointHandler(),
                    },
                    options=ocp.CheckpointManagerOptions(
                        preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
                        best_fn=lambda metrics: -metrics["dev_loss"],
                        cleanup_tmp_directories=not read_only,
                        # Killed while it removes files, it must not leave the rest as a checkpoint.
                        todelete_subdir=None if read_only else _DELETED,
                        read_only=read_only,
                        async_options=ocp.AsyncOptions(post_finalization_callback=self._write_sums),
                    ),
                )
            except Exception:  # it reads what ranks them
                for step in steps_in(self.folder):
                    self.check(step)
                raise

    @classmethod
    def open(cls, run_dir: Path) -> "Checkpoints":
        """The checkpoints that a run has written, to read them.

        Raises:
            UserError: there are none.
        """
        folder = run_dir / "checkpoints"
        if not folder.is_dir():
            raise UserError(f"{run_dir} holds no checkpoints; wanted the directory of a run.")
        checkpoints = cls(folder, read_only=True)
        if not checkpoints.steps():
            raise UserError(f"{folder} holds no complete checkpoint.")
        return checkpoints

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, rising."""
        return sorted(self._manager.all_steps())

    def newest(self) -> int:
        """The last step of which there is a complete checkpoint; 0 where there is none."""
        return max(self.steps(), default=0)

    def last(self, count: int) -> list[int]:
        """The newest steps, at most `count`, that no missing checkpoint parts.

        What was kept as the best of the run may lie far behind the others.
        """
        steps = self.steps()
        if not steps:
            return []
        period = self.about(steps[-1])[0].train.checkpoint_every
        chosen = [steps.pop()]
        while steps and len(chosen) < count and chosen[0] - steps[-1] <= period:
            chosen.insert(0, steps.pop())
        return chosen

    def save(
        self,
        state: TrainState,
        experiment: Experiment,
        tokenizer: Tokenizer,
        dev_loss: float | None = None,
        totals: dict[str, Any] | None = None,
    ) -> None:
        """Begin to write; the state may be changed or donated as soon as this returns.

        `dev_loss` ranks the checkpoint where the best are kept. `totals` are what the log says of
        the run up to here, which can be lost.
        """
        about: dict[str, Any] = {
            "experiment": experiment.to_dict(),
            "tokenizer": base64.b64encode(tokenizer.model).decode(),
            "totals": totals,
        }
        self._finish()
        with user_os_errors(self.folder):
            self._saving = int(state.step)
            self._manager.save(
                self._saving,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state._asdict()), about=ocp.args.JsonSave(about)
                ),
                metrics=None if dev_loss is None else {"dev_loss": dev_loss},
                force=True,
            )

    def _write_sums(self) -> None:
        """Orbax calls this when all files of a checkpoint are there, under a temporary name."""
        (folder,) = self.folder.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        files = sorted(path for path in folder.glob("*/**/*") if path.is_file())
        sums = {path.relative_to(folder).as_posix(): sha256(path) for path in files}
        write_text(folder / SUMS, json.dumps(sums, indent=1))

    def check(self, step: int) -> None:
        """Compare the files of `step` with their checksums, once.

        Raises:
            UserError: naming the first that is damaged.
        """
        if step in self._intact:
            return
        if damage := find_damage(self.folder / str(step)):
            raise UserError(f"{damage} {self._advised(step)}")
        self._intact.add(step)

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state of `step`, placed on devices as `like` is, however many wrote it."""
        self.check(step)
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like._asdict()
        )
        with user_os_errors(self.folder):
            restored = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
            )
        return TrainState(**restored["state"])

    def about(self, step: int) -> tuple[Experiment, Tokenizer]:
        """The config and the tokenizer that a checkpoint was written with."""
        values, where = self._about(step), self.folder / str(step)
        with _readable(where), naming(where):
            tokenizer = Tokenizer.of(base64.b64decode(values["tokenizer"]))
            return Experiment.from_dict(values["experiment"]), tokenizer

    def totals(self, step: int) -> dict[str, Any] | None:
        """What `save` was given; None where an earlier version wrote the checkpoint."""
        return self._about(step).get("totals")

    def _about(self, step: int) -> dict[str, Any]:
        self.check(step)
        where = self.folder / str(step)
        with _readable(where), naming(where):
            about = ocp.args.Composite(about=ocp.args.JsonRestore())
            return dict(self._manager.restore(step, args=about)["about"])

    def params(self, step: int) -> dict[str, np.ndarray]:
        """The parameters of `step` by their dotted names, on the host.

        Raises:
            UserError: the checkpoint is damaged, or some of them are no numbers.
        """
        params = self._params(step)
        if spoilt := _not_finite(params):
            raise UserError(
                f"{self.folder / str(step)} holds values in {spoilt[0]} that are no numbers. "
                f"{self._advised(step)}"
            )
        return params

    def _advised(self, step: int) -> str:
        return self._advice or (
            f"Move {self.folder / str(step)}, all later ones and the run's result.json away to "
            "have `aiayn train` make them anew from the one before."
        )

    def spoilt(self, step: int) -> list[str]:
        """The parameters of `step` that hold a NaN or an infinity, by name."""
        return _not_finite(self._params(step))

    def _params(self, step: int) -> dict[str, np.ndarray]:
        """Without the optimiser, which Orbax would read with them: it is twice as large."""
        self.check(step)
        folder = self.folder / str(step)
        with _readable(folder):
            names = sorted({name.split("/")[1] for name in read_json(folder / SUMS)})
            arrays = {
                name.removeprefix(_PARAMS): _array(folder / "state" / name)
                for name in names
                if name.startswith(_PARAMS)
            }
            reading = {name: array.read() for name, array in arrays.items()}
            return {name: value.result() for name, value in reading.items()}

    def close(self) -> None:
        """Return when everything begun is on disk; errors of the background surface here."""
        self._finish()
        self._manager.close()

    def _finish(self) -> None:
        with user_os_errors(self.folder):
            self._manager.wait_until_finished()
        if not self._read_only:
            self._remove_deleted()

    def _remove_deleted(self) -> None:
        if jax.process_index() == 0:
            shutil.rmtree(self.folder / _DELETED, ignore_errors=True)


@contextmanager
def _readable(where: Path) -> Generator[None]:
    """Whatever opening or reading a damaged checkpoint ends in is a UserError that names it.

    Orbax and TensorStore raise dozens of unrelated types, all of which say the same to the user.
    """
    try:
        with user_os_errors(where):
            yield
    except UserError:
        raise
    except Exception as error:
        reason = str(error).split("\n")[0][:300]
        raise UserError(f"{where} cannot be read: {type(error).__name__}: {reason}") from error


def _array(folder: Path) -> Any:
    """An array as Orbax has TensorStore write it, of which nothing is read yet."""
    where = {"driver": "file", "path": str(folder)}
    return tensorstore.open({"driver": "zarr", "kvstore": where}, read=True).result()


def _not_finite(params: Mapping[str, np.ndarray]) -> list[str]:
    return [name for name, value in params.items() if not np.isfinite(value).all()]


def steps_in(folder: Path) -> list[int]:
    """Steps that have a folder, damaged or not, rising."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def set_aside_damaged(folder: Path, aside: Path, keep_one: bool = True) -> list[str]:
    """Move the newest checkpoints of `folder` that are damaged to `aside`; what was wrong.

    Those before the newest intact one are not looked at; they are when they are read.

    Raises:
        UserError: none is intact, and with `keep_one` this is too much; all stay where they are.
    """
    with user_os_errors(folder):
        steps = steps_in(folder)
        damaged: dict[int, str] = {}
        for step in reversed(steps):
            if not (damage := find_damage(folder / str(step))):
                break
            damaged[step] = damage
        if damaged and len(damaged) == len(steps) and keep_one:
            raise UserError(
                f"No checkpoint in {folder} is intact: {' '.join(damaged.values())} Move {folder} "
                "away to begin anew."
            )
        for step in damaged:
            set_aside(folder / str(step), aside)
    return list(damaged.values())


def set_aside(checkpoint: Path, aside: Path) -> None:
    """Move a checkpoint that is of no use into the folder `aside`, in the place of an earlier one
    of its step."""
    aside.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(aside / checkpoint.name, ignore_errors=True)
    shutil.move(checkpoint, aside / checkpoint.name)  # to another disk, too
