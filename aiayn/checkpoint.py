"""Checkpoints of a run, their average, and the exported model (§6.1)."""

import base64
import hashlib
import json
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding
from orbax.checkpoint import checkpoint_managers
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from aiayn.config import Experiment
from aiayn.errors import UserError, naming
from aiayn.files import (
    FORMAT,
    check_format,
    read_json,
    sha256,
    user_os_errors,
    write_bytes,
    write_text,
)
from aiayn.model import abstract_parameters
from aiayn.step import Params, TrainState
from aiayn.tokenizer import Tokenizer

_SUMS = "sha256.json"
"""Checksums of what a checkpoint's folders hold; the files beside it are Orbax's notes, which it
writes last and does without."""
_MOST_ABOUT_ARRAY = 4096
"""Bytes of a `.zarray`, the type and shape of an array; ours have some 200. TensorStore follows the
brackets of a long one until the stack is full."""
_DELETED = "deleted"
"""Where checkpoints go that are no longer kept, whole, before their files are removed."""


class Checkpoints:
    """The checkpoints of one run directory: written in the background, whole or not at all.

    Each holds the parameters, the optimiser, the step (which is also the position in the data, a
    pure function of seed and step), the config and the tokenizer. The last `keep_last` and the
    `keep_best` of lowest dev loss stay. Whatever is read was compared with its checksums before.
    """

    def __init__(
        self, folder: Path, keep_last: int = 1, keep_best: int = 0, read_only: bool = False
    ):
        self.folder = folder.absolute()
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
                self._manager = ocp.CheckpointManager(
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
                for step in _steps(self.folder):
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
    ) -> None:
        """Begin to write; the state may be changed or donated as soon as this returns.

        `dev_loss` ranks the checkpoint where the best are kept.
        """
        about = {
            "experiment": experiment.to_dict(),
            "tokenizer": base64.b64encode(tokenizer.model).decode(),
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
        write_text(folder / _SUMS, json.dumps(sums, indent=1))

    def check(self, step: int) -> None:
        """Compare the files of `step` with their checksums, once.

        Raises:
            UserError: naming the first that is damaged.
        """
        if step in self._intact:
            return
        if damage := _damage(self.folder / str(step)):
            raise UserError(
                f"{damage} Move {self.folder / str(step)} and all later ones away to have `aiayn "
                "train` make them anew from the one before."
            )
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
        self.check(step)
        where = self.folder / str(step)
        with _readable(where), naming(where):
            restored = self._manager.restore(
                step, args=ocp.args.Composite(about=ocp.args.JsonRestore())
            )
            values = restored["about"]
            tokenizer = Tokenizer.of(base64.b64decode(values["tokenizer"]))
            return Experiment.from_dict(values["experiment"]), tokenizer

    def params(self, step: int) -> dict[str, np.ndarray]:
        """The parameters of `step` by their dotted names, on the host."""
        self.check(step)
        one_device = SingleDeviceSharding(jax.local_devices()[0])
        with _readable(self.folder / str(step)):
            metadata = self._manager.item_metadata(step)["state"]
            target = jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one_device), metadata
            )
            restored = self._manager.restore(
                step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
            )
            return flatten(restored["state"]["params"])

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


def _steps(folder: Path) -> list[int]:
    """Steps that have a folder, damaged or not, rising."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal())


def _damage(checkpoint: Path) -> str:
    """What is wrong with the files of a checkpoint, or nothing."""
    try:
        sums: dict[str, str] = json.loads((checkpoint / _SUMS).read_text(encoding="utf-8"))
        for name, wanted in sums.items():
            if not (checkpoint / name).is_file():  # nor a device without an end
                return f"{checkpoint}/{name} is missing."
            if sha256(checkpoint / name) != wanted:
                return f"{checkpoint / name} does not hold the bytes that were written."
        for about in checkpoint.glob("*/*/.zarray"):  # in the sums or not
            if about.stat().st_size > _MOST_ABOUT_ARRAY:
                return f"{about} is too long for what is said of an array."
    except FileNotFoundError as error:
        return f"{error.filename} is missing."
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return f"{checkpoint / _SUMS} cannot be used: {error}."
    return ""


def set_aside_damaged(folder: Path, aside: Path, keep_one: bool = True) -> list[str]:
    """Move the newest checkpoints of `folder` that are damaged to `aside`; what was wrong.

    Those before the newest intact one are not looked at; they are when they are read.

    Raises:
        UserError: none is intact, and with `keep_one` this is too much; all stay where they are.
    """
    with user_os_errors(folder):
        steps = _steps(folder)
        damaged: dict[int, str] = {}
        for step in reversed(steps):
            if not (damage := _damage(folder / str(step))):
                break
            damaged[step] = damage
        if damaged and len(damaged) == len(steps) and keep_one:
            raise UserError(
                f"No checkpoint in {folder} is intact: {' '.join(damaged.values())} Move {folder} "
                "away to begin anew."
            )
        for step in damaged:
            aside.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(aside / str(step), ignore_errors=True)
            (folder / str(step)).rename(aside / str(step))
    return list(damaged.values())


def average(checkpoints: Checkpoints, steps: Sequence[int]) -> dict[str, np.ndarray]:
    """The mean of the parameters at `steps` (§6.1), summed in float64."""
    total: dict[str, np.ndarray] = {}
    for step in steps:
        for name, value in checkpoints.params(step).items():
            total[name] = total.get(name, 0.0) + value.astype(np.float64)
    return {name: (value / len(steps)).astype(np.float32) for name, value in total.items()}


@dataclass(frozen=True)
class Model:
    """All that translation needs: config, tokenizer, parameters by dotted name."""

    experiment: Experiment
    tokenizer: Tokenizer
    params: Mapping[str, np.ndarray]


_SUMMED = ("tokenizer.model", "weights.safetensors")


def save_model(folder: Path, model: Model) -> None:
    """Write `config.json`, `tokenizer.model`, `weights.safetensors` and the checksums of both;
    all or nothing."""
    building = folder.with_name(folder.name + ".tmp")
    with user_os_errors(folder):
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        about = {"format": FORMAT, **portable(model.experiment)}
        write_text(building / "config.json", json.dumps(about, indent=1))
        write_bytes(building / "tokenizer.model", model.tokenizer.model)
        weights = {name: np.ascontiguousarray(value) for name, value in model.params.items()}
        write_bytes(building / "weights.safetensors", save(weights))
        sums = {name: sha256(building / name) for name in _SUMMED}
        write_text(building / _SUMS, json.dumps(sums, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        building.rename(folder)


def load_model(folder: Path) -> Model:
    """A model that `save_model` wrote. Nothing in the folder is run as code.

    Raises:
        UserError: a missing or damaged file, or a tokenizer that does not fit the weights.
    """
    for name in ("config.json", *_SUMMED, _SUMS):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder} holds no {name}; wanted a model as `aiayn average` writes it."
            )
    config = folder / "config.json"
    about = read_json(config)
    check_format(about.pop("format", None), config)
    with naming(config):
        experiment = Experiment.from_dict(about)
    if damage := _damage(folder):
        raise UserError(f"{damage} Write the model anew with `aiayn average`.")
    tokenizer = Tokenizer.load(folder / "tokenizer.model")
    params = read_tensors(folder / "weights.safetensors")
    check_fit(experiment, tokenizer, params, folder)
    return Model(experiment, tokenizer, params)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Tensors by name. Raises UserError if they cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, LookupError, ValueError, OverflowError) as error:
        raise UserError(f"{path} is damaged, or has numbers of a type unknown here: {error}") from (
            None
        )


def check_fit(
    experiment: Experiment, tokenizer: Tokenizer, params: Mapping[str, np.ndarray], where: Path
) -> None:
    """Raises UserError unless these are the weights that the config and the tokenizer need."""
    if experiment.model.num_layers > len(params):  # nor count on to a million
        raise UserError(
            f"{where}: the config needs {experiment.model.num_layers:,} layers, but the weights "
            f"hold {len(params)} tensors. The config belongs to another model."
        )
    needed = _by_name(abstract_parameters(experiment.model, tokenizer.num_words))
    for name, leaf in needed.items():
        found = params[name].shape if name in params else None
        if found == leaf.shape:
            if params[name].dtype.kind != "f" or not np.isfinite(params[name]).all():
                raise UserError(f"{where}: the weights hold values in {name} that are no numbers.")
            continue
        if name == "embedding":
            raise UserError(
                f"{where}: the tokenizer has {tokenizer.num_words:,} words, which need an "
                f"embedding of {leaf.shape}, but the weights hold {found}. The tokenizer belongs "
                "to another model."
            )
        raise UserError(
            f"{where}: the config needs {name} of shape {leaf.shape}, but the weights hold "
            f"{found}. The config belongs to another model."
        )
    if extra := sorted(set(params) - set(needed)):
        raise UserError(f"{where}: the config knows no {extra[0]}, which the weights hold.")


def portable(experiment: Experiment) -> dict[str, Any]:
    """The config without the folder of one machine."""
    values = experiment.to_dict()
    values["data"]["folder"] = ""
    return values


def flatten(params: Params) -> dict[str, np.ndarray]:
    """Nested parameters by dotted name: `decoder.0.cross_attention.key.kernel`."""
    return {name: np.asarray(leaf) for name, leaf in _by_name(params).items()}


def _by_name(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        ".".join(str(getattr(part, "key", getattr(part, "idx", ""))) for part in path): leaf
        for path, leaf in leaves
    }


def unflatten(flat: Mapping[str, np.ndarray]) -> Params:
    """The nested dictionaries that `flatten` came from; layers are numbered by integers."""
    nested: dict[Any, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        place = nested
        for part in parents:
            place = place.setdefault(int(part) if part.isdigit() else part, {})
        place[last] = value
    return nested


def params_sha256(flat: Mapping[str, np.ndarray]) -> str:
    """One hash over names, shapes, types and bytes of all parameters."""
    digest = hashlib.sha256()
    for name in sorted(flat):
        value = np.ascontiguousarray(flat[name])
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
