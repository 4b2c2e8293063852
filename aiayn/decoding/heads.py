"""The attention weights of every head, in all three uses of attention (§3.2.3, Figures 3 to 5)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from aiayn.data.rows import Rows, rows_of_pairs, rows_of_texts
from aiayn.data.tokenizer import byte_of
from aiayn.decoding.alignment import next_text
from aiayn.decoding.translator import Translator, padded_width
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError
from aiayn.model.language_model import LanguageModel
from aiayn.model.structure import Params
from aiayn.model.transformer import Transformer, causal_mask, padding_mask
from aiayn.system.files import user_os_errors, write_text

Kind = Literal["encoder", "decoder", "cross"]
"""Encoder self-attention, decoder self-attention, encoder-decoder attention."""
KINDS: tuple[Kind, ...] = get_args(Kind)
_BLANK, _END = "\u2581", "</w>"
"""What a word's first piece begins with, or in GPT-1 the last one ends in."""
TITLES: Mapping[Kind, str] = {
    "encoder": "encoder self-attention",
    "decoder": "decoder self-attention",
    "cross": "encoder-decoder attention",
}


class Weights(NamedTuple):
    """The weights of every head, by layer; each row of the last two axes sums to 1."""

    encoder: Float[Array, "layers batch heads source source"]
    decoder: Float[Array, "layers batch heads target target"]
    cross: Float[Array, "layers batch heads target source"]


@partial(jax.jit, static_argnums=0)
def all_weights(graphdef: nnx.GraphDef[Transformer], params: Params, rows: Rows) -> Weights:
    """The attention weights of every head while the model reads `rows`."""
    model: Transformer = nnx.merge(graphdef, params)
    found: dict[Kind, list[Array]] = {kind: [] for kind in KINDS}
    src_mask_B1SS = padding_mask(rows.src_segments_BS, rows.src_segments_BS)
    x_BSD = model.embed(rows.src_BS, rows.src_positions_BS, "src")
    for layer in model.encoder:
        found["encoder"].append(layer.self_attention.weights(x_BSD, x_BSD, src_mask_B1SS))
        x_BSD = layer(x_BSD, src_mask_B1SS)
    memory_BSD = x_BSD
    self_mask_B1TT = causal_mask(rows.tgt_segments_BT)
    cross_mask_B1TS = padding_mask(rows.tgt_segments_BT, rows.src_segments_BS)
    x_BTD = model.embed(rows.tgt_in_BT, rows.tgt_positions_BT, "tgt")
    for layer in model.decoder:
        found["decoder"].append(layer.self_attention.weights(x_BTD, x_BTD, self_mask_B1TT))
        y_BTD = layer.self_norm(x_BTD + layer.self_attention(x_BTD, x_BTD, self_mask_B1TT))
        found["cross"].append(layer.cross_attention.weights(y_BTD, memory_BSD, cross_mask_B1TS))
        x_BTD = layer(x_BTD, memory_BSD, self_mask_B1TT, cross_mask_B1TS)
    return Weights(*(jnp.stack(found[kind]) for kind in KINDS))


@partial(jax.jit, static_argnums=0)
def weights_of_text(
    graphdef: nnx.GraphDef[LanguageModel], params: Params, rows: Rows
) -> Float[Array, "layers batch heads target target"]:
    """The attention weights of every head of a language model while it reads `rows`."""
    model: LanguageModel = nnx.merge(graphdef, params)
    mask_B1TT = causal_mask(rows.tgt_segments_BT)
    x_BTD = model.embed(rows.tgt_in_BT, rows.tgt_positions_BT, "tgt")
    found: list[Array] = []
    for layer in model.decoder:
        found.append(layer.self_attention.weights(x_BTD, x_BTD, mask_B1TT))
        x_BTD = layer(x_BTD, mask_B1TT)
    return jnp.stack(found)


@dataclass(frozen=True)
class Looks:
    """The attention of one sentence pair: its tokens, and the weights of every head.

    That of a text, by a language model, has no source, and weights of the decoder alone.
    """

    src_tokens: Sequence[str]
    tgt_in_tokens: Sequence[str]
    """The decoder's input, from BOS on."""
    tgt_out_tokens: Sequence[str]
    """Its targets, up to EOS."""
    encoder: Float[np.ndarray, "layers heads source source"]
    decoder: Float[np.ndarray, "layers heads target target"]
    cross: Float[np.ndarray, "layers heads target source"]

    def of(self, kind: Kind) -> Float[np.ndarray, "layers heads query memory"]:
        return getattr(self, kind)

    def tokens(self, kind: Kind) -> tuple[Sequence[str], Sequence[str]]:
        """The tokens of the queries, and those of the memory.

        In encoder-decoder attention a query is named by the token that is predicted there.
        """
        return {
            "encoder": (self.src_tokens, self.src_tokens),
            "decoder": (self.tgt_in_tokens, self.tgt_in_tokens),
            "cross": (self.tgt_out_tokens, self.src_tokens),
        }[kind]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: tokens, and weights as [layer][head][query][memory]."""
        every = ((kind, self.of(kind)) for kind in KINDS)
        weights = {kind: np.round(found, 6).tolist() for kind, found in every if found.size}
        tokens = {
            name: list(getattr(self, name))
            for name in ("src_tokens", "tgt_in_tokens", "tgt_out_tokens")
        }
        return {**tokens, **weights}

    def places(self, kind: Kind, word: str) -> list[int]:
        """The places of a word's pieces among the tokens of the queries.

        Raises:
            UserError: there is no such word; the message lists those there are.
        """
        words = _words(self.tokens(kind)[0])
        found = [place for text, places in words if text == word for place in places]
        if not found:
            listed = ", ".join(text for text, _ in words)
            raise UserError(f"--word is {word!r}; wanted one of {listed}.")
        return found


def _words(tokens: Sequence[str]) -> list[tuple[str, list[int]]]:
    """The words that pieces spell, with the places of their pieces; where no piece says where a
    word begins or ends, as the symbols of a tree, each is one."""
    are_parts = any(each.startswith(_BLANK) or each.endswith(_END) for each in tokens)
    words: list[tuple[str, list[int]]] = []
    place, begins = 0, True
    while place < len(tokens):
        token, (text, count) = tokens[place], next_text(tokens, place, {})
        is_special = token.startswith("<") and byte_of(token) is None
        if begins or is_special or not are_parts or token.startswith(_BLANK):
            words.append(("", []))
        spelled, places = words[-1]
        places += range(place, place + count)
        words[-1] = spelled + text.strip().removesuffix(_END), places
        begins, place = is_special or token.endswith(_END), place + count
    return words


def draw(
    looks: Looks, kind: Kind, layer: int, heads: Sequence[int], word: str, out: Path, name: str
) -> None:
    """Write `attention.json`, `heatmap.png` and `links.png` into `out`.

    Layers and heads count from 1, as in the paper; an empty `heads` means all of them.

    Raises:
        UserError: there is no such layer, head or word.
    """
    from aiayn.render.heads import plot_attention, plot_links

    weights_LHQM = looks.of(kind)
    num_layers, num_heads = weights_LHQM.shape[:2]
    heads = heads or range(1, num_heads + 1)
    if not 1 <= layer <= num_layers:
        raise UserError(f"--layer is {layer}; wanted 1 to {num_layers}.")
    for head in heads:
        if not 1 <= head <= num_heads:
            raise UserError(f"--heads names {head}; wanted 1 to {num_heads}.")
    looking = looks.places(kind, word) if word else []
    chosen_HQM = weights_LHQM[layer - 1, [head - 1 for head in heads]]
    title = f"{name}: {TITLES[kind]}, layer {layer} of {num_layers}"
    with user_os_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "attention.json", json.dumps(looks.to_dict(), ensure_ascii=False) + "\n")
        tokens = looks.tokens(kind)
        plot_attention(chosen_HQM, *tokens, out / "heatmap.png", title, heads)
        plot_links(chosen_HQM, *tokens, out / "links.png", title, heads, looking)


def look(translator: Translator, source: str, target: str) -> Looks:
    """The attention of a model that reads `source` and is forced to produce `target`.

    Raises:
        UserError: a side is empty or longer than any sentence of training.
    """
    tokenizer = translator.tokenizer
    (src_ids,), (tgt_ids,) = tokenizer.encode([source]), tokenizer.encode_target([target])
    for name, ids in (("source", src_ids), ("target", tgt_ids)):
        if not 0 < len(ids) < translator.max_tokens:
            raise UserError(
                f"The {name} has {len(ids)} tokens; wanted 1 to {translator.max_tokens - 1}."
            )
    return look_at_pair(translator, src_ids, tgt_ids)


def look_at_pair(translator: Translator, src_ids: Sequence[int], tgt_ids: Sequence[int]) -> Looks:
    """As `look`, of texts that are cut into tokens already."""
    tokenizer = translator.tokenizer
    width = padded_width(1 + max(len(src_ids), len(tgt_ids)))
    rows = rows_of_pairs([(src_ids, tgt_ids)], tokenizer.bos, tokenizer.eos, width)
    weights = all_weights(translator.programs.graphdef, translator.params, rows)
    src, tgt = len(src_ids) + 1, len(tgt_ids) + 1
    encoder, decoder, cross = (np.asarray(part, np.float32)[:, 0] for part in weights)
    tgt_tokens = tokenizer.pieces(tgt_ids)
    return Looks(
        src_tokens=[*tokenizer.pieces(src_ids), "</s>"],
        tgt_in_tokens=["<s>", *tgt_tokens],
        tgt_out_tokens=[*tgt_tokens, "</s>"],
        encoder=encoder[:, :, :src, :src],
        decoder=decoder[:, :, :tgt, :tgt],
        cross=cross[:, :, :tgt, :src],
    )


def look_at_text(writer: Writer, text: str) -> Looks:
    """The attention of a language model that reads a text.

    Raises:
        UserError: it is empty, or longer than the model's context.
    """
    tokenizer = writer.tokenizer
    (ids,) = tokenizer.encode([text])
    if not 0 < len(ids) < writer.context:
        raise UserError(f"The text has {len(ids)} tokens; wanted 1 to {writer.context - 1}.")
    return look_at_ids(writer, ids)


def look_at_ids(writer: Writer, ids: Sequence[int]) -> Looks:
    """As `look_at_text`, of a text that is cut into tokens already."""
    tokenizer = writer.tokenizer
    said = ids[writer.num_given :]
    width = padded_width(1 + len(said))
    rows = rows_of_texts([said], writer.first(ids), tokenizer.eos, width)
    found = weights_of_text(writer.programs.graphdef, writer.params, rows)
    decoder = np.asarray(found, np.float32)[:, 0]
    decoder = decoder[:, :, : 1 + len(said), : 1 + len(said)]
    tokens, none = tokenizer.pieces(said), decoder[:, :, :0, :0]
    first = "<s>" if tokenizer.has_bos else tokenizer.pieces(ids)[0]
    return Looks([], [first, *tokens], [*tokens, "</s>"], none, decoder, decoder[:, :, :, :0])
