"""Claims of §4 to §6 that a computation can decide, as `checks` does for §3."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from aiayn.config import DecodeConfig, ModelConfig, TrainConfig
from aiayn.data.rows import Rows, make_rows, rows_of_pairs
from aiayn.data.tokenizer import Tokenizer, train_tokenizer
from aiayn.decoding import search
from aiayn.decoding.incremental import lay_out
from aiayn.decoding.translator import Translator
from aiayn.evaluation import average
from aiayn.evidence import table1
from aiayn.evidence.model_checks import BASE_MODEL, SMALL, WORDS, Found, built, difference, random
from aiayn.evidence.paper import (
    BASE,
    BIG,
    NUM_GPUS,
    PARSER,
    PARSER_OF_MORE,
    SUSTAINED_FLOPS,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TRAINING,
    WSJ_ONLY,
)
from aiayn.experiments import load_experiment
from aiayn.model import dropout, loss
from aiayn.model import transformer as model
from aiayn.model.flops import exponent, traced_training_flops, training_flops
from aiayn.model.saved import Model
from aiayn.model.structure import build, count_parameters, flatten, initial_parameters
from aiayn.training import optim
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.mesh import data_mesh, mapped_train_step, replicated, sharded
from aiayn.training.step import TrainState, initial_state

_WORDS = 100
"""Of the vocabulary of small models."""

# --- §4: Table 1 --------------------------------------------------------------------------------


@cache
def layer_cost(name: str) -> table1.LayerCost:
    """A row of Table 1, counted once."""
    return table1.table_1()[name]()


def layer_costs() -> Mapping[str, table1.LayerCost]:
    """All of Table 1."""
    return {name: layer_cost(name) for name in _EXPONENTS}


_EXPONENTS = {
    "self-attention": {"n": 2, "d": 1},
    "recurrent": {"n": 1, "d": 2},
    "convolutional": {"n": 1, "d": 2, "k": 1},
    "self-attention (restricted)": {"n": 1, "d": 1, "r": 1},
}


def layer_flops(name: str) -> Found:
    """Complexity per layer."""
    exponents = layer_cost(name).exponents
    text = " · ".join(f"{size}^{power:.2f}" for size, power in exponents.items())
    wanted = _EXPONENTS[name]
    holds = all(abs(exponents[size] - power) < 0.05 for size, power in wanted.items())
    return Found(text, holds and exponents.keys() == wanted.keys())


def layer_sequence(name: str) -> Found:
    """Sequential operations."""
    found = layer_cost(name).sequential
    wanted = {n: n if name == "recurrent" else 1 for n in found}
    return Found(_by_n(found), found == wanted)


def layer_path(name: str) -> Found:
    """Maximum path length."""
    found = layer_cost(name).path
    growth = exponent(list(found), list(found.values()))
    if name == "self-attention":
        holds = set(found.values()) == {1}
    elif name == "convolutional":
        steps = [length - math.log(n, table1.NUM_NEAR) for n, length in found.items()]
        holds = max(steps) - min(steps) <= 1
    else:
        holds = abs(growth - 1) < 0.1
    return Found(_by_n(found), holds)


def _by_n(counts: Mapping[int, int]) -> str:
    values = ", ".join(map(str, counts.values()))
    return f"{values} at n = {', '.join(map(str, counts))}"


def attention_beats_recurrence() -> Found:
    """Self-attention is cheaper than recurrence as long as n is smaller than d."""
    attention, recurrent = (layer_cost(name).flops for name in ("self-attention", "recurrent"))
    cheaper = [n for n in attention if attention[n] < recurrent[n]]
    dearer = [n for n in attention if attention[n] > recurrent[n]]
    d = table1.COUNTED_D
    return Found(
        f"at d = {d}: cheaper up to n = {max(cheaper)}, dearer from n = {min(dearer)}",
        all(n < d for n in cheaper) and all(n > d for n in dearer),
    )


# --- §5: training -------------------------------------------------------------------------------


def adam() -> Found:
    """Adam with β₁ = 0.9, β₂ = 0.98, ε = 1e−9: alone, and as an update of training applies it."""
    config = replace(TrainConfig(), warmup_steps=4)  # steps that float32 can tell from nothing
    gradients = [np.array([0.3, -0.1, 1e-9]) * number for number in range(1, 4)]
    alone = _relative(_adam_alone(config, gradients), _adam_by_hand(gradients))
    trained = _relative(*_trained(config))
    return Found(
        f"three updates equal those by hand to {alone:.0e}, two of a model's to {trained:.0e}",
        alone < 1e-4 and trained < 1e-2,
    )


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    return difference(found, wanted) / float(np.abs(wanted).max())


def _adam_alone(config: TrainConfig, gradients: Sequence[np.ndarray]) -> np.ndarray:
    """Where the optimiser moves a vector of zeros."""
    rule = optim.optimizer(BASE_MODEL, config)
    params: Any = {"w": jnp.zeros(gradients[0].shape)}
    state = rule.init(params)
    for gradient in gradients:
        updates, state = rule.update({"w": jnp.asarray(gradient, jnp.float32)}, state, params)
        params = optax.apply_updates(params, updates)
    return np.asarray(params["w"], np.float64)


def _adam_by_hand(gradients: Sequence[np.ndarray]) -> np.ndarray:
    """Where the paper's Adam moves them, in float64, at four steps of warm-up."""
    m = v = w = np.zeros(gradients[0].shape)
    for number, gradient in enumerate(gradients, 1):
        m, v = 0.9 * m + 0.1 * gradient, 0.98 * v + 0.02 * gradient**2
        rate = 512**-0.5 * min(number**-0.5, number * 4**-1.5)
        w = w - rate * (m / (1 - 0.9**number)) / (np.sqrt(v / (1 - 0.98**number)) + 1e-9)
    return w


def _trained(config: TrainConfig) -> tuple[np.ndarray, np.ndarray]:
    """How two updates of training move a small model, and how Adam by hand does.

    The second has twice the tokens of the first: its gradient is of the mean over them all the
    same. Left out are parameters whose gradient is nothing but rounding.
    """
    shape, rng = replace(SMALL, dropout_rate=0.0), np.random.default_rng(1)
    graphdef, rule = build(shape, _WORDS), optim.optimizer(BASE_MODEL, config)
    mesh, key = data_mesh(jax.devices()[:1]), jax.random.key(0)
    update = mapped_train_step(graphdef, config, rule, mesh)
    state: Any = replicated(initial_state(shape, _WORDS, 1, rule), mesh)

    def flat(tree: Any) -> np.ndarray:
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)], dtype=np.float64)

    def mean_loss(params: Any, rows: Rows) -> Array:
        total, _ = nnx.merge(graphdef, params).loss(rows, None, config.label_smoothing)
        return total / rows.weight_BT.sum()

    before, gradients = flat(state.params), list[np.ndarray]()
    for count in (1, 2):
        ids = rng.integers(4, _WORDS, (count, 5))
        rows = make_rows(*[ids, np.ones_like(ids)] * 2, bos=2)
        gradients.append(flat(jax.jit(jax.grad(mean_loss))(state.params, rows)))
        rounds = sharded(jax.tree.map(lambda x: x[None], rows), mesh, axis=1)
        state, _ = update(state, rounds, key)
    clear = np.abs(gradients).min(axis=0) > 1e-4
    return (flat(state.params) - before)[clear], _adam_by_hand(gradients)[clear]


def schedule() -> Found:
    """d_model^−0.5 · min(step^−0.5, step · warmup^−1.5)."""
    config = TrainConfig()
    steps = (1, 4_000, 100_000)
    found = [float(optim.learning_rate(s, 512, config.warmup_steps)) for s in steps]
    wanted = [512**-0.5 * min(s**-0.5, s * 4_000**-1.5) for s in steps]
    return Found(
        ", ".join(f"{rate:.3e} at {s:,}" for s, rate in zip(steps, found, strict=True)),
        bool(np.allclose(found, wanted, rtol=1e-5)),
    )


def residual_dropout() -> Found:
    """P_drop = 0.1, on each sublayer's output before it is added, and on the embeddings' sums."""
    noise = dropout.row_noise(jax.random.key(0), jnp.int32(0), jnp.arange(100))
    dropped = float((dropout.dropout(jnp.ones((100, 1_000)), 0.1, noise) == 0).mean())
    # With a rate of all but one the sublayers and the embeddings vanish, and norms alone are left.
    config = replace(SMALL, dropout_rate=1 - 1e-7)
    encoder = built(lambda rngs: model.EncoderLayer(config, rngs=rngs))
    decoder = built(lambda rngs: model.DecoderLayer(config, rngs=rngs))
    x_BTD, mask = random(1, 3, 12), jnp.ones((1, 1, 3, 3), bool)
    normal = encoder.self_norm(x_BTD)
    differences = [
        difference(encoder(x_BTD, mask, noise[:1]), encoder.self_norm(normal)),
        difference(
            decoder(x_BTD, x_BTD, mask, mask, noise[:1]),
            encoder.self_norm(encoder.self_norm(normal)),
        ),
    ]
    whole = built(lambda rngs: model.Transformer(config, 100, rngs=rngs))
    ids = jnp.array([[5, 6, 7]])
    rows = make_rows(*[np.asarray(ids), np.ones((1, 3), int)] * 2, bos=2)
    rows = jax.tree.map(jnp.asarray, rows)
    memory = whole.encode(ids, rows.src_segments_BS, rows.src_positions_BS, noise[:1])
    differences += [
        difference(memory, 0.0),
        difference(whole.decode(rows, memory, noise[:1]), 0.0),
    ]
    rate = BASE_MODEL.dropout_rate
    return Found(
        f"{dropped:.1%} are dropped at P_drop = {rate}; at a rate of 1 nothing but norms is left",
        rate == 0.1 and abs(dropped - rate) < 0.005 and max(differences) < 1e-3,
    )


def label_smoothing() -> Found:
    """ε_ls = 0.1 spread over the vocabulary."""
    x, matrix = random(1, 3, 8), random(128, 8, seed=1)
    word, weight = jnp.array([[4, 9, 2]]), jnp.ones((1, 3))
    found, _ = loss.smoothed_cross_entropy(x, matrix, word, weight, 100, 0.1)
    logits = np.asarray(x[0] @ matrix[:100].T, np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    target = np.full((3, 100), 0.1 / 100)
    target[np.arange(3), np.asarray(word[0])] += 0.9
    relative = abs(float(found) / -(target * log_probs).sum() - 1)
    config = TrainConfig()
    return Found(
        f"ε = {config.label_smoothing}; the loss is the definition's to {relative:.0e}",
        config.label_smoothing == 0.1 and relative < 1e-5,
    )


def steps_and_hours(size: str) -> Found:
    """Steps times seconds per step are the hours."""
    training = TRAINING[size]
    hours = training.num_steps * training.seconds_per_step / 3_600
    return Found(
        f"{training.num_steps:,} × {training.seconds_per_step} s = {hours:.1f} h",
        abs(hours / training.hours - 1) < 0.1,
    )


# --- §6: results --------------------------------------------------------------------------------


def rule_flops(size: str) -> Found:
    """Training cost = time × GPUs × what a P100 sustains."""
    flops = TRAINING[size].hours * 3_600 * NUM_GPUS * SUSTAINED_FLOPS["P100"]
    system = TABLE_2[{"base": BASE, "big": BIG}[size]]
    return Found(
        f"{flops:.2e} by the rule",
        all(
            stated and abs(flops / stated - 1) < 0.03
            for stated in (system.ende_flops, system.enfr_flops)
        ),
    )


@cache
def exact_flops(name: str) -> float:
    """FLOPs of the products of an experiment's whole training, at sentences of 28 tokens."""
    experiment = load_experiment(name)
    data, length = experiment.data, 28
    pairs = data.src_tokens_per_update / length
    per_pair = training_flops(experiment.model, data.vocab_size, length, length)
    return per_pair * pairs * experiment.train.num_steps


def counted_flops() -> Found:
    """The closed form of a training step against its traced program."""
    rows = -(-WORDS // model.VOCABULARY_MULTIPLE) * model.VOCABULARY_MULTIPLE
    closed, padded = (training_flops(BASE_MODEL, words, 28, 28) / 28 for words in (WORDS, rows))
    traced = traced_training_flops(BASE_MODEL, WORDS, 28, 28) / 28
    return Found(
        f"{closed / 1e6:.1f} MFLOP; {traced / 1e6:.1f} traced, with rows up to {rows:,}",
        math.isclose(traced, padded, rel_tol=1e-6),
    )


def averaging() -> Found:
    """The last 5 checkpoints of base and the last 20 of big are averaged: their mean, of more."""
    experiments = [load_experiment(f"wmt14_ende_{size}") for size in ("base", "big")]
    counts = [experiment.decode.average_last for experiment in experiments]
    every, kept = experiments[0].train.checkpoint_every, max(counts) + 1
    with TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), keep_last=kept)
        for number in range(1, kept + 1):
            params = {"w": jnp.full(1, float(number**2))}
            state = TrainState(params, (), jnp.asarray(number * every))
            checkpoints.save(state, experiments[0], _tokenizer())
        checkpoints.close()
        checkpoints = Checkpoints(Path(folder), read_only=True)
        means = [
            float(average.average(checkpoints, checkpoints.last(count))["w"][0]) for count in counts
        ]
        checkpoints.close()
    wanted = [sum(n**2 for n in range(kept - c + 1, kept + 1)) / c for c in counts]
    return Found(
        f"{counts[0]} and {counts[1]}; of {kept} checkpoints these means, as by hand",
        counts == [5, 20] and bool(np.allclose(means, wanted, rtol=1e-6)),
    )


@cache
def _tokenizer() -> Tokenizer:
    return train_tokenizer(("one two three four five six seven eight nine ten " * 3).split(), 300)


def beam() -> Found:
    """Beam 4, length penalty ((5 + length)/6)^0.6, at most 50 tokens more than the input."""
    config = load_experiment("wmt14_ende_base").decode
    found, wanted, every = _few_outputs(config)
    extra = _longest_output(config)
    return Found(
        f"beam {config.beam_size}, α = {config.length_penalty}: the best of {every} outputs, all "
        f"tried, to within {difference(found, wanted):.0e}; input + {extra} where none ends",
        (config.beam_size, config.length_penalty, extra) == (4, 0.6, 50)
        and difference(found, wanted) < 1e-4,
    )


def _few_outputs(config: DecodeConfig) -> tuple[np.ndarray, np.ndarray, int]:
    """Scores of the four best outputs of a source, by search and by trying all, and how many.

    With two words and a likelier EOS, and at most three tokens, a beam of four loses none.
    """
    bos, eos, words, source = 2, 3, (4, 5), [4, 5, 5, 4]
    graphdef, params = _biased({eos: 2.0, **dict.fromkeys(words, 1.0)}, _WORDS)
    src = jnp.array([[*source, eos]])
    search_it = partial(search.search, graphdef, params, lay_out(graphdef, params))
    best = search_it(
        *(src, jnp.ones_like(src), jnp.array([3])),
        beam_size=config.beam_size,
        alpha=config.length_penalty,
        at_once=1,
        room=3,
        num_best=4,
        bos=bos,
        eos=eos,
    )
    outputs = [each for length in range(3) for each in itertools.product(words, repeat=length)]
    rows = rows_of_pairs([(source, output) for output in outputs], bos, eos)
    logits = np.asarray(jax.jit(lambda p, r: nnx.merge(graphdef, p)(r))(params, rows), np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    of_words = np.take_along_axis(log_probs, rows.tgt_out_BT[..., None], axis=-1)[..., 0]
    lengths = np.array([len(output) + 1 for output in outputs])
    scores = (of_words * rows.weight_BT).sum(axis=1) / ((5 + lengths) / 6) ** 0.6
    return np.asarray(best.scores_AW[0]), np.sort(scores)[::-1][:4], len(outputs)


def _longest_output(config: DecodeConfig) -> int:
    """How many tokens more than its source a translation has that a model never ends."""
    tokenizer = _tokenizer()
    ((word,),) = tokenizer.encode(["one"])
    _, params = _biased({word: 1e3}, tokenizer.num_words)
    paper = load_experiment("wmt14_ende_base")
    experiment = replace(paper, preset="custom", model=_BIASED)
    model_ = Model(experiment, tokenizer, flatten(params))
    ((found, *_),) = Translator(model_, config).translate(["one one one"])
    return len(found.text.split()) - 3


_BIASED = replace(SMALL, logits_bias=True)


def _biased(favoured: Mapping[int, float], num_words: int) -> tuple[Any, Any]:
    """A small model that all but predicts the words of `favoured` alone."""
    params = initial_parameters(_BIASED, num_words, 1)
    bias_V = jnp.full_like(params["logits_bias"], -1e3)
    for word, value in favoured.items():
        bias_V = bias_V.at[word].set(value)
    params["logits_bias"] = bias_V
    return build(_BIASED, num_words), params


def parameters(row: str) -> Found:
    """The parameters of a row of Table 3, at 40,960 words and with biases in attention."""
    changes = TABLE_3[row].changes.items()
    sizes: Any = {k.removeprefix("model."): v for k, v in changes if k.startswith("model.")}
    config = replace(BASE_MODEL, **sizes)
    count = count_parameters(config, 40_960)
    stated = TABLE_3[row].parameters
    text = f"{count / 1e6:.2f} million"
    holds = stated is not None and round(count / 1e6) == stated
    if not holds and stated is not None:
        implied = 40_960 - (count - stated * 1e6) / config.d_model
        text += f"; {stated} million imply {implied:,.0f} words"
    return Found(text, holds, is_as_known=count == _by_the_shapes(config, 40_960))


def _by_the_shapes(config: ModelConfig, num_words: int) -> int:
    """The parameters of a model by the shapes that the paper gives, with heads of d_model/h."""
    d_model, d_ff = config.d_model, config.d_ff
    attention, norm = 4 * (d_model + 1) * d_model, 2 * d_model
    feed_forward = (d_model + 1) * d_ff + (d_ff + 1) * d_model
    encoder, decoder = attention + 2 * norm, 2 * attention + 3 * norm
    return config.num_layers * (encoder + decoder + 2 * feed_forward) + num_words * d_model


# --- §6.3: Table 4 ------------------------------------------------------------------------------


def parsers_beaten() -> Found:
    """Table 4's rows that are better than the Transformer's: of the WSJ alone, and of all."""
    alone = {name for name, row in TABLE_4.items() if row.training == WSJ_ONLY}
    better = _better_parsers(PARSER)
    better_alone = [name for name in better if name in alone]
    than_all = ", ".join(_better_parsers(PARSER_OF_MORE))
    return Found(
        f"better: {', '.join(better_alone)}; worse: {len(alone) - 1 - len(better_alone)}; of all "
        f"rows, better than the one with parsed text: {than_all}",
        better_alone == ["Dyer et al. (2016)"],
    )


def _better_parsers(row: str) -> list[str]:
    return [name for name, other in TABLE_4.items() if other.f1 > TABLE_4[row].f1]


def berkeley_parser_beaten() -> Found:
    """The Transformer from the WSJ alone beside Petrov et al. (2006)."""
    ours, theirs = TABLE_4[PARSER].f1, TABLE_4["Petrov et al. (2006)"].f1
    return Found(f"{ours} beside {theirs}", ours > theirs)
