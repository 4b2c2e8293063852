"""Claims of §3 that a computation can decide, one function each, in the paper's order.

A check runs the program's own code, never a copy of it, and returns what it found and whether the
claim holds. The ledger that names them is `claims`; `recipe_checks` has those of §4 to §6.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from aiayn.config import ModelConfig
from aiayn.data.rows import make_rows
from aiayn.evidence import table1
from aiayn.model import transformer as model
from aiayn.model.structure import abstract_parameters


class Found(NamedTuple):
    """What a check found, as text, and whether that is what the paper says."""

    ours: str
    holds: bool
    is_as_known: bool = False
    """Whether it is otherwise than the paper says by just what is known."""


SMALL = ModelConfig(
    num_layers=1, d_model=12, d_ff=20, num_heads=2, d_k=5, d_v=7, matmul_dtype="float32"
)
BASE_MODEL = ModelConfig()
WORDS = 37_000


def built(make: Callable[[nnx.Rngs], Any]) -> Any:
    """A module with parameters of its own."""
    return make(nnx.Rngs(1))


def random(*shape: int, seed: int = 0) -> Array:
    """Normal numbers."""
    return jax.random.normal(jax.random.key(seed), shape)


def difference(a: Any, b: Any) -> float:
    """The largest one between two arrays."""
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max())


def agrees(what: str, a: Any, b: Any, tolerance: float = 1e-5) -> Found:
    """Whether two arrays are equal, and how nearly."""
    largest = difference(a, b)
    return Found(f"{what}, to within {largest:.0e}", largest <= tolerance)


# --- §3.1 to §3.3: the layers -------------------------------------------------------------------


def stacks() -> Found:
    """N = 6 layers in both stacks."""
    shapes = abstract_parameters(BASE_MODEL, WORDS)
    encoder, decoder = len(shapes["encoder"]), len(shapes["decoder"])
    return Found(f"{encoder} + {decoder} layers", encoder == decoder == 6)


def post_norm() -> Found:
    """Each sublayer is LayerNorm(x + Sublayer(x))."""
    layer = built(lambda rngs: model.EncoderLayer(SMALL, rngs=rngs))
    x_BSD, mask = random(1, 4, 12), jnp.ones((1, 1, 4, 4), bool)
    attended = layer.self_norm(x_BSD + layer.self_attention(x_BSD, x_BSD, mask))
    wanted = layer.feed_forward_norm(attended + layer.feed_forward(attended))
    encoder = difference(layer(x_BSD, mask), wanted)
    layer = built(lambda rngs: model.DecoderLayer(SMALL, rngs=rngs))
    memory = random(1, 4, 12, seed=1)
    attended = layer.self_norm(x_BSD + layer.self_attention(x_BSD, x_BSD, mask))
    crossed = layer.cross_norm(attended + layer.cross_attention(attended, memory, mask))
    wanted = layer.feed_forward_norm(crossed + layer.feed_forward(crossed))
    decoder = difference(layer(x_BSD, memory, mask, mask), wanted)
    worst = max(encoder, decoder)
    return Found(
        f"twice in the encoder, three times in the decoder, to within {worst:.0e}", worst < 1e-5
    )


def widths() -> Found:
    """All outputs of sublayers and the embeddings have d_model = 512."""
    shapes = shapes_by_name(abstract_parameters(BASE_MODEL, WORDS))
    found = {shape[-1] for name, shape in shapes.items() if "norm" in name or name == "embedding"}
    return Found(", ".join(map(str, sorted(found))), found == {512})


def shapes_by_name(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter by a name that holds the names on the way to it."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"".join(map(str, path)).strip("[']"): leaf.shape for path, leaf in leaves}


def causality() -> Found:
    """No position of the decoder depends on a later one."""
    layer = built(lambda rngs: model.DecoderLayer(SMALL, rngs=rngs))
    segments = jnp.ones((1, 5), jnp.int32)
    memory, cross = random(1, 3, 12, seed=2), jnp.ones((1, 1, 5, 3), bool)

    def output(x_BTD: Array) -> Array:
        return layer(x_BTD, memory, model.causal_mask(segments), cross)[0]

    x_BTD = random(1, 5, 12)
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
    q, k, v = (random(1, 1, 6, 16, seed=seed) for seed in range(3))
    found = model.attention(q, k, v, jnp.ones((1, 1, 6, 6), bool))[0, 0]
    q, k, v = (np.asarray(part[0, 0], np.float64) for part in (q, k, v))
    scores = np.exp(q @ k.T / math.sqrt(16))
    wanted = scores / scores.sum(axis=1, keepdims=True) @ v
    return agrees("equal to float64 by the formula", found, wanted)


def masking() -> Found:
    """What is masked has a weight of zero."""
    q, k = (random(1, 1, 4, 16, seed=seed) for seed in range(2))
    mask = model.causal_mask(jnp.ones((1, 4), jnp.int32))
    weights = np.asarray(model.attention_weights(q, k, mask))[0, 0]
    ahead = float(weights[np.triu_indices(4, 1)].max())
    sums = difference(weights.sum(axis=1), 1.0)
    return Found(f"the largest masked weight is {ahead:g}", ahead == 0.0 and sums < 1e-6)


def dot_variance() -> Found:
    """The dot product of two random vectors has variance d_k (footnote 4)."""
    d_k = BASE_MODEL.d_k
    q, k = (np.random.default_rng(seed).normal(size=(100_000, d_k)) for seed in range(2))
    variance = float((q * k).sum(axis=1).var())
    return Found(f"variance {variance:.1f} at d_k = {d_k}", abs(variance / d_k - 1) < 0.02)


def heads() -> Found:
    """Concat(head_1, …, head_h)W^O of h = 8 heads with d_k = d_v = d_model/h = 64."""
    c = replace(BASE_MODEL, matmul_dtype="float32")
    layer = built(lambda rngs: model.MultiHeadAttention(c, rngs=rngs))
    x_BSD = random(1, 5, c.d_model)
    found = layer(x_BSD, x_BSD, jnp.ones((1, 1, 5, 5), bool))[0]
    w_q, w_k, w_v, w_o = (
        np.asarray(part.kernel[...], np.float64)
        for part in (layer.query, layer.key, layer.value, layer.out)
    )
    x, parts = np.asarray(x_BSD[0], np.float64), list[np.ndarray]()
    for columns in np.split(np.arange(c.d_model), 8):
        scores = np.exp((x @ w_q[:, columns]) @ (x @ w_k[:, columns]).T / math.sqrt(64))
        parts.append(scores / scores.sum(axis=1, keepdims=True) @ x @ w_v[:, columns])
    equal = agrees("equal to float64 by the formula", found, np.concatenate(parts, axis=1) @ w_o)
    return Found(
        f"h = {c.num_heads}, d_k = {c.d_k}, d_v = {c.d_v}; {equal.ours}",
        equal.holds and (c.num_heads, c.d_k, c.d_v) == (8, 64, 64),
    )


def multi_head_cost() -> Found:
    """Eight heads of 64 cost as much as one of 512."""

    def flops(num_heads: int) -> int:
        config = replace(
            BASE_MODEL,
            num_heads=num_heads,
            d_k=512 // num_heads,
            d_v=512 // num_heads,
            num_layers=1,
        )
        layer = built(lambda rngs: model.MultiHeadAttention(config, rngs=rngs))
        x = jax.ShapeDtypeStruct((1, 28, 512), jnp.float32)
        mask = jnp.ones((1, 1, 28, 28), bool)
        return table1.dot_flops(lambda x_BTD: layer(x_BTD, x_BTD, mask), x)

    eight, one = flops(8), flops(1)
    return Found(f"{eight / 1e6:.1f} and {one / 1e6:.1f} MFLOP on 28 positions", eight == one)


def three_uses() -> Found:
    """Encoder self-attention, decoder self-attention and encoder-decoder attention."""
    shapes = abstract_parameters(BASE_MODEL, WORDS)
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
    layer = built(lambda rngs: model.FeedForward(SMALL, rngs=rngs))
    layer.inner.bias[...] = random(20, seed=3)
    x_BTD = random(1, 4, 12)
    w1, b1, w2, b2 = (
        np.asarray(part[...], np.float64)
        for part in (layer.inner.kernel, layer.inner.bias, layer.outer.kernel, layer.outer.bias)
    )
    wanted = np.maximum(0, np.asarray(x_BTD[0], np.float64) @ w1 + b1) @ w2 + b2
    found = layer(x_BTD)[0]
    moved = difference(layer(x_BTD[:, ::-1])[0, ::-1], found)
    equal = agrees("equal to float64 by the formula", found, wanted)
    return Found(f"{equal.ours}; d_ff = {BASE_MODEL.d_ff:,}", equal.holds and moved < 1e-6)


# --- §3.4, §3.5: embedding and position ---------------------------------------------------------


@cache
def _transformer() -> model.Transformer:
    return built(lambda rngs: model.Transformer(SMALL, 100, rngs=rngs))


def shared_matrix() -> Found:
    """One matrix embeds both languages and predicts words; embeddings are scaled by √d_model."""
    transformer = _transformer()
    shapes = shapes_by_name(abstract_parameters(BASE_MODEL, WORDS))
    large = [name for name, shape in shapes.items() if max(shape) >= WORDS]
    ids, where = jnp.array([[7, 3]]), jnp.array([[0, 1]])
    matrix = transformer.embedding[...]
    position = model.sinusoids(where, 12, "interleaved")
    embedded = [difference(transformer.embed(ids, where, side) - position,
                            matrix[ids] * math.sqrt(12)) for side in ("src", "tgt")]  # fmt: skip
    x_BTD = random(1, 2, 12)
    predicted = difference(transformer.logits(x_BTD)[0, :, :100], x_BTD[0] @ matrix[:100].T)
    return Found(
        f"{len(large)} matrix of {WORDS:,} words and more, read by three uses",
        large == ["embedding"] and max(*embedded, predicted) < 1e-5,
    )


def sinusoid_formula() -> Found:
    """sin(pos/10000^(2i/d_model)) on even dimensions, the cosine on odd ones."""
    positions, d_model = np.arange(256), BASE_MODEL.d_model
    found = model.sinusoids(jnp.asarray(positions)[None], d_model, "interleaved")[0]
    angles = positions[:, None] / 10_000 ** (np.arange(0, d_model, 2) / d_model)
    wanted = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(256, d_model)
    return agrees("equal to float64 by the formula at 256 positions", found, wanted, 1e-4)


def _measured_wavelengths(layout: str) -> tuple[float, float]:
    """Of the fastest and the slowest sine, in positions, from their values at position 1."""
    at_1 = np.asarray(model.sinusoids(jnp.array([[1]]), BASE_MODEL.d_model, layout)[0, 0])
    sines = at_1[0::2] if layout == "interleaved" else at_1[: BASE_MODEL.d_model // 2]
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
        math.isclose(longest, 10_000 ** (1 - 2 / BASE_MODEL.d_model) * 2 * math.pi, rel_tol=0.001),
    )


def relative_positions() -> Found:
    """For any fixed k, PE(pos+k) is a linear function of PE(pos)."""
    d_model = BASE_MODEL.d_model
    table = model.sinusoids(jnp.arange(300)[None], d_model, "interleaved")[0]
    pairs = np.asarray(table, np.float64).reshape(300, d_model // 2, 2)
    worst = 0.0
    for k in (1, 7, 50):
        for pair in pairs.swapaxes(0, 1):
            # A matrix for each sine and its cosine, fitted on 200 positions and tried on the rest.
            fitted, *_ = np.linalg.lstsq(pair[:200], pair[k : 200 + k], rcond=None)
            worst = max(worst, difference(pair[200 : 300 - k] @ fitted, pair[200 + k :]))
    return Found(
        f"one matrix for each of k = 1, 7, 50 gives unseen positions to within {worst:.0e}",
        worst < 1e-3,
    )
