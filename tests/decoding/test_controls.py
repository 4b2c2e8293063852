"""What a search may be asked for, against every output that there is and draws by hand."""

import itertools
import math
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.stats import chisquare

import aiayn.decoding.search
from aiayn.decoding.controls import FREE, NOTHING, Controls, controls_of, drawn, noise
from aiayn.decoding.incremental import lay_out
from aiayn.decoding.programs import _forced
from aiayn.decoding.search import Search, _continuations, search
from aiayn.decoding.spellings import START
from aiayn.decoding.wishes import Wishes
from tests.decoding.test_search import ROOM as PLAIN_ROOM
from tests.decoding.test_search import SLOTS
from tests.support.models import MODEL, drawn_by_numpy, logits, unpacked_rows

BOS, EOS = 2, 3
ALPHA = 0.6
"""Of the plain searches, and of who asks for no other."""
ONE_LAYER = replace(MODEL, num_layers=1)
pytestmark = pytest.mark.usefixtures("strict_dtypes")


def _controls(asked, prefix_length=4, num_banned=2, num_words=60):
    """Everything compiled in; what a sentence does not ask for has the value that changes nothing.

    Each of `asked` has some of: prefix, min_length, no_repeat, banned, samples, temperature, seed,
    top_k, top_p, min_p, alpha, bias.
    """

    def column(name, default, dtype):
        return jnp.array([each.get(name, default) for each in asked], dtype)

    prefix = np.full((len(asked), prefix_length), FREE, np.int32)
    banned = np.full((len(asked), num_banned, 3), FREE, np.int32)
    for row, each in enumerate(asked):
        words = each.get("prefix", ())
        prefix[row, : len(words)] = words
        for place, sequence in enumerate(each.get("banned", ())):
            banned[row, place, 3 - len(sequence) :] = sequence
    bias = np.zeros((len(asked), num_words), np.float32)
    for row, each in enumerate(asked):
        for word, value in each.get("bias", {}).items():
            bias[row, word] = value
    return Controls(
        prefix_BP=jnp.asarray(prefix),
        min_length_B=column("min_length", 0, jnp.int32),
        no_repeat_B=column("no_repeat", 0, jnp.int32),
        banned_BKL=jnp.asarray(banned),
        bias_BV=jnp.asarray(bias),
        num_samples_B=column("samples", 0, jnp.int32),
        temperature_B=column("temperature", 1.0, jnp.float32),
        seed_B=column("seed", 0, jnp.uint32),
        top_k_B=column("top_k", 1_000, jnp.int32),
        top_p_B=column("top_p", 1.0, jnp.float32),
        min_p_B=column("min_p", 0.0, jnp.float32),
        alpha_B=column("alpha", ALPHA, jnp.float32),
    )


def _outputs(found, number):
    """The outputs of a sentence with their scores, best first."""
    kept = [k for k, score in enumerate(found.scores_AW[number]) if score > -math.inf]
    words = [found.words_AWT[number, k].tolist() for k in kept]
    return [
        (tuple(w[: w.index(EOS)]), float(found.scores_AW[number, k]))
        for k, w in zip(kept, words, strict=True)
    ]


def _same(found, wanted):
    """Outputs of several sentences; scores up to the order of float32 sums."""
    for ours, theirs in zip(found, wanted, strict=True):
        assert [words for words, _ in ours] == [words for words, _ in theirs]
        np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], rtol=1e-4)


# --- All outputs of at most four of five words ---------------------------------------------------

FIVE = (0, 1, BOS, 4)
"""The words of the vocabulary besides EOS."""
LIMIT = 5
MASKS: dict[str, dict[str, Any]] = {
    "prefix": {"prefix": (4, 1)},
    "minimum": {"min_length": 3},
    "no repeat": {"no_repeat": 2},
    "banned": {"banned": ((0,), (1, 4))},
    "penalty": {"alpha": 2.5},
    "bias": {"bias": {0: 3.0, 4: -1.5, EOS: -0.75}},
}
PAIRS = [(a, b) for a in MASKS for b in MASKS if a < b]
CASES: dict[str, dict[str, Any]] = {
    "nothing": {},
    **MASKS,
    **{f"{a}, {b}": MASKS[a] | MASKS[b] for a, b in PAIRS},
    "no word twice": {"no_repeat": 1},
    "no three words twice": {"no_repeat": 3},
    "longer than the limit": {"min_length": 9},
    "too few words for the minimum": {"no_repeat": 1, "banned": ((0,), (1,)), "min_length": 3},
    "no output begins so": {"banned": ((START, 1), (START, 4, 0))},
    "a prefix of all words": {"prefix": (0, 0, 0, 0), "no_repeat": 1},
    "no penalty": {"alpha": 0.0},
}


def _next_words(
    words, prefix=(), min_length=0, no_repeat=0, banned=(), limit=LIMIT, vocabulary=FIVE
):
    """What may follow these words, straight from what the options promise."""
    if len(words) == limit - 1:
        return {EOS}
    if len(words) < len(prefix):
        return {prefix[len(words)]}

    def may_come(word):
        longer = (*words, word)
        runs = [longer[at : at + no_repeat] for at in range(len(longer) - no_repeat + 1)]
        if no_repeat and len(runs) != len(set(runs)) and runs.count(runs[-1]) > 1:
            return False
        return not any((START, *longer)[-len(each) :] == tuple(each) for each in banned)

    fine = {word for word in vocabulary if may_come(word)}
    return fine if len(words) < min_length and fine else {*fine, EOS}


def _all_outputs(asked, words=()):
    """Every output that is allowed."""
    for word in _next_words(words, **asked):
        if word == EOS:
            yield words
        else:
            yield from _all_outputs(asked, (*words, word))


@pytest.fixture(scope="module", params=[(4,), (4, 5)], ids=["one model", "ensemble"])
def five(request):
    """What one search finds for each case, by one model or the mean of two; and the log-probability
    of all 341 outputs, by the uncached models."""
    drawn = [drawn_by_numpy(ONE_LAYER, num_words=5, seed=seed) for seed in request.param]
    graphdef, members = drawn[0][0], [params for _, params in drawn]
    source = [0, 4, 1]
    everything = list(_all_outputs({}))
    assert len(everything) == 1 + 4 + 16 + 64 + 256
    rows = unpacked_rows([(source, list(words)) for words in everything], 10)
    each = [jax.nn.softmax(logits(graphdef, params, rows)[..., :5]) for params in members]
    log_probs = np.log(np.mean(each, axis=0))
    table = {
        words: sum(float(log_probs[row, at, word]) for at, word in enumerate([*words, EOS]))
        for row, words in enumerate(everything)
    }
    masks = _controls([*CASES.values()], num_words=5)
    masks = Controls(
        masks.prefix_BP,
        masks.min_length_B,
        masks.no_repeat_B,
        masks.banned_BKL,
        masks.bias_BV,
        alpha_B=masks.alpha_B,
    )
    params, weights = members[0], lay_out(graphdef, members[0])
    if len(members) > 1:
        laid_out = [lay_out(graphdef, params) for params in members]
        params, weights = (
            jax.tree.map(lambda *each: jnp.stack(each), *trees) for trees in (members, laid_out)
        )
    rows = unpacked_rows([(source, [])] * len(CASES), 10)
    found = search(
        graphdef,
        params,
        weights,
        jnp.asarray(rows.src_BS),
        jnp.asarray(rows.src_segments_BS),
        jnp.full(len(CASES), LIMIT, jnp.int32),
        masks,
        beam_size=len(everything),
        alpha=ALPHA,
        at_once=len(CASES),
        room=LIMIT,
        num_best=len(everything),
        bos=BOS,
        eos=EOS,
    )
    outputs = [_outputs(jax.device_get(found), number) for number in range(len(CASES))]
    return dict(zip(CASES, outputs, strict=True)), table


def _score(table, words, alpha=ALPHA):
    return table[words] / ((5 + len(words) + 1) / 6) ** alpha


@pytest.mark.parametrize("case", CASES)
def test_a_wide_enough_beam_finds_all_outputs_allowed_best_first(five, case):
    found, table = five
    masks = {name: value for name, value in CASES[case].items() if name in MASK_NAMES}
    score = partial(_score, table, alpha=CASES[case].get("alpha", ALPHA))
    bias = CASES[case].get("bias", {})

    def chosen_by(words):
        more = sum(bias.get(word, 0) for word in (*words, EOS))
        return score(words) * (1 + more / table[words])

    allowed = sorted(_all_outputs(masks), key=lambda words: -chosen_by(words))
    assert {words for words, _ in found[case]} == set(allowed)
    assert found[case][0][0] == allowed[0]
    np.testing.assert_allclose(
        [score for _, score in found[case]], [*map(score, allowed)], rtol=1e-4
    )


# --- Draws, by hand ------------------------------------------------------------------------------

MANY = 20_000
SHARES = np.array([0.15, 0.4, 0.05, 0.3, 0.1])
"""Of five words, not in their order."""


@jax.jit
def _drawn(temperature, top_k, top_p, min_p):
    def of_all(value, dtype):
        return jnp.full(MANY, value, dtype)

    logits_NV = jnp.broadcast_to(jnp.log(jnp.asarray(SHARES, jnp.float32)) + 3, (MANY, 5))
    noise_NV = noise(jnp.arange(MANY, dtype=jnp.uint32), *jnp.zeros((2, MANY), jnp.int32), 5)
    plain = drawn(logits_NV, noise_NV, of_all(temperature, jnp.float32))
    filtered = drawn(
        logits_NV,
        noise_NV,
        of_all(temperature, jnp.float32),
        of_all(top_k, jnp.int32),
        of_all(top_p, jnp.float32),
        of_all(min_p, jnp.float32),
    )
    return plain, filtered


def _fits(words, shares):
    """Whether the counts of words are as likely as their shares, but for one case in a thousand."""
    counts = np.bincount(words, minlength=len(shares))
    possible = np.asarray(shares) > 0
    assert counts[~possible].sum() == 0
    expected = np.asarray(shares)[possible] / np.sum(shares) * len(words)
    return possible.sum() == 1 or chisquare(counts[possible], expected).pvalue > 1e-3


@pytest.mark.parametrize(
    ("settings", "shares"),
    [
        ((1.0, 9, 1.0, 0.0), SHARES),
        ((0.5, 9, 1.0, 0.0), SHARES**2),
        ((2.0, 9, 1.0, 0.0), SHARES**0.5),
        ((1.0, 3, 1.0, 0.0), [0.15, 0.4, 0, 0.3, 0]),
        ((1.0, 1, 1.0, 0.0), [0, 1, 0, 0, 0]),
        ((0.0, 9, 1.0, 0.0), [0, 1, 0, 0, 0]),
        # .4 + .3 < .75, and with .15 no less
        ((1.0, 9, 0.75, 0.0), [0.15, 0.4, 0, 0.3, 0]),
        ((1.0, 9, 0.69, 0.0), [0, 0.4, 0, 0.3, 0]),
        ((1.0, 9, 1e-9, 0.0), [0, 1, 0, 0, 0]),
        # .3 of .4 is .12
        ((1.0, 9, 1.0, 0.3), [0.15, 0.4, 0, 0.3, 0]),
        ((1.0, 9, 1.0, 1.0), [0, 1, 0, 0, 0]),
        # Of the first three, .4 is .47 and .4 + .3 is .82: two are enough for .75, as of all not.
        ((1.0, 3, 0.75, 0.0), [0, 0.4, 0, 0.3, 0]),
        # Roots are .63, .55, .39, .32, .22; of the four first .336, .291, .206, .168. The first
        # three have .8 together, and the third is .61 of the first.
        ((2.0, 4, 0.8, 0.0), [0.15**0.5, 0.4**0.5, 0, 0.3**0.5, 0]),
        ((2.0, 4, 0.8, 0.7), [0, 0.4**0.5, 0, 0.3**0.5, 0]),
    ],
)
def test_draws_have_the_shares_that_the_filters_leave(settings, shares):
    plain, filtered = map(np.asarray, _drawn(*settings))
    assert _fits(filtered, shares)
    assert _fits(plain, SHARES ** (1 / settings[0]) if settings[0] else [0, 1, 0, 0, 0])
    if settings[1:] == (9, 1.0, 0.0):
        np.testing.assert_array_equal(plain, filtered)


def test_all_words_can_be_drawn_where_roundings_reach_1_early():
    # A thousand words that have 1e-8 each: the first one and a few of them are 1 to float32.
    logits_NV = jnp.log(jnp.array([[1.0] + [1e-8] * 999], jnp.float32))
    noise_NV = jnp.zeros((1, 1000)).at[0, 999].set(50.0)
    settings = jnp.ones(1), jnp.full(1, 2_000), jnp.ones(1), jnp.zeros(1)
    word_N = jax.jit(drawn)(logits_NV, noise_NV, *settings)
    assert word_N.tolist() == [999]


def test_noise_of_another_seed_sample_or_position_is_another():
    # 16 pairs of words for each two of them: as often as the product of the shares.
    zero, one = jnp.zeros(MANY, jnp.int32), jnp.ones(MANY, jnp.int32)
    seeds = jnp.arange(MANY, dtype=jnp.uint32)
    jitted = jax.jit(partial(noise, size=4))
    words = [
        np.asarray(jitted(*each).argmax(axis=1))
        for each in (
            (seeds, zero, zero),
            (seeds + jnp.uint32(1), zero, zero),
            (seeds, one, zero),
            (seeds, zero, one),
        )
    ]
    for other in words[1:]:
        assert _fits(4 * words[0] + other, [1 / 16] * 16)
    np.testing.assert_array_equal(words[0][1:], words[1][:-1])


# --- One program with everything in it, for models of 60 words -----------------------------------

SENTENCES, AT_ONCE, WIDTH, ROOM, BEAM = 12, 3, 16, 14, 4
MASK_NAMES = {"prefix", "min_length", "no_repeat", "banned"}
SIXTY = [word for word in range(60) if word != EOS]


@pytest.fixture(scope="module")
def find():
    """A search of at most twelve sentences, three at a time; the rest are empty."""
    graphdef, _ = drawn_by_numpy(ONE_LAYER, num_words=60)

    def find(params, pairs, asked, limits, is_of_all=False):
        spare = SENTENCES - len(pairs)
        controls = _controls([*asked, *[{}] * spare], prefix_length=ROOM)
        if is_of_all:
            assert controls.banned_BKL is not None
            controls = controls._replace(banned_BKL=controls.banned_BKL[:1])
        rows = unpacked_rows([*pairs, *[([], [])] * spare], WIDTH)
        return jax.device_get(
            search(
                graphdef,
                params,
                lay_out(graphdef, params),
                jnp.asarray(rows.src_BS),
                jnp.asarray(rows.src_segments_BS),
                jnp.asarray([*limits, *[0] * spare], jnp.int32),
                controls,
                beam_size=BEAM,
                alpha=9.0,  # as nobody asks: each has an α of its own
                at_once=AT_ONCE,
                room=ROOM,
                num_best=BEAM,
                bos=BOS,
                eos=EOS,
            )
        )

    return find


def _model(seed):
    """Its parameters; outputs are of some length."""
    _, params = drawn_by_numpy(ONE_LAYER, num_words=60, seed=seed)
    params["embedding"] = params["embedding"].at[EOS].set(0.0)
    return params


def _pairs(count, seed):
    rng = np.random.default_rng(seed)
    return [(rng.integers(4, 60, 1 + n % 9).tolist(), []) for n in range(count)]


def _targets(pairs, outputs):
    """An output of each sentence as the target of its row."""
    filled = [(s, list(words)) for (s, _), (words, _) in zip(pairs, outputs, strict=True)]
    return unpacked_rows(filled, WIDTH)


def _anything(rng):
    """Random wishes of one sentence."""
    prefix = rng.integers(4, 60, rng.integers(0, 4)).tolist()
    masks = {
        "prefix": prefix,
        "min_length": int(rng.integers(0, 12)),
        "no_repeat": int(rng.integers(0, 4)),
        "banned": [rng.integers(4, 60, n).tolist() for n in (1, 2)],
    }
    drawn = {
        "samples": int(rng.integers(1, BEAM + 1)),
        "temperature": float(rng.choice([0.0, 0.5, 1.0, 3.0])),
        "seed": int(rng.integers(1_000)),
        "top_k": int(rng.choice([1, 5, 1_000])),
        "top_p": float(rng.choice([0.3, 0.9, 1.0])),
        "min_p": float(rng.choice([0.0, 0.2])),
    }
    bias = {int(word): float(rng.normal(0, 5)) for word in rng.integers(3, 60, 8)}
    others = masks | {"alpha": float(rng.choice([0.0, 0.3, 1.5])), "bias": bias}
    chosen = {name: value for name, value in others.items() if rng.random() < 0.5}
    return chosen | (drawn if rng.random() < 0.5 else {})


def test_what_is_reported_is_the_score_of_the_output_whatever_is_asked(find):
    graphdef, _ = drawn_by_numpy(ONE_LAYER, num_words=60)
    kinds = set()
    for seed in range(5):
        rng, params, pairs = np.random.default_rng(seed), _model(seed), _pairs(SENTENCES, seed)
        asked = [_anything(rng) for _ in pairs]
        limits = rng.integers(5, ROOM, SENTENCES).tolist()
        found = find(params, pairs, asked, limits)
        outputs = [_outputs(found, number) for number in range(SENTENCES)]
        filled = [
            (source, list(words))
            for (source, _), each in zip(pairs, outputs, strict=True)
            for words, _ in (each + [((), 0.0)] * BEAM)[:BEAM]
        ]
        by_model = _forced(graphdef, params, unpacked_rows(filled, WIDTH))
        by_model = np.asarray(by_model).reshape(SENTENCES, BEAM)
        for number, (each, wanted) in enumerate(zip(outputs, asked, strict=True)):
            assert len(each) == min(wanted.get("samples", BEAM), BEAM) or "samples" not in wanted
            assert each
            for place, (words, score) in enumerate(each):
                total = score * ((5 + len(words) + 1) / 6) ** wanted.get("alpha", ALPHA)
                assert total == pytest.approx(by_model[number, place], rel=1e-4)
                masks = {key: wanted[key] for key in wanted.keys() & MASK_NAMES}
                for at, word in enumerate((*words, EOS)):
                    assert word in _next_words(
                        words[:at], **masks, limit=limits[number], vocabulary=SIXTY
                    )
                kinds |= wanted.keys()
    assert len(kinds) == 12


def test_the_same_seed_gives_the_same_words_in_any_slot_at_any_time_beside_anybody(find):
    params, rng = _model(3), np.random.default_rng(0)
    strangers, asked = _pairs(SENTENCES, 7), [_anything(rng) for _ in range(SENTENCES)]
    sentence = ([7, 30, 9, 41], [])
    own = {"samples": 3, "seed": 11, "top_p": 0.95, "no_repeat": 2}
    alone = _outputs(find(params, [sentence], [own], [12]), 0)
    assert len(alone) == 3
    for place in (1, 5, 11):
        pairs, wishes = list(strangers), list(asked)
        pairs[place], wishes[place] = sentence, own
        limits = rng.integers(3, ROOM, SENTENCES).tolist()
        limits[place] = 12
        _same([_outputs(find(params, pairs, wishes, limits), place)], [alone])
    other = _outputs(find(params, [sentence], [own | {"seed": 12}], [12]), 0)
    assert [words for words, _ in other] != [words for words, _ in alone]


def test_a_sample_is_the_same_however_many_are_drawn(find):
    params, sentence = _model(2), ([8, 9, 30], [])
    asked = [{"samples": n, "seed": 4} for n in range(1, BEAM + 1)]
    found = find(params, [sentence] * BEAM, asked, [12] * BEAM)
    drawn = [{words for words, _ in _outputs(found, n)} for n in range(BEAM)]
    for fewer, more in itertools.pairwise(drawn):
        assert fewer <= more
    assert [len(each) for each in drawn] == [1, 2, 3, 4]


def test_temperature_0_and_top_k_1_are_greedy_and_what_follows_their_words_is_the_end(find):
    graphdef, _ = drawn_by_numpy(ONE_LAYER, num_words=60)
    params, pairs, limits = _model(1), _pairs(4, 3), [13] * 4
    greedy = {"samples": 1, "temperature": 0.0}
    by_top_k = {"samples": 2, "temperature": 1.5, "seed": 3, "top_k": 1}
    by_greedy = find(params, pairs, [greedy] * 4, limits)
    by_top_k = find(params, pairs, [by_top_k] * 4, limits)
    outputs = [_outputs(by_greedy, n)[0] for n in range(4)]
    _same([_outputs(by_top_k, n) for n in range(4)], [[output] * 2 for output in outputs])
    assert max(len(words) for words, _ in outputs) > 2
    best = np.asarray(logits(graphdef, params, _targets(pairs, outputs)))[..., :60].argmax(-1)
    for row, (words, _) in enumerate(outputs):
        ends_at_limit = len(words) == 12
        wanted = [*words, EOS][: 12 + (not ends_at_limit)]
        assert best[row, : len(wanted)].tolist() == wanted, "by the uncached model"

    # All of a translation as its prefix leaves its end alone: by choice, or at the limit.
    again = find(params, pairs, [greedy | {"prefix": words} for words, _ in outputs], limits)
    _same([_outputs(again, n) for n in range(4)], [[output] for output in outputs])
    searched = find(
        params,
        pairs,
        [{"prefix": words} for words, _ in outputs],
        [len(words) + 1 for words, _ in outputs],
    )
    _same([_outputs(searched, n) for n in range(4)], [[output] for output in outputs])


def test_who_asks_for_nothing_finds_what_the_plain_program_finds(find):
    graphdef, _ = drawn_by_numpy(ONE_LAYER, num_words=60)
    params, pairs, rng = _model(5), _pairs(SENTENCES, 1), np.random.default_rng(2)
    limits = rng.integers(3, ROOM, SENTENCES).tolist()
    asked = [_anything(rng) if number % 2 else {} for number in range(SENTENCES)]
    # Of the sizes that the tests of the plain search share, so that it is compiled already.
    spare = SLOTS - SENTENCES
    rows = unpacked_rows([*pairs, *[([], [])] * spare], WIDTH)
    plain = search(
        graphdef,
        params,
        lay_out(graphdef, params),
        jnp.asarray(rows.src_BS),
        jnp.asarray(rows.src_segments_BS),
        jnp.asarray([*limits, *[0] * spare], jnp.int32),
        **{"beam_size": BEAM, "alpha": ALPHA, "at_once": SLOTS, "room": PLAIN_ROOM},
        **{"num_best": BEAM, "bos": BOS, "eos": EOS},
    )
    plain, found = jax.device_get(plain), find(params, pairs, asked, limits)
    numbers = range(0, SENTENCES, 2)
    _same([_outputs(found, n) for n in numbers], [_outputs(plain, n) for n in numbers])


def test_what_is_banned_in_all_sentences_is_as_if_banned_in_each(find):
    params, pairs = _model(3), _pairs(SENTENCES, 2)
    limits, free = [12] * SENTENCES, find(params, pairs, [{}] * SENTENCES, [12] * SENTENCES)
    word = _outputs(free, 0)[0][0][0]
    asked = [{"banned": ((word,),)}] * SENTENCES
    in_each = find(params, pairs, asked, limits)
    in_all = find(params, pairs, asked, limits, is_of_all=True)
    numbers = range(SENTENCES)
    _same([_outputs(in_all, n) for n in numbers], [_outputs(in_each, n) for n in numbers])
    assert _outputs(in_all, 0) != _outputs(free, 0)


def test_a_plain_search_computes_nothing_for_what_is_not_asked(monkeypatch):
    graphdef, params = drawn_by_numpy(ONE_LAYER, num_words=60)
    settings = {"beam_size": 2, "alpha": 0.6, "room": 5, "bos": BOS, "eos": EOS}
    slots = Search(nnx.merge(graphdef, params), lay_out(graphdef, params), **settings)
    state = jax.eval_shape(partial(slots.start, 3, 8))
    plain = str(jax.make_jaxpr(slots.step)(state))

    def candidates(self, now, logits_VN, age_B):
        at_limit_B = age_B + 1 >= now.limit_B
        return _continuations(logits_VN, now.live_log_probs_BW, at_limit_B, 4, EOS)

    monkeypatch.setattr(Search, "_candidates", candidates)
    monkeypatch.delattr(aiayn.decoding.search, "draw")
    assert str(jax.make_jaxpr(slots.step)(state)) == plain
    assert jax.tree.leaves(state.now.controls) == []


def test_wishes_become_the_arrays_of_all_sentences():
    wishes = Wishes(no_repeat=3, min_length=2, sample=5, seed=7, top_k=10**12)
    sources = [[5, 6], [7]]
    found = controls_of(wishes, [(4,), (5, 6, 7), (8, 9)], sources, [[4, 5], []], 4)
    asked = [{"prefix": [4, 5]}, {}, {}, {}]
    np.testing.assert_array_equal(found.prefix_BP, _controls(asked, 16).prefix_BP)
    for value, wanted in (
        (found.min_length_B, [2] * 4),
        (found.no_repeat_B, [3] * 4),
        (found.num_samples_B, [5] * 4),
        (found.temperature_B, [1.0] * 4),
        (found.top_k_B, [2**31 - 1] * 4),
        (found.seed_B, [wishes.seed_of([5, 6]), wishes.seed_of([7]), 0, 0]),
    ):
        np.testing.assert_array_equal(value, wanted)
    assert (found.top_p_B, found.min_p_B) == (None, None)
    banned = np.asarray(found.banned_BKL)
    assert banned.shape == (1, 4, 16), "of all sentences, however many they are"
    for ids, row in zip([[4], [5, 6, 7], [8, 9], []], banned[0].tolist(), strict=True):
        assert row == [FREE] * (16 - len(ids)) + ids
    assert controls_of(Wishes(), [], sources, None, 4) == NOTHING
