"""Greedy and beam search over one cached step, in one compiled program (§6.1).

A hypothesis ends with EOS, which counts in its length; its score is its log-probability in nats
over GNMT's length penalty ((5 + length) / 6)^α. At its length limit a hypothesis can only end.

So many sentences are searched at once, and finished ones make way for those that wait: what a step
costs grows with the sentences in it, finished or not, and the longest output of a batch is often
several times as long as the others.

Shapes as in `aiayn.model.transformer`; also A for all sentences, B for those searched at once, G
for a group that begins together, N for columns, sentence by sentence the places of its beam.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from aiayn.decoding.incremental import IncrementalDecoder, LayerCache, Weights
from aiayn.model.structure import Params
from aiayn.model.transformer import VOCABULARY_MULTIPLE, Transformer


class Hypotheses(NamedTuple):
    """The best hypotheses of each sentence, best first. Slots after EOS hold 0; a place that no
    hypothesis took has score −inf."""

    words_AWT: Int[Array, "all beam room"]
    scores_AW: Float[Array, "all beam"]
    cut_A: Bool[Array, " all"]
    """Whether the room was too small to find them."""


def _group_size(at_once: int, width: int) -> int:
    """How many sentences begin together: few stand idle until then, but the encoder's products are
    no slivers."""
    return min(at_once, max(-(-at_once // 8), 128 // width))


class _Sentences(NamedTuple):
    """Those that are searched now. Words stand where time modulo the room was."""

    number_B: Int[Array, " batch"]
    """Among all."""
    born_B: Int[Array, " batch"]
    """The time of their first step."""
    limit_B: Int[Array, " batch"]
    src_segments_BS: Int[Array, "batch source"]
    live_words_BWT: Int[Array, "batch beam room"]
    live_log_probs_BW: Float[Array, "batch beam"]
    places_BWT: Int[Array, "batch beam room"]
    """The place of the beam at which each word of the living was read."""
    ended_words_BWT: Int[Array, "batch beam room"]
    ended_scores_BW: Float[Array, "batch beam"]
    finished_B: Bool[Array, " batch"]
    cut_B: Bool[Array, " batch"]


class _State(NamedTuple):
    time: Int[Array, ""]
    begun: Int[Array, ""]
    now: _Sentences
    caches: tuple[LayerCache, ...]
    found: Hypotheses


def length_penalty(length: int | Int[Array, "..."], alpha: float) -> Float[Array, "..."]:
    """((5 + length) / 6)^α (§6.1, after GNMT); 1 for every length if α is 0."""
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** alpha


@partial(
    jax.jit,
    static_argnames=("graphdef", "beam_size", "alpha", "at_once", "room", "num_best", "bos", "eos"),
)
def search(
    graphdef: nnx.GraphDef[Transformer],
    params: Params,
    weights: Weights,
    src_AS: Int[Array, "all source"],
    src_segments_AS: Int[Array, "all source"],
    limit_A: Int[Array, " all"],
    *,
    beam_size: int,
    alpha: float,
    at_once: int,
    room: int,
    bos: int,
    eos: int,
    num_best: int = 1,
) -> Hypotheses:
    """Beam search; with `beam_size` 1 it is greedy search and ends at the first EOS. `weights` are
    those of `params`, as `aiayn.decoding.incremental.lay_out` makes them.

    `limit_A` is the most tokens, EOS included, that each sentence's output may have. A sentence
    that is not finished after `room` steps is given up, and said to be cut. The last of all may be
    empty, with a limit of 0, and take no time.

    Every step the `beam_size` best continuations compete: those that end are kept with their
    scores, and as many others as the beam is wide live on. A sentence is finished when no living
    hypothesis can come into its `num_best` best any more, even if every further word had
    probability 1 and the output its greatest length.
    """
    model: Transformer = nnx.merge(graphdef, params)
    decoder = IncrementalDecoder(model, weights)
    (most, width), total = src_AS.shape, (limit_A > 0).sum()
    batch = min(at_once, most)
    group = _group_size(batch, width)
    src_AS, src_segments_AS = (jnp.pad(x, [(0, group), (0, 0)]) for x in (src_AS, src_segments_AS))
    limit_A = jnp.pad(limit_A, (0, group))
    positions_GS = jnp.broadcast_to(jnp.arange(width)[None], (group, width))

    def unborn(
        number_B: Int[Array, " batch"],
        time: Int[Array, ""],
        limit_B: Int[Array, " batch"],
        src_segments_BS: Int[Array, "batch source"],
    ) -> _Sentences:
        none_BWT = jnp.zeros((len(number_B), beam_size, room), jnp.int32)
        first_1W = (jnp.arange(beam_size) == 0)[None]
        none_BW = jnp.full((len(number_B), beam_size), -jnp.inf)
        return _Sentences(
            number_B=number_B,
            born_B=jnp.full(len(number_B), time),
            limit_B=limit_B,
            src_segments_BS=src_segments_BS,
            live_words_BWT=none_BWT,
            live_log_probs_BW=jnp.where(first_1W, 0.0, none_BW),
            places_BWT=none_BWT,
            ended_words_BWT=none_BWT,
            ended_scores_BW=none_BW,
            finished_B=limit_B <= 0,
            cut_B=jnp.zeros(len(number_B), bool),
        )

    def gather(found: Hypotheses, now: _Sentences) -> Hypotheses:
        """With what was found for these sentences, their words from the first on."""
        order_BT = (now.born_B[:, None] + jnp.arange(room)[None]) % room
        words_BWT = jnp.take_along_axis(now.ended_words_BWT, order_BT[:, None], axis=2)
        each = Hypotheses(words_BWT[:, :num_best], now.ended_scores_BW[:, :num_best], now.cut_B)
        return jax.tree.map(lambda x, new: x.at[now.number_B].set(new, mode="drop"), found, each)

    def waits(state: _State) -> Bool[Array, ""]:
        return (state.now.finished_B.sum() >= group) & (state.begun < total)

    def begin(state: _State) -> _State:
        """The next group, in the place of finished sentences."""
        place_G = jnp.nonzero(state.now.finished_B, size=group)[0]
        src_GS, segments_GS, limit_G = (
            lax.dynamic_slice_in_dim(x, state.begun, group)
            for x in (src_AS, src_segments_AS, limit_A)
        )
        memory_GSD = model.encode(src_GS, segments_GS, positions_GS)
        new = unborn(state.begun + jnp.arange(group), state.time, limit_G, segments_GS)
        return state._replace(
            begun=state.begun + group,
            now=jax.tree.map(lambda x, y: x.at[place_G].set(y), state.now, new),
            caches=decoder.read(state.caches, place_G, memory_GSD),
            found=gather(state.found, jax.tree.map(lambda x: x[place_G], state.now)),
        )

    def step(state: _State) -> _State:
        now, time = state.now, state.time
        age_B = time - now.born_B
        before_BW1 = lax.dynamic_slice_in_dim(now.live_words_BWT, (time - 1) % room, 1, axis=2)
        last_BW = jnp.where((age_B == 0)[:, None], bos, before_BW1[..., 0])
        here_BW1 = jnp.broadcast_to(jnp.arange(beam_size)[None, :, None], (batch, beam_size, 1))
        write = partial(lax.dynamic_update_slice_in_dim, start_index=time % room, axis=2)
        places_BWT = write(now.places_BWT, here_BW1)
        logits_VN, caches = decoder.step(
            last_BW, state.caches, time, age_B, places_BWT, now.src_segments_BS
        )
        # The best 2·beam continuations of all hypotheses; each hypothesis has at most one that
        # ends, so at least `beam_size` of them go on.
        top_BC, parent_BC, word_BC = _continuations(
            logits_VN, now.live_log_probs_BW, age_B + 1 >= now.limit_B, 2 * beam_size, eos
        )
        grown_BCT = jnp.take_along_axis(now.live_words_BWT, parent_BC[..., None], axis=1)
        grown_BCT = write(grown_BCT, word_BC[..., None])
        ends_BC = word_BC == eos

        scores_BC = top_BC / length_penalty(age_B + 1, alpha)[:, None]
        in_beam_1C = (jnp.arange(2 * beam_size) < beam_size)[None]
        scores_BC = jnp.where(ends_BC & in_beam_1C, scores_BC, -jnp.inf)
        all_scores = jnp.concatenate([now.ended_scores_BW, scores_BC], axis=1)
        all_words = jnp.concatenate([now.ended_words_BWT, grown_BCT], axis=1)
        ended_scores_BW, best_BW = lax.top_k(all_scores, beam_size)
        ended_words_BWT = jnp.take_along_axis(all_words, best_BW[..., None], axis=1)

        living_BC = jnp.where(ends_BC, -jnp.inf, top_BC)
        live_log_probs_BW, next_BW = lax.top_k(living_BC, beam_size)
        parent_BW = jnp.take_along_axis(parent_BC, next_BW, axis=1)

        keep_B1 = now.finished_B[:, None]
        ended_scores_BW = jnp.where(keep_B1, now.ended_scores_BW, ended_scores_BW)
        ended_words_BWT = jnp.where(keep_B1[..., None], now.ended_words_BWT, ended_words_BWT)
        if beam_size == 1:
            finished_B = ended_scores_BW[:, 0] > -jnp.inf
        else:
            hope_B = live_log_probs_BW.max(axis=1) / length_penalty(now.limit_B, alpha)
            finished_B = (hope_B <= ended_scores_BW[:, num_best - 1]) & (
                ended_scores_BW[:, 0] > -jnp.inf
            )
        finished_B |= now.finished_B | (age_B + 1 >= now.limit_B)
        out_of_room_B = ~finished_B & (age_B + 1 >= room)
        return state._replace(
            time=time + 1,
            now=now._replace(
                live_words_BWT=jnp.take_along_axis(grown_BCT, next_BW[..., None], axis=1),
                live_log_probs_BW=live_log_probs_BW,
                places_BWT=jnp.take_along_axis(places_BWT, parent_BW[..., None], axis=1),
                ended_words_BWT=ended_words_BWT,
                ended_scores_BW=ended_scores_BW,
                finished_B=finished_B | out_of_room_B,
                cut_B=now.cut_B | out_of_room_B,
            ),
            caches=caches,
        )

    zero = jnp.zeros((), jnp.int32)
    nobody_B = jnp.full(batch, most)
    nothing_B, nothing_BS = jnp.zeros(batch, jnp.int32), jnp.zeros((batch, width), jnp.int32)
    first = _State(
        time=zero,
        begun=zero,
        now=unborn(nobody_B, zero, nothing_B, nothing_BS),
        caches=decoder.start(batch, beam_size, room, width),
        found=Hypotheses(
            jnp.zeros((most, num_best, room), jnp.int32),
            jnp.full((most, num_best), -jnp.inf),
            jnp.zeros(most, bool),
        ),
    )
    last = lax.while_loop(
        lambda state: ~state.now.finished_B.all() | (state.begun < total),
        lambda state: step(lax.while_loop(waits, begin, state)),
        first,
    )
    return gather(last.found, last.now)


def _continuations(
    logits_VN: Float[Array, "vocabulary columns"],
    live_log_probs_BW: Float[Array, "batch beam"],
    at_limit_B: Bool[Array, " batch"],
    count: int,
    eos: int,
) -> tuple[Float[Array, "batch count"], Int[Array, "batch count"], Int[Array, "batch count"]]:
    """The best continuations of each sentence: their log-probability, the hypothesis that each goes
    on from, and its next word. At the limit the only word is EOS, at its true probability.

    A word among the best stands in one of the `count` groups of words, of any hypothesis, whose
    best are best. So most of the vocabulary is read for nothing but the groups' maxima, and none of
    a hypothesis is looked for that other hypotheses' outdo.
    """
    (batch, beam_size), logits_VN = live_log_probs_BW.shape, logits_VN.astype(jnp.float32)
    logits_GEN = logits_VN.reshape(-1, VOCABULARY_MULTIPLE, batch * beam_size)
    best_GN = logits_GEN.max(axis=1)
    best_GN = lax.optimization_barrier(best_GN)  # or XLA looks for each maximum's maximum again
    highest_1N = best_GN.max(axis=0, keepdims=True)
    lse_N = highest_1N[0] + jnp.log(jnp.exp(logits_VN - highest_1N).sum(axis=0))
    before_N = live_log_probs_BW.reshape(-1) - lse_N

    groups = len(best_GN)
    of_groups = (best_GN + before_N[None]).T.reshape(batch, -1)
    _, chosen_BC = lax.top_k(of_groups, min(count, beam_size * groups))
    column_BC = chosen_BC // groups + beam_size * jnp.arange(batch)[:, None]
    scores_BCE = logits_GEN[chosen_BC % groups, :, column_BC] + before_N[column_BC][..., None]
    top_BC, place_BC = lax.top_k(scores_BCE.reshape(batch, -1), count)
    group_BC = jnp.take_along_axis(chosen_BC, place_BC // VOCABULARY_MULTIPLE, axis=1)
    word_BC = group_BC % groups * VOCABULARY_MULTIPLE + place_BC % VOCABULARY_MULTIPLE

    eos_BW = (logits_VN[eos] + before_N).reshape(batch, beam_size)
    ends_BW, order_BW = lax.top_k(eos_BW, beam_size)
    missing = [(0, 0), (0, count - beam_size)]
    at_limit_B1 = at_limit_B[:, None]
    return (
        jnp.where(at_limit_B1, jnp.pad(ends_BW, missing, constant_values=-jnp.inf), top_BC),
        jnp.where(at_limit_B1, jnp.pad(order_BW, missing), group_BC // groups),
        jnp.where(at_limit_B1, eos, word_BC),
    )
