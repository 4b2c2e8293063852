"""The Transformer (§3), from eq. 1 upwards.

A suffix gives an array's axes: B batch, S source, T target, Q query, M memory, D d_model, H heads,
K d_k, U d_v, F d_ff, V vocabulary, W beam, 1 broadcast. A mask is True where looking is allowed.
What T2T, Marian, Hugging Face and GPT-1 do otherwise stands after it in each class.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from aiayn.config import ModelConfig
from aiayn.data.rows import Rows
from aiayn.model.dropout import Noise, dropout, fold
from aiayn.model.kernels import attention_kernel
from aiayn.model.layers import (
    Dense,
    LayerNorm,
    add_and_norm,
    first_matrix,
    first_vectors,
    relu,
    word_logits,
)
from aiayn.model.loss import Sums, smoothed_cross_entropy
from aiayn.model.stack import traced_once

VOCABULARY_MULTIPLE = 128
NUM_TARGET_SPACES = 32
"""Rows of T2T's table of target languages. A model of one direction uses and trains the first."""


def attention_weights(
    q_BHQK: Float[Array, "batch heads query d_k"],
    k_BHMK: Float[Array, "batch heads memory d_k"],
    mask_B1QM: Bool[Array, "#batch 1 #query memory"],
) -> Float[Array, "batch heads query memory"]:
    """softmax(QKᵀ/√d_k) of eq. 1, in float32 (§3.2.1).

    A query that may look nowhere looks everywhere equally instead of giving NaN; such queries are
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
    """A slot looks at the slots of its own sentence; segment 0 is padding, which none looks at."""
    same_BQM = query_segments_BQ[:, :, None] == memory_segments_BM[:, None, :]
    return (same_BQM & (memory_segments_BM > 0)[:, None, :])[:, None]


def causal_mask(segments_BT: Int[Array, "batch target"]) -> Bool[Array, "batch 1 target target"]:
    """`padding_mask` without looking ahead (§3.2.3); a row holds its sentences' words in order."""
    size = segments_BT.shape[1]
    past_11TT = jnp.tril(jnp.ones((size, size), bool))[None, None]
    return padding_mask(segments_BT, segments_BT) & past_11TT


def sinusoids(
    positions_BT: Int[Array, "batch target"], d_model: int, layout: str = "interleaved"
) -> Float[Array, "batch target d_model"]:
    """Positional encoding (§3.5): PE(pos, 2i) = sin(pos / 10000^(2i/d_model)), PE(pos, 2i+1) its
    cosine. `layout` names the paper's order and frequencies or another toolkit's.
    """
    if layout != "interleaved":
        return _sines_then_cosines(positions_BT, d_model, layout)
    sine_BTh, cosine_BTh = _waves(positions_BT, d_model // 2, denominator=d_model // 2)
    return jnp.stack([sine_BTh, cosine_BTh], axis=-1).reshape(*positions_BT.shape, d_model)


def _waves(
    positions_BT: Int[Array, "batch target"], half: int, denominator: int
) -> tuple[Float[Array, "batch target half"], Float[Array, "batch target half"]]:
    """Sines and cosines of pos · 10000^(−i/denominator) for i from 0 to half−1."""
    frequency_h = np.exp(-math.log(10_000.0) * np.arange(half) / denominator).astype(np.float32)
    angle_BTh = positions_BT[:, :, None].astype(jnp.float32) * frequency_h[None, None, :]
    return jnp.sin(angle_BTh), jnp.cos(angle_BTh)


class MultiHeadAttention(nnx.Module):
    """Multi-head attention (§3.2.2) with W^Q, W^K, W^V, W^O and, as in T2T's 2017 code, biases.

    The parameter counts of Table 3 favour the biases, which the paper's formula does not show.
    """

    def __init__(self, config: ModelConfig, is_cross: bool = False, *, rngs: nnx.Rngs):
        self.config = config
        heads, drawn = config.num_heads, config.initializer
        keys, values = heads * config.d_k, heads * config.d_v
        # Maps of one input: the queries of a cross read another than its keys and values.
        joint = keys + values if is_cross else keys + keys + values
        self.query = Dense(config.d_model, keys, drawn, 0 if is_cross else joint, rngs=rngs)
        self.key = Dense(config.d_model, keys, drawn, joint, rngs=rngs)
        self.value = Dense(config.d_model, values, drawn, joint, rngs=rngs)
        self.out = Dense(values, config.d_model, drawn, rngs=rngs)

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

    @jax.named_scope("attention")
    def __call__(
        self,
        x_BQD: Float[Array, "batch query d_model"],
        memory_BMD: Float[Array, "batch memory d_model"],
        mask_B1QM: Bool[Array, "#batch 1 #query memory"],
        noise_B2: Noise | None = None,
    ) -> Float[Array, "batch query d_model"]:
        if kernel := attention_kernel(self.config):
            maps, heads = (self.query, self.key, self.value), self.config.num_heads
            return self.out(kernel(*maps, x_BQD, memory_BMD, mask_B1QM, heads))
        k_BHMK, v_BHMU = self.keys_values(memory_BMD)
        return self.attend(self.queries(x_BQD), k_BHMK, v_BHMU, mask_B1QM, noise_B2)

    def weights(
        self,
        x_BQD: Float[Array, "batch query d_model"],
        memory_BMD: Float[Array, "batch memory d_model"],
        mask_B1QM: Bool[Array, "#batch 1 #query memory"],
    ) -> Float[Array, "batch heads query memory"]:
        """The weights of each head, for pictures (Figures 3 to 5)."""
        k_BHMK, _ = self.keys_values(memory_BMD)
        return attention_weights(self.queries(x_BQD), k_BHMK, mask_B1QM)

    def _split(
        self, x: Float[Array, "batch slots width"]
    ) -> Float[Array, "batch heads slots each"]:
        """The heads apart, on an axis before the slots: the layout that matrix products need."""
        return jnp.swapaxes(x.reshape(*x.shape[:2], self.config.num_heads, -1), 1, 2)


class FeedForward(nnx.Module):
    """max(0, x W₁ + b₁) W₂ + b₂ (§3.3, eq. 2)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.inner = Dense(config.d_model, config.d_ff, config.initializer, rngs=rngs)
        self.outer = Dense(config.d_ff, config.d_model, config.initializer, rngs=rngs)

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
        self.cross_attention = MultiHeadAttention(config, is_cross=True, rngs=rngs)
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


def matmul_dtype(config: ModelConfig) -> jnp.dtype:
    """bfloat16 on accelerators and float32 on CPU, unless the config names one."""
    if config.matmul_dtype == "auto":
        return jnp.dtype("float32" if jax.default_backend() == "cpu" else "bfloat16")
    return jnp.dtype(config.matmul_dtype)


class WordModel(nnx.Module):
    """What every model here has: one matrix that embeds words and predicts them (§3.4), positions
    (§3.5) and the loss (§5.4). `features` is between the two.

    The matrix has a row for every word of the tokenizer, then unused ones up to a multiple of 128.
    The logits of those are the lowest float: they take no probability and are never predicted.
    """

    def __init__(self, config: ModelConfig, num_words: int, *, rngs: nnx.Rngs):
        self.config = config
        self.num_words = num_words
        num_rows = -(-num_words // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
        shape = num_rows, config.d_model
        self.embedding = nnx.Param(first_vectors(rngs.params(), shape, config.initializer))
        self._add_parameters_of_other_layouts(rngs)

    def __call__(
        self, rows: Rows, noise_B2: Noise | None = None
    ) -> Float[Array, "batch target vocabulary"]:
        """Logits of the next target word at every slot (§3.1); `noise_B2` switches dropout on."""
        return self.logits(self.features(rows, noise_B2))

    def features(
        self, rows: Rows, noise_B2: Noise | None = None
    ) -> Float[Array, "batch target d_model"]:
        """The last layer's output at every target slot, before the shared matrix."""
        raise NotImplementedError

    def loss(
        self,
        rows: Rows,
        noise_B2: Noise | None = None,
        smoothing: float = 0.0,
        over: str = "all",
    ) -> Sums:
        """The smoothed and the plain loss of all target words, in nats (§5.4)."""
        return smoothed_cross_entropy(
            self.features(rows, noise_B2),
            self.output_VD,
            rows.tgt_out_BT,
            rows.weight_BT,
            self.num_outputs,
            smoothing,
            over,
            self.bias_V,
        )

    @jax.named_scope("embedding")
    def embed(
        self,
        ids_BT: Int[Array, "batch target"],
        positions_BT: Int[Array, "batch target"],
        side: str,
    ) -> Float[Array, "batch target d_model"]:
        """Embedding times √d_model plus position (§3.4, §3.5), in the type of the products."""
        x_BTD = self.embed_words(ids_BT, side) + self._position_encodings(positions_BT, side)
        return x_BTD.astype(matmul_dtype(self.config))

    def embed_words(
        self, ids_BT: Int[Array, "batch target"], side: str
    ) -> Float[Array, "batch target d_model"]:
        """Embedding times √d_model (§3.4): words without their places."""
        x_BTD = self.embedding[...][ids_BT]
        x_BTD = x_BTD * self.config.d_model**0.5 if self.config.scale_embedding else x_BTD
        return self._with_target_space(x_BTD, side)

    @jax.named_scope("logits")
    def logits(
        self, x_BTD: Float[Array, "batch target d_model"]
    ) -> Float[Array, "batch target vocabulary"]:
        """Scores of every word at every slot (§3.4)."""
        return word_logits(x_BTD, self.output_VD, self.num_outputs, self.bias_V)

    @property
    def num_outputs(self) -> int:
        """Words that can be predicted: all, or as many of the first as the config says."""
        return self.config.num_outputs or self.num_words

    @property
    def output_VD(self) -> Float[Array, "outputs d_model"]:
        """The rows of the matrix that predict words."""
        return self.embedding[...][: self.config.num_outputs or None]

    # --- Other layouts: learned positions (Table 3, row E), T2T, Marian, GPT-1 ------------------

    def _add_parameters_of_other_layouts(self, rngs: nnx.Rngs) -> None:
        config, num_rows, drawn = self.config, self.embedding.shape[0], self.config.initializer
        if config.positions == "learned":
            shape = config.max_positions, config.d_model
            if config.kind == "encoder_decoder":
                self.src_positions = nnx.Param(first_vectors(rngs.params(), shape, drawn))
            self.tgt_positions = nnx.Param(first_vectors(rngs.params(), shape, drawn))
        if config.logits_bias:
            self.logits_bias = nnx.Param(jnp.zeros((num_rows,), jnp.float32))
        if config.target_space_embedding:
            shape = NUM_TARGET_SPACES, config.d_model
            self.target_space = nnx.Param(first_matrix(rngs.params(), shape, drawn))

    def _position_encodings(
        self, positions_BT: Int[Array, "batch target"], side: str
    ) -> Float[Array, "batch target d_model"]:
        """Sinusoids (§3.5), or the rows of a learned table."""
        if self.config.positions != "learned":
            return sinusoids(positions_BT, self.config.d_model, self.config.positions)
        table = self.src_positions if side == "src" else self.tgt_positions
        return table[...][positions_BT]

    def _with_target_space(
        self, x_BTD: Float[Array, "batch target d_model"], side: str
    ) -> Float[Array, "batch target d_model"]:
        """T2T adds a vector for the target language to every source word."""
        if side == "src" and self.config.target_space_embedding:
            return x_BTD + self.target_space[...][None, :1]
        return x_BTD

    @property
    def bias_V(self) -> Float[Array, " vocabulary"] | None:
        """Marian adds a learned bias to the logits; the paper's model has none."""
        return self.logits_bias[...] if self.config.logits_bias else None


class Transformer(WordModel):
    """Encoder, decoder and the one matrix that embeds both languages and predicts words (§3)."""

    def __init__(self, config: ModelConfig, num_words: int, *, rngs: nnx.Rngs):
        super().__init__(config, num_words, rngs=rngs)
        self.encoder = nnx.List([EncoderLayer(config, rngs=rngs) for _ in range(config.num_layers)])
        self.decoder = nnx.List([DecoderLayer(config, rngs=rngs) for _ in range(config.num_layers)])

    def features(
        self, rows: Rows, noise_B2: Noise | None = None
    ) -> Float[Array, "batch target d_model"]:
        """The decoder's output at every target slot, before the shared matrix."""
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
        for number, layer in enumerate(traced_once(self.encoder)):
            x_BSD = layer(x_BSD, mask_B1SS, fold(noise_B2, 1 + number))
        return x_BSD

    def decode(
        self,
        rows: Rows,
        memory_BSD: Float[Array, "batch source d_model"],
        noise_B2: Noise | None = None,
    ) -> Float[Array, "batch target d_model"]:
        """The decoder's output for this memory."""
        x_BTD = self.embed(rows.tgt_in_BT, rows.tgt_positions_BT, "tgt")
        x_BTD = dropout(x_BTD, self.config.dropout_rate, fold(noise_B2, 0))
        self_mask_B1TT = causal_mask(rows.tgt_segments_BT)
        cross_mask_B1TS = padding_mask(rows.tgt_segments_BT, rows.src_segments_BS)
        masks = self_mask_B1TT, cross_mask_B1TS
        for number, layer in enumerate(traced_once(self.decoder)):
            x_BTD = layer(x_BTD, memory_BSD, *masks, fold(noise_B2, 1 + number))
        return x_BTD


def _sines_then_cosines(
    positions_BT: Int[Array, "batch target"], d_model: int, layout: str
) -> Float[Array, "batch target d_model"]:
    """All sines, then all cosines. `halves` is T2T's and Marian's layout, with the frequencies
    10000^(−i/(d_model/2−1)); `huggingface`, in its copy of Marian, has the paper's frequencies.
    """
    half = d_model // 2
    denominator = max(half - 1, 1) if layout == "halves" else half
    return jnp.concatenate(_waves(positions_BT, half, denominator), axis=-1)


def activation(config: ModelConfig) -> Callable[[Array], Array]:
    """The function between the two maps of the feed-forward network (§3.3)."""
    return {"relu": relu, "swish": jax.nn.swish, "gelu": jax.nn.gelu}[config.activation]
