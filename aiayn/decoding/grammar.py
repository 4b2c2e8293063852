"""Which symbol may come next, so that an output is a tree over a sentence's words (§6.3).

The symbols are those of `aiayn.data.trees`. A tag may come where a word is left and a constituent
is open, and one with a mark only for a word of that mark; `)NP` where NP is the innermost open one
and holds a word, and of the outermost one no word is left; EOS where no word is left and nothing is
open; an opening where a word is left for it, and the limit of the output leaves room for all that
it needs. So from any place that is reached something may follow, the output ends within its limit,
and whatever the weights are it is a tree over exactly the words.

Suzuki et al. (2018) forbid the same but for closings of another label.

Shapes as in `aiayn.decoding.search`. What a hypothesis has open follows from its words alone, so a
search carries nothing more from step to step.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from aiayn.data.trees import mark_in

MOST_IN_A_ROW = 12
"""Openings without a word between them, lest a poor model spend its limit on them. Treebanks of
English have 8."""
_NEVER, _END, _LEAF, _OPENS = 0, 1, 2, 4
"""What a symbol does: from `_OPENS` on, even numbers open a label, odd ones close it. Those below
`_NEVER` are leaves with a mark."""
NO_LEAF, ANY_LEAF = 0, 1
"""Stand for no word, and for one whose symbol may have any mark."""


def leaf_of(mark: int) -> int:
    """Stands for a word whose symbol has this mark, or none."""
    return 2 + mark


def codes_of(symbols: Sequence[str], eos: str) -> Int[np.ndarray, " vocabulary"]:
    """What each word of a vocabulary does in a tree; those that are no symbols are empty."""
    known = set(symbols)
    # A label that opens and is never closed would leave a tree without an end.
    labels = [s[1:] for s in sorted(known) if s[:1] == "(" and f"){s[1:]}" in known]
    codes = {f"({label}": _OPENS + 2 * number for number, label in enumerate(labels)}
    codes |= {f"){label}": codes[f"({label}"] + 1 for label in labels}
    leaves = {s: _leaf_code(mark_in(s)) for s in known if s[:1] not in ("", "(", ")")}
    codes = {**leaves, **codes, eos: _END}
    return np.array([codes.get(symbol, _NEVER) for symbol in symbols], np.int32)


def _leaf_code(mark: int | None) -> int:
    return _LEAF if mark is None else -1 - mark


def next_symbols(
    codes_BV: Int[Array, "batch vocabulary"],
    leaves_BL: Int[Array, "batch leaves"],
    words_BWT: Int[Array, "batch beam room"],
    age_B: Int[Array, " batch"],
    limit_B: Int[Array, " batch"],
) -> Bool[Array, "vocabulary columns"]:
    """Which symbols may come next, where `leaves_BL` are the words of a sentence.

    `words_BWT` are the symbols of each hypothesis in order, of which the first `age_B` are written;
    `limit_B` is the most symbols of an output, EOS included, three more than the words or above.
    """
    room = words_BWT.shape[2]
    place_11T, age_B1 = jnp.arange(room)[None, None], age_B[:, None]
    code_BWT = jnp.take_along_axis(codes_BV[:, None], words_BWT, axis=2)
    code_BWT = jnp.where(place_11T < age_B1[..., None], code_BWT, _NEVER)
    is_label_BWT, is_odd_BWT = code_BWT >= _OPENS, code_BWT % 2 == 1
    opens_BWT = is_label_BWT & ~is_odd_BWT
    depth_BWT = jnp.cumsum(jnp.where(is_label_BWT, jnp.where(is_odd_BWT, -1, 1), 0), axis=2)
    depth_BW = depth_BWT[..., -1]
    had_BW = ((code_BWT == _LEAF) | (code_BWT < _NEVER)).sum(axis=2)
    left_BW = (leaves_BL != NO_LEAF).sum(axis=1)[:, None] - had_BW
    last = leaves_BL.shape[1] - 1
    leaf_BW1 = jnp.take_along_axis(leaves_BL, jnp.minimum(had_BW, last), axis=1)[..., None]
    code_B1V = codes_BV[:, None]
    fits_BWV = (leaf_BW1 == ANY_LEAF) | (code_B1V == ANY_LEAF - leaf_BW1)  # as leaf_of has it
    is_leaf_BWV = (code_B1V == _LEAF) | ((code_B1V < _NEVER) & fits_BWV)

    # The innermost open constituent is the last that was opened to the depth that there is now.
    is_top_BWT = opens_BWT & (depth_BWT == depth_BW[..., None])
    top_BW = jnp.where(is_top_BWT, place_11T, -1).max(axis=2)
    top_code_BW1 = jnp.take_along_axis(code_BWT, jnp.maximum(top_BW, 0)[..., None], axis=2)
    others_BWT = (code_BWT != _NEVER) & ~opens_BWT
    in_a_row_BW = age_B1 - 1 - jnp.where(others_BWT, place_11T, -1).max(axis=2)

    needed_BW = left_BW + depth_BW + 1  # the words, a closing of each, EOS
    may_open_BW = (left_BW > 0) & (in_a_row_BW < MOST_IN_A_ROW)
    may_open_BW &= (limit_B - age_B)[:, None] >= needed_BW + 2
    may_close_BW = (depth_BW > 0) & (in_a_row_BW == 0) & ((left_BW == 0) | (depth_BW > 1))
    of_kind = (
        (codes_BV == _END, (left_BW == 0) & (depth_BW == 0)),
        ((codes_BV >= _OPENS) & (codes_BV % 2 == 0), may_open_BW),
    )
    allowed_BWV = (codes_BV[:, None] == top_code_BW1 + 1) & may_close_BW[..., None]
    allowed_BWV |= is_leaf_BWV & ((left_BW > 0) & (depth_BW > 0))[..., None]
    for is_kind_BV, may_BW in of_kind:
        allowed_BWV |= is_kind_BV[:, None] & may_BW[..., None]
    return allowed_BWV.reshape(-1, codes_BV.shape[1]).T
