"""Only trees come out of a search that is given a grammar, and every tree may."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiayn.data.trees import linearise, restore
from aiayn.decoding.controls import Controls
from aiayn.decoding.grammar import ANY_LEAF, MOST_IN_A_ROW, NO_LEAF, codes_of, leaf_of, next_symbols
from aiayn.decoding.incremental import lay_out
from aiayn.decoding.search import length_penalty, search
from tests.decoding.test_search import BOS, EOS, ONE_LAYER
from tests.support.models import drawn_by_numpy, logits, unpacked_rows
from tests.support.trees import LABELS, MARK_TAGS, WORD_TAGS, nodes, tree_of

pytestmark = pytest.mark.usefixtures("strict_dtypes")
SPECIAL = ("", "", "", "</s>")


# --- One step -------------------------------------------------------------------------------------

_LABELS = (*LABELS, "PRT|ADVP", "SINV", "TOP")
SYMBOLS = (
    *SPECIAL,
    *(f"{bracket}{label}" for label in _LABELS for bracket in "()"),
    *(*WORD_TAGS, *MARK_TAGS, "XX"),
)
ID = {symbol: number for number, symbol in enumerate(SYMBOLS) if symbol}
CODES = codes_of(SYMBOLS, "</s>")
BATCH, ROOM = 64, 40
_allowed = jax.jit(next_symbols)


def _next(outputs, leaves, limits):
    """Which symbols may follow each output; the rest of the batch is padding."""
    words = np.zeros((BATCH, 1, ROOM), np.int32)
    age, limit = np.zeros((2, BATCH), np.int32)
    leaves_BL = np.zeros((BATCH, ROOM), np.int32)
    for row, each in enumerate(outputs):
        words[row, 0, : len(each)] = each
        words[row, 0, len(each) :] = ID["NN"]  # what is not written yet counts for nothing
        age[row], limit[row] = len(each), limits[row]
        leaves_BL[row, : leaves[row]] = ANY_LEAF
    codes = np.broadcast_to(CODES, (BATCH, len(CODES)))
    return np.asarray(_allowed(codes, leaves_BL, words, age, limit)).T[: len(outputs)]


def test_what_a_symbol_does_by_hand():
    found = codes_of(["", "NN", "(B", ")B", "(A", ")A", "</s>", "(C", ")D", "."], "</s>")
    # C is never closed and D never opened, so neither may come; A is the first label.
    assert found.tolist() == [0, 2, 6, 7, 4, 5, 1, 0, 0, 2]


@pytest.mark.parametrize(
    ("written", "leaves", "limit", "follow"),
    [
        ("", 1, 99, "(A (B"),
        ("", 0, 99, "</s>"),
        ("(A", 2, 99, "(A (B x ."),
        ("(A x", 2, 99, "(A (B x ."),  # the outermost stays open while words are left
        ("(A x .", 2, 99, ")A"),
        ("(A (B x", 2, 99, "(A (B x . )B"),
        ("(A (B x )B (A x", 2, 99, ")A"),
        ("(A (B x )B x )A", 2, 99, "</s>"),
        # Four more after this one: x )B )A and EOS, so nothing else can be opened.
        ("(A (B", 1, 6, "x ."),
        ("(A (B", 1, 8, "(A (B x ."),
        ("(A (B", 1, 7, "x ."),
    ],
)
def test_what_may_follow_by_hand(written, leaves, limit, follow):
    symbols = [*SPECIAL, "(A", ")A", "(B", ")B", "x", "."]
    ids = [symbols.index(symbol) for symbol in written.split()]
    codes = codes_of(symbols, "</s>")[None]
    words = jnp.asarray([[ids + [0] * (12 - len(ids))]], jnp.int32)
    sizes = (jnp.asarray([each], jnp.int32) for each in (len(ids), limit))
    leaves_BL = jnp.where(jnp.arange(4) < leaves, ANY_LEAF, NO_LEAF)[None]
    found = np.asarray(_allowed(codes, leaves_BL, words, *sizes))
    assert {symbols[n] for n in np.flatnonzero(found[:, 0])} == set(follow.split())


def test_whatever_is_chosen_a_tree_over_all_words_comes_out_within_the_limit():
    rng = random.Random(0)
    leaves = [rng.randint(1, 9) for _ in range(BATCH)]
    limits = [min(n + 3 + rng.choice((0, 1, 2, 5, 20)), ROOM) for n in leaves]
    outputs = [[] for _ in leaves]
    for _ in range(max(limits)):
        for output, row in zip(outputs, _next(outputs, leaves, limits), strict=True):
            if ID["</s>"] not in output:
                assert row.any(), "a place from which nothing may follow"
                output.append(rng.choice(np.flatnonzero(row).tolist()))
    for output, number, limit in zip(outputs, leaves, limits, strict=True):
        assert output[-1] == ID["</s>"]
        assert len(output) <= limit
        symbols = tuple(SYMBOLS[n] for n in output[:-1])
        words = [str(n) for n in range(number)]
        depth = 0
        for place, symbol in enumerate(symbols, 1):
            depth += (symbol[0] == "(") - (symbol[0] == ")")
            assert (depth > 0) == (place < len(symbols)), "one constituent is over all"
        restored = restore(symbols, words)
        assert len(restored.words) == number
        if not any(symbol[1:] == "TOP" for symbol in symbols):  # which no tree has within
            assert linearise(restored) == symbols


def test_a_marked_tag_comes_only_at_a_word_of_its_mark_by_hand():
    symbols = [*SPECIAL, "(A", ")A", "x~0", "y~0", "x~3", "."]
    codes = codes_of(symbols, "</s>")
    assert codes.tolist()[-4:] == [-1, -1, -4, 2]
    leaves = [leaf_of(3), leaf_of(0), ANY_LEAF, leaf_of(5)]
    for written, follow in (
        ("(A", "x~3 ."),
        ("(A x~3", "x~0 y~0 ."),
        ("(A . x~0", "x~0 y~0 x~3 ."),
        ("(A x~3 y~0 .", "."),
    ):
        ids = [symbols.index(symbol) for symbol in written.split()]
        words = jnp.asarray([[ids + [0] * (12 - len(ids))]], jnp.int32)
        sizes = (jnp.asarray([each], jnp.int32) for each in (len(ids), 99))
        found = np.asarray(_allowed(codes[None], jnp.asarray([leaves], jnp.int32), words, *sizes))
        tags = {symbols[n] for n in np.flatnonzero(found[:, 0])} - {"(A", ")A"}
        assert tags == set(follow.split()), written


@given(st.lists(nodes, min_size=1, max_size=2))
@example([("S", [("NN", "=")] * (ROOM - 4))])  # as many words as there is room for
def test_every_tree_may_come_out(top):
    tree = tree_of(*top)
    symbols = linearise(tree)
    ids = [ID[symbol] for symbol in (*symbols, "</s>")]
    longest = max(map(len, "".join(" ("[s[0] == "("] for s in symbols).split()), default=0)
    if len(ids) > min(ROOM, BATCH) or longest > MOST_IN_A_ROW:
        return
    count = len(ids)
    found = _next(
        [ids[:place] for place in range(count)], [len(tree.words)] * count, [count] * count
    )
    assert all(row[number] for row, number in zip(found, ids, strict=True))


# --- A search, against all trees there are --------------------------------------------------------

FEW = (*SPECIAL, "(A", ")A", "(B", ")B", "x", ".")
LIMITS = ((2, 7), (1, 7), (3, 6))
"""Words and the most symbols of each sentence."""


def _forests(leaves, room):
    """All sequences of words and constituents over so many words, in at most `room` symbols."""
    if leaves == 0:
        yield ()
    elif room > 0:
        for rest in _forests(leaves - 1, room - 1):
            yield from ((leaf, *rest) for leaf in "x.")
        for inside in range(1, leaves + 1):
            for tree in _constituents(inside, room):
                yield from ((*tree, *rest) for rest in _forests(leaves - inside, room - len(tree)))


def _constituents(leaves, room):
    if room > 2:
        for forest in _forests(leaves, room - 2):
            yield from ((f"({label}", *forest, f"){label}") for label in "AB")


def test_a_wide_enough_beam_finds_all_trees_best_first_with_the_models_scores():
    # Of two words in six symbols: one bracket, or an outer one and one over both, the first or the
    # second; 2 labels and 2 tags each.
    trees = [list(_constituents(leaves, limit - 1)) for leaves, limit in LIMITS]
    assert [len(each) for each in trees] == [4 * (2 + 2 * 6), 2 * (2 + 4), 8 * 2]
    graphdef, params = drawn_by_numpy(ONE_LAYER, num_words=len(FEW), seed=4)
    sources = [[4, 9, 1], [5], [7, 7]]
    rows = unpacked_rows([(source, []) for source in sources], 10)
    codes = np.zeros((len(LIMITS), 128), np.int32)
    codes[:, : len(FEW)] = codes_of(FEW, "</s>")
    leaves, limit = (jnp.asarray(each, jnp.int32) for each in zip(*LIMITS, strict=True))
    leaves_BL = jnp.where(jnp.arange(3)[None] < leaves[:, None], ANY_LEAF, NO_LEAF)
    most = 64
    found = search(
        graphdef,
        params,
        lay_out(graphdef, params),
        jnp.asarray(rows.src_BS),
        jnp.asarray(rows.src_segments_BS),
        limit,
        Controls(leaves_BL=leaves_BL, codes_BV=jnp.asarray(codes)),
        beam_size=most,
        alpha=0.6,
        at_once=2,
        room=7,
        num_best=most,
        bos=BOS,
        eos=EOS,
    )
    for number, source in enumerate(sources):
        ids = [[FEW.index(symbol) for symbol in tree] for tree in trees[number]]
        rows = unpacked_rows([(source, each) for each in ids], 10)
        table = np.asarray(jax.nn.log_softmax(logits(graphdef, params, rows)[..., : len(FEW)]))
        scored = [
            (sum(float(table[row, at, word]) for at, word in enumerate([*each, EOS])), each)
            for row, each in enumerate(ids)
        ]
        wanted = sorted(
            ((score / float(length_penalty(len(each) + 1, 0.6)), each) for score, each in scored),
            reverse=True,
        )
        scores = np.asarray(found.scores_AW[number])
        assert (scores > -np.inf).sum() == len(wanted)
        np.testing.assert_allclose(scores[: len(wanted)], [s for s, _ in wanted], rtol=1e-4)
        best = found.words_AWT[number, 0].tolist()
        assert best[: best.index(EOS)] == wanted[0][1]
        assert found.words_AWT.shape[2] == 7
