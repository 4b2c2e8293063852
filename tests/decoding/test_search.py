import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import aiayn.decoding.search
from aiayn.data.rows import make_rows, rows_of_pairs
from aiayn.decoding.controls import FREE, NOTHING, Controls
from aiayn.decoding.incremental import lay_out
from aiayn.decoding.search import Search, length_penalty, search
from tests.support.models import (
    MODEL,
    drawn_by_numpy,
    logits,
    on_device,
    random_pairs,
    unpacked_rows,
)

BOS, EOS = 2, 3
ONE_LAYER = replace(MODEL, num_layers=1)
SLOTS, WIDTH, ROOM = 44, 16, 20
"""Of the search that most tests share, so that it is compiled once: they fill it with sentences
that have a limit of 0."""
pytestmark = pytest.mark.usefixtures("strict_dtypes")


def _few_words(seed=0):
    """A model of 60 words; its parameters alone depend on the seed."""
    return drawn_by_numpy(ONE_LAYER, num_words=60, seed=seed)


def _sources(lengths, seed):
    """Random ones of these lengths, of the words that `_few_words` has."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(4, 60, length).tolist(), []) for length in lengths]


def _row(source, target=()):
    return on_device(rows_of_pairs([(list(source), list(target))], BOS, EOS, 10))


def _search(graphdef, params, rows, limit, **options):
    settings = {"beam_size": 4, "alpha": 0.6, "room": int(max(limit)), "num_best": 1}
    return search(
        graphdef,
        params,
        lay_out(graphdef, params),
        jnp.asarray(rows.src_BS),
        jnp.asarray(rows.src_segments_BS),
        jnp.asarray(limit, jnp.int32),
        bos=BOS,
        eos=EOS,
        **{"at_once": len(limit), **settings, **options},
    )


def _filled(graphdef, params, pairs, limit, **options):
    """The search that most tests share, for at most `SLOTS` sentences."""
    spare = SLOTS - len(pairs)
    rows, limit = unpacked_rows([*pairs, *[([], [])] * spare], WIDTH), [*limit, *[0] * spare]
    found = _search(graphdef, params, rows, limit, **{"room": ROOM, "num_best": 4, **options})
    assert not np.asarray(found.words_AWT[len(pairs) :]).any(), "empty sentences find nothing"
    assert (found.scores_AW[len(pairs) :] == -math.inf).all()
    return jax.tree.map(lambda x: x[: len(pairs)], found)


def _log_probs(graphdef, params, source, target):
    """Log-probability of each word of `target`, EOS last, by the uncached model."""
    num_words = nnx.merge(graphdef, params).num_words
    found = np.asarray(logits(graphdef, params, _row(source, target)), np.float64)
    found = found[0, : len(target) + 1, :num_words]
    log_probs = found - np.log(np.exp(found).sum(-1, keepdims=True))
    return [row[word] for row, word in zip(log_probs, [*target, EOS], strict=True)]


def test_length_penalty_by_hand():
    # ((5 + 7) / 6)^0.6 = 2^0.6
    assert float(length_penalty(7, 0.6)) == pytest.approx(2**0.6)
    assert float(length_penalty(1, 2.0)) == 1.0


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
def test_a_wide_enough_beam_finds_what_exhaustive_search_finds(alpha):
    # Five words, EOS among them, and at most three tokens: 1 + 4 + 16 hypotheses.
    graphdef, params = drawn_by_numpy(ONE_LAYER, num_words=5, seed=4)
    source = [0, 4, 1]
    everything = [words for n in range(3) for words in itertools.product((0, 1, 2, 4), repeat=n)]
    scored = sorted(
        (
            (
                sum(_log_probs(graphdef, params, source, list(words)))
                / float(length_penalty(len(words) + 1, alpha)),
                words,
            )
            for words in everything
        ),
        reverse=True,
    )
    rows = _row(source)
    found = _search(graphdef, params, rows, [3], beam_size=21, alpha=alpha, num_best=21)
    for place, (score, words) in enumerate(scored):
        assert float(found.scores_AW[0, place]) == pytest.approx(score, rel=1e-4)
        ids = [*words, EOS]
        np.testing.assert_array_equal(found.words_AWT[0, place, : len(ids)], ids)


def test_a_beam_wider_than_the_vocabulary_finds_words_alone():
    # Of at most two tokens there are 1 + 4 outputs; the embedding's other rows are no words.
    graphdef, params = drawn_by_numpy(ONE_LAYER, num_words=5, seed=4)
    rows = _row([0, 4, 1])
    found = _search(graphdef, params, rows, [2], beam_size=21, alpha=0.0, num_best=21)
    assert int((found.scores_AW[0] > -jnp.inf).sum()) == 5
    assert {int(word) for word in found.words_AWT[0, :5, 0]} == {0, 1, 2, EOS, 4}


def test_beam_one_is_greedy_search_by_the_uncached_model():
    # Of two layers: each reads its own cache.
    graphdef, params = drawn_by_numpy()
    pairs = random_pairs([(4, 0), (6, 0), (2, 0)], seed=5)
    greedy = _search(graphdef, params, unpacked_rows(pairs, 10), [9, 9, 9], beam_size=1)
    assert max(_ends(words) for words in greedy.words_AWT[:, 0]) > 4, "outputs of some length"
    for number, (source, _) in enumerate(pairs):
        target: list[int] = []
        total = 0.0
        while True:
            rows = unpacked_rows([(source, (target + 9 * [4])[:9])], 10)
            found = np.asarray(logits(graphdef, params, rows), np.float64)[0, len(target)]
            log_probs = found - np.log(np.exp(found).sum())
            word = EOS if len(target) == 8 else int(log_probs.argmax())
            total += log_probs[word]
            target.append(word)
            if word == EOS:
                break
        np.testing.assert_array_equal(greedy.words_AWT[number, 0, : len(target)], target)
        score = total / ((5 + len(target)) / 6) ** 0.6
        assert float(greedy.scores_AW[number, 0]) == pytest.approx(score, rel=1e-4)


def _ends(words):
    """The place of EOS."""
    return words.tolist().index(EOS)


def test_scores_of_the_beam_are_those_of_the_uncached_model():
    graphdef, params = _few_words(seed=2)
    source = [7, 9, 30, 4]
    found = _filled(graphdef, params, [(source, [])], [7])
    for words, score in zip(found.words_AWT[0], found.scores_AW[0], strict=True):
        target = words.tolist()[: _ends(words)]
        by_model = sum(_log_probs(graphdef, params, source, target))
        assert float(score) * ((6 + len(target)) / 6) ** 0.6 == pytest.approx(by_model, rel=1e-4)
    assert sorted(found.scores_AW[0], reverse=True) == list(found.scores_AW[0])


def test_batch_mates_and_source_padding_change_nothing():
    graphdef, params = _few_words()
    pairs, limits = _sources((4, 9, 2), seed=6), [8, 12, 6]
    together = _filled(graphdef, params, pairs, limits)
    for number, limit in enumerate(limits):
        alone = _search(
            graphdef,
            params,
            unpacked_rows(pairs[number : number + 1], 10),
            [limit],
            room=ROOM,
            num_best=4,
        )
        np.testing.assert_array_equal(alone.words_AWT[0], together.words_AWT[number])
        np.testing.assert_allclose(alone.scores_AW[0], together.scores_AW[number], rtol=1e-4)


@pytest.mark.parametrize(("beam_size", "at_once"), [(1, 1), (4, 9)])
def test_sentences_that_begin_when_others_have_ended_find_the_same(beam_size, at_once):
    # One place; or nine, of which two at least must be free for the next two: 41 sentences are an
    # odd number of groups, and outputs are of all lengths up to their limits.
    graphdef, params = _few_words(seed=3)
    pairs = _sources([1 + n * 7 % 9 for n in range(41)], seed=8)
    limits = [1 + n * 5 % 12 for n in range(41)]
    settings = {"beam_size": beam_size, "num_best": beam_size}
    together = _filled(graphdef, params, pairs, limits, **settings)
    in_turns = _filled(graphdef, params, pairs, limits, at_once=at_once, **settings)
    np.testing.assert_array_equal(in_turns.words_AWT, together.words_AWT)
    np.testing.assert_allclose(in_turns.scores_AW, together.scores_AW, rtol=1e-4)
    assert not in_turns.cut_A.any()


def test_a_sentence_is_cut_only_where_the_room_is_too_small_for_it():
    graphdef, params = _few_words(seed=3)
    params["embedding"] = params["embedding"].at[EOS].set(0.0)  # long outputs
    pairs, limits = _sources(range(1, 10), seed=8), [4 + 2 * n for n in range(9)]
    whole = _filled(graphdef, params, pairs, limits)
    assert not whole.cut_A.any()
    small = _filled(graphdef, params, pairs, limits, room=10, at_once=3)
    cut = np.asarray(small.cut_A)
    assert cut.any()
    assert not cut[:4].any(), "a limit that the room holds is no reason"
    np.testing.assert_array_equal(small.words_AWT[~cut], whole.words_AWT[~cut, :, :10])
    np.testing.assert_allclose(small.scores_AW[~cut], whole.scores_AW[~cut], rtol=1e-4)


def test_no_output_passes_its_limit_and_every_one_ends():
    graphdef, params = _few_words()
    limits = [1, 5, 3]
    found = _filled(graphdef, params, _sources((4, 9, 2), seed=7), limits)
    for number, limit in enumerate(limits):
        for words, score in zip(found.words_AWT[number], found.scores_AW[number], strict=True):
            if score > -math.inf:
                assert _ends(words) < limit
                assert not words[_ends(words) + 1 :].any()


def test_it_stops_only_when_no_living_hypothesis_can_win():
    # A beam of 4 must do at least as well as every prefix of its own steps: here against a search
    # that never stops early, because 4 best are asked for instead of 1.
    for seed in range(6):
        graphdef, params = _few_words(seed)
        params["embedding"] = params["embedding"].at[EOS].set(0.0)  # long outputs
        pairs, limits = _sources((3, 8, 1), seed), [12, 20, 7]
        one = _filled(graphdef, params, pairs, limits, num_best=1, alpha=1.0)
        four = _filled(graphdef, params, pairs, limits, alpha=1.0)
        np.testing.assert_array_equal(one.words_AWT[:, 0], four.words_AWT[:, 0])
        np.testing.assert_allclose(one.scores_AW[:, 0], four.scores_AW[:, 0], rtol=1e-5)


def test_a_sentence_is_finished_once_hope_is_no_better_than_the_best_by_hand():
    # With a limit of 7 and α = 1 the penalty is (5 + 7) / 6 = 2: a living -4 may come to -2.
    slots = Search.__new__(Search)
    slots.beam_size, slots.alpha, slots.room, slots.num_best = 2, 1.0, 3, 1
    limit_B = jnp.full(3, 7)
    now = slots._unborn(limit_B, jnp.zeros_like(limit_B), limit_B, jnp.ones((3, 4), jnp.int32))
    live_BW = jnp.array([[-4.0, -9.0]] * 3)
    ended_BW = jnp.array([[-1.9, -2.1], [-2.1, -2.2], [-1.0, -1.9]])
    assert slots._finished(now, live_BW, ended_BW).tolist() == [True, False, True]
    slots.num_best = 2
    assert slots._finished(now, live_BW, ended_BW).tolist() == [False, False, True]
    # Of sentences with an α of their own, 0, 1 and 2, it is 1, 2 and 4.
    slots.num_best = 1
    asked = now._replace(controls=Controls(alpha_B=jnp.array([0.0, 1.0, 2.0])))
    ended_BW = jnp.array([[-3.9, -9.0], [-2.1, -9.0], [-0.9, -9.0]])
    assert slots._finished(asked, live_BW, ended_BW).tolist() == [True, False, True]
    # Over the length alone, the penalty is 7: a living -4 may come to -0.57.
    slots.form = "length"
    ended_BW = jnp.array([[-0.56, -2.1], [-0.58, -2.2], [-0.5, -1.9]])
    assert slots._finished(now, live_BW, ended_BW).tolist() == [True, False, True]


def test_hope_counts_what_further_words_are_given_by_hand():
    slots = Search.__new__(Search)
    slots.beam_size, slots.alpha, slots.room, slots.num_best = 2, 1.0, 3, 1
    limit_B = jnp.full(3, 7)
    now = slots._unborn(limit_B, jnp.zeros_like(limit_B), limit_B, jnp.ones((3, 4), jnp.int32))
    # One word is written, six are left: -4 may come to -4 + 6 * 0.5 = -1, over a penalty of 2; or
    # to 2, over that of two words, 7 / 6.
    for most, hope in ((0.5, -0.5), (1.0, 2 / (7 / 6)), (-3.0, -2.0)):
        asked = Controls(bias_BV=jnp.full((3, 5), -9.0).at[:, 4].set(most))
        now = now._replace(controls=asked)
        ended_BW = jnp.array([[hope + 0.01, -9.0], [hope - 0.01, -9.0], [-jnp.inf, -jnp.inf]])
        found_B = slots._finished(now, jnp.array([[-4.0, -9.0]] * 3), ended_BW)
        assert found_B.tolist() == [True, False, False]


def test_what_has_ended_is_ranked_by_score_and_bonus_over_the_penalty_by_hand():
    slots = Search.__new__(Search)
    slots.beam_size, slots.alpha, slots.room, slots.eos = 2, 1.0, 3, EOS
    limit_B, none_BS = jnp.full(1, 9), jnp.ones((1, 4), jnp.int32)
    asked = Controls(bias_BV=jnp.zeros((1, 8)).at[0, 5].set(0.14).at[0, 6].set(0.2))
    now = slots._unborn(limit_B, jnp.full(1, 2), limit_B, none_BS, asked)._replace(
        ended_words_BWT=jnp.array([[[5, EOS, 0], [0, 0, 0]]]),
        ended_scores_BW=jnp.array([[-1.0, -jnp.inf]]),
        ended_chosen_BW=jnp.array([[-0.88, -jnp.inf]]),  # -1 + 0.14 / (7 / 6)
    )
    # Three words, 6 twice: (-1.6 + 0.4) / (8 / 6) = -0.9.
    grown = aiayn.decoding.search._Grown(
        log_probs_BC=jnp.array([[-1.6, -5.0, -jnp.inf, -jnp.inf]]),
        word_BC=jnp.array([[EOS, 6, 6, 6]]),
        words_BCT=jnp.array([[[6, 6, EOS], [6, 6, 6], [0, 0, 0], [0, 0, 0]]]),
        parent_BC=jnp.zeros((1, 4), jnp.int32),
        ends_BC=jnp.array([[True, False, False, False]]),
        bonus_BC=jnp.array([[0.4, 0.6, 0.0, 0.0]]),
    )
    scores_BW, words_BWT, chosen_BW = slots._ended(now, grown, now.age_B)
    assert words_BWT.tolist() == [[[5, EOS, 0], [6, 6, EOS]]]
    np.testing.assert_allclose(scores_BW, [[-1.0, -1.2]], rtol=1e-6)
    np.testing.assert_allclose(chosen_BW, [[-0.88, -0.9]], rtol=1e-6)


def test_a_score_over_the_length_alone_is_the_log_probability_of_a_token():
    # α = 1: what fairseq and Hugging Face's toolkits rank by.
    graphdef, params = _few_words(seed=2)
    source = [7, 9, 30, 4]
    found = _filled(graphdef, params, [(source, [])], [7], alpha=1.0, form="length")
    for words, score in zip(found.words_AWT[0], found.scores_AW[0], strict=True):
        target = words.tolist()[: _ends(words)]
        by_model = _log_probs(graphdef, params, source, target)
        assert float(score) == pytest.approx(np.mean(by_model), rel=1e-4)


@pytest.mark.parametrize("count", [3, 10, 300])
def test_the_best_continuations_are_those_of_all_words_after_all_hypotheses(count):
    rng = np.random.default_rng(count)
    logits_VN = jnp.asarray(rng.permutation(512 * 6).reshape(512, 6) / 100, jnp.float32)
    crowded_VN = logits_VN.at[200:240].add(100.0)  # all of the best in one group
    live_BW = jnp.asarray([[-1.0, -3.5, -0.25], [0.0, -jnp.inf, -jnp.inf]])
    jitted = jax.jit(partial(aiayn.decoding.search._continuations, count=count, eos=7))
    for x_VN in (logits_VN, crowded_VN):
        continuations = partial(jitted, x_VN, live_BW)
        log_probs_BWV = live_BW[..., None] + jax.nn.log_softmax(x_VN.T).reshape(2, 3, -1)
        wanted_BC, flat_BC = lax.top_k(log_probs_BWV.reshape(2, -1), count)
        top_BC, parent_BC, word_BC = continuations(jnp.zeros(2, bool))
        np.testing.assert_array_equal(parent_BC * 512 + word_BC, flat_BC)
        np.testing.assert_allclose(top_BC, wanted_BC, rtol=1e-5)
        top_BC, parent_BC, word_BC = continuations(jnp.ones(2, bool))
        wanted_BW, order_BW = lax.top_k(log_probs_BWV[..., 7], 3)
        assert (word_BC == 7).all()
        assert (top_BC[:, 3:] == -jnp.inf).all()
        np.testing.assert_array_equal(parent_BC[:, :3], order_BW)
        np.testing.assert_allclose(top_BC[:, :3], wanted_BW, rtol=1e-5)


@pytest.mark.parametrize("count", [3, 10])
def test_the_best_continuations_of_what_is_allowed_are_in_the_groups_with_the_best_of_that(count):
    # In most groups the best words are forbidden; probabilities stay those of all words.
    rng = np.random.default_rng(count)
    x_VN = jnp.asarray(rng.permutation(512 * 6).reshape(512, 6) / 100, jnp.float32)
    allowed_VN = jnp.asarray(rng.random((512, 6)) < 0.02)
    live_BW = jnp.asarray([[-1.0, -3.5, -0.25], [0.0, -jnp.inf, -jnp.inf]])
    find = jax.jit(partial(aiayn.decoding.search._continuations, count=count, eos=7))
    chosen_VN = jnp.where(allowed_VN, x_VN, -jnp.inf)
    top_BC, parent_BC, word_BC = find(x_VN, live_BW, jnp.zeros(2, bool), chosen_VN=chosen_VN)
    log_probs_VN = jnp.where(allowed_VN, jax.nn.log_softmax(x_VN, axis=0), -jnp.inf)
    log_probs_BWV = live_BW[..., None] + log_probs_VN.T.reshape(2, 3, -1)
    wanted_BC, flat_BC = lax.top_k(log_probs_BWV.reshape(2, -1), count)
    there_BC = np.asarray(wanted_BC > -jnp.inf)
    assert there_BC.sum() > count
    np.testing.assert_allclose(top_BC, wanted_BC, rtol=1e-5)
    found_BC = np.asarray(parent_BC * 512 + word_BC)
    np.testing.assert_array_equal(found_BC[there_BC], np.asarray(flat_BC)[there_BC])


def test_the_best_continuations_by_a_bias_have_their_own_log_probabilities():
    rng = np.random.default_rng(0)
    x_VN = jnp.asarray(rng.permutation(512 * 6).reshape(512, 6) / 100, jnp.float32)
    bias_V1 = jnp.asarray(rng.normal(0, 30, (512, 1)), jnp.float32)
    bonus_BW = jnp.array([[7.0, 0.0, -8.0], [0.5, 0.0, 0.0]])
    live_BW = jnp.asarray([[-1.0, -3.5, -0.25], [0.0, -jnp.inf, -jnp.inf]])
    find = aiayn.decoding.search._continuations
    log_probs_BWV = live_BW[..., None] + jax.nn.log_softmax(x_VN.T).reshape(2, 3, -1)
    chosen_BWV = log_probs_BWV + bias_V1[:, 0][None, None] + bonus_BW[..., None]
    _, flat_BC = lax.top_k(chosen_BWV.reshape(2, -1), 10)
    wanted_BC = jnp.take_along_axis(log_probs_BWV.reshape(2, -1), flat_BC, axis=1)
    given = x_VN + bias_V1, bonus_BW
    top_BC, parent_BC, word_BC = find(x_VN, live_BW, jnp.zeros(2, bool), 10, 7, *given)
    np.testing.assert_array_equal(parent_BC * 512 + word_BC, flat_BC)
    np.testing.assert_allclose(top_BC, wanted_BC, rtol=1e-5)
    top_BC, parent_BC, _ = find(x_VN, live_BW, jnp.ones(2, bool), 10, 7, *given)
    _, order_BW = lax.top_k(log_probs_BWV[..., 7] + bonus_BW, 3)
    np.testing.assert_array_equal(parent_BC[:, :3], order_BW)
    ends_BW = jnp.take_along_axis(log_probs_BWV[..., 7], order_BW, axis=1)
    np.testing.assert_allclose(top_BC[:, :3], ends_BW, rtol=1e-5)


def test_small_model_constants_are_distinct():
    # The tests above would not notice swapped axes if two sizes were equal.
    sizes = [MODEL.d_model, MODEL.d_ff, MODEL.num_heads, MODEL.d_k, MODEL.d_v]
    assert len(set(sizes)) == len(sizes)


# --- The class, driven otherwise than over a file -----------------------------------------------


class _Turns(NamedTuple):
    begin: Callable[..., Any]
    step: Callable[..., Any]
    gather: Callable[..., Any]
    living: Callable[..., Any]
    sources: tuple[Any, ...]
    start: Any

    def drive(self, order):
        """Two slots, one sentence more a turn: the state and the living after each step, and what
        was found of each sentence."""
        state, trace, found, waiting = self.start, [], {}, list(order)
        while waiting or not state.now.finished_B.all():
            for place in np.flatnonzero(state.now.finished_B):
                if waiting:
                    number = waiting.pop(0)
                    new = (np.asarray(each)[number : number + 1] for each in self.sources)
                    at = np.array([place]), np.array([number], np.int32)
                    state = self.begin(state, *at, *new)
                    break  # the other slot stays empty for a turn
            state = self.step(state)
            trace.append((jax.device_get(state), jax.device_get(self.living(state))))
            ended = jax.device_get(self.gather(state))
            for place in np.flatnonzero(state.now.finished_B):
                number = int(state.now.number_B[place])
                found.setdefault(number, jax.tree.map(lambda x, at=place: x[at], ended))
        return trace, found


@pytest.fixture(scope="module")
def slots():
    """A search of five sentences in two slots, and what the search over a file finds."""
    graphdef, params = _few_words(seed=3)
    pairs, limits = _sources((4, 6, 2, 5, 3), seed=8), [9, 5, 9, 7, 9]
    rows, limit = unpacked_rows(pairs, WIDTH), jnp.asarray(limits, jnp.int32)
    options = {"beam_size": 4, "alpha": 0.6, "room": ROOM, "num_best": 4}
    search = Search(
        nnx.merge(graphdef, params), lay_out(graphdef, params), bos=BOS, eos=EOS, **options
    )
    functions = map(jax.jit, (search.begin, search.step, search.gather, search.living))
    sources = rows.src_BS, rows.src_segments_BS, rows.src_positions_BS, limit
    start = jax.jit(partial(search.start, 2, WIDTH))()
    return _Turns(*functions, sources, start), _filled(graphdef, params, pairs, limits)


@pytest.fixture(scope="module")
def turns(slots):
    return slots[0].drive(range(5))


def test_turns_with_sentences_that_come_late_find_what_a_file_finds(slots, turns):
    (_, wanted), (_, found) = slots, turns
    assert sorted(n for n in found if n >= 0) == list(range(5))
    for number in range(5):
        words, scores, cut = found[number]
        np.testing.assert_array_equal(words, wanted.words_AWT[number])
        np.testing.assert_allclose(scores, wanted.scores_AW[number], rtol=1e-5)
        assert bool(cut) == bool(wanted.cut_A[number])


def test_an_output_has_the_same_bits_whenever_it_began_and_whoever_is_beside_it(slots, turns):
    _, found = turns
    _, others = slots[0].drive([3, 1, 4, 0, 2])
    for number in range(5):
        jax.tree.map(np.testing.assert_array_equal, found[number], others[number])


def test_every_living_hypothesis_continues_its_parent(turns):
    # A picture of the beam: the words and log-probabilities of the living, and their parents.
    trace, _ = turns
    checked = 0
    for (_, old), (state, new) in itertools.pairwise(trace):
        for slot in range(2):
            age = int(state.now.age_B[slot])
            if state.now.finished_B[slot] or age < 2:
                continue
            parent_W = state.now.places_BWT[slot, :, age - 1]
            for place, parent in enumerate(parent_W):
                words = new.words_AWT[slot, place]
                np.testing.assert_array_equal(
                    words[: age - 1], old.words_AWT[slot, parent, : age - 1]
                )
                assert new.scores_AW[slot, place] <= old.scores_AW[slot, parent]
                assert not words[age:].any()
                checked += 1
    assert checked > 20


# --- A language model -----------------------------------------------------------------------------

PROMPTS = [[5, 6, 7], [], [9, 8, 7, 6, 5, 4, 10, 11], [20], [31, 30, 29, 28, 27]]


@pytest.fixture(scope="module")
def writer():
    graphdef, params = drawn_by_numpy(replace(ONE_LAYER, kind="decoder"), num_words=60, seed=2)
    return graphdef, {**params, "embedding": 3 * params["embedding"]}


def _continued(writer, prompts, room, controls=NOTHING, read=True):
    """The three best outputs of each prompt, six words after it at most; two are read at a time."""
    src, segments = np.zeros((2, len(prompts), 8), np.int32)
    for row, words in enumerate(prompts if read else ()):
        src[row, : len(words)], segments[row, : len(words)] = words, 1
    graphdef, params = writer
    return search(
        graphdef,
        params,
        lay_out(graphdef, params),
        jnp.asarray(src),
        jnp.asarray(segments),
        jnp.array([len(words) + 7 for words in prompts], jnp.int32),
        controls,
        bos=BOS,
        eos=EOS,
        **{"beam_size": 3, "alpha": 0.0, "at_once": 2, "room": room, "num_best": 3},
    )


@pytest.fixture(scope="module")
def continued(writer):
    return _continued(writer, PROMPTS, room=16)


def test_what_follows_a_prompt_read_in_one_pass_has_the_score_of_the_uncached_model(
    writer, continued
):
    for number, prompt in enumerate(PROMPTS):
        for place in range(3):
            words = continued.words_AWT[number, place].tolist()
            words = words[: words.index(EOS)]
            assert words[: len(prompt)] == prompt
            none = np.zeros((1, 0), np.int32)
            ids = np.array([[*words, EOS, *[0] * (15 - len(words))]], np.int32)
            segments = np.array([[1] * (len(words) + 1) + [0] * (15 - len(words))], np.int32)
            rows = on_device(make_rows(none, none, ids, segments, BOS))
            found = jax.nn.log_softmax(logits(*writer, rows)[0])
            own = sum(found[at, ids[0, at]] for at in range(len(prompt), len(words) + 1))
            assert continued.scores_AW[number, place] == pytest.approx(float(own), abs=1e-4)


def test_a_prompt_read_in_one_pass_is_as_one_forced_word_by_word(writer, continued):
    prefix = np.full((len(PROMPTS), 8), FREE, np.int32)
    for row, words in enumerate(PROMPTS):
        prefix[row, : len(words)] = words
    asked = Controls(prefix_BP=jnp.asarray(prefix))
    forced = _continued(writer, PROMPTS, 16, asked, read=False)
    np.testing.assert_array_equal(forced.words_AWT, continued.words_AWT)
    # Word by word the prompt's own probability counts, which is the same for all outputs.
    differences = np.asarray(forced.scores_AW - continued.scores_AW)
    np.testing.assert_allclose(differences, differences[:, :1].repeat(3, axis=1), atol=1e-4)


def test_a_room_that_just_holds_the_longest_is_as_good_as_a_large_one(writer, continued):
    # 15 words of the longest, EOS included.
    tight = _continued(writer, PROMPTS, room=15)
    np.testing.assert_array_equal(tight.words_AWT, continued.words_AWT[:, :, :15])
    np.testing.assert_allclose(tight.scores_AW, continued.scores_AW, rtol=1e-5)
