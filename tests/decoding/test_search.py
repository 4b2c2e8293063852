import itertools
import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

import aiayn.decoding.search
from aiayn.data.rows import rows_of_pairs
from aiayn.decoding.incremental import lay_out
from aiayn.decoding.search import Search, length_penalty, search
from tests.support.models import MODEL, logits, on_device, random_pairs, transformer, unpacked_rows

BOS, EOS = 2, 3
pytestmark = pytest.mark.usefixtures("strict_dtypes")


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
    graphdef, params = transformer(num_words=5, seed=4)
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


def test_beam_one_is_greedy_search_by_the_uncached_model():
    graphdef, params = transformer()
    pairs = random_pairs([(4, 0), (6, 0), (2, 0)], seed=5)
    greedy = _search(graphdef, params, unpacked_rows(pairs), [9, 9, 9], beam_size=1)
    for number, (source, _) in enumerate(pairs):
        target: list[int] = []
        total = 0.0
        while True:
            rows = unpacked_rows([(source, target)], 10)
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


def test_scores_of_the_beam_are_those_of_the_uncached_model():
    graphdef, params = transformer(num_words=40, seed=2)
    source = [7, 9, 30, 4]
    found = _search(graphdef, params, _row(source), [7], num_best=4)
    for words, score in zip(found.words_AWT[0], found.scores_AW[0], strict=True):
        target = [int(w) for w in words]
        target = target[: target.index(EOS)]
        by_model = sum(_log_probs(graphdef, params, source, target))
        assert float(score) * ((6 + len(target)) / 6) ** 0.6 == pytest.approx(by_model, rel=1e-4)
    assert sorted(found.scores_AW[0], reverse=True) == list(found.scores_AW[0])


def test_batch_mates_and_source_padding_change_nothing():
    graphdef, params = transformer()
    pairs = random_pairs([(4, 0), (9, 0), (2, 0)], seed=6)
    together = _search(graphdef, params, unpacked_rows(pairs, 16), [8, 12, 6])
    for number, limit in enumerate([8, 12, 6]):
        alone = _search(
            graphdef, params, unpacked_rows(pairs[number : number + 1]), [limit], room=12
        )
        np.testing.assert_array_equal(alone.words_AWT[0], together.words_AWT[number])
        np.testing.assert_allclose(alone.scores_AW[0], together.scores_AW[number], rtol=1e-4)


def test_sentences_that_begin_when_others_have_ended_find_the_same():
    # Nine places, and two at least must be free for the next two: 41 sentences are an odd number of
    # groups, and outputs are of all lengths up to their limits.
    graphdef, params = transformer(num_words=60, seed=3)
    pairs = random_pairs([(1 + n * 7 % 9, 0) for n in range(41)], seed=8)
    limits = [1 + n * 5 % 12 for n in range(41)]
    rows = unpacked_rows(pairs, 16)
    for beam_size in (1, 4):
        settings = {"beam_size": beam_size, "num_best": beam_size, "room": 12}
        together = _search(graphdef, params, rows, limits, **settings)
        in_turns = _search(graphdef, params, rows, limits, at_once=9, **settings)
        np.testing.assert_array_equal(in_turns.words_AWT, together.words_AWT)
        np.testing.assert_allclose(in_turns.scores_AW, together.scores_AW, rtol=1e-4)
        assert not in_turns.cut_A.any()


def test_empty_sentences_at_the_end_take_no_time_and_find_nothing():
    graphdef, params = transformer()
    pairs = random_pairs([(4, 0), (9, 0), (1, 0), (1, 0)], seed=8)
    found = _search(graphdef, params, unpacked_rows(pairs), [5, 4, 0, 0], at_once=1)
    assert not np.asarray(found.words_AWT[2:]).any()
    assert (found.scores_AW[2:] == -math.inf).all()


def test_a_sentence_is_cut_only_where_the_room_is_too_small_for_it():
    graphdef, params = transformer(num_words=60, seed=3)
    params["embedding"] = params["embedding"].at[EOS].set(0.0)  # long outputs
    pairs = random_pairs([(n, 0) for n in range(1, 10)], seed=8)
    rows, limits = unpacked_rows(pairs), [4 + 2 * n for n in range(9)]
    whole = _search(graphdef, params, rows, limits, num_best=4)
    assert not whole.cut_A.any()
    small = _search(graphdef, params, rows, limits, num_best=4, room=10, at_once=3)
    cut = np.asarray(small.cut_A)
    assert cut.any()
    assert not cut[:4].any(), "a limit that the room holds is no reason"
    np.testing.assert_array_equal(small.words_AWT[~cut], whole.words_AWT[~cut, :, :10])
    np.testing.assert_allclose(small.scores_AW[~cut], whole.scores_AW[~cut], rtol=1e-4)


def test_no_output_passes_its_limit_and_every_one_ends():
    graphdef, params = transformer()
    pairs = random_pairs([(4, 0), (9, 0), (2, 0)], seed=7)
    limits = [1, 5, 3]
    found = _search(graphdef, params, unpacked_rows(pairs), limits, num_best=4)
    for number, limit in enumerate(limits):
        for words, score in zip(found.words_AWT[number], found.scores_AW[number], strict=True):
            if score > -math.inf:
                ids = words.tolist()
                assert ids.index(EOS) < limit
                assert not any(ids[ids.index(EOS) + 1 :])


def test_it_stops_only_when_no_living_hypothesis_can_win():
    # A beam of 4 must do at least as well as every prefix of its own steps: here against a search
    # that never stops early, because 4 best are asked for instead of 1.
    for seed in range(6):
        graphdef, params = transformer(num_words=30, seed=seed)
        rows = _row([5, 6, 7])
        one = _search(graphdef, params, rows, [12], alpha=1.0)
        four = _search(graphdef, params, rows, [12], alpha=1.0, num_best=4)
        np.testing.assert_array_equal(one.words_AWT[0, 0], four.words_AWT[0, 0])
        np.testing.assert_allclose(one.scores_AW[0, 0], four.scores_AW[0, 0], rtol=1e-5)


@pytest.mark.parametrize("count", [3, 10, 300])
def test_the_best_continuations_are_those_of_all_words_after_all_hypotheses(count):
    rng = np.random.default_rng(count)
    logits_VN = jnp.asarray(rng.permutation(512 * 6).reshape(512, 6) / 100, jnp.float32)
    crowded_VN = logits_VN.at[200:240].add(100.0)  # all of the best in one group
    live_BW = jnp.asarray([[-1.0, -3.5, -0.25], [0.0, -jnp.inf, -jnp.inf]])
    for x_VN in (logits_VN, crowded_VN):
        continuations = partial(
            aiayn.decoding.search._continuations, x_VN, live_BW, count=count, eos=7
        )
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


def test_small_model_constants_are_distinct():
    # The tests above would not notice swapped axes if two sizes were equal.
    sizes = [MODEL.d_model, MODEL.d_ff, MODEL.num_heads, MODEL.d_k, MODEL.d_v]
    assert len(set(sizes)) == len(sizes)


# --- The class, driven otherwise than over a file -----------------------------------------------


@pytest.fixture(scope="module")
def turns():
    """A search in two slots, one sentence more a turn; the state after each step, and what it
    found."""
    config = replace(MODEL, num_layers=1)
    graphdef, params = transformer(config, seed=3)
    pairs = random_pairs([(4, 0), (6, 0), (2, 0), (5, 0), (3, 0)], seed=8)
    rows, limit = unpacked_rows(pairs), jnp.array([9, 5, 9, 7, 9], jnp.int32)
    options = {"beam_size": 3, "alpha": 0.6, "room": 9, "num_best": 2}
    slots = Search(
        nnx.merge(graphdef, params), lay_out(graphdef, params), bos=BOS, eos=EOS, **options
    )
    begin, step = jax.jit(slots.begin), jax.jit(slots.step)
    sources = rows.src_BS, rows.src_segments_BS, rows.src_positions_BS, limit
    state = slots.start(2, rows.src_BS.shape[1])
    states, found, waiting = [], {}, list(range(len(pairs)))
    while waiting or not state.now.finished_B.all():
        for place in np.flatnonzero(state.now.finished_B):
            if waiting:
                number = waiting.pop(0)
                new = (jnp.asarray(each[number : number + 1]) for each in sources)
                state = begin(state, jnp.array([place]), jnp.array([number]), *new)
                break  # the other slot stays empty for a turn
        state = step(state)
        states.append(state)
        ended = np.flatnonzero(state.now.finished_B)
        for place, each in zip(
            ended, zip(*slots.gather(state, jnp.asarray(ended)), strict=True), strict=True
        ):
            found.setdefault(int(state.now.number_B[place]), each)
    wanted = _search(graphdef, params, rows, limit, at_once=2, **options)
    return slots, states, found, wanted


def test_turns_with_sentences_that_come_late_find_what_a_file_finds(turns):
    _, _, found, wanted = turns
    assert sorted(n for n in found if n >= 0) == list(range(5))
    for number in range(5):
        words, scores, cut = found[number]
        np.testing.assert_array_equal(words, wanted.words_AWT[number])
        np.testing.assert_allclose(scores, wanted.scores_AW[number], rtol=1e-5)
        assert bool(cut) == bool(wanted.cut_A[number])


def test_every_living_hypothesis_continues_one_of_the_step_before(turns):
    slots, states, _, _ = turns
    checked = 0
    for before, after in itertools.pairwise(states):
        old, new = slots.living(before), slots.living(after)
        for place in range(2):
            age = int(after.time - after.now.born_B[place])
            if bool(after.now.finished_B[place]) or age < 2:
                continue
            parents = {
                tuple(words[: age - 1].tolist()): float(log_prob)
                for words, log_prob in zip(old.words_AWT[place], old.scores_AW[place], strict=True)
            }
            for words, log_prob in zip(new.words_AWT[place], new.scores_AW[place], strict=True):
                assert float(log_prob) <= parents[tuple(words[: age - 1].tolist())]
                assert not words[age:].any()
                checked += 1
    assert checked > 20
