"""The vectors of words on their way through the layers that read them, in three dimensions."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from flax import nnx
from jaxtyping import Array, Float32

from aiayn.data.rows import Rows, rows_of_pairs, rows_of_texts
from aiayn.data.tokenizer import Tokenizer
from aiayn.decoding.incremental import AnyModel
from aiayn.decoding.translator import padded_width
from aiayn.errors import UserError
from aiayn.model.structure import Params
from aiayn.model.transformer import Transformer, causal_mask, padding_mask
from aiayn.serve.inspection import Token, as_tokens, checked_ids
from aiayn.serve.models import Served

_NEIGHBOURS = 8


class Neighbour(msgspec.Struct, frozen=True):
    """A piece whose vector points in nearly the same direction."""

    piece: str
    id: int
    cosine: float


class Stage(msgspec.Struct, frozen=True):
    """Where the words of each text are after one part of the model, in three dimensions."""

    name: str
    places: list[list[tuple[float, float, float]]]
    """[text][token]."""
    share: float
    """Of the variance of all these vectors, how much the three dimensions show."""


class Twins(msgspec.Struct, frozen=True):
    """A piece that both texts have, and how far apart its two vectors are."""

    piece: str
    first: int
    second: int
    distances: list[float]
    """After each stage: Euclidean, in all d_model dimensions."""


class Space(msgspec.Struct, frozen=True):
    """The vectors of one or two texts on their way through the layers that read them."""

    texts: list[str]
    positions: bool
    tokens: list[list[Token]]
    stages: list[Stage]
    twins: list[Twins]
    neighbours: list[list[list[Neighbour]]]
    """[text][token]: the nearest pieces in the embedding table."""


class Pieces(msgspec.Struct, frozen=True):
    """The whole embedding table in three dimensions; a piece's number is its id."""

    pieces: list[str]
    places: list[tuple[float, float, float]]
    share: float


def space(served: Served, texts: Sequence[str], positions: bool = True) -> Space:
    """Where the words of one or two texts are in the vector space, after each part of the encoder,
    or of a language model's decoder; without `positions` as if every word were at no place.

    Raises:
        UserError: there are more texts, or one is empty or too long.
    """
    if not 1 <= len(texts) <= 2:
        raise UserError(f"There are {len(texts)} texts; wanted one or two.")
    tokenizer = served.tokenizer
    read = [_read(served, checked_ids(served, text)) for text in texts]
    found = [_vectors_of(served, ids, positions) for ids in read]
    names = ("embedding", "+ position", *(f"layer {n}" for n in range(1, len(found[0]) - 1)))
    stages: list[Stage] = []
    for number, name in enumerate(names):
        vectors = [each[number] for each in found]
        places_N3, share = in_three_dimensions(np.concatenate(vectors))
        cut = np.split(places_N3, [len(vectors[0])])[: len(texts)]
        stages.append(Stage(name, [_triples(part) for part in cut], share))
    return Space(
        texts=list(texts),
        positions=positions,
        tokens=[as_tokens(tokenizer, ids) for ids in read],
        stages=stages,
        twins=_twins(tokenizer, read, found) if len(texts) == 2 else [],
        neighbours=_neighbours(served, read),
    )


def warm_up(served: Served, width: int) -> None:
    """Compile what texts in rows of this width need."""
    for positions in (True, False):
        _vectors_of(served, [served.tokenizer.unknown] * width, positions)


def _read(served: Served, ids: Sequence[int]) -> list[int]:
    """What the layers read: a source up to EOS, or a text from what begins it."""
    if served.kind == "translation":
        return [*ids, served.translator.tokenizer.eos]
    return [served.writer.first(ids), *ids[served.writer.num_given :]]


def _vectors_of(
    served: Served, read: Sequence[int], positions: bool
) -> Float32[np.ndarray, "stages slots d_model"]:
    """The vector of each word after each stage."""
    tokenizer, width = served.tokenizer, padded_width(len(read))
    if served.kind == "translation":
        known = served.translator
        rows = rows_of_pairs([(read[:-1], [])], tokenizer.bos, tokenizer.eos, width)
    else:
        known = served.writer
        rows = rows_of_texts([read[1:]], read[0], tokenizer.eos, width)
    found = _vectors(known.programs.graphdef, known.params, rows, with_positions=positions)
    return np.asarray(found)[:, : len(read)]


@partial(jax.jit, static_argnames=("graphdef", "with_positions"))
def _vectors(
    graphdef: nnx.GraphDef[AnyModel], params: Params, rows: Rows, *, with_positions: bool
) -> Float32[Array, "stages slots d_model"]:
    """The vectors of one text: embedded, with positions, after each layer that reads it."""
    model = nnx.merge(graphdef, params)
    if isinstance(model, Transformer):
        words, layers = (rows.src_BS, rows.src_positions_BS, "src"), model.encoder
        mask_B1SS = padding_mask(rows.src_segments_BS, rows.src_segments_BS)
    else:
        words, layers = (rows.tgt_in_BT, rows.tgt_positions_BT, "tgt"), model.decoder
        mask_B1SS = causal_mask(rows.tgt_segments_BT)
    placed_BSD = model.embed(*words)
    embedded_BSD = model.embed_words(words[0], words[2]).astype(placed_BSD.dtype)
    x_BSD = placed_BSD if with_positions else embedded_BSD
    found = [embedded_BSD, x_BSD]
    for layer in layers:
        x_BSD = layer(x_BSD, mask_B1SS)
        found.append(x_BSD)
    return jnp.concatenate(found).astype(jnp.float32)


def in_three_dimensions(
    vectors_ND: Float32[np.ndarray, "words d_model"],
) -> tuple[Float32[np.ndarray, "words 3"], float]:
    """Principal component analysis: the three directions in which vectors differ most, and the
    share of their variance that these show. Each points to where its largest part is positive.
    """
    centred_ND = vectors_ND.astype(np.float64) - vectors_ND.mean(axis=0, dtype=np.float64)
    few = len(centred_ND) <= centred_ND.shape[1]
    square = centred_ND if few else np.linalg.qr(centred_ND, mode="r")  # of the same directions
    _, sizes, axes_KD = np.linalg.svd(square, full_matrices=False)
    axes_3D = np.zeros((3, centred_ND.shape[1]))
    axes_3D[: len(axes_KD)] = axes_KD[:3]
    largest_3 = np.take_along_axis(axes_3D, np.abs(axes_3D).argmax(axis=1)[:, None], axis=1)
    axes_3D *= np.where(largest_3 < 0, -1.0, 1.0)
    total = float((sizes**2).sum())
    share = float((sizes[:3] ** 2).sum()) / total if total else 1.0
    return (centred_ND @ axes_3D.T).astype(np.float32), share


def pieces(served: Served) -> Pieces:
    """All pieces of a model in three dimensions."""
    table_VD, tokenizer = _table(served), served.tokenizer
    places_V3, share = in_three_dimensions(table_VD)
    return Pieces(tokenizer.pieces(range(len(table_VD))), _triples(places_V3), share)


def _table(served: Served) -> Float32[np.ndarray, "vocabulary d_model"]:
    params = (served.translator if served.kind == "translation" else served.writer).params
    table_VD = np.asarray(params["embedding"], np.float32)
    return table_VD[: served.tokenizer.num_words]


def _neighbours(served: Served, read: Sequence[Sequence[int]]) -> list[list[list[Neighbour]]]:
    """The pieces nearest to each word by cosine, those that are no text left out."""
    table_VD, tokenizer = _table(served), served.tokenizer
    unit_VD = table_VD / np.maximum(np.linalg.norm(table_VD, axis=1, keepdims=True), 1e-12)
    special = [tokenizer.pad, tokenizer.bos, tokenizer.eos, tokenizer.unknown]

    def nearest(number: int) -> list[Neighbour]:
        cosine_V = unit_VD @ unit_VD[number]
        ranked_V = cosine_V.copy()
        ranked_V[[number, *special]] = -np.inf
        best = np.argsort(-ranked_V, kind="stable")[:_NEIGHBOURS].tolist()
        return [
            Neighbour(piece, n, float(cosine_V[n]))
            for n, piece in zip(best, tokenizer.pieces(best), strict=True)
        ]

    return [[nearest(number) for number in ids] for ids in read]


def _twins(
    tokenizer: Tokenizer,
    read: Sequence[Sequence[int]],
    found: Sequence[Float32[np.ndarray, "stages _slots d_model"]],
) -> list[Twins]:
    """The pieces that both texts have, the first with the first, the second with the second."""
    seen: Counter[int] = Counter()
    second_of: dict[tuple[int, int], int] = {}
    for place, number in enumerate(read[1]):
        second_of[number, seen[number]] = place
        seen[number] += 1
    twins: list[Twins] = []
    seen = Counter()
    for first, number in enumerate(read[0]):
        second = second_of.get((number, seen[number]))
        seen[number] += 1
        if second is not None:
            apart_SD = found[0][:, first] - found[1][:, second]
            distances = np.linalg.norm(apart_SD, axis=1).tolist()
            twins.append(Twins(tokenizer.pieces([number])[0], first, second, distances))
    return twins


def _triples(places_N3: Float32[np.ndarray, "words 3"]) -> list[tuple[float, float, float]]:
    return [(x, y, z) for x, y, z in places_N3.tolist()]
