"""Claims of the paper that a computation can decide, one function each, in the paper's order.

A check runs the program's own code, never a copy of it, and returns what it found and whether the
claim holds. The ledger that names them is `claims`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from aiayn import complexity, dropout, loss, model, optim, search
from aiayn.config import DecodeConfig, ModelConfig, TrainConfig, load_experiment
from aiayn.paper import BASE, BIG, NUM_GPUS, SUSTAINED_FLOPS, TABLE_2, TABLE_3, TRAINING
from aiayn.rows import make_rows


class Found(NamedTuple):
    """What a check found, as text, and whether that is what the paper says."""

    ours: str
    holds: bool


_SMALL = ModelConfig(num_layers=1, d_model=12, d_ff=20, num_heads=2, d_k=5, d_v=7)
_BASE = ModelConfig()
_WORDS = 37_000


def _module(make: Callable[[nnx.Rngs], Any]) -> Any:
    return make(nnx.Rngs(1))


def _random(*shape: int, seed: int = 0) -> Array:
    return jax.random.normal(jax.random.key(seed), shape)


def _difference(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max())


def _agrees(what: str, a: Any, b: Any, tolerance: float = 1e-5) -> Found:
    difference = _difference(a, b)
    return Found(f"{what}, to within {difference:.0e}", difference <= tolerance)


# --- §3.1 to §3.3: the layers -------------------------------------------------------------------


def stacks() -> Found:
    """N = 6 layers in both stacks."""
    shapes = model.abstract_parameters(_BASE, _WORDS)
    encoder, decoder = len(shapes["encoder"]), len(shapes["decoder"])
    return Found(f"{encoder} + {decoder} layers", encoder == decoder == 6)


def post_norm() -> Found:
    """Each sublayer is LayerNorm(x + Sublayer(x))."""
    layer = _module(lambda rngs: model.EncoderLayer(_SMALL, rngs=rngs))
    x_BSD, mask = _random(1, 4, 12), jnp.ones((1, 1, 4, 4), bool)
    attended = layer.self_norm(x_BSD + layer.self_attention(x_BSD, x_BSD, mask))
    wanted = layer.feed_forward_norm(attended + layer.feed_forward(attended))
    return _agrees("LayerNorm(x + Sublayer(x)) twice", layer(x_BSD, mask), wanted)


def widths() -> Found:
    """All outputs of sublayers and the embeddings have d_model = 512."""
    shapes = flatten_shapes(model.abstract_parameters(_BASE, _WORDS))
    found = {shape[-1] for name, shape in shapes.items() if "norm" in name or name == "embedding"}
    return Found(", ".join(map(str, sorted(found))), found == {512})


def flatten_shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter by a name that holds the names on the way to it."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"".join(map(str, path)).strip("[']"): leaf.shape for path, leaf in leaves}


def causality() -> Found:
    """No position of the decoder depends on a later one."""
    layer = _module(lambda rngs: model.DecoderLayer(_SMALL, rngs=rngs))
    segments = jnp.ones((1, 5), jnp.int32)
    memory, cross = _random(1, 3, 12, seed=2), jnp.ones((1, 1, 5, 3), bool)

    def output(x_BTD: Array) -> Array:
        return layer(x_BTD, memory, model.causal_mask(segments), cross)[0]

    x_BTD = _random(1, 5, 12)
    before = output(x_BTD)
    moved = {
        changed: np.flatnonzero(
            np.abs(output(x_BTD.at[0, changed].add(1.0)) - before).max(axis=-1) > 0
        ).tolist()
        for changed in range(5)
    }
    holds = all(reached == list(range(changed, 5)) for changed, reached in moved.items())
    return Found(f"changing position 2 of 0 to 4 moves {moved[2]}", holds)


def shift() -> Found:
    """The decoder's input is its output moved by one position."""
    ids = np.array([[5, 6, 3]])
    rows = make_rows(ids, np.ones_like(ids), ids, np.ones_like(ids), bos=2)
    return Found(
        f"predicting {rows.tgt_out_BT[0].tolist()} it reads {rows.tgt_in_BT[0].tolist()}",
        rows.tgt_in_BT.tolist() == [[2, 5, 6]],
    )


def scaled_dot_product() -> Found:
    """softmax(QKᵀ/√d_k)V."""
    q, k, v = (_random(1, 6, 1, 16, seed=seed) for seed in range(3))
    found = model.attention(q, k, v, jnp.ones((1, 1, 6, 6), bool))[0, :, 0]
    q, k, v = (np.asarray(part[0, :, 0], np.float64) for part in (q, k, v))
    scores = np.exp(q @ k.T / math.sqrt(16))
    wanted = scores / scores.sum(axis=1, keepdims=True) @ v
    return _agrees("equal to float64 by the formula", found, wanted)


def masking() -> Found:
    """What is masked has a weight of zero."""
    q, k = (_random(1, 4, 1, 16, seed=seed) for seed in range(2))
    mask = model.causal_mask(jnp.ones((1, 4), jnp.int32))
    weights = np.asarray(model.attention_weights(q, k, mask))[0, 0]
    ahead = float(weights[np.triu_indices(4, 1)].max())
    sums = _difference(weights.sum(axis=1), 1.0)
    return Found(f"the largest masked weight is {ahead:g}", ahead == 0.0 and sums < 1e-6)


def dot_variance() -> Found:
    """The dot product of two random vectors has variance d_k (footnote 4)."""
    d_k = _BASE.d_k
    q, k = (np.random.default_rng(seed).normal(size=(100_000, d_k)) for seed in range(2))
    variance = float((q * k).sum(axis=1).var())
    return Found(f"variance {variance:.1f} at d_k = {d_k}", abs(variance / d_k - 1) < 0.02)


def heads() -> Found:
    """h = 8 heads with d_k = d_v = d_model/h = 64."""
    c = _BASE
    holds = (c.num_heads, c.d_k, c.d_v) == (8, 64, 64) and c.num_heads * c.d_k == c.d_model
    return Found(f"h = {c.num_heads}, d_k = {c.d_k}, d_v = {c.d_v}", holds)


def multi_head_cost() -> Found:
    """Eight heads of 64 cost as much as one of 512."""

    def flops(num_heads: int) -> int:
        config = replace(
            _BASE, num_heads=num_heads, d_k=512 // num_heads, d_v=512 // num_heads, num_layers=1
        )
        layer = _module(lambda rngs: model.MultiHeadAttention(config, rngs=rngs))
        x = jax.ShapeDtypeStruct((1, 28, 512), jnp.float32)
        mask = jnp.ones((1, 1, 28, 28), bool)
        return complexity.dot_flops(lambda x_BTD: layer(x_BTD, x_BTD, mask), x)

    eight, one = flops(8), flops(1)
    return Found(f"{eight / 1e6:.1f} and {one / 1e6:.1f} MFLOP on 28 positions", eight == one)


def three_uses() -> Found:
    """Encoder self-attention, decoder self-attention and encoder-decoder attention."""
    shapes = model.abstract_parameters(_BASE, _WORDS)
    uses = [
        sum(use in layer for layer in shapes[stack].values())
        for stack, use in (
            ("encoder", "self_attention"),
            ("decoder", "self_attention"),
            ("decoder", "cross_attention"),
        )
    ]
    return Found(f"{uses[0]}, {uses[1]} and {uses[2]} of them", uses == [6, 6, 6])


def feed_forward() -> Found:
    """max(0, xW₁ + b₁)W₂ + b₂, at each position separately and identically."""
    layer = _module(lambda rngs: model.FeedForward(_SMALL, rngs=rngs))
    layer.inner.bias[...] = _random(20, seed=3)
    x_BTD = _random(1, 4, 12)
    w1, b1, w2, b2 = (
        np.asarray(part[...], np.float64)
        for part in (layer.inner.kernel, layer.inner.bias, layer.outer.kernel, layer.outer.bias)
    )
    wanted = np.maximum(0, np.asarray(x_BTD[0], np.float64) @ w1 + b1) @ w2 + b2
    found = layer(x_BTD)[0]
    moved = _difference(layer(x_BTD[:, ::-1])[0, ::-1], found)
    equal = _agrees("equal to float64 by the formula", found, wanted)
    return Found(f"{equal.ours}; d_ff = {_BASE.d_ff:,}", equal.holds and moved < 1e-6)


# --- §3.4, §3.5: embedding and position ---------------------------------------------------------


@cache
def _transformer() -> model.Transformer:
    return _module(lambda rngs: model.Transformer(_SMALL, 100, rngs=rngs))


def shared_matrix() -> Found:
    """One matrix embeds both languages and predicts words; embeddings are scaled by √d_model."""
    transformer = _transformer()
    shapes = flatten_shapes(model.abstract_parameters(_BASE, _WORDS))
    large = [name for name, shape in shapes.items() if max(shape) >= _WORDS]
    ids, where = jnp.array([[7, 3]]), jnp.array([[0, 1]])
    matrix = transformer.embedding[...]
    position = model.sinusoids(where, 12, "interleaved")
    embedded = [_difference(transformer.embed(ids, where, side) - position,
                            matrix[ids] * math.sqrt(12)) for side in ("src", "tgt")]  # fmt: skip
    x_BTD = _random(1, 2, 12)
    predicted = _difference(transformer.logits(x_BTD)[0, :, :100], x_BTD[0] @ matrix[:100].T)
    return Found(
        f"{len(large)} matrix of {_WORDS:,} words and more, read by three uses",
        large == ["embedding"] and max(*embedded, predicted) < 1e-5,
    )


def sinusoid_formula() -> Found:
    """sin(pos/10000^(2i/d_model)) on even dimensions, the cosine on odd ones."""
    positions, d_model = np.arange(256), _BASE.d_model
    found = model.sinusoids(jnp.asarray(positions)[None], d_model, "interleaved")[0]
    angles = positions[:, None] / 10_000 ** (np.arange(0, d_model, 2) / d_model)
    wanted = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(256, d_model)
    return _agrees("equal to float64 by the formula at 256 positions", found, wanted, 1e-4)


def _measured_wavelengths(layout: str) -> tuple[float, float]:
    """Of the fastest and the slowest sine, in positions, from their values at position 1."""
    at_1 = np.asarray(model.sinusoids(jnp.array([[1]]), _BASE.d_model, layout)[0, 0])
    sines = at_1[0::2] if layout == "interleaved" else at_1[: _BASE.d_model // 2]
    shortest, longest = (2 * math.pi / math.asin(float(value)) for value in (sines[0], sines[-1]))
    return shortest, longest


def wavelengths() -> Found:
    """From 2π to 10000·2π, in a geometric progression."""
    shortest, longest = _measured_wavelengths("interleaved")
    _, of_halves = _measured_wavelengths("halves")
    return Found(
        f"from {shortest / 2 / math.pi:.3f}·2π to {longest / 2 / math.pi:,.0f}·2π "
        f"({of_halves / 2 / math.pi:,.0f}·2π in T2T's layout)",
        math.isclose(longest, 10_000 * 2 * math.pi, rel_tol=0.01),
    )


def relative_positions() -> Found:
    """For any fixed k, PE(pos+k) is a linear function of PE(pos)."""
    d_model = _BASE.d_model
    table = model.sinusoids(jnp.arange(300)[None], d_model, "interleaved")[0]
    pairs = np.asarray(table, np.float64).reshape(300, d_model // 2, 2)
    worst = 0.0
    for k in (1, 7, 50):
        for pair in pairs.swapaxes(0, 1):
            # A matrix for each sine and its cosine, fitted on 200 positions and tried on the rest.
            fitted, *_ = np.linalg.lstsq(pair[:200], pair[k : 200 + k], rcond=None)
            worst = max(worst, _difference(pair[200 : 300 - k] @ fitted, pair[200 + k :]))
    return Found(
        f"one matrix for each of k = 1, 7, 50 gives unseen positions to within {worst:.0e}",
        worst < 1e-3,
    )


# --- §4: Table 1 --------------------------------------------------------------------------------


@cache
def layer_costs() -> Mapping[str, complexity.LayerCost]:
    """Table 1, counted once."""
    return complexity.table_1()


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
    growth = complexity.exponent(list(found), list(found.values()))
    if name == "self-attention":
        holds = set(found.values()) == {1}
    elif name == "convolutional":
        steps = [length - math.log(n, complexity.NUM_NEAR) for n, length in found.items()]
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
    d = complexity.COUNTED_D
    return Found(
        f"at d = {d}: cheaper up to n = {max(cheaper)}, dearer from n = {min(dearer)}",
        all(n < d for n in cheaper) and all(n > d for n in dearer),
    )


# --- §5: training -------------------------------------------------------------------------------


def adam() -> Found:
    """Adam with β₁ = 0.9, β₂ = 0.98, ε = 1e−9, under the schedule."""
    config = TrainConfig()
    rule = optim.optimizer(_BASE, config)
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
    relative = _difference(params["w"] / w, 1.0)
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
    config = replace(_SMALL, dropout_rate=1 - 1e-7)
    encoder = _module(lambda rngs: model.EncoderLayer(config, rngs=rngs))
    decoder = _module(lambda rngs: model.DecoderLayer(config, rngs=rngs))
    x_BTD, mask = _random(1, 3, 12), jnp.ones((1, 1, 3, 3), bool)
    normal = encoder.self_norm(x_BTD)
    differences = [
        _difference(encoder(x_BTD, mask, noise[:1]), encoder.self_norm(normal)),
        _difference(
            decoder(x_BTD, x_BTD, mask, mask, noise[:1]),
            encoder.self_norm(encoder.self_norm(normal)),
        ),
    ]
    whole = _module(lambda rngs: model.Transformer(config, 100, rngs=rngs))
    ids = jnp.array([[5, 6, 7]])
    rows = make_rows(*[np.asarray(ids), np.ones((1, 3), int)] * 2, bos=2)
    rows = jax.tree.map(jnp.asarray, rows)
    memory = whole.encode(ids, rows.src_segments_BS, rows.src_positions_BS, noise[:1])
    differences += [
        _difference(memory, 0.0),
        _difference(whole.decode(rows, memory, noise[:1]), 0.0),
    ]
    return Found(
        f"{dropped:.1%} of the elements are dropped; at a rate of 1 nothing but norms is left",
        abs(dropped - 0.1) < 0.005 and max(differences) < 1e-3,
    )


def label_smoothing() -> Found:
    """ε_ls = 0.1 spread over the vocabulary."""
    x, matrix = _random(1, 3, 8), _random(128, 8, seed=1)
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
    stated = TABLE_2[{"base": BASE, "big": BIG}[size]].ende_flops
    return Found(
        f"{flops:.2e} by the rule; {exact_flops(size):.2e} are products, by our count",
        stated is not None and abs(flops / stated - 1) < 0.03,
    )


@cache
def exact_flops(size: str) -> float:
    """FLOPs of the products of a whole training run, by our count, at sentences of 28 tokens."""
    experiment = load_experiment(f"wmt14_ende_{size}")
    data, length = experiment.data, 28
    pairs = data.src_tokens_per_update / length
    per_pair = complexity.training_flops(experiment.model, data.vocab_size, length, length)
    return per_pair * pairs * experiment.train.num_steps


def counted_flops() -> Found:
    """The closed form of a training step against its traced program."""
    closed = complexity.training_flops(_BASE, _WORDS, 28, 28) / 28
    padded = complexity.training_flops(_BASE, 37_120, 28, 28) / 28
    traced = complexity.traced_training_flops(_BASE, _WORDS, 28, 28) / 28
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
    config = replace(_BASE, **sizes)
    count = model.count_parameters(config, 40_960)
    stated = TABLE_3[row].parameters
    text = f"{count / 1e6:.2f} million"
    holds = stated is not None and round(count / 1e6) == stated
    if not holds and stated is not None:
        implied = 40_960 - (count - stated * 1e6) / config.d_model
        text += f"; {stated} million imply {implied:,.0f} words"
    return Found(text, holds)
