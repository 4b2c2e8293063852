"""Claims of §4 to §6 that a computation can decide, as `checks` does for §3."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aiayn.config import DecodeConfig, TrainConfig
from aiayn.data.rows import make_rows
from aiayn.decoding import search
from aiayn.evidence import table1
from aiayn.evidence.model_checks import BASE_MODEL, SMALL, WORDS, Found, built, difference, random
from aiayn.evidence.paper import BASE, BIG, NUM_GPUS, SUSTAINED_FLOPS, TABLE_2, TABLE_3, TRAINING
from aiayn.experiments import load_experiment
from aiayn.model import dropout, loss
from aiayn.model import transformer as model
from aiayn.model.flops import exponent, traced_training_flops, training_flops
from aiayn.model.structure import count_parameters
from aiayn.training import optim

# --- §4: Table 1 --------------------------------------------------------------------------------


@cache
def layer_costs() -> Mapping[str, table1.LayerCost]:
    """Table 1, counted once."""
    return table1.table_1()


_EXPONENTS = {
    "self-attention": {"n": 2, "d": 1},
    "recurrent": {"n": 1, "d": 2},
    "convolutional": {"n": 1, "d": 2, "k": 1},
    "self-attention (restricted)": {"n": 1, "d": 1, "r": 1},
}


def layer_flops(name: str) -> Found:
    """Complexity per layer."""
    exponents = layer_costs()[name].exponents
    text = " · ".join(f"{size}^{power:.2f}" for size, power in exponents.items())
    wanted = _EXPONENTS[name]
    holds = all(abs(exponents[size] - power) < 0.05 for size, power in wanted.items())
    return Found(text, holds and exponents.keys() == wanted.keys())


def layer_sequence(name: str) -> Found:
    """Sequential operations."""
    found = layer_costs()[name].sequential
    wanted = {n: n if name == "recurrent" else 1 for n in found}
    return Found(_by_n(found), found == wanted)


def layer_path(name: str) -> Found:
    """Maximum path length."""
    found = layer_costs()[name].path
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
    attention, recurrent = (layer_costs()[name].flops for name in ("self-attention", "recurrent"))
    cheaper = [n for n in attention if attention[n] < recurrent[n]]
    dearer = [n for n in attention if attention[n] > recurrent[n]]
    d = table1.COUNTED_D
    return Found(
        f"at d = {d}: cheaper up to n = {max(cheaper)}, dearer from n = {min(dearer)}",
        all(n < d for n in cheaper) and all(n > d for n in dearer),
    )


# --- §5: training -------------------------------------------------------------------------------


def adam() -> Found:
    """Adam with β₁ = 0.9, β₂ = 0.98, ε = 1e−9, under the schedule."""
    config = TrainConfig()
    rule = optim.optimizer(BASE_MODEL, config)
    params = {"w": jnp.array([1.0, -2.0])}
    state = rule.init(params)
    m, v, w = np.zeros(2), np.zeros(2), np.array([1.0, -2.0])
    for number in range(1, 4):
        gradient = np.array([0.3, -0.1]) * number
        updates, state = rule.update({"w": jnp.asarray(gradient, jnp.float32)}, state, params)
        params: Any = optax.apply_updates(params, updates)
        m, v = 0.9 * m + 0.1 * gradient, 0.98 * v + 0.02 * gradient**2
        rate = 512**-0.5 * number * 4_000**-1.5
        w -= rate * (m / (1 - 0.9**number)) / (np.sqrt(v / (1 - 0.98**number)) + 1e-9)
    relative = difference(params["w"] / w, 1.0)
    return Found(f"three updates equal those by hand to {relative:.0e}", relative < 1e-6)


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
    products = exact_flops(f"wmt14_ende_{size}")
    return Found(
        f"{flops:.2e} by the rule; {products:.2e} are products, by our count",
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
    closed = training_flops(BASE_MODEL, WORDS, 28, 28) / 28
    padded = training_flops(BASE_MODEL, 37_120, 28, 28) / 28
    traced = traced_training_flops(BASE_MODEL, WORDS, 28, 28) / 28
    return Found(
        f"{closed / 1e6:.1f} MFLOP; {traced / 1e6:.1f} traced, with rows up to 37,120",
        math.isclose(closed, 381.0e6, rel_tol=1e-3) and math.isclose(traced, padded, rel_tol=1e-6),
    )


def averaging() -> Found:
    """The last 5 checkpoints of base and the last 20 of big are averaged."""
    counts = [load_experiment(f"wmt14_ende_{s}").decode.average_last for s in ("base", "big")]
    return Found(f"{counts[0]} and {counts[1]}", counts == [5, 20])


def beam() -> Found:
    """Beam 4, length penalty ((5 + length)/6)^0.6, at most 50 tokens more than the input."""
    config = DecodeConfig()
    penalty = float(search.length_penalty(13, config.length_penalty))
    return Found(
        f"beam {config.beam_size}, α = {config.length_penalty}, {penalty:.4f} at 13 tokens, "
        f"input + {config.max_extra_tokens}",
        (config.beam_size, config.length_penalty, config.max_extra_tokens) == (4, 0.6, 50)
        and math.isclose(penalty, 3**0.6, rel_tol=1e-6),
    )


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
    return Found(text, holds)
