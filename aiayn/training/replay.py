"""An update whose loss or gradient is not finite: kept when training gives up, and looked at again.

What is kept is all that the update read: parameters, optimiser, step and rows.
"""

import io
import shutil
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import PartitionSpec as P
from jaxtyping import Array
from safetensors.numpy import load_file, save

import aiayn
from aiayn.config import Experiment
from aiayn.data.rows import Rows
from aiayn.data.tokenizer import Tokenizer
from aiayn.errors import UserError
from aiayn.model.dropout import Noise, row_noise
from aiayn.model.interface import AutoregressiveModel
from aiayn.model.kernels import without_kernels
from aiayn.model.structure import build, flatten
from aiayn.system import hosts
from aiayn.system.files import user_os_errors, write_bytes
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.mesh import data_mesh, mapped_evaluation_step, replicated, sharded
from aiayn.training.optim import optimizer
from aiayn.training.step import TrainState, abstract_state, loss_and_gradient

_ROWS = "rows.safetensors"


def keep(
    folder: Path, state: TrainState, rows: Rows, experiment: Experiment, tokenizer: Tokenizer
) -> None:
    """Write what the update after `state.step` reads, in the place of an earlier one.

    Of several processes all call this with the same `rows`; `state` is on all of their devices.
    """
    with user_os_errors(folder):
        if hosts.first():
            shutil.rmtree(folder, ignore_errors=True)
        hosts.wait_for_all()
        checkpoints = Checkpoints(folder)
        checkpoints.save(state, experiment, tokenizer)
        checkpoints.close()
        if hosts.first():
            fields = {name: np.ascontiguousarray(x) for name, x in rows._asdict().items()}
            write_bytes(folder / _ROWS, save(fields))


def replay(folder: Path) -> Iterator[str]:
    """Compute a kept update again; lines that say what is not finite.

    Raises:
        UserError: there is none in the folder.
    """
    if not (folder / _ROWS).is_file():
        raise UserError(
            f"{folder} is not there or not whole; training writes it where it gives up because "
            "losses are not finite."
        )
    advice = f"Remove {folder} and train again, which gives up there once more."
    checkpoints = Checkpoints(folder, read_only=True, advice=advice)
    (step,) = checkpoints.steps()
    experiment, tokenizer = checkpoints.about(step)
    rows = Rows(**load_file(folder / _ROWS))
    adam = optimizer(experiment.model, experiment.train)
    mesh = data_mesh(jax.local_devices()[:1])
    like = abstract_state(experiment.model, tokenizer.num_words, adam, mesh)
    state = checkpoints.restore(step, like)
    checkpoints.close()
    yield from look(experiment, tokenizer.num_words, state, rows)


def look(experiment: Experiment, num_words: int, state: TrainState, rows: Rows) -> Iterator[str]:
    """What is not finite in the update after `state.step`: lines, the whole first.

    The rows have a leading axis of rounds, as an update has them, with rows for all devices. One
    device computes them here, in as many rounds as it needs.
    """
    config = experiment.train
    rows = _rounds_of_one_device(rows, config.slots_per_device)
    graphdef = build(experiment.model, num_words)
    mesh = data_mesh(jax.local_devices()[:1])
    key = jax.random.key(config.seed)
    state = replicated(jax.device_get(state), mesh)

    step = partial(loss_and_gradient, graphdef=graphdef, config=config)
    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=(P(), P(None, "data"), P()), out_specs=P(), check_vma=False
    )
    loss, _, _, _, grads = jax.jit(mapped)(state, sharded(rows, mesh, axis=1), key)
    yield f"Step {int(state.step) + 1:,}: the loss is {float(loss):.6g} nats in all."

    yield _of_tensors("parameters", state.params)
    yield _of_tensors("gradients", grads)

    evaluate = mapped_evaluation_step(graphdef, mesh)
    each = _in_rounds(rows, 1)
    count = len(each.src_BS)
    losses = [
        float(evaluate(state.params, sharded(Rows(*(f[n] for f in each)), mesh, axis=0))[0])
        for n in range(count)
    ]
    bad = [str(n) for n, value in enumerate(losses) if not np.isfinite(value)]
    which = f"{', '.join(bad[:20])}{' …' if len(bad) > 20 else ''}" if bad else "none"
    yield f"Rows whose loss alone, without dropout, is not finite: {which} of 0 to {count - 1}."

    noise_B2 = row_noise(key, state.step, jnp.arange(count))
    model = nnx.merge(graphdef, state.params)
    for number in range(len(rows.src_BS)):
        part = slice(number * rows.src_BS.shape[1], (number + 1) * rows.src_BS.shape[1])
        found = _first(model, Rows(*(jnp.asarray(f[number]) for f in rows)), noise_B2[part])
        if found:
            yield f"The first value that is not finite comes from {found}."
            return
    yield "Every value up to the loss is finite."


def _rounds_of_one_device(rows: Rows, slots: int) -> Rows:
    """The same rows in the same order, which is what their dropout goes by, in rounds of `slots`
    target slots at most."""
    num_rows, width = rows.tgt_in_BT.shape[1:]
    most = max(slots // width, 1)
    size = max(n for n in range(1, num_rows + 1) if num_rows % n == 0 and n <= most)
    return _in_rounds(rows, size)


def _in_rounds(rows: Rows, size: int) -> Rows:
    """The same rows in rounds of `size`; the sources of a language model are of width 0."""
    count = rows.tgt_in_BT.shape[0] * rows.tgt_in_BT.shape[1] // size
    return Rows(*(field.reshape(count, size, field.shape[-1]) for field in rows))


def _of_tensors(what: str, tree: object) -> str:
    """How many of a tree's tensors are not finite, and which comes first on the way forward."""
    order = ("embedding", "src_positions", "tgt_positions", "target_space", "encoder", "decoder")
    names = [name for name, value in flatten(tree).items() if not np.isfinite(value).all()]
    total = len(flatten(tree))
    if not names:
        return f"All {total} {what} are finite."
    place = {group: number for number, group in enumerate(order)}
    first = min(names, key=lambda name: place.get(name.split(".")[0], len(order)))
    return f"Of {total} {what} {len(names)} are not finite, the first on the way is {first}."


def _softmax(x: Array, axis: int) -> Array:
    """That of JAX, which has −∞ on the way: the maximum of nothing."""
    exponentials = jnp.exp(x - x.max(axis, keepdims=True))
    return exponentials / exponentials.sum(axis, keepdims=True)


def _first(model: AutoregressiveModel, rows: Rows, noise_B2: Noise) -> str | None:
    """The line of this package that first computes something that is not finite."""
    jaxs_own_words = redirect_stdout(io.StringIO())
    # A kernel is one line of the model's, and JAX would look within it without end.
    with jax.debug_nans(True), jax.debug_infs(True), jaxs_own_words, without_kernels():
        try:
            # jit would check a whole layer's output only.
            with jax.disable_jit(), patch.object(jax.nn, "softmax", _softmax):
                model.features(rows, noise_B2)
            model.loss(rows, noise_B2)  # with jit, since logsumexp has an infinity on the way
        except FloatingPointError as error:
            package = str(Path(aiayn.__file__).parent)
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if f.filename.startswith(package)][1:]  # without this call
            path = " > ".join(f"{Path(f.filename).name}:{f.lineno}" for f in ours)
            return f"{path}: {ours[-1].line}"
    return None
