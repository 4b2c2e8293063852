"""The Transformer, from eq. 1 upwards (§3).

Shapes stand in the names: B batch, S source, T target, Q query, M memory, D d_model, H heads,
K d_k, U d_v, F d_ff, V vocabulary, W beam. A mask is True where looking is allowed.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from aiayn.config import ModelConfig
from aiayn.data.rows import Rows
from aiayn.model.dropout import Noise, dropout, fold
from aiayn.model.kernels import use_kernels
from aiayn.model.layers import Dense, LayerNorm, add_and_norm

VOCABULARY_MULTIPLE = 128
NUM_TARGET_SPACES = 32
"""Rows of T2T's table of target languages. A model of one direction uses, and trains, the first."""


def attention_weights(
    q_BHQK: Float[Array, "batch heads query d_k"],
    k_BHMK: Float[Array, "batch heads memory d_k"],
    mask_B1QM: Bool[Array, "#batch 1 #query memory"],
) -> Float[Array, "batch heads query memory"]:
    """softmax(QKᵀ/√d_k) of eq. 1, in float32 (§3.2.1).

    A query that may look nowhere looks everywhere alike rather than being NaN; such rows are
    padding and never reach the loss.
    """
    d_k = q_BHQK.shape[-1]
    scores_BHQM = jnp.einsum("BHQK,BHMK->BHQM", q_BHQK, k_BHMK).astype(jnp.float32) / d_k**0.5
    scores_BHQM = jnp.where(mask_B1QM, scores_BHQM, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores_BHQM, axis=-1)


def attention(
    q_BHQK: Float[Array, "batch heads query d_k"],
    k_BHMK: Float[Array, "batch heads memory d_k"],
    v_BHMU: Float[Array, "batch heads memory d_v"],
    mask_B1QM: Bool[Array, "#batch 1 #query memory"],
    rate: float = 0.0,
    noise_B2: Noise | None = None,
) -> Float[Array, "batch heads query d_v"]:
    """Scaled dot-product attention (§3.2.1, eq. 1), with dropout on its weights if `rate` > 0."""
    weights_BHQM = dropout(attention_weights(q_BHQK, k_BHMK, mask_B1QM), rate, noise_B2)
    return jnp.einsum("BHQM,BHMU->BHQU", weights_BHQM.astype(v_BHMU.dtype), v_BHMU)


def padding_mask(
    query_segments_BQ: Int[Array, "batch query"], memory_segments_BM: Int[Array, "batch memory"]
) -> Bool[Array, "batch 1 query memory"]:
    """A slot looks at the slots of its own sentence; 0 marks padding, which nobody looks at."""
    same_BQM = query_segments_BQ[:, :, None] == memory_segments_BM[:, None, :]
    return (same_BQM & (memory_segments_BM > 0)[:, None, :])[:, None]


def causal_mask(segments_BT: Int[Array, "batch target"]) -> Bool[Array, "batch 1 target target"]:
    """As `padding_mask`, and never ahead (§3.2.3): slots of a sentence stand in its order."""
    size = segments_BT.shape[1]
    past_11TT = jnp.tril(jnp.ones((size, size), bool))[None, None]
    return padding_mask(segments_BT, segments_BT) & past_11TT


def sinusoids(
    positions_BT: Int[Array, "batch target"], d_model: int, layout: str
) -> Float[Array, "batch target d_model"]:
    """Positional encoding (§3.5). `interleaved` is the paper's formula: sine on even dimensions,
    cosine on odd ones, frequency 10000^(−2i/d_model). `halves` is tensor2tensor's (and Marian's)
    layout: all sines, then all cosines, frequency 10000^(−i/(d_model/2−1)). `huggingface` has that
    layout and the paper's frequencies, as Hugging Face's copy of Marian does.
    """
    half = d_model // 2
    denominator = max(half - 1, 1) if layout == "halves" else half
    frequency = np.exp(-math.log(10_000.0) * np.arange(half) / denominator).astype(np.float32)
    angle_BTh = positions_BT[:, :, None].astype(jnp.float32) * frequency[None, None, :]
    sine_BTh, cosine_BTh = jnp.sin(angle_BTh), jnp.cos(angle_BTh)
    if layout == "interleaved":
        return jnp.stack([sine_BTh, cosine_BTh], axis=-1).reshape(*positions_BT.shape, d_model)
    return jnp.concatenate([sine_BTh, cosine_BTh], axis=-1)


class MultiHeadAttention(nnx.Module):
    """Multi-head attention (§3.2.2) with W^Q, W^K, W^V, W^O and, as in T2T's 2017 code, biases.

    The parameter counts of Table 3 favour the biases, which the paper's formula does not show.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        heads = config.num_heads
        self.query = Dense(config.d_model, heads * config.d_k, rngs=rngs)
        self.key = Dense(config.d_model, heads * config.d_k, rngs=rngs)
        self.value = Dense(config.d_model, heads * config.d_v, rngs=rngs)
        self.out = Dense(heads * config.d_v, config.d_model, rngs=rngs)

    @jax.named_scope("attention")
    def queries(
        self, x_BQD: Float[Array, "batch query d_model"]
    ) -> Float[Array, "batch heads query d_k"]:
        return self._split(self.query(x_BQD))

    @jax.named_scope("attention")
    def keys_values(
        self, memory_BMD: Float[Array, "batch memory d_model"]
    ) -> tuple[Float[Array, "batch heads memory d_k"], Float[Array, "batch heads memory d_v"]]:
        return self._split(self.key(memory_BMD)), self._split(self.value(memory_BMD))

    @jax.named_scope("attention")
    def attend(
        self,
        q_BHQK: Float[Array, "batch heads query d_k"],
        k_BHMK: Float[Array, "batch heads memory d_k"],
        v_BHMU: Float[Array, "batch heads memory d_v"],
        mask_B1QM: Bool[Array, "#batch 1 #query memory"],
        noise_B2: Noise | None = None,
    ) -> Float[Array, "batch query d_model"]:
        rate = self.config.attention_dropout_rate
        out_BHQU = attention(q_BHQK, k_BHMK, v_BHMU, mask_B1QM, rate, noise_B2)
        out_BQHU = jnp.swapaxes(out_BHQU, 1, 2)
        return self.out(out_BQHU.reshape(*out_BQHU.shape[:2], -1))

    def __call__(
        self,
        x_BQD: Float[Array, "batch query d_model"],
        memory_BMD: Float[Array, "batch memory d_model"],
        mask_B1QM: Bool[Array, "#batch 1 #query memory"],
        noise_B2: Noise | None = None,
    ) -> Float[Array, "batch query d_model"]:
        config = self.config
        if use_kernels():
            from aiayn.model.kernels import attention as kernels

            if kernels.fits(config.d_k, config.d_v, config.attention_dropout_rate):
                return self._by_kernel(kernels.attention, x_BQD, memory_BMD, mask_B1QM)
        k_BHMK, v_BHMU = self.keys_values(memory_BMD)
        return self.attend(self.queries(x_BQD), k_BHMK, v_BHMU, mask_B1QM, noise_B2)

    @jax.named_scope("attention")
    def _by_kernel(
        self,
        kernel: Callable[..., Any],
        x_BQD: Float[Array, "batch query d_model"],
        memory_BMD: Float[Array, "batch memory d_model"],
        mask_B1QM: Bool[Array, "#batch 1 #query memory"],
    ) -> Float[Array, "batch query d_model"]:
        """The same by a kernel, and by one product for all that is made of the same states."""
        dtype = x_BQD.dtype

        def projected(x: Array, *maps: Dense) -> tuple[Array, Array]:
            weight = jnp.concatenate([each.kernel[...].astype(dtype) for each in maps], axis=1)
            bias = jnp.concatenate([each.bias[...] for each in maps])
            y = x @ weight + lax.stop_gradient(bias).astype(dtype)[None, None]
            return y.reshape(*x.shape[:2], -1, self.config.d_k), bias

        if x_BQD is memory_BMD:
            parts = [projected(x_BQD, self.query, self.key, self.value)]
        else:
            parts = [projected(x_BQD, self.query), projected(memory_BMD, self.key, self.value)]
        heads, biases = zip(*parts, strict=True)
        shape = len(x_BQD), 1, x_BQD.shape[1], memory_BMD.shape[1]
        mask_B1QM = jnp.broadcast_to(mask_B1QM, shape)
        out_BQHK = kernel(heads, biases, mask_B1QM, self.config.num_heads)
        return self.out(out_BQHK.reshape(*x_BQD.shape[:2], -1))

    def weights(
        self,
        x_BQD: Float[Array, "batch query d_model"],
        memory_BMD: Float[Array, "batch memory d_model"],
        mask_B1QM: Bool[Array, "#batch 1 #query memory"],
    ) -> Float[Array, "batch heads query memory"]:
        """What each head looks at, for pictures."""
        k_BHMK, _ = self.keys_values(memory_BMD)
        return attention_weights(self.queries(x_BQD), k_BHMK, mask_B1QM)

    def _split(
        self, x: Float[Array, "batch slots width"]
    ) -> Float[Array, "batch heads slots each"]:
        """The heads apart, and before the slots: as products want them."""
        return jnp.swapaxes(x.reshape(*x.shape[:2], self.config.num_heads, -1), 1, 2)


def activation(config: ModelConfig) -> Callable[[Array], Array]:
    """What stands between the two maps of the feed-forward network."""
    return _relu if config.activation == "relu" else jax.nn.swish


@jax.custom_jvp
def _relu(x: Array) -> Array:
    return jnp.maximum(x, 0)


@_relu.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """By what comes out, not by what went in: so that nothing but the output need be kept."""
    y = _relu(*primals)
    return y, jnp.where(y != 0, tangents[0], 0)


class FeedForward(nnx.Module):
    """max(0, x W₁ + b₁) W₂ + b₂ (§3.3, eq. 2), or with swish in the place of max."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.inner = Dense(config.d_model, config.d_ff, rngs=rngs)
        self.outer = Dense(config.d_ff, config.d_model, rngs=rngs)

    @jax.named_scope("feed_forward")
    def __call__(
        self, x_BTD: Float[Array, "batch target d_model"], noise_B2: Noise | None = None
    ) -> Float[Array, "batch target d_model"]:
        hidden_BTF = activation(self.config)(self.inner(x_BTD))
        return self.outer(dropout(hidden_BTF, self.config.relu_dropout_rate, noise_B2))


class EncoderLayer(nnx.Module):
    """Self-attention, feed-forward; LayerNorm(x + Dropout(Sublayer(x))) around each (§3.1)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.rate = config.dropout_rate
        self.self_attention = MultiHeadAttention(config, rngs=rngs)
        self.self_norm = LayerNorm(config.d_model, config.layer_norm_epsilon)
        self.feed_forward = FeedForward(config, rngs=rngs)
        self.feed_forward_norm = LayerNorm(config.d_model, config.layer_norm_epsilon)

    def __call__(
        self,
        x_BSD: Float[Array, "batch source d_model"],
        mask_B1SS: Bool[Array, "batch 1 source source"],
        noise_B2: Noise | None = None,
    ) -> Float[Array, "batch source d_model"]:
        y_BSD = self.self_attention(x_BSD, x_BSD, mask_B1SS, fold(noise_B2, 0))
        x_BSD = add_and_norm(self.self_norm, x_BSD, y_BSD, self.rate, fold(noise_B2, 1))
        y_BSD = self.feed_forward(x_BSD, fold(noise_B2, 2))
        return add_and_norm(self.feed_forward_norm, x_BSD, y_BSD, self.rate, fold(noise_B2, 3))


class DecoderLayer(nnx.Module):
    """Causal self-attention, attention over the memory, feed-forward (§3.1)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.rate = config.dropout_rate
        self.self_attention = MultiHeadAttention(config, rngs=rngs)
        self.self_norm = LayerNorm(config.d_model, config.layer_norm_epsilon)
        self.cross_attention = MultiHeadAttention(config, rngs=rngs)
        self.cross_norm = LayerNorm(config.d_model, config.layer_norm_epsilon)
        self.feed_forward = FeedForward(config, rngs=rngs)
        self.feed_forward_norm = LayerNorm(config.d_model, config.layer_norm_epsilon)

    def __call__(
        self,
        x_BTD: Float[Array, "batch target d_model"],
        memory_BSD: Float[Array, "batch source d_model"],
        self_mask_B1TT: Bool[Array, "batch 1 target target"],
        cross_mask_B1TS: Bool[Array, "batch 1 target source"],
        noise_B2: Noise | None = None,
    ) -> Float[Array, "batch target d_model"]:
        y_BTD = self.self_attention(x_BTD, x_BTD, self_mask_B1TT, fold(noise_B2, 0))
        x_BTD = add_and_norm(self.self_norm, x_BTD, y_BTD, self.rate, fold(noise_B2, 1))
        y_BTD = self.cross_attention(x_BTD, memory_BSD, cross_mask_B1TS, fold(noise_B2, 2))
        x_BTD = add_and_norm(self.cross_norm, x_BTD, y_BTD, self.rate, fold(noise_B2, 3))
        y_BTD = self.feed_forward(x_BTD, fold(noise_B2, 4))
        return add_and_norm(self.feed_forward_norm, x_BTD, y_BTD, self.rate, fold(noise_B2, 5))


class Transformer(nnx.Module):
    """Encoder, decoder and the one matrix that embeds both languages and predicts words (§3.4).

    The matrix has a row for every word of the tokenizer, then unused ones up to a multiple of 128;
    their logits are the lowest float, so they are never predicted and take no probability.
    """

    def __init__(self, config: ModelConfig, num_words: int, *, rngs: nnx.Rngs):
        self.config = config
        self.num_words = num_words
        num_rows = -(-num_words // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
        scale = config.d_model**-0.5
        self.embedding = nnx.Param(_normal(rngs.params(), (num_rows, config.d_model), scale))
        if config.positions == "learned":
            shape = (config.max_positions, config.d_model)
            self.src_positions = nnx.Param(_normal(rngs.params(), shape, scale))
            self.tgt_positions = nnx.Param(_normal(rngs.params(), shape, scale))
        if config.logits_bias:
            self.logits_bias = nnx.Param(jnp.zeros((num_rows,), jnp.float32))
        if config.target_space_embedding:
            shape = (NUM_TARGET_SPACES, config.d_model)
            glorot = nnx.initializers.glorot_uniform()
            self.target_space = nnx.Param(glorot(rngs.params(), shape, jnp.float32))
        self.encoder = nnx.List([EncoderLayer(config, rngs=rngs) for _ in range(config.num_layers)])
        self.decoder = nnx.List([DecoderLayer(config, rngs=rngs) for _ in range(config.num_layers)])

    def __call__(
        self, rows: Rows, noise_B2: Noise | None = None
    ) -> Float[Array, "batch target vocabulary"]:
        """Logits of the next target word at every slot (§3.1); `noise_B2` switches dropout on."""
        return self.logits(self.features(rows, noise_B2))

    def features(
        self, rows: Rows, noise_B2: Noise | None = None
    ) -> Float[Array, "batch target d_model"]:
        """Encoder and decoder together, up to the shared matrix."""
        memory_BSD = self.encode(
            rows.src_BS, rows.src_segments_BS, rows.src_positions_BS, fold(noise_B2, 0)
        )
        return self.decode(rows, memory_BSD, fold(noise_B2, 1))

    def encode(
        self,
        src_BS: Int[Array, "batch source"],
        segments_BS: Int[Array, "batch source"],
        positions_BS: Int[Array, "batch source"],
        noise_B2: Noise | None = None,
    ) -> Float[Array, "batch source d_model"]:
        """The memory: the encoder's output as the decoder sees it."""
        x_BSD = self.embed(src_BS, positions_BS, "src")
        x_BSD = dropout(x_BSD, self.config.dropout_rate, fold(noise_B2, 0))
        mask_B1SS = padding_mask(segments_BS, segments_BS)
        apply = _traced_once()
        for number, layer in enumerate(self.encoder):
            x_BSD = apply(layer, x_BSD, mask_B1SS, fold(noise_B2, 1 + number))
        return x_BSD

    def decode(
        self,
        rows: Rows,
        memory_BSD: Float[Array, "batch source d_model"],
        noise_B2: Noise | None = None,
    ) -> Float[Array, "batch target d_model"]:
        """The decoder's output at every target slot, before the shared matrix."""
        x_BTD = self.embed(rows.tgt_in_BT, rows.tgt_positions_BT, "tgt")
        x_BTD = dropout(x_BTD, self.config.dropout_rate, fold(noise_B2, 0))
        self_mask_B1TT = causal_mask(rows.tgt_segments_BT)
        cross_mask_B1TS = padding_mask(rows.tgt_segments_BT, rows.src_segments_BS)
        masks = self_mask_B1TT, cross_mask_B1TS
        apply = _traced_once()
        for number, layer in enumerate(self.decoder):
            x_BTD = apply(layer, x_BTD, memory_BSD, *masks, fold(noise_B2, 1 + number))
        return x_BTD

    @jax.named_scope("embedding")
    def embed(
        self,
        ids_BT: Int[Array, "batch target"],
        positions_BT: Int[Array, "batch target"],
        side: str,
    ) -> Float[Array, "batch target d_model"]:
        """Embedding times √d_model plus position (§3.4, §3.5), in the type of the matmuls."""
        x_BTD = self.embedding[...][ids_BT] * self.config.d_model**0.5
        if side == "src" and self.config.target_space_embedding:
            x_BTD = x_BTD + self.target_space[...][None, :1]
        if self.config.positions == "learned":
            table = self.src_positions if side == "src" else self.tgt_positions
            x_BTD = x_BTD + table[...][positions_BT]
        else:
            x_BTD = x_BTD + sinusoids(positions_BT, self.config.d_model, self.config.positions)
        return x_BTD.astype(matmul_dtype(self.config))

    @jax.named_scope("logits")
    def logits(
        self, x_BTD: Float[Array, "batch target d_model"]
    ) -> Float[Array, "batch target vocabulary"]:
        """Scores of every word at every slot (§3.4)."""
        return word_logits(x_BTD, self.embedding[...], self.num_words, self.bias_V)

    @property
    def bias_V(self) -> Float[Array, " vocabulary"] | None:
        """What is added to the logits; the paper's model adds nothing."""
        return self.logits_bias[...] if self.config.logits_bias else None


def _traced_once() -> Callable[..., Array]:
    """A function that applies a layer to its arguments, for all layers of one stack.

    They are alike but for their parameters: JAX traces the first alone, and XLA puts the program of
    each in its place. The function is new each time, since JAX would not trace an old one again
    where something that it calls was replaced.
    """

    @partial(jax.jit, static_argnums=0)
    def apply(graphdef: nnx.GraphDef[Any], params: Any, *arguments: Any) -> Array:
        return nnx.merge(graphdef, params)(*arguments)

    return lambda layer, *arguments: apply(*nnx.split(layer), *arguments)


@partial(jax.jit, static_argnums=(1, 2))
def _normal(key: Key[Array, ""], shape: tuple[int, int], scale: float) -> Float[Array, "*shape"]:
    """Gaussian with mean 0; one program, since its factors round otherwise one by one."""
    return nnx.initializers.normal(scale)(key, shape, jnp.float32)


def word_logits(
    x: Float[Array, "*shape d_model"],
    embedding_VD: Float[Array, "vocabulary d_model"],
    num_words: int,
    bias_V: Float[Array, " vocabulary"] | None = None,
) -> Float[Array, "*shape vocabulary"]:
    """x times the transposed embedding (§3.4); the lowest float in the columns of no word."""
    logits = x @ embedding_VD.astype(x.dtype).T
    if bias_V is not None:
        logits = logits + bias_V.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
    return only_words(logits, num_words)


def only_words(
    logits: Float[Array, "*shape vocabulary"], num_words: int
) -> Float[Array, "*shape vocabulary"]:
    """The lowest float in the columns of no word."""
    if num_words == logits.shape[-1]:
        return logits
    shape = *logits.shape[:-1], logits.shape[-1] - num_words
    lowest = jnp.full(shape, jnp.finfo(logits.dtype).min, logits.dtype)
    return lax.dynamic_update_slice_in_dim(logits, lowest, num_words, axis=-1)


def matmul_dtype(config: ModelConfig) -> jnp.dtype:
    """bfloat16 on accelerators and float32 on CPU, unless the config names one."""
    if config.matmul_dtype == "auto":
        return jnp.dtype("float32" if jax.default_backend() == "cpu" else "bfloat16")
    return jnp.dtype(config.matmul_dtype)
