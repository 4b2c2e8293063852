"""Greedy and beam search over one cached step, in one compiled program (§6.1).

A hypothesis ends with EOS, which counts in its length; its score is its log-probability in nats
over GNMT's length penalty ((5 + length) / 6)^α. At its length limit a hypothesis can only end.

What a step costs grows with the room for words, written or not, and few outputs come near their
limit. So the room grows as it fills: a loop for each size, the same but for it.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from aiayn.incremental import IncrementalDecoder, LayerCache
from aiayn.model import VOCABULARY_MULTIPLE, Transformer
from aiayn.step import Params


class Hypotheses(NamedTuple):
    """The best hypotheses of each sentence, best first. Slots after EOS hold 0; a place that no
    hypothesis took has score −inf."""

    words_BWT: Int[Array, "batch beam target"]
    scores_BW: Float[Array, "batch beam"]


_FIRST_ROOM = 32
"""Words that a search has room for at first; most sentences end before."""


class _State(NamedTuple):
    time: Int[Array, ""]
    live_words_BWT: Int[Array, "batch beam target"]
    live_log_probs_BW: Float[Array, "batch beam"]
    ended_words_BWT: Int[Array, "batch beam target"]
    ended_scores_BW: Float[Array, "batch beam"]
    finished_B: Bool[Array, " batch"]
    places_BWT: Int[Array, "batch beam target"]
    """The place of the beam at which each word of the living was read."""
    caches: tuple[LayerCache, ...]


def length_penalty(length: int | Int[Array, "..."], alpha: float) -> Float[Array, "..."]:
    """((5 + length) / 6)^α (§6.1, after GNMT); 1 for every length if α is 0."""
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** alpha


@partial(
    jax.jit,
    static_argnames=("graphdef", "beam_size", "alpha", "max_length", "num_best", "bos", "eos"),
)
def search(
    graphdef: nnx.GraphDef[Transformer],
    params: Params,
    src_BS: Int[Array, "batch source"],
    src_segments_BS: Int[Array, "batch source"],
    limit_B: Int[Array, " batch"],
    *,
    beam_size: int,
    alpha: float,
    max_length: int,
    bos: int,
    eos: int,
    num_best: int = 1,
) -> Hypotheses:
    """Beam search; with `beam_size` 1 it is greedy search and ends at the first EOS.

    `limit_B` is the most tokens, EOS included, that each sentence's output may have; at most
    `max_length`. Every step the `beam_size` best continuations compete: those that end are kept
    with their scores, and as many others as the beam is wide live on. A sentence is finished when
    no living hypothesis can come into its `num_best` best any more, even if every further word had
    probability 1 and the output its greatest length.
    """
    model: Transformer = nnx.merge(graphdef, params)
    batch = src_BS.shape[0]
    positions_BS = jnp.broadcast_to(jnp.arange(src_BS.shape[1])[None], src_BS.shape)
    memory_BSD = model.encode(src_BS, src_segments_BS, positions_BS)
    decoder = IncrementalDecoder(model)
    room = min(_FIRST_ROOM, max_length)
    empty_BWT = jnp.zeros((batch, beam_size, room), jnp.int32)
    state = _State(
        time=jnp.zeros((), jnp.int32),
        live_words_BWT=empty_BWT,
        live_log_probs_BW=jnp.where(jnp.arange(beam_size)[None] == 0, 0.0, -jnp.inf)
        + jnp.zeros((batch, 1)),
        ended_words_BWT=empty_BWT,
        ended_scores_BW=jnp.full((batch, beam_size), -jnp.inf),
        finished_B=limit_B <= 0,
        places_BWT=empty_BWT,
        caches=decoder.start(memory_BSD, beam_size, room),
    )

    def step(state: _State) -> _State:
        time = state.time
        before_BW1 = lax.dynamic_slice_in_dim(
            state.live_words_BWT, jnp.maximum(time - 1, 0), 1, axis=2
        )
        last_BW = jnp.where(time == 0, bos, before_BW1[..., 0])
        here_BW1 = jnp.broadcast_to(jnp.arange(beam_size)[None, :, None], (batch, beam_size, 1))
        places_BWT = lax.dynamic_update_slice_in_dim(state.places_BWT, here_BW1, time, axis=2)
        logits_VN, caches = decoder.step(last_BW, state.caches, time, places_BWT, src_segments_BS)
        log_probs_NC, words_NC = _candidates(
            logits_VN, state.live_log_probs_BW, limit_B, time, 2 * beam_size, eos
        )
        # The best 2·beam continuations of all hypotheses; each hypothesis has at most one that
        # ends, so at least `beam_size` of them go on.
        top_BC, flat_BC = lax.top_k(log_probs_NC.reshape(batch, -1), 2 * beam_size)
        parent_BC = flat_BC // words_NC.shape[-1]
        word_BC = jnp.take_along_axis(words_NC.reshape(batch, -1), flat_BC, axis=1)
        grown_BCT = jnp.take_along_axis(state.live_words_BWT, parent_BC[..., None], axis=1)
        grown_BCT = lax.dynamic_update_slice_in_dim(grown_BCT, word_BC[..., None], time, axis=2)
        ends_BC = word_BC == eos

        scores_BC = top_BC / length_penalty(time + 1, alpha)
        in_beam_1C = (jnp.arange(2 * beam_size) < beam_size)[None]
        scores_BC = jnp.where(ends_BC & in_beam_1C, scores_BC, -jnp.inf)
        all_scores = jnp.concatenate([state.ended_scores_BW, scores_BC], axis=1)
        all_words = jnp.concatenate([state.ended_words_BWT, grown_BCT], axis=1)
        ended_scores_BW, best_BW = lax.top_k(all_scores, beam_size)
        ended_words_BWT = jnp.take_along_axis(all_words, best_BW[..., None], axis=1)

        living_BC = jnp.where(ends_BC, -jnp.inf, top_BC)
        live_log_probs_BW, next_BW = lax.top_k(living_BC, beam_size)
        parent_BW = jnp.take_along_axis(parent_BC, next_BW, axis=1)
        live_words_BWT = jnp.take_along_axis(grown_BCT, next_BW[..., None], axis=1)

        keep_B1 = state.finished_B[:, None]
        ended_scores_BW = jnp.where(keep_B1, state.ended_scores_BW, ended_scores_BW)
        ended_words_BWT = jnp.where(keep_B1[..., None], state.ended_words_BWT, ended_words_BWT)
        if beam_size == 1:
            finished_B = ended_scores_BW[:, 0] > -jnp.inf
        else:
            hope_B = live_log_probs_BW.max(axis=1) / length_penalty(limit_B, alpha)
            finished_B = (hope_B <= ended_scores_BW[:, num_best - 1]) & (
                ended_scores_BW[:, 0] > -jnp.inf
            )
        return _State(
            time=time + 1,
            live_words_BWT=live_words_BWT,
            live_log_probs_BW=live_log_probs_BW,
            ended_words_BWT=ended_words_BWT,
            ended_scores_BW=ended_scores_BW,
            finished_B=state.finished_B | finished_B | (time + 1 >= limit_B),
            places_BWT=jnp.take_along_axis(places_BWT, parent_BW[..., None], axis=1),
            caches=caches,
        )

    def goes_on(state: _State) -> Bool[Array, ""]:
        room = state.live_words_BWT.shape[2]
        return (state.time < room) & ~state.finished_B.all()

    def ends(state: _State) -> Hypotheses:
        """Steps until all are finished, in more room if need be."""
        state = lax.while_loop(goes_on, step, state)
        room = state.live_words_BWT.shape[2]
        if room == max_length:
            return Hypotheses(state.ended_words_BWT, state.ended_scores_BW)
        return lax.cond(
            state.finished_B.all(),
            lambda: Hypotheses(
                _padded(state.ended_words_BWT, max_length, axis=2), state.ended_scores_BW
            ),
            lambda: ends(_with_room(state, min(2 * room, max_length))),
        )

    found = ends(state)
    return Hypotheses(found.words_BWT[:, :num_best], found.scores_BW[:, :num_best])


def _with_room(state: _State, room: int) -> _State:
    """The state with room for that many words, new room at the end."""
    slots = room * state.live_words_BWT.shape[1]
    return state._replace(
        live_words_BWT=_padded(state.live_words_BWT, room, axis=2),
        ended_words_BWT=_padded(state.ended_words_BWT, room, axis=2),
        places_BWT=_padded(state.places_BWT, room, axis=2),
        caches=tuple(
            cache._replace(
                self_k=_padded(cache.self_k, slots, axis=3),
                self_v=_padded(cache.self_v, slots, axis=2),
            )
            for cache in state.caches
        ),
    )


def _padded(x: Array, size: int, axis: int) -> Array:
    """With zeros at the end of an axis."""
    return jnp.pad(x, [(0, (size - x.shape[n]) * (n == axis)) for n in range(x.ndim)])


def _candidates(
    logits_VN: Float[Array, "vocabulary columns"],
    live_log_probs_BW: Float[Array, "batch beam"],
    limit_B: Int[Array, " batch"],
    time: Int[Array, ""],
    count: int,
    eos: int,
) -> tuple[Float[Array, "columns count"], Int[Array, "columns count"]]:
    """The best `count` next words of each hypothesis and the log-probability they lead to.

    At the limit the only word is EOS, at its true probability.
    """
    beam_size = live_log_probs_BW.shape[1]
    logits_VN = logits_VN.astype(jnp.float32)
    top_NC, words_NC, lse_N = _best(logits_VN, count)
    at_limit_N1 = jnp.repeat(time + 1 >= limit_B, beam_size)[:, None]
    first_1C = (jnp.arange(top_NC.shape[1]) == 0)[None]
    only_eos_NC = jnp.where(first_1C, logits_VN[eos][:, None], -jnp.inf)
    top_NC = jnp.where(at_limit_N1, only_eos_NC, top_NC) - lse_N[:, None]
    words_NC = jnp.where(at_limit_N1, eos, words_NC)
    return live_log_probs_BW.reshape(-1, 1) + top_NC, words_NC


def _best(
    logits_VN: Float[Array, "vocabulary columns"], count: int
) -> tuple[Float[Array, "columns count"], Int[Array, "columns count"], Float[Array, " columns"]]:
    """The `count` highest logits of each column, their words, and the log-sum-exp of all.

    A word among the best stands in one of the `count` groups of words whose best are best, so most
    of the vocabulary is read for nothing but the groups' maxima.
    """
    num_words, columns = logits_VN.shape
    logits_GEN = logits_VN.reshape(-1, VOCABULARY_MULTIPLE, columns)
    best_GN = logits_GEN.max(axis=1)
    groups_NC = lax.top_k(best_GN.T, min(count, len(best_GN)))[1]
    chosen_NCE = logits_GEN[groups_NC, :, jnp.arange(columns)[:, None]]
    top_NC, places_NC = lax.top_k(chosen_NCE.reshape(columns, -1), min(count, num_words))
    group_NC = jnp.take_along_axis(groups_NC, places_NC // VOCABULARY_MULTIPLE, axis=1)
    words_NC = group_NC * VOCABULARY_MULTIPLE + places_NC % VOCABULARY_MULTIPLE
    highest_1N = best_GN.max(axis=0, keepdims=True)
    sum_N = jnp.exp(logits_VN - highest_1N).sum(axis=0)
    return top_NC, words_NC, highest_1N[0] + jnp.log(sum_N)
