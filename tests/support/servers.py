"""Tiny models as a server offers them, untrained but sure enough of themselves to end."""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig
from aiayn.interface import TrainedLanguageModel, TrainedModel
from aiayn.model.saved import Model, save_model
from aiayn.model.structure import flatten
from aiayn.serve.models import Served
from tests.support.compiling import QUICKLY
from tests.support.models import TOKENIZER, drawn_by_numpy, language_model

_ROOT = Path(__file__).parents[2]
SIZES = ModelConfig(num_layers=1, d_model=12, d_ff=20, num_heads=2, d_k=5, d_v=7)


def translation_model(seed: int = 9) -> Model:
    """From English to German, with a beam of 3; some outputs end, others are as long as allowed."""
    experiment = Experiment(
        name="pairs",
        data=DataConfig(src="en", tgt="de", max_tokens=32, row_widths=(32,)),
        model=SIZES,
        decode=DecodeConfig(beam_size=3, max_extra_tokens=8, slots_per_batch=1_000),
    )
    _, params = drawn_by_numpy(SIZES, TOKENIZER.num_words, seed)
    embedding_VD = 2 * np.array(params["embedding"])
    embedding_VD[TOKENIZER.eos] *= 1.3
    return Model(experiment, TOKENIZER, flatten({**params, "embedding": embedding_VD}))


def served() -> dict[str, Served]:
    """A translator `pair` and a language model `text`."""
    nowhere = Path("nowhere")
    return {
        "pair": Served("pair", nowhere, "translation", TrainedModel(translation_model()), None),
        "text": Served(
            "text", nowhere, "language_model", TrainedLanguageModel(language_model()), None
        ),
    }


def of_long_outputs() -> Served:
    """The same translator, some of whose outputs are longer than most are."""
    model = translation_model()
    decode = replace(model.experiment.decode, max_extra_tokens=60, slots_per_batch=4_000)
    model = replace(model, experiment=replace(model.experiment, decode=decode))
    return Served("long", Path("nowhere"), "translation", TrainedModel(model), None)


@contextmanager
def running(
    folder: Path,
    *arguments: str,
    program: Sequence[str] = ("aiayn",),
    names: tuple[str, str] = ("pair", "text"),
) -> Generator[tuple["subprocess.Popen[str]", str]]:
    """The command `aiayn serve` with both models from disk, and the address that it prints.

    `program` is a module and what it is told first; `names` are of the translator and of the
    language model.
    """
    for name, model in zip(names, (translation_model(), language_model()), strict=True):
        save_model(folder / name, model)
    models = [f"{name}={name}" for name in names]
    command = [sys.executable, "-m", *program, "serve", *models, "--port", "0"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
        "XLA_FLAGS": QUICKLY,
        "JAX_COMPILATION_CACHE_DIR": str(_ROOT / ".jax_cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with subprocess.Popen(
        [*command, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as started:
        assert started.stdout
        assert started.stderr
        lines = iter(started.stdout.readline, "")
        ready = next((line for line in lines if line.startswith("Serving on ")), "")
        assert ready, started.stderr.read()
        try:
            yield started, ready.split()[-1]
        finally:
            started.kill()
