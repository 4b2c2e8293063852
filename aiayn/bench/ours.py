"""The workers of a benchmark that run this program, and the limits of the machine.

python -m aiayn.bench.ours train WORKLOAD
python -m aiayn.bench.ours decode WORKLOAD BEAM_SIZE
python -m aiayn.bench.ours generate WORKLOAD
python -m aiayn.bench.ours prompt WORKLOAD whole            the prompt in one pass
python -m aiayn.bench.ours prompt WORKLOAD words            word by word
python -m aiayn.bench.ours file MODEL TEXT
python -m aiayn.bench.ours limits
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aiayn.bench.pieces import Pieces, experiment_of
from aiayn.bench.worker import (
    Contender,
    num_processors,
    prompts_of,
    rows_of,
    sentences_of,
    serve,
)
from aiayn.bench.workloads import (
    DECODING,
    GENERATION,
    PROMPTS,
    TRAINING,
    Decoding,
    Generation,
    Training,
    Workload,
)
from aiayn.config import DecodeConfig, TrainConfig
from aiayn.data.rows import make_rows
from aiayn.decoding.controls import NOTHING, Controls
from aiayn.decoding.incremental import lay_out
from aiayn.decoding.search import search
from aiayn.decoding.translator import Translator, first_room, padded_width, searches, side_by_side
from aiayn.decoding.turns import Sizes, Turns
from aiayn.decoding.wishes import Wishes
from aiayn.decoding.writer import Slots, Writer, Writing
from aiayn.evaluation.systems import read_aligned
from aiayn.model.saved import Model, model_of
from aiayn.model.structure import Params, build, count_parameters, initial_parameters
from aiayn.system.environment import configure_jax, environment, peak_flops
from aiayn.training.mesh import data_mesh, mapped_train_step, replicated, sharded
from aiayn.training.optim import optimizer
from aiayn.training.step import initial_state


def trainer(workload: Training) -> Contender:
    """The step that `aiayn train` runs, on the same rows again and again."""
    configure_jax()
    mesh = data_mesh()
    config = replace(TrainConfig(), label_smoothing=workload.smoothing)
    src, tgt, segments = rows_of(workload)
    source = (src[:, :0], segments[:, :0]) if workload.is_text else (src, segments)
    rows = make_rows(*source, tgt, segments, bos=_BOS)
    empty = [(0, 0), (0, -len(tgt) % mesh.size), (0, 0)]  # rows, so that all devices have as many
    rows = sharded(jax.tree.map(lambda x: np.pad(x[None], empty), rows), mesh, axis=1)
    adam = optimizer(workload.model, config)
    first = initial_state(workload.model, workload.num_words, config.seed, adam)
    state = replicated(first, mesh)
    update = mapped_train_step(build(workload.model, workload.num_words), config, adam, mesh)
    key = jax.random.key(config.seed)

    def run(steps: int) -> dict[str, float]:
        nonlocal state
        metrics = None
        for _ in range(steps):
            state, metrics = update(state, rows, key)
        assert metrics is not None
        return {"loss": float(metrics.loss) / int(metrics.tgt_tokens)}

    def program() -> str:
        return _program(update, state, rows, key)

    return Contender(_about(workload), run, program)


def translator(workload: Decoding, beam_size: int) -> Contender:
    """The search that `aiayn translate` runs, as wide and with as much room; EOS comes last."""
    configure_jax()
    graphdef = build(workload.model, workload.num_words)
    params = _endless(workload)
    weights = lay_out(graphdef, params)
    ids = sentences_of(workload)
    src = np.pad(ids, [(0, 0), (0, padded_width(workload.length) - workload.length)])
    settings: dict[str, Any] = {
        "beam_size": beam_size,
        "alpha": DecodeConfig().length_penalty,
        "at_once": workload.batch_size,
        "room": first_room(src.shape[1]),
        "bos": _BOS,
        "eos": _EOS,
    }

    def sentences(share: Sequence[int]) -> tuple[Any, ...]:
        src_AS = jnp.asarray(src[np.asarray(share)])
        limit_A = jnp.full(len(src_AS), workload.output_length)
        return graphdef, params, weights, src_AS, (src_AS > 0).astype(jnp.int32), limit_A

    def search_one(share: Sequence[int]) -> int:
        found = search(*sentences(share), **settings)
        return int((np.asarray(found.words_AWT[:, 0]) > 0).sum())

    shares = searches(range(workload.num_sentences), workload.batch_size)

    def run(steps: int) -> dict[str, float]:
        tokens = 0
        for _ in range(steps):
            tokens = sum(side_by_side(search_one, shares))
        return {"tokens": float(tokens)}

    def program() -> str:
        return _program(search, *sentences(shares[0]), **settings)

    return Contender(_about(workload), run, program)


def generator(workload: Generation) -> Contender:
    """The slots of the search that `aiayn generate` fills, without the text of what is written."""
    configure_jax()
    model = Model(experiment_of(workload), Pieces(workload.num_words), {})
    writer = Writer(model, _endless(workload))
    prompts = prompts_of(workload).tolist()
    most = [workload.output_length] * len(prompts)
    asked = Writing(wishes=Wishes(sample=1, temperature=0.0))

    def run(steps: int) -> dict[str, float]:
        tokens = 0
        for _ in range(steps):
            tokens, slots = 0, Slots(writer, prompts, most, asked)
            while slots.busy:
                for _, outputs, is_done in slots.turn():
                    tokens += len(outputs[0].ids) if is_done else 0
        return {"tokens": float(tokens)}

    return Contender(_about(workload), run)


def reader(workload: Generation, whole: bool) -> Contender:
    """Prompts up to the word after them: read in one pass, or forced on the search word by word."""
    configure_jax()
    graphdef, params = build(workload.model, workload.num_words), _endless(workload)
    prompt_BP = prompts_of(workload)
    batch, length = prompt_BP.shape
    width, room = padded_width(length), padded_width(length + 2)
    sizes = Sizes(batch, width, room, beam_size=1, bos=_BOS, eos=_EOS)
    controls = NOTHING if whole else Controls(prefix_BP=jnp.asarray(prompt_BP))
    places, limits = np.arange(batch), np.full(batch, length + 2)
    read_BP = np.zeros((batch, width), np.int32)
    read_BP[:, :length] = prompt_BP if whole else 0
    segments_BP = np.minimum(read_BP, 1)
    turns = Turns(graphdef, params, lay_out(graphdef, params), sizes, controls)

    def run(steps: int) -> dict[str, float]:
        word = 0
        for _ in range(steps):
            turns.begin(places, read_BP, segments_BP, limits, controls)
            turns.advance(1 if whole else length + 1)
            word = int(turns.look().living.words_AWT[0, 0, length])
            turns.end(places)
        return {"word": float(word)}

    return Contender(_about(workload), run)


def file_translator(path: Path, text: Path) -> Contender:
    """The search that `aiayn translate` runs over a file."""
    configure_jax()
    translator = Translator(model_of(path))
    (lines,) = read_aligned(text)

    def run(steps: int) -> dict[str, float]:
        for _ in range(steps):
            translator.best(lines)
        return {"lines": float(len(lines))}

    return Contender({"name": "aiayn translate", **environment()}, run)


_BOS, _EOS = 2, 3


def _endless(workload: Decoding | Generation) -> Params:
    """Random parameters, with a bias that makes EOS the last choice."""
    params = initial_parameters(workload.model, workload.num_words, seed=0)
    params["logits_bias"] = params["logits_bias"].at[: _EOS + 1].set(-1e4)
    return params


def _about(workload: Workload) -> dict[str, Any]:
    parameters = count_parameters(workload.model, workload.num_words)
    return {
        "name": "aiayn",
        **environment(),
        "threads": num_processors(),
        "parameters": parameters,
    }


def _program(function: Any, *arguments: Any, **settings: Any) -> str:
    """The compiled text of a jitted function for these arguments."""
    return function.lower(*arguments, **settings).compile().as_text()


def _counting() -> Callable[[], dict[str, float | None]]:
    """A function that returns the resources used since this call."""
    compiled: list[float] = []

    def count(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration_secs)

    def counts() -> dict[str, float | None]:
        found = (device.memory_stats() for device in jax.local_devices())
        peak = max((stats["peak_bytes_in_use"] for stats in found if stats), default=None)
        return {
            "peak_device_bytes": peak,
            "programs": len(compiled),
            "compile_seconds": sum(compiled),
        }

    jax.monitoring.register_event_duration_secs_listener(count)
    return counts


def large_product() -> Callable[[], float]:
    """A function that measures the FLOP/s of XLA's large matrix product, in the type that training
    multiplies in; all is compiled now.

    Of random numbers: an accelerator multiplies ones faster.
    """
    on_cpu = jax.default_backend() == "cpu"
    size, dtype = (2048, jnp.float32) if on_cpu else (8192, jnp.bfloat16)

    def factor() -> jax.Array:
        return jax.random.normal(jax.random.key(0), (size, size), dtype)

    make = jax.jit(factor).lower().compile()
    shape = jax.ShapeDtypeStruct((size, size), dtype)
    multiply = jax.jit(jnp.matmul).lower(shape, shape).compile()

    def measure() -> float:
        x = make()  # kept no longer than it is needed: memory is measured as well
        return jax.device_count() * 2 * size**3 / _best(3, multiply, x, x)

    return measure


def _copies() -> float:
    """Bytes per second that are read and written when a large array is copied."""
    x = jnp.ones((64, 1024, 1024), jnp.float32)
    return 2 * x.nbytes / _best(10, jax.jit(partial(jnp.add, 1.0)), x)


def _best(rounds: int, function: Callable[..., jax.Array], *arguments: jax.Array) -> float:
    """Seconds of a call, in the best of some rounds.

    An accelerator has five calls a round, sent off together: to wait for each would count its
    sending. On CPU they would take processors from each other.
    """
    calls = 1 if jax.default_backend() == "cpu" else 5
    jax.block_until_ready(function(*arguments))
    seconds: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready([function(*arguments) for _ in range(calls)])
        seconds.append((time.perf_counter() - began) / calls)
    return min(seconds)


def limits() -> dict[str, float | None]:
    """What the devices can do whatever is computed: measured, and by the data sheet where we know
    it."""
    return {
        "copy_bytes_per_second": jax.device_count() * _copies(),
        "datasheet_flops_per_second": peak_flops(),
    }


def _serve(prepare: Callable[[], Contender]) -> None:
    configure_jax()
    product = large_product()  # before programs are counted, which are to be the contender's
    serve(prepare, _counting(), product)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["train", name]:
            _serve(partial(trainer, TRAINING[name]))
        case ["decode", name, beam_size]:
            _serve(partial(translator, DECODING[name], int(beam_size)))
        case ["generate", name]:
            _serve(partial(generator, GENERATION[name]))
        case ["prompt", name, how]:
            _serve(partial(reader, PROMPTS[name], how == "whole"))
        case ["file", path, text]:
            serve(partial(file_translator, Path(path), Path(text)))
        case _:
            print(json.dumps(limits()))
