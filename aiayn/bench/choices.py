"""What each choice in the training step is worth: the step without it, in turns with the step.

A choice is taken back alone, by what is common elsewhere or by what might be better here. What that
was expected to cost is shown beside the cost, so that a wrong guess is seen.
"""

import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key
from rich.console import Console
from rich.table import Table

from aiayn.bench import ours
from aiayn.bench.contest import quiet, timed_round
from aiayn.bench.definitions import ROUNDS
from aiayn.bench.grid import grid
from aiayn.bench.worker import timed
from aiayn.bench.workloads import TRAINING, Training
from aiayn.config import TrainConfig
from aiayn.data.rows import Rows
from aiayn.model.dropout import Noise
from aiayn.model.interface import AutoregressiveModel
from aiayn.model.kernels import KernelName, use_kernels, without_kernels
from aiayn.model.layers import product, word_logits
from aiayn.model.loss import Sums
from aiayn.model.transformer import MultiHeadAttention
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.files import user_os_errors
from aiayn.training.mesh import compiler_options, mapped_train_step
from aiayn.training.step import Metrics, TrainState

STEPS_AT_ONCE = 4
_DEFINITIONS = {
    "contenders": "the step, and for each choice the step without it, all in one process that "
    "starts itself with large pages of memory on CPU (aiayn.system.memory); compiled anew",
    "rounds": f"{ROUNDS} for each choice, each a round of the step and one without the choice, in "
    "turns one or the other first",
    "seconds_per_step": "wall time of a round by its steps",
    "processor_seconds_per_step": "of all threads of this process, in a round",
    "others": "processors that were busy with anything but this process, in the mean of a round; "
    "none where the system does not say",
    "loss": "nats per target token of a round's last step",
    "ratios": "seconds_per_step without the choice by those of the step, in each pair of rounds: "
    "above 1, the choice wins",
    "ratio": "their median",
    "instead": "what is done without the choice",
    "predicted": "the ratio as it was expected before it was measured: of T1 on two cores from "
    "others' ablation on one core, of base and big on one H100 from bytes, FLOPs and a profile of "
    "base there; none for other work",
    "first_step_seconds": "the first call, with its compilation",
    "first_loss": "of the first call's last step, in nats per target token: alike but for "
    "rounding, for other masks of dropout and for more steps in a call",
    "failed": "why there is no step without the choice here",
}


# --- What the step does otherwise ---------------------------------------------------------------


def threefry_dropout(
    x: Float[Array, "batch *rest"], rate: float, noise_B2: Noise | None
) -> Float[Array, "batch *rest"]:
    """In the place of `dropout`: JAX's own generator, a whole hash for each element."""
    if noise_B2 is None or rate == 0.0:
        return x
    keys = jax.random.wrap_key_data(noise_B2, impl="threefry2x32")
    keep = jax.vmap(lambda key: jax.random.bernoulli(key, 1.0 - rate, x.shape[1:]))(keys)
    return _kept(x, rate, keep)


def rbg_dropout(
    x: Float[Array, "batch *rest"], rate: float, noise_B2: Noise | None
) -> Float[Array, "batch *rest"]:
    """In the place of `dropout`: the device's own generator, one draw for all rows."""
    if noise_B2 is None or rate == 0.0:
        return x
    key = jax.random.wrap_key_data(jnp.concatenate([noise_B2[0], noise_B2[-1]]), impl="rbg")
    return _kept(x, rate, jax.random.bernoulli(key, 1.0 - rate, x.shape))


def _kept(
    x: Float[Array, "*shape"], rate: float, keep: Bool[Array, "*shape"]
) -> Float[Array, "*shape"]:
    return jnp.where(keep, x * jnp.asarray(1.0 / (1.0 - rate), x.dtype), jnp.zeros((), x.dtype))


def whole_loss(
    x_BTD: Float[Array, "batch target d_model"],
    embedding_VD: Float[Array, "vocabulary d_model"],
    word_BT: Int[Array, "batch target"],
    weight_BT: Float[Array, "batch target"],
    num_words: int,
    smoothing: float = 0.0,
    over: str = "all",
    bias_V: Float[Array, " vocabulary"] | None = None,
) -> Sums:
    """In the place of `smoothed_cross_entropy`: all logits in float32 and optax, by autograd."""
    assert over == "all"
    logits_BTV = word_logits(x_BTD, embedding_VD, num_words, bias_V).astype(jnp.float32)
    right_BTV = jax.nn.one_hot(word_BT, logits_BTV.shape[-1])
    word_11V = (jnp.arange(logits_BTV.shape[-1]) < num_words).astype(jnp.float32)[None, None]
    target_BTV = (1.0 - smoothing) * right_BTV + smoothing / num_words * word_11V
    smoothed_BT = optax.losses.softmax_cross_entropy(logits_BTV, target_BTV)
    plain_BT = optax.losses.softmax_cross_entropy_with_integer_labels(logits_BTV, word_BT)
    plain = lax.stop_gradient((plain_BT * weight_BT).sum())
    return (smoothed_BT * weight_BT).sum(), plain


def library_attention(
    q_BHQK: Float[Array, "batch heads query d_k"],
    k_BHMK: Float[Array, "batch heads memory d_k"],
    v_BHMU: Float[Array, "batch heads memory d_v"],
    mask_B1QM: Bool[Array, "batch 1 query memory"],
    rate: float = 0.0,
    noise_B2: Noise | None = None,
    *,
    implementation: Literal["xla", "cudnn"],
) -> Float[Array, "batch heads query d_v"]:
    """In the place of `attention`: JAX's, by XLA or by cuDNN's fused kernel."""
    assert rate == 0.0
    q_BQHK, k_BMHK, v_BMHU = (jnp.swapaxes(x, 1, 2) for x in (q_BHQK, k_BHMK, v_BHMU))
    found_BQHU = jax.nn.dot_product_attention(
        q_BQHK, k_BMHK, v_BMHU, mask=mask_B1QM, implementation=implementation
    )
    return jnp.swapaxes(found_BQHU, 1, 2)


def fused_projections(
    self: MultiHeadAttention,
    x_BQD: Float[Array, "batch query d_model"],
    memory_BMD: Float[Array, "batch memory d_model"],
    mask_B1QM: Bool[Array, "batch 1 query memory"],
    noise_B2: Noise | None = None,
) -> Float[Array, "batch query d_model"]:
    """In the place of `MultiHeadAttention.__call__`: queries, keys and values by one product."""
    maps = [self.key, self.value] if memory_BMD is not x_BQD else [self.query, self.key, self.value]
    kernel = jnp.concatenate([each.kernel[...] for each in maps], axis=1).astype(x_BQD.dtype)
    bias = jnp.concatenate([each.bias[...] for each in maps]).astype(x_BQD.dtype)
    ends = [sum(each.bias.shape[0] for each in maps[:n]) for n in range(1, len(maps))]
    parts = jnp.split(product(memory_BMD, kernel) + bias[None, None], ends, axis=-1)
    heads = *memory_BMD.shape[:2], self.config.num_heads, -1
    *query, k_BHMK, v_BHMU = (jnp.swapaxes(part.reshape(heads), 1, 2) for part in parts)
    q_BHQK = query[0] if query else self.queries(x_BQD)
    return self.attend(q_BHQK, k_BHMK, v_BHMU, mask_B1QM, noise_B2)


def several_steps(
    graphdef: nnx.GraphDef[AutoregressiveModel],
    config: TrainConfig,
    optimizer: optax.GradientTransformationExtraArgs,
    mesh: Mesh,
) -> Callable[[TrainState, Rows, Key[Array, ""]], tuple[TrainState, Metrics]]:
    """In the place of `mapped_train_step`: a program of several steps, with the last's metrics."""
    whole: Any = mapped_train_step(graphdef, config, optimizer, mesh)
    step = whole.__wrapped__  # options are for the outermost program alone

    def several(state: TrainState, rows: Rows, key: Key[Array, ""]) -> tuple[TrainState, Metrics]:
        def next_step(state: TrainState, _: None) -> tuple[TrainState, Metrics]:
            return step(state, rows, key)

        state, metrics = lax.scan(next_step, state, length=STEPS_AT_ONCE)
        return state, jax.tree.map(lambda each: each[-1], metrics)

    return jax.jit(several, donate_argnums=0, compiler_options=compiler_options())


def _alone(workload: Training) -> Training:
    """A sentence a row, as wide as peers would have it."""
    width = -(-workload.length // 8) * 8
    return replace(workload, num_rows=workload.num_sentences, width=width)


def _other_products(workload: Training) -> Training:
    dtype = "bfloat16" if jax.default_backend() == "cpu" else "float32"
    return replace(workload, model=replace(workload.model, matmul_dtype=dtype))


# --- The choices --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """What the step does instead of what it does, and what that was expected to cost."""

    instead: str
    predicted: Mapping[str, float] = field(default_factory=dict)
    """By workload: seconds of a step without the choice by those of the step."""
    change: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Holds while the step is compiled."""
    workload: Callable[[Training], Training] = lambda workload: workload
    steps_at_once: int = 1
    fits: Callable[[Training], bool] = lambda workload: True
    """Whether this machine and this work have the choice."""


def _no_dropout(workload: Training) -> Training:
    return replace(workload, model=replace(workload.model, dropout_rate=0.0))


def _instead(
    *others: tuple[str, Callable[..., Any]], without: Sequence[KernelName] = ()
) -> Callable[[], AbstractContextManager[Any]]:
    """These functions in those places, and the model's own lines for the kernels of these names."""

    @contextmanager
    def change() -> Generator[None]:
        with ExitStack() as stack:
            for place, function in others:
                stack.enter_context(patch(place, function))
            if without:
                stack.enter_context(without_kernels(*without))
            yield

    return change


def _dropout(function: Callable[..., Any]) -> Callable[[], AbstractContextManager[Any]]:
    """Another generator. The kernel of the norm has its own, so it is left out as well."""
    places = ("aiayn.model.transformer.dropout", function), ("aiayn.model.layers.dropout", function)
    return _instead(*places, without=["norm"])


_AND_NO_NORM = "; on GPUs without the kernel of the norm, which has the hash in it"


def _attention(
    implementation: Literal["xla", "cudnn"],
) -> Callable[[], AbstractContextManager[Any]]:
    function = partial(library_attention, implementation=implementation)
    return _instead(("aiayn.model.transformer.attention", function), without=["attention"])


def _by_kernels(_: Training) -> bool:
    return use_kernels()


def _by_xla_alone(_: Training) -> bool:
    return not use_kernels()


CHOICES: Mapping[str, Choice] = {
    "dropout at all": Choice(
        "nothing is dropped",
        {"T1": 0.97, "base": 0.97, "big": 0.98},
        workload=_no_dropout,
    ),
    "dropout by a hash, not Threefry": Choice(
        f"Threefry, JAX's own generator{_AND_NO_NORM}",
        {"T1": 1.12, "base": 1.30, "big": 1.18},
        _dropout(threefry_dropout),
    ),
    "dropout by a hash, not RBG": Choice(
        f"RBG, the device's own generator{_AND_NO_NORM}",
        {"T1": 1.07, "base": 1.22, "big": 1.12},
        _dropout(rbg_dropout),
    ),
    "loss in chunks, with its gradient": Choice(
        "all logits at once in float32, optax's loss of one-hot targets",
        {"T1": 1.07, "base": 1.30, "big": 1.12},
        _instead(("aiayn.model.transformer.smoothed_cross_entropy", whole_loss)),
    ),
    "packed rows": Choice(
        "a sentence a row, filled up to a multiple of 8 slots",
        {"base": 1.10, "big": 1.10},
        workload=_alone,
        fits=lambda workload: workload.sentences_per_row > 1,
    ),
    "attention, heads first": Choice(
        "jax.nn.dot_product_attention by XLA",
        {"T1": 1.02},
        _attention("xla"),
        fits=_by_xla_alone,
    ),
    "attention in a kernel, not by cuDNN": Choice(
        "jax.nn.dot_product_attention by cuDNN, and a product for each projection",
        {"base": 1.20, "big": 1.15},
        _attention("cudnn"),
        fits=_by_kernels,
    ),
    "attention in a kernel, not by XLA": Choice(
        "our own lines, and a product for each projection",
        {"base": 1.38, "big": 1.23},
        _instead(without=["attention"]),
        fits=_by_kernels,
    ),
    "sum, dropout and norm in a kernel": Choice(
        "our own lines by XLA",
        {"base": 1.14, "big": 1.10},
        _instead(without=["norm"]),
        fits=_by_kernels,
    ),
    "loss and its gradient in a kernel": Choice(
        "our own lines by XLA, in a loop over the chunks",
        {"base": 1.05, "big": 1.02},
        _instead(without=["loss"]),
        fits=_by_kernels,
    ),
    "a product for each projection": Choice(
        "queries, keys and values by one product, their weights joined in every step",
        {"T1": 0.99},
        _instead(("aiayn.model.transformer.MultiHeadAttention.__call__", fused_projections)),
        fits=_by_xla_alone,
    ),
    "a program for each step": Choice(
        f"{STEPS_AT_ONCE} steps in one program",
        {"T1": 1.00, "base": 0.98, "big": 0.99},
        _instead(("aiayn.bench.ours.mapped_train_step", several_steps)),
        steps_at_once=STEPS_AT_ONCE,
    ),
    "type of products": Choice(
        "bfloat16 on CPU; elsewhere float32 at JAX's default precision, which is TF32 on NVIDIA's",
        {"T1": 0.90, "base": 1.80, "big": 1.90},
        workload=_other_products,
    ),
    "products by cuBLAS": Choice(
        "those that XLA finds fastest, its own among them, and some of them merged",
        {"base": 1.10, "big": 1.05},
        _instead(("aiayn.training.mesh.compiler_options", lambda: None)),
        fits=_by_kernels,
    ),
}


# --- Timing -------------------------------------------------------------------------------------


def bench_choices(
    name: str, folder: Path, console: Console, choices: Mapping[str, Choice] = CHOICES
) -> dict[str, Any]:
    """Time the step of workload `name` with and without each choice; the record, also in
    `folder/choices-WORKLOAD.json`, which holds what is done while the rest is under way.
    """
    # A step from the cache would be timed as if it had been compiled.
    jax.config.update("jax_enable_compilation_cache", False)
    with user_os_errors(folder):  # before minutes of timing
        folder.mkdir(parents=True, exist_ok=True)
    workload = TRAINING[name]
    asked = {what: choice for what, choice in choices.items() if choice.fits(workload)}
    found: dict[str, dict[str, Any]] = {}
    record = {
        "bench": "choices",
        "workload": name,
        **environment(),
        "definitions": _DEFINITIONS,
        "choices": found,
    }
    with progress(console) as bar:
        task = bar.add_task("the step", total=1 + len(asked))
        record["step"], step_round = _warmed_up(Choice("nothing"), workload)
        bar.advance(task)
        for what, choice in asked.items():
            bar.update(task, description=choice.instead)
            found[what] = {"instead": choice.instead, "predicted": choice.predicted.get(name)}
            try:
                found[what] |= _beside(step_round, choice, workload)
            except (RuntimeError, ValueError, NotImplementedError) as error:  # from JAX
                found[what]["failed"] = (str(error) or type(error).__name__).splitlines()[0]
            records.write(folder / f"choices-{name}.json", record)  # at once: all take minutes
            bar.advance(task)
    return record


def _beside(
    step_round: Callable[[], dict[str, Any]], choice: Choice, workload: Training
) -> dict[str, Any]:
    """Rounds in turns with the step. Two models are in memory, this one until it returns."""
    about, run = _warmed_up(choice, workload)
    pair = {"with": step_round, "without": run}
    rounds = [
        {each: pair[each]() for each in sorted(pair, reverse=bool(number % 2))}
        for number in range(ROUNDS)
    ]
    ratios = [
        each["without"]["seconds_per_step"] / each["with"]["seconds_per_step"] for each in rounds
    ]
    return {**about, "rounds": rounds, "ratios": ratios, "ratio": statistics.median(ratios)}


def _warmed_up(
    choice: Choice, workload: Training
) -> tuple[dict[str, float], Callable[[], dict[str, Any]]]:
    """What the first call tells of the step without a choice, and a round of it."""
    with choice.change():
        contender = ours.trainer(choice.workload(workload))
        first = timed(contender, 1)
        contender.run(-(-workload.warm_up // choice.steps_at_once))
    calls = -(-workload.steps_per_round // choice.steps_at_once)
    run = partial(timed_round, partial(timed, contender), calls, choice.steps_at_once)
    return {"first_step_seconds": first["seconds"], "first_loss": first["loss"]}, run


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each choice."""
    rows = [["choice", "instead of it", "expected", "measured", "range", "first loss"]]
    for name, found in record["choices"].items():
        expected = "–" if found["predicted"] is None else f"{found['predicted']:.2f}"
        measured = [found.get("failed", ""), "", ""]
        if "ratio" in found:
            difference = found["first_loss"] - record["step"]["first_loss"]
            measured = [
                f"{found['ratio']:.2f}",
                f"{min(found['ratios']):.2f}–{max(found['ratios']):.2f}",
                f"{difference:+.4f}",
            ]
        rows.append([name, found["instead"], expected, *measured])
    return rows


def summary(record: Mapping[str, Any]) -> str:
    """What the ratios are of, and whether the machine was quiet."""
    pairs = [pair for found in record["choices"].values() for pair in found.get("rounds", [])]
    if not pairs:
        return "None of them could be left out here."
    seconds = statistics.median(pair["with"]["seconds_per_step"] for pair in pairs)
    load = quiet([each for pair in pairs for each in pair.values()])
    return (
        f"Seconds of a step without the choice by those of the step, {seconds:#.3g} in the median: "
        "above 1 the choice wins. First loss: without the choice less with it, nats per token. "
        f"{load}"
    )


def title(record: Mapping[str, Any]) -> str:
    return f"Choices in the training step, workload {record['workload']}"


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(title(record), figures(record))
