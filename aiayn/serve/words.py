"""The next words of a text by a language model, and by which probability each would be drawn."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int

from aiayn.data.rows import Rows, rows_of_texts
from aiayn.data.tokenizer import INCOMPLETE
from aiayn.decoding.incremental import AnyModel
from aiayn.decoding.translator import padded_width
from aiayn.decoding.wishes import Wishes
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError
from aiayn.model.structure import Params
from aiayn.serve.inspection import MOST_TOKENS, checked_text
from aiayn.serve.models import Served

_SHOWN = 20


class NextWord(msgspec.Struct, frozen=True):
    """A word that may come next."""

    piece: str
    id: int
    probability: float
    """The model's own."""
    chosen: float
    """The probability to be drawn, after temperature, top-k, top-p and min-p."""
    text: str | None
    """The whole text with this word; none for what a text cannot go on with: the end, and what is
    no character yet, or none at all."""


class NextWords(msgspec.Struct, frozen=True):
    """The most probable next words of a text."""

    text: str
    words: list[NextWord]
    num_words: int
    """In the vocabulary, ..."""
    num_kept: int
    """... and how many of them may be drawn."""


def next_words(
    served: Served,
    text: str,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> NextWords:
    """The most probable next words of a text by a language model, and by which probability each
    would be drawn.

    Raises:
        UserError: this is no language model; the text is too long; a setting is out of its range.
    """
    if served.kind != "language_model":
        raise UserError(f"{served.name} translates; wanted a language model, which goes on.")
    asked = Wishes(sample=1, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    writer, tokenizer = served.writer, served.writer.tokenizer
    (ids,) = tokenizer.encode([checked_text(text)])
    most = min(MOST_TOKENS, writer.context - 1)
    if not writer.num_given <= len(ids) <= most:
        raise UserError(f"The text has {len(ids):,} tokens; wanted {writer.num_given} to {most}.")
    logits_V = _logits(writer, ids)
    drawn_V = logits_V.copy()
    if not tokenizer.has_eos:  # the search never ends such a text
        drawn_V[tokenizer.eos] = -np.inf
    own_V, chosen_V = _softmax(logits_V), chances(drawn_V, asked)
    order = np.argsort(-logits_V, kind="stable")[:_SHOWN].tolist()
    before, *texts = tokenizer.decode([ids, *([*ids, n] for n in order)])
    no_text = {tokenizer.pad, tokenizer.bos, tokenizer.eos, tokenizer.unknown}
    goes_on = [
        None if n in no_text or whole == before or whole.endswith(INCOMPLETE) else whole
        for n, whole in zip(order, texts, strict=True)
    ]
    return NextWords(
        text=text,
        words=[
            NextWord(piece, number, float(own_V[number]), float(chosen_V[number]), whole)
            for number, piece, whole in zip(order, tokenizer.pieces(order), goes_on, strict=True)
        ],
        num_words=len(logits_V),
        num_kept=int((chosen_V > 0).sum()),
    )


def warm_up(served: Served, width: int) -> None:
    """Compile what texts in rows of this width need."""
    if served.kind == "language_model":
        writer = served.writer
        _logits(writer, [writer.tokenizer.unknown] * (width - 1 + writer.num_given))


def _logits(writer: Writer, ids: Sequence[int]) -> Float32[np.ndarray, " vocabulary"]:
    """The scores of every word after a text."""
    tokenizer, said = writer.tokenizer, ids[writer.num_given :]
    rows = rows_of_texts([said], writer.first(ids), tokenizer.eos, padded_width(len(said) + 1))
    found = _next_logits(writer.programs.graphdef, writer.params, rows, jnp.asarray(len(said)))
    return np.asarray(found)[: tokenizer.num_words]


@partial(jax.jit, static_argnums=0)
def _next_logits(
    graphdef: nnx.GraphDef[AnyModel], params: Params, rows: Rows, last: Int[Array, ""]
) -> Float32[Array, " vocabulary"]:
    """The scores of every word after the word at place `last`, of a single text."""
    model = nnx.merge(graphdef, params)
    x_11D = jax.lax.dynamic_slice_in_dim(model.features(rows), last, 1, axis=1)
    return model.logits(x_11D)[0, 0].astype(jnp.float32)


def chances(
    logits_V: Float32[np.ndarray, " vocabulary"], asked: Wishes
) -> Float[np.ndarray, " vocabulary"]:
    """The probability that each word is drawn, by the rule of `aiayn.decoding.controls.drawn`:
    temperature, then top-k, then top-p, then min-p."""
    order_V = np.argsort(-logits_V, kind="stable")
    temperature = 1.0 if asked.temperature is None else asked.temperature
    if temperature == 0:
        return np.eye(len(logits_V))[order_V[0]]
    sorted_V = (logits_V[order_V] - logits_V.max()).astype(np.float64) / temperature
    if asked.top_k is not None:
        sorted_V[asked.top_k :] = -np.inf
    if asked.top_p is not None and asked.top_p < 1:
        probs_V = _softmax(sorted_V)
        sorted_V[np.cumsum(probs_V) - probs_V >= asked.top_p] = -np.inf
    if asked.min_p:
        sorted_V[sorted_V < math.log(asked.min_p)] = -np.inf
    found_V = np.zeros(len(logits_V))
    found_V[order_V] = _softmax(sorted_V)
    return found_V


def _softmax(logits_V: Float[np.ndarray, " vocabulary"]) -> Float[np.ndarray, " vocabulary"]:
    shares_V = np.exp(logits_V.astype(np.float64) - logits_V.max())
    return shares_V / shares_V.sum()
