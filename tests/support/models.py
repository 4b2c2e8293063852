"""Sizes and data small enough to work out by hand or in a second; shared by the tests."""

import random
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig
from aiayn.data.rows import Rows, make_rows, rows_of_pairs
from aiayn.data.tokenizer import Tokenizer, train_tokenizer
from aiayn.model.saved import Model
from aiayn.model.structure import Params, abstract_parameters, build, by_name, flatten, unflatten
from aiayn.model.transformer import Transformer

# All different, so that a transposed axis cannot hide.
MODEL = ModelConfig(num_layers=2, d_model=12, d_ff=20, num_heads=2, d_k=5, d_v=7, dropout_rate=0.1)
NUM_WORDS = 300


def transformer(
    config: ModelConfig = MODEL, num_words: int = NUM_WORDS, seed: int = 0
) -> tuple[nnx.GraphDef[Transformer], Params]:
    """A model with random parameters, biases and norms included."""
    model = Transformer(config, num_words, rngs=nnx.Rngs(seed))
    graphdef, state = nnx.split(model, nnx.Param)
    rng = np.random.default_rng(seed + 1)  # JAX would compile a program for each shape

    def noisy(leaf: jax.Array) -> jax.Array:
        noise = 0.1 * rng.normal(size=leaf.shape)
        return jnp.asarray(np.asarray(leaf) + noise.astype(np.float32))

    return graphdef, jax.tree.map(noisy, nnx.to_pure_dict(state))


def drawn_by_numpy(
    config: ModelConfig = MODEL, num_words: int = NUM_WORDS, seed: int = 0
) -> tuple[nnx.GraphDef[Transformer], Params]:
    """As `transformer`, with other numbers, and nothing compiled for them, which takes seconds."""
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    for name, leaf in by_name(abstract_parameters(config, num_words)).items():
        size = leaf.shape[0] ** -0.5 if leaf.ndim == 2 and name != "embedding" else 0.3
        mean = 1.0 if name.endswith("norm.scale") else 0.0
        found[name] = rng.normal(mean, size, leaf.shape).astype(np.float32)
    return build(config, num_words), jax.tree.map(jnp.asarray, unflatten(found))


WRITER = replace(MODEL, num_layers=1, kind="decoder")
CONTEXT = 32


def language_model(seed: int = 0) -> Model:
    """A language model as it lies on disk, which is sure enough of itself to repeat no word for
    ever; all its tests share its sizes, and so what is compiled for it."""
    experiment = Experiment(
        name="writer",
        task="language_model",
        data=DataConfig(src="", tgt="en", max_tokens=CONTEXT, row_widths=(CONTEXT,)),
        model=WRITER,
        decode=DecodeConfig(slots_per_batch=512),
    )
    _, params = drawn_by_numpy(WRITER, TOKENIZER.num_words, seed)
    flat = flatten({**params, "embedding": 3 * params["embedding"]})
    return Model(experiment, TOKENIZER, flat)


@partial(jax.jit, static_argnums=0)
def logits(graphdef: nnx.GraphDef[Transformer], params: Params, rows: Rows) -> jax.Array:
    """What the model predicts, compiled as a whole: op by op takes far longer."""
    return nnx.merge(graphdef, params)(rows)


def digits_tokenizer() -> Tokenizer:
    """A real tokenizer, trained on little text."""
    return train_tokenizer(("one two three four five six seven eight nine ten " * 3).split(), 300)


TOKENIZER = digits_tokenizer()


def random_pairs(
    lengths: list[tuple[int, int]], seed: int = 0
) -> list[tuple[list[int], list[int]]]:
    """Pairs of random ids, `lengths` without EOS."""
    rng = random.Random(seed)
    return [
        (
            [rng.randrange(4, NUM_WORDS) for _ in range(s)],
            [rng.randrange(4, NUM_WORDS) for _ in range(t)],
        )
        for s, t in lengths
    ]


def one_packed_row(pairs: list[tuple[list[int], list[int]]], spare: int = 3) -> Rows:
    """All pairs in a single row, with some empty slots behind them."""
    sides: list[np.ndarray] = []
    for side in (0, 1):
        ids = [token for pair in pairs for token in [*pair[side], TOKENIZER.eos]]
        segments = [n for n, pair in enumerate(pairs, 1) for _ in range(len(pair[side]) + 1)]
        sides += [np.array([ids + [0] * spare]), np.array([segments + [0] * spare])]
    return on_device(make_rows(*sides, bos=TOKENIZER.bos))


def unpacked_rows(pairs: list[tuple[list[int], list[int]]], width: int = 0) -> Rows:
    """One pair a row."""
    return on_device(rows_of_pairs(pairs, TOKENIZER.bos, TOKENIZER.eos, width))


def on_device(rows: Rows) -> Rows:
    """As the model wants them."""
    return Rows(*(jnp.asarray(field) for field in rows))
