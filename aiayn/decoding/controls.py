"""What a search is asked for besides the most probable output: which words a step may choose.

A candidate has two numbers. It is chosen by one: its score where its word is allowed, with the bias
of its words, or, for a sample, tempered and noised. It is scored by the other: always the model's
own log-probability, for the probability of what is forbidden is not shared out among the rest. So
`aiayn score` of any output finds the score reported with it, and the rule when to stop stays exact.

Shapes as in `aiayn.decoding.search`; also K for banned sequences, L for the words of one, P for the
words of a prefix.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from aiayn.decoding.grammar import next_symbols
from aiayn.decoding.spellings import START
from aiayn.decoding.wishes import Wishes

FREE = -1
"""In place of a word: any."""


class Controls(NamedTuple):
    """What is asked of each sentence, in arrays whose first axis is the sentences.

    Those that are None are not compiled in: with none of them, a search is the plain program. A
    sentence that does not ask for what another asks has the value that changes nothing.
    """

    prefix_BP: Int[Array, "batch prefix"] | None = None
    """The first words of the output, whatever else is asked; then `FREE`."""
    min_length_B: Int[Array, " batch"] | None = None
    """The fewest words before EOS, 0 for any, as far as the limit and the other wishes allow."""
    no_repeat_B: Int[Array, " batch"] | None = None
    """The length of the sequences of words that come at most once; 0 for none."""
    banned_BKL: Int[Array, "batch sequences length"] | None = None
    """Sequences of words that never come, with `FREE` before the shorter ones; all `FREE`: none.
    One that begins with `START` never begins an output. A first axis of 1 is of all sentences, of
    which a file has many."""
    bias_BV: Float[Array, "batch vocabulary"] | None = None
    """What is added to each word's logit where words are chosen, never where they are scored, in
    nats; in a search, to the log-probability of a hypothesis for each time that it has the word."""
    leaves_BL: Int[Array, "batch leaves"] | None = None
    """The words that the tree is over which the output spells, ..."""
    codes_BV: Int[Array, "batch vocabulary"] | None = None
    """... and what each symbol does in one; see `aiayn.decoding.grammar`."""
    num_samples_B: Int[Array, " batch"] | None = None
    """How many places of the beam draw an output each; 0 for a search. They never mix."""
    temperature_B: Float[Array, " batch"] | None = None
    """What a sample's logits are divided by; 0 takes the most probable word."""
    seed_B: UInt32[Array, " batch"] | None = None
    top_k_B: Int[Array, " batch"] | None = None
    """A sample's word is one of the `top_k` most probable, ..."""
    top_p_B: Float[Array, " batch"] | None = None
    """... of the fewest most probable that have this probability together; 1 for all, ..."""
    min_p_B: Float[Array, " batch"] | None = None
    """... and at least so probable, as a share of the most probable word; 0 for all."""
    alpha_B: Float[Array, " batch"] | None = None
    """The α of the length penalty that the scores of a sentence have, in place of the search's."""

    def of_nobody(self, batch: int) -> "Controls":
        """For empty slots, with the same arrays compiled in."""
        return jax.tree.map(lambda x: jnp.zeros((batch, *x.shape[1:]), x.dtype), self)

    @property
    def masks(self) -> bool:
        """Whether words may be forbidden."""
        masks = self.prefix_BP, self.min_length_B, self.no_repeat_B, self.banned_BKL, self.leaves_BL
        return any(each is not None for each in masks)


NOTHING = Controls()
"""Asked of a plain search."""


def controls_of(
    wishes: Wishes,
    banned: Sequence[tuple[int, ...]],
    sources: Sequence[list[int]],
    prefixes: Sequence[list[int]] | None,
    rows: int,
    least: Sequence[int] = (),
) -> Controls:
    """What is asked of `rows` sentences, of which the first are `sources` and the rest empty.

    `least` has the fewest tokens of each source, where that is not the same for all. `banned` and
    `prefixes` are ids. They are padded to powers of two, so that few programs are compiled.
    """

    def of_all(value: int | float | None, dtype: type = np.int32) -> Array | None:
        if value is not None and dtype is np.int32:
            value = min(value, np.iinfo(np.int32).max)
        return None if value is None else jnp.full(rows, value, dtype)

    prefix_BP = banned_1KL = seed_B = temperature_B = None
    if prefixes is not None:
        prefix_BP = np.full((rows, _padded(prefixes)), FREE, np.int32)
        for row, ids in enumerate(prefixes):
            prefix_BP[row, : len(ids)] = ids
    if banned:
        banned_1KL = np.full((1, _power_of_two(len(banned)), _padded(banned)), FREE, np.int32)
        for row, ids in enumerate(banned):
            banned_1KL[0, row, -len(ids) :] = ids
    if wishes.sample is not None:
        seeds = [wishes.seed_of(ids) for ids in sources]
        seed_B = np.array(seeds + [0] * (rows - len(seeds)), np.uint32)
        temperature_B = 1.0 if wishes.temperature is None else wishes.temperature
    min_length_B = of_all(wishes.min_length)
    if min_length_B is not None and least:
        each = np.minimum([*least, *[0] * (rows - len(least))], np.iinfo(np.int32).max)
        min_length_B = jnp.asarray(each, jnp.int32)
    return Controls(
        prefix_BP=None if prefix_BP is None else jnp.asarray(prefix_BP),
        min_length_B=min_length_B,
        no_repeat_B=of_all(wishes.no_repeat),
        banned_BKL=None if banned_1KL is None else jnp.asarray(banned_1KL),
        num_samples_B=of_all(wishes.sample),
        temperature_B=of_all(temperature_B, np.float32),
        seed_B=None if seed_B is None else jnp.asarray(seed_B),
        top_k_B=of_all(wishes.top_k),
        top_p_B=of_all(wishes.top_p, np.float32),
        min_p_B=of_all(wishes.min_p, np.float32),
    )


def _padded(sequences: Sequence[Sequence[int]]) -> int:
    return max(16, _power_of_two(max(map(len, sequences), default=1)))


def _power_of_two(number: int) -> int:
    """The least that is no smaller."""
    return 1 << max(number - 1, 0).bit_length()


def allowed_words(
    controls: Controls,
    words_BWT: Int[Array, "batch beam room"],
    age_B: Int[Array, " batch"],
    limit_B: Int[Array, " batch"],
    num_words: int,
    size: int,
    eos: int,
    first_B: Int[Array, " batch"] | None = None,
) -> Bool[Array, "vocabulary columns"]:
    """Which words may come next, of a vocabulary of `num_words` padded to `size`.

    `words_BWT` are those of each hypothesis in order, of which the first `age_B` are written, and
    the most `limit_B`. What was read before them is no word, but where `first_B` says which.
    """
    batch, beam_size, _ = words_BWT.shape
    word_V1 = jnp.arange(size)[:, None]
    allowed_VN = jnp.broadcast_to(word_V1 < num_words, (size, batch * beam_size))
    if controls.leaves_BL is not None:
        assert controls.codes_BV is not None
        tree = controls.codes_BV, controls.leaves_BL
        allowed_VN &= next_symbols(*tree, words_BWT, age_B, limit_B)
    said = (words_BWT, age_B) if first_B is None else _with_first(words_BWT, age_B, first_B)
    if controls.no_repeat_B is not None:
        allowed_VN &= ~_listed(_repeating(*said, controls.no_repeat_B), size)
    if controls.banned_BKL is not None:
        allowed_VN &= ~_listed(_completing(*said, controls.banned_BKL), size)
    if controls.min_length_B is not None:
        is_early_1N = jnp.repeat(age_B < controls.min_length_B, beam_size)[None]
        others_1N = (allowed_VN & (word_V1 != eos)).any(axis=0, keepdims=True)
        allowed_VN &= ~((word_V1 == eos) & is_early_1N & others_1N)
    if controls.prefix_BP is not None:
        asked_B = _at(controls.prefix_BP, age_B)
        asked_1N = jnp.repeat(asked_B, beam_size)[None]
        allowed_VN = jnp.where(asked_1N == FREE, allowed_VN, word_V1 == asked_1N)
    return allowed_VN


def chosen_logits(
    controls: Controls,
    logits_VN: Float[Array, "vocabulary columns"],
    allowed_VN: Bool[Array, "vocabulary columns"] | None,
) -> Float[Array, "vocabulary columns"]:
    """The logits by which next words are chosen: with their bias, and −inf where they are not
    allowed."""
    if controls.bias_BV is not None:
        missing = len(logits_VN) - controls.bias_BV.shape[1]
        bias_VB = jnp.pad(controls.bias_BV, [(0, 0), (0, missing)]).T
        beam_size = logits_VN.shape[1] // bias_VB.shape[1]
        logits_VN = logits_VN.astype(jnp.float32) + jnp.repeat(bias_VB, beam_size, axis=1)
    return logits_VN if allowed_VN is None else jnp.where(allowed_VN, logits_VN, -jnp.inf)


def _with_first(
    words_BWT: Int[Array, "batch beam room"],
    age_B: Int[Array, " batch"],
    first_B: Int[Array, " batch"],
) -> tuple[Int[Array, "batch beam longer"], Int[Array, " batch"]]:
    """The words of each hypothesis behind the one that its text begins with, if one does, and how
    many they are."""
    is_word_B = first_B != FREE
    first_BW1 = jnp.broadcast_to(first_B[:, None, None], (*words_BWT.shape[:2], 1))
    behind_BWT = jnp.concatenate([first_BW1, words_BWT], axis=2)
    as_they_are_BWT = jnp.pad(words_BWT, [(0, 0), (0, 0), (0, 1)])
    said_BWT = jnp.where(is_word_B[:, None, None], behind_BWT, as_they_are_BWT)
    return said_BWT, age_B + is_word_B.astype(jnp.int32)


def _at(prefix_BP: Int[Array, "batch prefix"], age_B: Int[Array, " batch"]) -> Int[Array, " batch"]:
    found_B1 = jnp.take_along_axis(prefix_BP, age_B[:, None], axis=1, mode="fill", fill_value=FREE)
    return found_B1[:, 0]


def _listed(
    words_BWC: Int[Array, "batch beam count"], size: int
) -> Bool[Array, "vocabulary columns"]:
    """Whether each word of the vocabulary is listed for a hypothesis; `FREE` is none."""
    columns = words_BWC.shape[0] * words_BWC.shape[1]
    words_NC = words_BWC.reshape(columns, -1)
    words_NC = jnp.where(words_NC == FREE, size, words_NC)
    none_VN = jnp.zeros((size, columns), bool)
    return none_VN.at[words_NC, jnp.arange(columns)[:, None]].set(True, mode="drop")


def _repeating(
    words_BWT: Int[Array, "batch beam room"],
    age_B: Int[Array, " batch"],
    no_repeat_B: Int[Array, " batch"],
) -> Int[Array, "batch beam room"]:
    """The words that would end a sequence of length `no_repeat_B` that was there before; `FREE`
    elsewhere.

    The word at place t would, if the words before it are the last ones of the hypothesis.
    """
    room = words_BWT.shape[2]
    place_11T = jnp.arange(room)[None, None]
    age_B11, length_B11 = age_B[:, None, None], no_repeat_B[:, None, None]

    def compare(back: Int[Array, ""], same_BWT: Bool[Array, "batch beam room"]) -> Array:
        """With the words `back` places before."""
        last_BW1 = jnp.take_along_axis(words_BWT, jnp.maximum(age_B11 - back, 0), axis=2)
        before_BWT = jnp.roll(words_BWT, back, axis=2)
        return same_BWT & (((before_BWT == last_BW1) & (place_11T >= back)) | (back >= length_B11))

    same_BWT = jnp.broadcast_to((place_11T < age_B11) & (length_B11 > 0), words_BWT.shape)
    longest = jnp.minimum(no_repeat_B.max(), room)  # what is longer has no room to come twice
    same_BWT = lax.fori_loop(1, longest, compare, same_BWT)
    return jnp.where(same_BWT, words_BWT, FREE)


def _completing(
    words_BWT: Int[Array, "batch beam room"],
    age_B: Int[Array, " batch"],
    banned_BKL: Int[Array, "batch sequences length"],
) -> Int[Array, "batch beam sequences"]:
    """The last word of each sequence whose others are the last of the hypothesis; else `FREE`."""
    before = banned_BKL.shape[2] - 1
    place_BL = age_B[:, None] - before + jnp.arange(before)[None]
    last_BWL = jnp.take_along_axis(words_BWT, jnp.maximum(place_BL, 0)[:, None], axis=2)
    last_BWL = jnp.where(place_BL[:, None] < 0, START, last_BWL)
    banned_B1KL, last_BW1L = banned_BKL[:, None, :, :-1], last_BWL[:, :, None]
    are_there_BWK = ((banned_B1KL == last_BW1L) | (banned_B1KL == FREE)).all(axis=3)
    return jnp.where(are_there_BWK, banned_BKL[:, None, :, -1], FREE)


def draw(
    controls: Controls,
    logits_VN: Float[Array, "vocabulary columns"],
    allowed_VN: Bool[Array, "vocabulary columns"] | None,
    live_log_probs_BW: Float[Array, "batch beam"],
    age_B: Int[Array, " batch"],
) -> tuple[Float[Array, "batch count"], Int[Array, "batch count"], Int[Array, "batch count"]]:
    """One more word for every place of the beam, drawn from what is allowed.

    In the form of continuations that compete in a search: log-probability, hypothesis continued and
    next word, as many again of which are none.
    """
    (batch, beam_size), logits_VN = live_log_probs_BW.shape, logits_VN.astype(jnp.float32)
    assert controls.temperature_B is not None
    assert controls.seed_B is not None
    chosen_VN = chosen_logits(controls, logits_VN, allowed_VN)
    settings = (controls.temperature_B, controls.top_k_B, controls.top_p_B, controls.min_p_B)
    of_columns = jax.tree.map(lambda x: jnp.repeat(x, beam_size), settings)
    seeds_N, ages_N = jnp.repeat(controls.seed_B, beam_size), jnp.repeat(age_B, beam_size)
    samples_N = jnp.tile(jnp.arange(beam_size), batch)
    noise_NV = noise(seeds_N, samples_N, ages_N, len(logits_VN))
    word_N = drawn(chosen_VN.T, noise_NV, *of_columns)
    logit_N = jnp.take_along_axis(logits_VN, word_N[None], axis=0)[0]
    log_prob_N = logit_N - jax.nn.logsumexp(logits_VN, axis=0)
    log_probs_BW = live_log_probs_BW + log_prob_N.reshape(batch, beam_size)
    nothing = [(0, 0), (0, beam_size)]
    return (
        jnp.pad(log_probs_BW, nothing, constant_values=-jnp.inf),
        jnp.broadcast_to(jnp.arange(2 * beam_size)[None] % beam_size, (batch, 2 * beam_size)),
        jnp.pad(word_N.reshape(batch, beam_size), nothing),
    )


def noise(
    seed_N: UInt32[Array, " columns"],
    sample_N: Int[Array, " columns"],
    position_N: Int[Array, " columns"],
    size: int,
) -> Float[Array, "columns vocabulary"]:
    """Gumbel noise for each word, a function of seed, sample and position alone: so a sample is
    the same whatever its batch, its slot and the time."""
    fold = jax.vmap(jax.random.fold_in)
    keys = fold(fold(jax.vmap(jax.random.key)(seed_N), sample_N), position_N)
    return jax.vmap(lambda key: jax.random.gumbel(key, (size,)))(keys)


def drawn(
    logits_NV: Float[Array, "columns vocabulary"],
    noise_NV: Float[Array, "columns vocabulary"],
    temperature_N: Float[Array, " columns"],
    top_k_N: Int[Array, " columns"] | None = None,
    top_p_N: Float[Array, " columns"] | None = None,
    min_p_N: Float[Array, " columns"] | None = None,
) -> Int[Array, " columns"]:
    """The word drawn in each column: by temperature, then from the top k of all words, then from
    the top p of these, then from those of them that `min_p_N` leaves.

    The highest of logits with Gumbel noise is a draw from their softmax.
    """
    is_warm_N1 = temperature_N[:, None] > 0
    logits_NV = logits_NV - logits_NV.max(axis=1, keepdims=True)
    logits_NV = logits_NV / jnp.where(is_warm_N1, temperature_N[:, None], 1.0)
    order_NV = None
    kept_NV = jnp.ones(logits_NV.shape, bool)
    if top_k_N is not None or top_p_N is not None:
        order_NV = jnp.argsort(logits_NV, axis=1, stable=True, descending=True)
        logits_NV, noise_NV = (
            jnp.take_along_axis(x, order_NV, axis=1) for x in (logits_NV, noise_NV)
        )
    if top_k_N is not None:
        kept_NV &= jnp.arange(logits_NV.shape[1])[None] < top_k_N[:, None]
    if top_p_N is not None:
        probs_NV = jax.nn.softmax(jnp.where(kept_NV, logits_NV, -jnp.inf), axis=1)
        before_NV = jnp.cumsum(probs_NV, axis=1) - probs_NV
        # A sum of many roundings reaches 1 before the last word does.
        kept_NV &= (before_NV < top_p_N[:, None]) | (top_p_N[:, None] >= 1)
    if min_p_N is not None:
        kept_NV &= logits_NV >= jnp.log(min_p_N)[:, None]  # the most probable word's is 0
    noised_NV = logits_NV + jnp.where(is_warm_N1, noise_NV, 0.0)
    best_N1 = jnp.argmax(jnp.where(kept_NV, noised_NV, -jnp.inf), axis=1, keepdims=True)
    return (best_N1 if order_NV is None else jnp.take_along_axis(order_NV, best_N1, axis=1))[:, 0]
