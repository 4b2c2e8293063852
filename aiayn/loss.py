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

from aiayn.kernels import use_kernels
from aiayn.model import only_words, word_logits

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

    def chunk_losses(chunk: Chunk) -> Float[Array, " chunk"]:
        x_CD, word_C, _ = chunk
        logits_CV = word_logits(x_CD, embedding_VD, num_words)
        return _losses(logits_CV, word_C, num_words, 1.0, 0.0)[0]

    weight_N = jnp.ones(word_N.shape, jnp.float32)
    chunks = _chunks(embedding_VD.shape[0], x_ND, word_N, weight_N)
    return -lax.map(chunk_losses, chunks).reshape(-1)[: len(word_N)]


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


def _losses(
    logits_NV: Float[Array, "tokens vocabulary"],
    word_N: Int[Array, " tokens"],
    num_words: int,
    peak: float,
    spread: float,
) -> tuple[Float[Array, " tokens"], Float[Array, " tokens"], Float[Array, " tokens"]]:
    """Plain and smoothed loss and log-sum-exp of each token, in float32.

    With peak + V·spread = 1 the smoothed loss is lse − peak·logit[word] − spread·Σ logits.
    """
    wide_NV = logits_NV.astype(jnp.float32)
    lse_N = jax.nn.logsumexp(wide_NV, axis=-1)
    right_N = jnp.take_along_axis(wide_NV, word_N[:, None], axis=-1)[:, 0]
    smoothed_N = lse_N - peak * right_N
    if spread:
        is_word_1V = (jnp.arange(logits_NV.shape[-1]) < num_words)[None]
        smoothed_N -= spread * jnp.where(is_word_1V, wide_NV, 0.0).sum(-1)
    return lse_N - right_N, smoothed_N, lse_N


def _sums(
    x_ND: Float[Array, "tokens d_model"],
    embedding_VD: Float[Array, "vocabulary d_model"],
    word_N: Int[Array, " tokens"],
    weight_N: Float[Array, " tokens"],
    num_words: int,
    peak: float,
    spread: float,
) -> Sums:
    def add_chunk(total: Sums, chunk: Chunk) -> tuple[Sums, None]:
        x_CD, word_C, weight_C = chunk
        logits_CV = word_logits(x_CD, embedding_VD, num_words)
        plain_C, smoothed_C, _ = _losses(logits_CV, word_C, num_words, peak, spread)
        return (total[0] + smoothed_C @ weight_C, total[1] + plain_C @ weight_C), None

    zero = jnp.zeros((), jnp.float32)
    chunks = _chunks(embedding_VD.shape[0], x_ND, word_N, weight_N)
    return lax.scan(add_chunk, (zero, zero), chunks)[0]


def _losses_and_gradient(
    logits_CV: Float[Array, "chunk vocabulary"],
    word_C: Int[Array, " chunk"],
    weight_C: Float[Array, " chunk"],
    num_words: int,
    peak: float,
    spread: float,
) -> tuple[Float[Array, " chunk"], Float[Array, " chunk"], Float[Array, "chunk vocabulary"]]:
    """The plain and the smoothed loss, and ∂smoothed/∂logits times the weight, as wide as they:
    softmax − peak·[right word] − spread.
    """
    column_1V = jnp.arange(logits_CV.shape[-1])[None]
    logits_CV = only_words(logits_CV, num_words)
    plain_C, smoothed_C, lse_C = _losses(logits_CV, word_C, num_words, peak, spread)
    target_CV = jnp.where(column_1V == word_C[:, None], peak + spread, spread)
    share_CV = jnp.exp(logits_CV.astype(jnp.float32) - lse_C[:, None])
    bar_CV = (share_CV - target_CV) * weight_C[:, None]
    bar_CV = jnp.where(column_1V < num_words, bar_CV, 0.0).astype(logits_CV.dtype)
    return plain_C, smoothed_C, bar_CV


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
    if use_kernels():
        from aiayn.kernels.loss import losses_and_gradient
    else:
        losses_and_gradient = _losses_and_gradient

    def add_chunk(total: Total, chunk: Chunk) -> tuple[Total, Float[Array, "chunk d_model"]]:
        x_CD, word_C, weight_C = chunk
        plain_C, smoothed_C, bar_CV = losses_and_gradient(
            x_CD @ table_VD.T, word_C, weight_C, num_words, peak, spread
        )
        (smoothed, plain), embedding_bar_VD = total
        embedding_bar_VD += jnp.einsum(
            "CV,CD->VD", bar_CV, x_CD, preferred_element_type=jnp.float32
        )
        sums = smoothed + smoothed_C @ weight_C, plain + plain_C @ weight_C
        return (sums, embedding_bar_VD), bar_CV @ table_VD

    zero = jnp.zeros((), jnp.float32)
    start = (zero, zero), jnp.zeros(embedding_VD.shape, jnp.float32)
    chunks = _chunks(embedding_VD.shape[0], x_ND, word_N, weight_N)
    unroll = use_kernels()  # on a GPU every turn of a loop waits for the host
    (sums, embedding_bar_VD), x_bar = lax.scan(add_chunk, start, chunks, unroll=unroll)
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
    every chunk adds, passes through memory more often. An accelerator wants large products.
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
