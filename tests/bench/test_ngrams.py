"""Kneser-Ney by hand, and that what it says of words are probabilities."""

import math
import random

import numpy as np
import pytest

from aiayn.bench.ngrams import NGrams, _discounts, figures
from aiayn.evidence.bench_tables import render_simpler

BOS, A, B, C = range(4)
EOS = 4


def _prob(model, *text):
    """Of the last word after the others."""
    return math.exp(model.log_probs([text])[-1])


def test_discounts_by_hand():
    # n_1 = 4, n_2 = 2, n_3 = 1, n_4 = 1, so Y = 4 / (4 + 4) = 1/2.
    # 1 - 2/2 * 2/4 = 1/2, 2 - 3/2 * 1/2 = 5/4, 3 - 4/2 * 1/1 = 1.
    counts = np.array([1, 1, 1, 1, 2, 2, 3, 4, 9, 0])
    np.testing.assert_allclose(_discounts(counts), [0, 0.5, 1.25, 1.0])
    np.testing.assert_allclose(_discounts(np.array([1, 1, 2])), [0, 0.5, 1.0, 1.5])
    # n_1 = n_2 = n_3 = 1 and n_4 = 3: the third would be 3 - 4/3 * 3 < 0.
    np.testing.assert_allclose(_discounts(np.array([1, 2, 3, 4, 4, 4])), [0, 0.5, 1.0, 1.5])


def test_bigrams_by_hand():
    # ^ a b $ and ^ a c $: the bigrams ^a twice, ab, ac, b$, c$ once; discounts 1/2 and 1.
    model = NGrams([[BOS, A, B, EOS], [BOS, A, C, EOS]], num_words=5, order=2)
    # Each of a, b and c comes after one word, $ after b and c: 5 in all. Of these counts, the half
    # of 1 thrice and 1 of 2 are taken, 2.5, for 5 words alike.
    single = {A: (0.5 + 2.5 / 5) / 5, B: 0.2, C: 0.2, EOS: (1 + 0.5) / 5, BOS: 0.1}
    assert single[A] == 0.2
    # After ^ one bigram was seen, twice: 1 of 2 is taken.
    assert _prob(model, BOS, A) == pytest.approx((1 + 1 * single[A]) / 2)
    assert _prob(model, BOS, B) == pytest.approx(1 * single[B] / 2)
    # After a two, each once: 1/2 of 1 twice.
    assert _prob(model, BOS, A, B) == pytest.approx((0.5 + 1 * single[B]) / 2)
    assert _prob(model, BOS, A, EOS) == pytest.approx(1 * single[EOS] / 2)
    # After b as well; what was never a context says nothing.
    assert _prob(model, BOS, B, EOS) == pytest.approx((0.5 + 0.5 * single[EOS]) / 1)
    assert _prob(model, BOS, EOS, A) == pytest.approx(single[A])


def test_a_beginning_is_counted_as_often_as_it_comes():
    # ^ a is in three texts and comes after nothing; b a comes after c alone, though twice.
    texts = [[BOS, A, EOS]] * 3 + [[BOS, C, B, A, EOS]] * 2
    model = NGrams(texts, num_words=5, order=3)
    bigrams = model._lengths[1]
    counts = {divmod(int(k), 5): int(c) for k, c in zip(bigrams.keys_G, bigrams.counts_G, strict=1)}
    assert counts[BOS, A] == 3
    assert counts[BOS, C] == 2
    assert counts[B, A] == 1
    assert counts[A, EOS] == 2  # after ^ and after b


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_after_any_words_all_words_together_have_probability_one(order):
    rng = random.Random(0)
    texts = [
        [0, *(min(rng.randrange(2, 12), rng.randrange(2, 12)) for _ in range(rng.randrange(9))), 1]
        for _ in range(60)
    ]
    model = NGrams(texts, num_words=12, order=order)
    unseen = [[0, 11, 11, 11, 11], [0, 1, 0], [0]]
    for words in (*(text[: 1 + n % len(text)] for n, text in enumerate(texts)), *unseen):
        probs = np.exp(
            model.log_probs([[*words, word] for word in range(12)])[len(words) - 1 :: len(words)]
        )
        assert probs.sum() == pytest.approx(1.0, rel=1e-12)
        assert probs.min() > 0


def test_texts_are_predicted_alone_and_four_words_back():
    rng = random.Random(1)
    texts = [[0, *(rng.randrange(2, 6) for _ in range(30)), 1] for _ in range(20)]
    model = NGrams(texts, num_words=6)
    one, two = texts[0][:9], texts[1][:7]
    together = model.log_probs([one, two])
    np.testing.assert_array_equal(together[:8], model.log_probs([one]))
    np.testing.assert_array_equal(together[8:], model.log_probs([two]))
    other = [one[0], *one[3:0:-1], *one[4:]]  # the first three words the other way round
    np.testing.assert_array_equal(model.log_probs([other])[7:], model.log_probs([one])[7:])


def test_a_record_says_by_how_much_perplexity_is_lower():
    record = {
        "bench": "ngrams",
        "experiment": "small",
        "updates": 1_000,
        "order": 5,
        "train_tokens": 2_000,
        "texts": {"test": {"tokens": 10, "ngrams": 10 * math.log(8), "ours": 10 * math.log(6)}},
        "commit": "0123456789abcdef",
        "versions": {"jax": "0", "python": "3"},
        "hardware": {
            **{"platform": "cpu", "device": "cpu", "num_devices": 1, "num_processes": 1},
            **{"cpu": "a CPU", "cpu_count": 2},
        },
    }
    assert figures(record)[1] == ["test", "10", "8.00", "6.00", "25.0%"]
    text = render_simpler([record])
    assert "| small | test | perplexity per token | 6.00 | 5-grams 8.00 |" in text
