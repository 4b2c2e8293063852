"""Label-smoothed cross-entropy over the shared vocabulary, with its own gradient rule (§5.4).

The logits of a large batch are by far its largest array, so they are never whole: the shared
matrix, the loss and the loss' gradient are computed together for a few tokens at a time, and what
is kept for the backward pass is the gradient itself. On CPU, where each fresh page of memory costs,
this is worth more than any other single choice.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from aiayn.model.kernels import loss_kernel
from aiayn.model.layers import only_words, word_logits

Sums = tuple[Float[Array, ""], Float[Array, ""]]
"""The smoothed and the plain loss in nats, summed over tokens."""

Saved = tuple[Float[Array, "tokens d_model"], Float[Array, "vocabulary d_model"]]
"""The smoothed loss' gradients by the decoder's output and by the embedding."""

Total = tuple[Sums, Float[Array, "vocabulary d_model"]]
"""What `_forward` sums up over the chunks: the losses and the embedding's gradient."""

Chunk = tuple[Float[Array, "chunk d_model"], Int[Array, " chunk"], Float[Array, " chunk"]]
"""The decoder's output, the right word and the weight of some tokens."""


@jax.named_scope("loss")
def smoothed_cross_entropy(
    x_BTD: Float[Array, "batch target d_model"],
    embedding_VD: Float[Array, "vocabulary d_model"],
    word_BT: Int[Array, "batch target"],
    weight_BT: Float[Array, "batch target"],
    num_words: int,
    smoothing: float = 0.0,
    over: str = "all",
    bias_V: Float[Array, " vocabulary"] | None = None,
) -> Sums:
    """Sums over real tokens of the smoothed loss and of the plain one, in nats.

    `x_BTD` is the decoder's output; `weight_BT` is 1 on real tokens and 0 on padding. The target
    gives the right word 1−ε and spreads ε evenly over all V words (`over="all"`) or over the V−1
    wrong ones (`"others"`, as T2T does). The plain sum, without smoothing, is what perplexity is
    computed from; it carries no gradient.
    """
    if over == "others":
        spread = smoothing / (num_words - 1)
        peak = 1.0 - smoothing - spread
    else:
        spread = smoothing / num_words
        peak = 1.0 - smoothing
    d_model = x_BTD.shape[-1]
    x_ND, word_N, weight_N = x_BTD.reshape(-1, d_model), word_BT.reshape(-1), weight_BT.reshape(-1)
    x_ND, embedding_VD = _with_bias(x_ND, embedding_VD, bias_V)
    smoothed, plain = _chunked(x_ND, embedding_VD, word_N, weight_N, num_words, peak, spread)
    return smoothed, lax.stop_gradient(plain)


def token_log_probs(
    x_ND: Float[Array, "tokens d_model"],
    embedding_VD: Float[Array, "vocabulary d_model"],
    word_N: Int[Array, " tokens"],
    num_words: int,
    bias_V: Float[Array, " vocabulary"] | None = None,
) -> Float[Array, " tokens"]:
    """Log-probability in nats of each given word."""
    x_ND, embedding_VD = _with_bias(x_ND, embedding_VD, bias_V)

    def chunk_log_probs(chunk: Chunk) -> Float[Array, " chunk"]:
        x_CD, word_C, _ = chunk
        lse_C, right_C = _lse_and_right(word_logits(x_CD, embedding_VD, num_words), word_C)
        return right_C - lse_C

    weight_N = jnp.ones(word_N.shape, jnp.float32)
    chunks = _chunks(embedding_VD.shape[0], x_ND, word_N, weight_N)
    return lax.map(chunk_log_probs, chunks).reshape(-1)[: len(word_N)]


def _with_bias(
    x_ND: Float[Array, "tokens d_model"],
    embedding_VD: Float[Array, "vocabulary d_model"],
    bias_V: Float[Array, " vocabulary"] | None,
) -> tuple[Float[Array, "tokens width"], Float[Array, "vocabulary width"]]:
    """A bias is one more column of the matrix, which a 1 in every token's output meets."""
    if bias_V is None:
        return x_ND, embedding_VD
    one_N1 = jnp.ones((x_ND.shape[0], 1), x_ND.dtype)
    return (
        jnp.concatenate([x_ND, one_N1], axis=1),
        jnp.concatenate([embedding_VD, bias_V[:, None]], axis=1),
    )


def _lse_and_right(
    logits_NV: Float[Array, "tokens vocabulary"], word_N: Int[Array, " tokens"]
) -> tuple[Float[Array, " tokens"], Float[Array, " tokens"]]:
    """Of each token the log-sum-exp and the right word's logit, in float32."""
    wide_NV = logits_NV.astype(jnp.float32)
    right_N = jnp.take_along_axis(wide_NV, word_N[:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(wide_NV, axis=-1), right_N


def _lse_and_gradient(
    logits_CV: Float[Array, "chunk vocabulary"],
    word_C: Int[Array, " chunk"],
    weight_C: Float[Array, " chunk"],
    num_words: int,
    peak: float,
    spread: float,
) -> tuple[Float[Array, " chunk"], Float[Array, " chunk"], Float[Array, "chunk vocabulary"]]:
    """As `_lse_and_right`, and ∂smoothed/∂logits times the weight, as wide as they:
    softmax − peak·[right word] − spread.
    """
    wide_CV = only_words(logits_CV, num_words).astype(jnp.float32)
    highest_C1 = wide_CV.max(-1, keepdims=True)
    share_CV = jnp.exp(wide_CV - highest_C1)
    if jax.default_backend() == "cpu":  # XLA's own sum of exponentials takes five times as long
        share_CV = lax.optimization_barrier(share_CV)
    total_C1 = share_CV.sum(-1, keepdims=True)
    column_1V, weight_C1 = jnp.arange(wide_CV.shape[-1])[None], weight_C[:, None]
    target_CV = jnp.where(column_1V == word_C[:, None], peak + spread, spread)
    bar_CV = share_CV * (weight_C1 / total_C1) - target_CV * weight_C1
    bar_CV = jnp.where(column_1V < num_words, bar_CV, 0.0).astype(logits_CV.dtype)
    right_C = jnp.take_along_axis(wide_CV, word_C[:, None], axis=-1)[:, 0]
    return (highest_C1 + jnp.log(total_C1))[:, 0], right_C, bar_CV


def _sums(
    x_ND: Float[Array, "tokens d_model"],
    embedding_VD: Float[Array, "vocabulary d_model"],
    word_N: Int[Array, " tokens"],
    weight_N: Float[Array, " tokens"],
    num_words: int,
    peak: float,
    spread: float,
) -> Sums:
    def of_chunk(chunk: Chunk) -> Sums:
        x_CD, word_C, weight_C = chunk
        lse_C, right_C = _lse_and_right(word_logits(x_CD, embedding_VD, num_words), word_C)
        return _sums_of(lse_C, right_C, weight_C, peak)

    chunks = _chunks(embedding_VD.shape[0], x_ND, word_N, weight_N)
    smoothed, plain = (each.sum() for each in lax.map(of_chunk, chunks))
    return _with_spread((smoothed, plain), x_ND, embedding_VD, weight_N, num_words, spread)


def _sums_of(
    lse_C: Float[Array, " chunk"],
    right_C: Float[Array, " chunk"],
    weight_C: Float[Array, " chunk"],
    peak: float,
) -> Sums:
    """With peak + V·spread = 1 a token's smoothed loss is lse − peak·right − spread·Σ logits; the
    last of these is missing here.
    """
    return (lse_C - peak * right_C) @ weight_C, (lse_C - right_C) @ weight_C


def _with_spread(
    sums: Sums,
    x_ND: Float[Array, "tokens d_model"],
    embedding_VD: Float[Array, "vocabulary d_model"],
    weight_N: Float[Array, " tokens"],
    num_words: int,
    spread: float,
) -> Sums:
    """With what was missing. Σ logits is the output's product with the sum of the words' rows: that
    spares a pass over the logits.
    """
    smoothed, plain = sums
    wide_VD = embedding_VD.astype(x_ND.dtype).astype(jnp.float32)
    sum_D = wide_VD.sum(0) - wide_VD[num_words:].sum(0)
    output_D = (weight_N[:, None] * x_ND.astype(jnp.float32)).sum(0)
    return smoothed - spread * (output_D @ sum_D), plain


def _forward(
    x_ND: Float[Array, "tokens d_model"],
    embedding_VD: Float[Array, "vocabulary d_model"],
    word_N: Int[Array, " tokens"],
    weight_N: Float[Array, " tokens"],
    num_words: int,
    peak: float,
    spread: float,
) -> tuple[Sums, Saved]:
    """The sums, and both gradients of the smoothed one."""
    table_VD = embedding_VD.astype(x_ND.dtype)
    kernel = loss_kernel()
    lse_and_gradient = kernel or _lse_and_gradient

    def of_chunk(chunk: Chunk) -> tuple[Total, Float[Array, "chunk d_model"]]:
        x_CD, word_C, weight_C = chunk
        lse_C, right_C, bar_CV = lse_and_gradient(
            x_CD @ table_VD.T, word_C, weight_C, num_words, peak, spread
        )
        sums = _sums_of(lse_C, right_C, weight_C, peak)
        embedding_bar_VD = jnp.einsum("CV,CD->VD", bar_CV, x_CD, preferred_element_type=jnp.float32)
        return (sums, embedding_bar_VD), bar_CV @ table_VD

    def add_chunk(total: Total, chunk: Chunk) -> tuple[Total, Float[Array, "chunk d_model"]]:
        found, x_bar_CD = of_chunk(chunk)
        return jax.tree.map(jnp.add, total, found), x_bar_CD

    chunks = _chunks(embedding_VD.shape[0], x_ND, word_N, weight_N)
    total, x_bar_CD = of_chunk(jax.tree.map(lambda x: x[0], chunks))
    x_bar = x_bar_CD[None]
    if len(chunks[0]) > 1:
        rest = jax.tree.map(lambda x: x[1:], chunks)
        # Unrolled on a GPU, where every iteration of a loop waits for the host.
        total, others = lax.scan(add_chunk, total, rest, unroll=kernel is not None)
        x_bar = jnp.concatenate([x_bar, others])
    sums, embedding_bar_VD = total
    sums = _with_spread(sums, x_ND, embedding_VD, weight_N, num_words, spread)
    x_bar_ND = x_bar.reshape(-1, x_ND.shape[-1])[: x_ND.shape[0]]
    return sums, (x_bar_ND, embedding_bar_VD)


def _backward(
    num_words: int, peak: float, spread: float, saved: Saved, cotangents: Sums
) -> tuple[Float[Array, "tokens d_model"], Float[Array, "vocabulary d_model"], None, None]:
    x_bar_ND, embedding_bar_VD = saved
    scale = cotangents[0]
    return (x_bar_ND * scale.astype(x_bar_ND.dtype), embedding_bar_VD * scale, None, None)


_chunked = jax.custom_vjp(_sums, nondiff_argnums=(4, 5, 6))
_chunked.defvjp(_forward, _backward)


def num_tokens_at_once(vocabulary: int) -> int:
    """How many tokens a chunk may have.

    On CPU, more make logits that no cache holds, and with fewer the embedding's gradient, to which
    every chunk adds, passes through memory more often. An accelerator needs large products.
    """
    return 256 if jax.default_backend() == "cpu" else max(1, 2**29 // vocabulary)


def _chunks(
    vocabulary: int,
    x_ND: Float[Array, "tokens d_model"],
    word_N: Int[Array, " tokens"],
    weight_N: Float[Array, " tokens"],
) -> tuple[
    Float[Array, "chunks chunk d_model"],
    Int[Array, "chunks chunk"],
    Float[Array, "chunks chunk"],
]:
    """The arrays cut along the tokens into equal chunks.

    The last chunk is filled up with zeros, and so with weights of zero.
    """
    num_tokens = x_ND.shape[0]
    num_chunks = math.ceil(num_tokens / num_tokens_at_once(vocabulary))
    size = math.ceil(num_tokens / num_chunks)
    missing = num_chunks * size - num_tokens

    def cut(array: Shaped[Array, "tokens ..."]) -> Shaped[Array, "chunks chunk ..."]:
        padded = jnp.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
        return padded.reshape(num_chunks, size, *array.shape[1:])

    return cut(x_ND), cut(word_N), cut(weight_N)
