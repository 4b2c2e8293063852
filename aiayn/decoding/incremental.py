"""The decoder one word at a time, with earlier words in a cache (§3.1), for the search.

Here features come first and hypotheses last, and each weight is the left factor of its product. On
CPU a product with few columns takes half the time of one with few rows, because the weight is read
in the order it has in memory and the other factor is small. Weights are laid out once, for all
searches.

Shapes as in `aiayn.model.transformer`, and N for batch · beam, sentence after sentence.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from aiayn.model.language_model import LanguageModel
from aiayn.model.layers import Dense
from aiayn.model.structure import Params
from aiayn.model.transformer import (
    DecoderLayer,
    EncoderLayer,
    Transformer,
    activation,
    attention,
    causal_mask,
    matmul_dtype,
)

AnyModel = Transformer | LanguageModel
_BIAS_COLUMNS = 8
"""One for the bias; the others are zero and keep the rows aligned for vector instructions."""


class LayerCache(NamedTuple):
    """One layer's keys and values; the keys lie in the order that the product of scores needs.

    `self_*` have a slot for every place of the beam at each word of an output, word by word. The
    slots are never moved: a hypothesis that grew from another place of the beam reads the slots its
    words were written to. `cross_*` are computed once per source sentence; a language model has
    none.
    """

    self_k: Float[Array, "batch heads d_k slots"]
    self_v: Float[Array, "batch heads slots d_v"]
    cross_k: Float[Array, "batch heads d_k source"] | None = None
    cross_v: Float[Array, "batch heads source d_v"] | None = None


class _Affine(NamedTuple):
    """W x + b for columns x."""

    kernel_OI: Float[Array, "outputs inputs"]
    bias_O1: Float[Array, "outputs 1"]

    def __call__(self, x_IN: Float[Array, "inputs columns"]) -> Float[Array, "outputs columns"]:
        return self.kernel_OI @ x_IN + self.bias_O1


def _affine(dtype: jnp.dtype, *maps: Dense) -> _Affine:
    """Several maps of the same input as one, with their outputs one after another."""
    kernel = jnp.concatenate([each.kernel[...] for each in maps], axis=1)
    bias = jnp.concatenate([each.bias[...] for each in maps])
    return _Affine(kernel.astype(dtype).T, bias.astype(dtype)[:, None])


class _CrossWeights(NamedTuple):
    query: _Affine
    out: _Affine


class _LayerWeights(NamedTuple):
    qkv: _Affine
    self_out: _Affine
    cross: _CrossWeights | None
    """Of encoder-decoder attention; a language model has none."""
    inner: _Affine
    outer: _Affine


class Weights(NamedTuple):
    """The decoder's weights, in the type and the order that a step needs."""

    layers: tuple[_LayerWeights, ...]
    table_VE: Float[Array, "vocabulary extended"]
    """The shared matrix, with the bias as one more column, to be multiplied by a 1 below each
    output. The bias of unused rows is the lowest float. A bias or a mask added to the product would
    be one more pass over all logits."""


@partial(jax.jit, static_argnums=0)
def lay_out(graphdef: nnx.GraphDef[AnyModel], params: Params) -> Weights:
    """The weights of a model as a step needs them."""
    model: AnyModel = nnx.merge(graphdef, params)
    dtype = matmul_dtype(model.config)
    layers: list[_LayerWeights] = []
    for layer in model.decoder:
        own, net = layer.self_attention, layer.feed_forward
        cross = None
        if isinstance(layer, DecoderLayer):
            of_query, of_out = layer.cross_attention.query, layer.cross_attention.out
            cross = _CrossWeights(_affine(dtype, of_query), _affine(dtype, of_out))
        layers.append(
            _LayerWeights(
                qkv=_affine(dtype, own.query, own.key, own.value),
                self_out=_affine(dtype, own.out),
                cross=cross,
                inner=_affine(dtype, net.inner),
                outer=_affine(dtype, net.outer),
            )
        )
    table_VD = model.output_VD.astype(dtype)
    bias_V = jnp.zeros(len(table_VD)) if model.bias_V is None else model.bias_V
    is_word_V = jnp.arange(len(table_VD)) < model.num_outputs
    bias_V = jnp.where(is_word_V, bias_V.astype(dtype), jnp.finfo(dtype).min)
    more = jnp.pad(bias_V[:, None], [(0, 0), (0, _BIAS_COLUMNS - 1)])
    return Weights(tuple(layers), jnp.concatenate([table_VD, more], axis=1))


class _Layer:
    """A decoder layer for one more word of each hypothesis."""

    def __init__(self, layer: DecoderLayer | EncoderLayer, weights: _LayerWeights):
        self.layer = layer
        self.config = layer.feed_forward.config
        self.weights = weights

    def __call__(
        self,
        x_DN: Float[Array, "d_model columns"],
        cache: LayerCache,
        slot_B: Int[Array, " batch"],
        self_mask_B1WM: Bool[Array, "batch 1 beam slots"],
        cross_mask_B11S: Bool[Array, "batch 1 1 source"],
    ) -> tuple[Float[Array, "d_model columns"], LayerCache]:
        layer, weights, batch = self.layer, self.weights, len(self_mask_B1WM)
        keys = self.config.num_heads * self.config.d_k
        with jax.named_scope("attention"):
            q, k, v = jnp.split(weights.qkv(x_DN), (keys, 2 * keys))
            k_BHKW, v_BHWU = jnp.swapaxes(self._heads(k, batch), 2, 3), self._heads(v, batch)
            # A scatter, which XLA does in place; one update a sentence would be many kernels.
            at_columns, at_rows = (
                jax.vmap(partial(lax.dynamic_update_slice_in_dim, axis=axis)) for axis in (2, 1)
            )
            cache = cache._replace(
                self_k=at_columns(cache.self_k, k_BHKW, slot_B),
                self_v=at_rows(cache.self_v, v_BHWU, slot_B),
            )
            y_DN = weights.self_out(self._attend(q, cache.self_k, cache.self_v, self_mask_B1WM))
        x_DN = layer.self_norm(x_DN + y_DN, axis=0)
        if isinstance(layer, DecoderLayer) and weights.cross:
            assert cache.cross_k is not None
            assert cache.cross_v is not None
            with jax.named_scope("attention"):
                q = weights.cross.query(x_DN)
                y_DN = self._attend(q, cache.cross_k, cache.cross_v, cross_mask_B11S)
                y_DN = weights.cross.out(y_DN)
            x_DN = layer.cross_norm(x_DN + y_DN, axis=0)
        with jax.named_scope("feed_forward"):
            y_DN = weights.outer(activation(self.config)(weights.inner(x_DN)))
        return layer.feed_forward_norm(x_DN + y_DN, axis=0), cache

    def _heads(
        self, x: Float[Array, "features columns"], batch: int
    ) -> Float[Array, "batch heads beam each"]:
        each = x.reshape(self.config.num_heads, -1, batch, x.shape[1] // batch)
        return each.transpose(2, 0, 3, 1)

    def _attend(
        self,
        q: Float[Array, "queries columns"],
        k_BHKM: Float[Array, "batch heads d_k memory"],
        v_BHMU: Float[Array, "batch heads memory d_v"],
        mask_B1QM: Bool[Array, "batch 1 #beam memory"],
    ) -> Float[Array, "values columns"]:
        k_BHMK = jnp.swapaxes(k_BHKM, 2, 3)
        y_BHWU = attention(self._heads(q, len(v_BHMU)), k_BHMK, v_BHMU, mask_B1QM)
        return y_BHWU.transpose(1, 3, 0, 2).reshape(-1, q.shape[1])


@jax.named_scope("logits")
def _logits(
    x_DN: Float[Array, "d_model columns"], table_VE: Float[Array, "vocabulary extended"]
) -> Float[Array, "vocabulary columns"]:
    """Scores of every word (§3.4), as `aiayn.model.transformer.word_logits` gives them."""
    ones = jnp.ones((_BIAS_COLUMNS, x_DN.shape[1]), x_DN.dtype)
    return table_VE @ jnp.concatenate([x_DN, ones])


class IncrementalDecoder:
    """The decoder of a model, one word at a time, with the weights that `lay_out` made of it."""

    def __init__(self, model: AnyModel, weights: Weights):
        self.model = model
        self.layers = [_Layer(*each) for each in zip(model.decoder, weights.layers, strict=True)]
        self.table_VE = weights.table_VE

    def start(self, batch: int, beam_size: int, room: int, source: int) -> tuple[LayerCache, ...]:
        """Empty caches for `room` words of `beam_size` hypotheses of each sentence."""
        config, dtype = self.model.config, matmul_dtype(self.model.config)
        heads, slots = config.num_heads, room * beam_size
        one_layer = LayerCache(
            jnp.zeros((batch, heads, config.d_k, slots), dtype),
            jnp.zeros((batch, heads, slots, config.d_v), dtype),
        )
        if isinstance(self.model, Transformer):
            one_layer = one_layer._replace(
                cross_k=jnp.zeros((batch, heads, config.d_k, source), dtype),
                cross_v=jnp.zeros((batch, heads, source, config.d_v), dtype),
            )
        return (one_layer,) * len(self.layers)

    def read(
        self,
        caches: tuple[LayerCache, ...],
        number_G: Int[Array, " group"],
        src_GS: Int[Array, "group source"],
        segments_GS: Int[Array, "group source"],
        positions_GS: Int[Array, "group source"],
    ) -> tuple[LayerCache, ...]:
        """The caches with what the encoder makes of new sentences in the slots `number_G`."""
        assert isinstance(self.model, Transformer)
        memory_GSD = self.model.encode(src_GS, segments_GS, positions_GS)
        updated: list[LayerCache] = []
        for layer, cache in zip(self.model.decoder, caches, strict=True):
            assert isinstance(layer, DecoderLayer)
            assert cache.cross_k is not None
            assert cache.cross_v is not None
            k_GHSK, v_GHSU = layer.cross_attention.keys_values(memory_GSD)
            cross_k = cache.cross_k.at[number_G].set(jnp.swapaxes(k_GHSK, 2, 3))
            cross_v = cache.cross_v.at[number_G].set(v_GHSU)
            updated.append(cache._replace(cross_k=cross_k, cross_v=cross_v))
        return tuple(updated)

    def read_on(
        self,
        caches: tuple[LayerCache, ...],
        number_G: Int[Array, " group"],
        ids_GP: Int[Array, "group prompt"],
        segments_GP: Int[Array, "group prompt"],
        beam_size: int,
    ) -> tuple[LayerCache, ...]:
        """A language model's caches with the words of new texts, read in one pass.

        `ids_GP` begins with BOS, as the input of training does; the keys and values of each word go
        into the slot of its first place of the beam. Padding leaves some where later words come.
        """
        positions_GP = jnp.broadcast_to(jnp.arange(ids_GP.shape[1])[None], ids_GP.shape)
        x_GPD = self.model.embed(ids_GP, positions_GP, "tgt")
        mask_G1PP = causal_mask(segments_GP)
        slots = slice(0, ids_GP.shape[1] * beam_size, beam_size)
        updated: list[LayerCache] = []
        for layer, cache in zip(self.model.decoder, caches, strict=True):
            assert isinstance(layer, EncoderLayer)
            k_GHPK, v_GHPU = layer.self_attention.keys_values(x_GPD)
            self_k = cache.self_k.at[number_G, :, :, slots].set(jnp.swapaxes(k_GHPK, 2, 3))
            self_v = cache.self_v.at[number_G, :, slots].set(v_GHPU)
            updated.append(cache._replace(self_k=self_k, self_v=self_v))
            x_GPD = layer(x_GPD, mask_G1PP)
        return tuple(updated)

    def step(
        self,
        word_BW: Int[Array, "batch beam"],
        caches: tuple[LayerCache, ...],
        position_B: Int[Array, " batch"],
        places_BWT: Int[Array, "batch beam room"],
        src_segments_BS: Int[Array, "batch source"],
    ) -> tuple[Float[Array, "vocabulary columns"], tuple[LayerCache, ...]]:
        """Logits after one more word of each hypothesis; the cached form of `Transformer.decode`.

        `position_B` is the number of words before this one, and says where the word is written: so
        what a sentence's sums are made of is the same whenever it began, bit for bit.
        `places_BWT` is the place of the beam at which each word, this one included, was read.
        """
        batch, beam_size, room = places_BWT.shape
        theirs_BWTW = places_BWT[..., None] == jnp.arange(beam_size)[None, None, None]
        written_B1T1 = (jnp.arange(room)[None] <= position_B[:, None])[:, None, :, None]
        self_mask_B1WM = (theirs_BWTW & written_B1T1).reshape(batch, 1, beam_size, -1)
        cross_mask_B11S = (src_segments_BS > 0)[:, None, None, :]
        position_BW = jnp.broadcast_to(position_B[:, None], word_BW.shape)
        x_DN = self.model.embed(word_BW, position_BW, "tgt").reshape(batch * beam_size, -1).T
        slot_B, updated = position_B * beam_size, list[LayerCache]()
        for layer, cache in zip(self.layers, caches, strict=True):
            x_DN, cache = layer(x_DN, cache, slot_B, self_mask_B1WM, cross_mask_B11S)
            updated.append(cache)
        return _logits(x_DN, self.table_VE), tuple(updated)
