"""How probable each token of a text is, and which were the most probable instead of it.

Each text is a batch of its own, padded to one of a few widths: so its figures have the same bits
whatever else is asked for, and all programs are compiled before the first request. No token sees
those after it: in rows of one width the beginning of a text has the bits that it has in the whole.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from aiayn.data.rows import Rows, make_rows
from aiayn.decoding.translator import Translator, padded_width
from aiayn.decoding.writer import Writer
from aiayn.model.interface import AutoregressiveModel, output_rows
from aiayn.model.layers import word_logits
from aiayn.model.structure import Params

MOST_PROBABLE = 20
"""Tokens that are told instead of each."""


class Scored(NamedTuple):
    """Of each token of a text."""

    log_probs_T: Float[np.ndarray, " tokens"]
    """In nats, given those before."""
    best_TC: Int[np.ndarray, "tokens count"]
    """The most probable tokens in its place, ..."""
    best_log_probs_TC: Float[np.ndarray, "tokens count"]


class Scorer:
    """The programs that score with a model."""

    def __init__(self, model: Translator | Writer):
        self._model = model
        self._has_source = isinstance(model, Translator)
        if isinstance(model, Translator):
            longest = padded_width(model.max_tokens) + model.config.max_extra_tokens
        else:
            longest = model.context
        self._widths = [padded_width(1)]
        while self._widths[-1] < longest:
            self._widths.append(2 * self._widths[-1])

    def warm_up(self) -> None:
        """Compile all programs."""
        for width in self._widths:
            self.score([], self._model.tokenizer.bos, [0] * width)

    def score(self, source: Sequence[int], first: int, ids: Sequence[int], room: int = 0) -> Scored:
        """Of `ids`, after `first` and, for a translation, given the ids of the source with EOS; in
        a row with places for `room` tokens."""
        longest = max(len(source), len(ids), room, 1)
        width = next(width for width in self._widths if width >= longest)
        texts, segments = np.zeros((2, 2, 1, width), np.int32)
        for side, each in enumerate((source, ids)):
            texts[side, 0, : len(each)], segments[side, 0, : len(each)] = each, 1
        (src, tgt), (src_segments, tgt_segments) = texts, segments
        if not self._has_source:
            src, src_segments = src[:, :0], src_segments[:, :0]
        rows = make_rows(src, src_segments, tgt, tgt_segments, first)
        found = _scored(self._model.programs.graphdef, self._model.params, rows)
        own_T, best_TC, best_log_probs_TC = (each[0, : len(ids)] for each in jax.device_get(found))
        return Scored(own_T, best_TC, best_log_probs_TC)


@partial(jax.jit, static_argnums=0)
def _scored(
    graphdef: nnx.GraphDef[AutoregressiveModel], params: Params, rows: Rows
) -> tuple[
    Float[Array, "batch target"],
    Int[Array, "batch target count"],
    Float[Array, "batch target count"],
]:
    model = nnx.merge(graphdef, params)
    matrix_VD, num_outputs = output_rows(model)
    logits_BTV = word_logits(model.features(rows), matrix_VD, num_outputs, model.bias_V)
    log_probs_BTV = jax.nn.log_softmax(logits_BTV.astype(jnp.float32))
    own_BT1 = jnp.take_along_axis(log_probs_BTV, rows.tgt_out_BT[..., None], axis=2)
    best_BTC, words_BTC = lax.top_k(log_probs_BTV, MOST_PROBABLE)
    return own_BT1[..., 0], words_BTC, best_BTC
