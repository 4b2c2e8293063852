"""Sentence pairs packed into rows of a few widths, and which rows make up update number n (§5.1).

A row is a fixed number of source slots and of target slots that holds one or several pairs. Text
without a source is the case of no source slots.
`segments` says which (1, 2, ...; 0 is padding) and `positions` count within the sentence. An
unpacked batch is the case of one pair a row.

Rows are cut once, offline, into flat files that are memory-mapped. The rows of an update are a pure
function of (seed, step) and of nothing else: no iterator state to save, no dependence on devices,
processes or accumulation. A thread reads ahead; a pipeline library would have nothing to add.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

Ints = npt.NDArray[np.integer]


class Rows(NamedTuple):
    """What the model reads. `tgt_in` starts with BOS, `tgt_out` ends with EOS; both sides' padding
    has segment 0.

    NumPy arrays on the host, JAX arrays on devices (`Any` below is either of them); the rows of an
    update have a leading axis of rounds.
    """

    src_BS: Int[Any, "*rounds batch source"]
    src_segments_BS: Int[Any, "*rounds batch source"]
    src_positions_BS: Int[Any, "*rounds batch source"]
    tgt_in_BT: Int[Any, "*rounds batch target"]
    tgt_out_BT: Int[Any, "*rounds batch target"]
    tgt_segments_BT: Int[Any, "*rounds batch target"]
    tgt_positions_BT: Int[Any, "*rounds batch target"]

    @property
    def weight_BT(self) -> Float[Any, "*rounds batch target"]:
        """1 on real target tokens, 0 on padding."""
        return (self.tgt_segments_BT > 0).astype(np.float32)


def make_rows(
    src: Ints, src_segments: Ints, tgt: Ints, tgt_segments: Ints, bos: int | Ints
) -> Rows:
    """Rows from ids that end with EOS and their segments; BOS and the shift are added here. Where
    texts begin otherwise, `bos` is a column of what comes before those of each row."""
    src_positions, tgt_positions = _positions(src_segments), _positions(tgt_segments)
    tgt_in = np.zeros_like(tgt)
    tgt_in[:, 1:] = tgt[:, :-1]
    tgt_in = np.where(tgt_positions == 0, bos, tgt_in)
    tgt_in[tgt_segments == 0] = 0
    fields = src, src_segments, src_positions, tgt_in, tgt, tgt_segments, tgt_positions
    return Rows(*(np.asarray(field, np.int32) for field in fields))


def rows_of_pairs(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    bos: int,
    eos: int,
    width: int = 0,
) -> Rows:
    """One pair of encoded sentences a row, as wide as the longest side or `width`."""
    width = max(width, 1 + max(max(len(s), len(t)) for s, t in pairs))
    src, src_segments = _side([source for source, _ in pairs], eos, width)
    tgt, tgt_segments = _side([target for _, target in pairs], eos, width)
    return make_rows(src, src_segments, tgt, tgt_segments, bos)


def rows_of_texts(texts: Sequence[Sequence[int]], bos: int, eos: int, width: int = 0) -> Rows:
    """One encoded text a row, without a source, as wide as the longest or `width`."""
    tgt, tgt_segments = _side(texts, eos, max(width, 1 + max(map(len, texts))))
    no_source = np.zeros((len(texts), 0), np.int32)
    return make_rows(no_source, no_source, tgt, tgt_segments, bos)


def _side(texts: Sequence[Sequence[int]], eos: int, width: int) -> tuple[Ints, Ints]:
    """The ids of one side, each row ending with EOS, and their segments."""
    ids, segments = np.zeros((2, len(texts), width), np.int32)
    for row, text in enumerate(texts):
        ids[row, : len(text) + 1] = [*text, eos]
        segments[row, : len(text) + 1] = 1
    return ids, segments


def _positions(segments: Ints) -> Ints:
    """Each slot's place within its sentence; padding counts on from 0."""
    slot = np.arange(segments.shape[1])[None, :]
    starts = np.ones(segments.shape, bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return slot - np.maximum.accumulate(np.where(starts, slot, 0), axis=1)
