"""Greedy and beam search over one cached step (§6.1).

A hypothesis ends with EOS, which counts in its length; its score is its log-probability in nats
over GNMT's length penalty ((5 + length) / 6)^α, or over length^α where the experiment says so. At
its length limit a hypothesis can only end. What else may be asked of an output, samples among it,
is in `aiayn.decoding.controls`.

`Search` has a fixed number of slots, one sentence each: `begin` puts new sentences into slots whose
own are finished, `step` takes one word more of every hypothesis, `gather` collects the results. The
function `search` drives it over a whole file in one compiled program; a server can drive it turn by
turn, and a picture can look at the state between steps. Finished sentences make way for waiting
ones because the cost of a step grows with the slots, finished or not, and the longest output of a
batch is often several times as long as the others.

Shapes as in `aiayn.model.transformer`; also A for all sentences, B for the slots, G for a group
that begins together, C for the continuations that compete, N for columns: the beam of the first
sentence, then that of the second, and so on.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from aiayn.decoding.controls import FREE, NOTHING, Controls, allowed_words, chosen_logits, draw
from aiayn.decoding.ensemble import EnsembleDecoder
from aiayn.decoding.incremental import AnyModel, IncrementalDecoder, LayerCache, Weights
from aiayn.model.language_model import LanguageModel
from aiayn.model.structure import Params
from aiayn.model.transformer import VOCABULARY_MULTIPLE


class Hypotheses(NamedTuple):
    """The best hypotheses of each sentence, best first. Places after EOS hold 0; where there is no
    further hypothesis the score is −inf."""

    words_AWT: Int[Array, "all beam room"]
    scores_AW: Float[Array, "all beam"]
    cut_A: Bool[Array, " all"]
    """Whether the room was too small to find them."""


class Sentences(NamedTuple):
    """The sentences in the slots."""

    number_B: Int[Array, " batch"]
    """The caller's name for each."""
    age_B: Int[Array, " batch"]
    """Words of each output up to now; when it is finished it grows no older."""
    limit_B: Int[Array, " batch"]
    first_B: Int[Array, " batch"]
    """What is read before the first word of an output: BOS, unless a text begins otherwise."""
    src_segments_BS: Int[Array, "batch source"]
    live_words_BWT: Int[Array, "batch beam room"]
    live_log_probs_BW: Float[Array, "batch beam"]
    places_BWT: Int[Array, "batch beam room"]
    """The place of the beam at which each word of the living was read."""
    ended_words_BWT: Int[Array, "batch beam room"]
    ended_scores_BW: Float[Array, "batch beam"]
    bonus_BW: Float[Array, "batch beam"] | None
    """The bias of all words of each living hypothesis, in nats; None if nobody asks for a bias."""
    ended_chosen_BW: Float[Array, "batch beam"] | None
    """What those that have ended are ranked by: scores with the bias over the length penalty."""
    finished_B: Bool[Array, " batch"]
    cut_B: Bool[Array, " batch"]
    controls: Controls


class State(NamedTuple):
    """Everything a step changes."""

    now: Sentences
    caches: tuple[LayerCache, ...]


class _Grown(NamedTuple):
    """The best 2·beam continuations of each sentence, best first."""

    log_probs_BC: Float[Array, "batch count"]
    word_BC: Int[Array, "batch count"]
    words_BCT: Int[Array, "batch count room"]
    parent_BC: Int[Array, "batch count"]
    ends_BC: Bool[Array, "batch count"]
    bonus_BC: Float[Array, "batch count"] | None
    """As of `Sentences`, with the next word."""


Alpha = float | Float[Array, " batch"]
"""The exponent of a length penalty, of all sentences or of each."""


class Competed(NamedTuple):
    """The continuations that competed in a step, best first, for a picture of the search."""

    log_probs_BC: Float[Array, "batch count"]
    """Of the whole hypothesis, in nats; −inf is none."""
    word_BC: Int[Array, "batch count"]
    parent_BC: Int[Array, "batch count"]
    """The place in the beam of the hypothesis that each continues."""
    next_BW: Int[Array, "batch beam"]
    """The continuation that each place of the beam goes on with. Those of the first `beam_size`
    whose word is EOS have ended."""


def length_penalty(length: int | Int[Array, "..."], alpha: Alpha) -> Float[Array, "..."]:
    """((5 + length) / 6)^α (§6.1, after GNMT); 1 for every length if α is 0."""
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** alpha


PenaltyForm = Literal["gnmt", "length"]
"""What a score is divided by: `length_penalty`, or length^α, as in fairseq and Hugging Face."""


def penalty(
    length: int | Int[Array, "..."], alpha: Alpha, form: PenaltyForm
) -> Float[Array, "..."]:
    """What a log-probability is divided by in that form."""
    if form == "length":
        return jnp.asarray(length, jnp.float32) ** alpha
    return length_penalty(length, alpha)


class Search:
    """Beam search in a fixed number of slots; with `beam_size` 1 it is greedy and ends at the first
    EOS. It holds settings and weights; everything that changes is in the `State`.

    Every step the `beam_size` best continuations compete: those that end are kept with their
    scores, and as many others as the beam is wide live on. A sentence is finished when no living
    hypothesis can come into its `num_best` best any more, even if every further word had
    probability 1 and the output its greatest length; where words have a bias above 0, also if each
    were the one with the greatest, so that such a search takes long. A sentence that is not
    finished after `room` steps is given up, and marked as cut.
    """

    form: PenaltyForm = "gnmt"

    def __init__(
        self,
        model: AnyModel,
        weights: Weights,
        *,
        beam_size: int,
        alpha: float,
        room: int,
        bos: int,
        eos: int,
        num_best: int = 1,
        form: PenaltyForm = "gnmt",
        decoder: EnsembleDecoder | None = None,
    ):
        """`weights` are those of `model`, as `aiayn.decoding.incremental.lay_out` makes them. The
        `decoder`, where given, is of several such models, which predict in its place."""
        self.model = model
        self.decoder = decoder or IncrementalDecoder(model, weights)
        self.beam_size, self.alpha, self.room = beam_size, alpha, room
        self.bos, self.eos, self.num_best, self.form = bos, eos, num_best, form

    def start(
        self, batch: int, width: int, nobody: int = -1, controls: Controls = NOTHING
    ) -> State:
        """Empty slots for sources of `width` tokens; no sentence has the number `nobody`. What a
        language model goes on with is no source: it has a place among the words.

        What the `controls` of any sentences hold is compiled in, and each group that begins must
        have arrays for it.
        """
        none_B = jnp.zeros(batch, jnp.int32)
        width = 0 if isinstance(self.model, LanguageModel) else width
        nobody_B, no_source_BS = jnp.full(batch, nobody), jnp.zeros((batch, width), jnp.int32)
        return State(
            now=self._unborn(nobody_B, none_B, none_B, no_source_BS, controls.of_nobody(batch)),
            caches=self.decoder.start(batch, self.beam_size, self.room, width),
        )

    def begin(
        self,
        state: State,
        place_G: Int[Array, " group"],
        number_G: Int[Array, " group"],
        src_GS: Int[Array, "group source"],
        src_segments_GS: Int[Array, "group source"],
        src_positions_GS: Int[Array, "group source"],
        limit_G: Int[Array, " group"],
        controls: Controls = NOTHING,
        first_G: Int[Array, " group"] | None = None,
    ) -> State:
        """With a group of sentences in the slots `place_G`, whose own are finished.

        `limit_G` is the most tokens, EOS included, that each output may have; with a limit of 0 a
        sentence is finished at once. `controls` is what else is asked of each. For a language model
        a source is the beginning of the output, of which it is a part, at most as long as the room;
        `first_G` is what the model reads before it, BOS unless given.
        """
        first_G = jnp.full_like(number_G, self.bos) if first_G is None else first_G
        if isinstance(self.model, LanguageModel):
            text_GS = src_GS, src_segments_GS
            return self._begin_text(state, place_G, number_G, *text_GS, limit_G, controls, first_G)
        sources = src_GS, src_segments_GS, src_positions_GS
        caches = self.decoder.read(state.caches, place_G, *sources)
        new = self._unborn(number_G, jnp.zeros_like(limit_G), limit_G, src_segments_GS, controls)
        return self._put(state, place_G, new._replace(first_B=first_G), caches)

    def _begin_text(
        self,
        state: State,
        place_G: Int[Array, " group"],
        number_G: Int[Array, " group"],
        prompt_GP: Int[Array, "group prompt"],
        segments_GP: Int[Array, "group prompt"],
        limit_G: Int[Array, " group"],
        controls: Controls,
        first_G: Int[Array, " group"],
    ) -> State:
        """As `begin`, with texts that a language model goes on with.

        They are as old as they have words, and all that so many steps would have left behind is
        there: so what follows knows of no beginning.
        """
        assert isinstance(self.decoder, IncrementalDecoder)
        new = self._unborn(number_G, segments_GP.sum(axis=1), limit_G, segments_GP[:, :0], controls)
        words_GWT = new.live_words_BWT.at[:, :, : prompt_GP.shape[1]].set(prompt_GP[:, None])
        read_GP = jnp.concatenate([first_G[:, None], prompt_GP], axis=1)[:, :-1]
        caches = self.decoder.read_on(state.caches, place_G, read_GP, segments_GP, self.beam_size)
        new = new._replace(first_B=first_G, live_words_BWT=words_GWT)
        return self._put(state, place_G, new, caches)

    def _put(
        self,
        state: State,
        place_G: Int[Array, " group"],
        new: Sentences,
        caches: tuple[LayerCache, ...],
    ) -> State:
        now = jax.tree.map(lambda x, y: x.at[place_G].set(y), state.now, new)
        return state._replace(now=now, caches=caches)

    def step(self, state: State) -> State:
        """With one word more of every living hypothesis."""
        return self.watched_step(state)[0]

    def watched_step(self, state: State) -> tuple[State, Competed]:
        """As `step`, with the continuations that competed."""
        now, age_B = state.now, state.now.age_B
        grown, places_BWT, caches = self._grow(state, age_B)
        ended_scores_BW, ended_words_BWT, ended_chosen_BW = self._ended(now, grown, age_B)

        living_BC = jnp.where(grown.ends_BC, -jnp.inf, grown.log_probs_BC)
        live_log_probs_BW, next_BW = _best(living_BC, grown.bonus_BC, self.beam_size)
        if now.controls.num_samples_B is not None:  # whose places stay as they are
            is_sampled_B1 = (now.controls.num_samples_B > 0)[:, None]
            next_BW = jnp.where(is_sampled_B1, jnp.arange(self.beam_size)[None], next_BW)
            live_log_probs_BW = jnp.take_along_axis(living_BC, next_BW, axis=1)
        parent_BW = jnp.take_along_axis(grown.parent_BC, next_BW, axis=1)

        live_BW, ended_BW, bonus_BW = live_log_probs_BW, ended_scores_BW, None
        if grown.bonus_BC is not None and ended_chosen_BW is not None:
            bonus_BW = jnp.take_along_axis(grown.bonus_BC, next_BW, axis=1)
            live_BW, ended_BW = live_log_probs_BW + bonus_BW, ended_chosen_BW
        finished_B = self._finished(now, live_BW, ended_BW)
        finished_B |= now.finished_B | (age_B + 1 >= now.limit_B)
        out_of_room_B = ~finished_B & (age_B + 1 >= self.room)
        after = State(
            now=now._replace(
                age_B=jnp.where(now.finished_B, age_B, age_B + 1),
                live_words_BWT=jnp.take_along_axis(grown.words_BCT, next_BW[..., None], axis=1),
                live_log_probs_BW=live_log_probs_BW,
                places_BWT=jnp.take_along_axis(places_BWT, parent_BW[..., None], axis=1),
                ended_words_BWT=ended_words_BWT,
                ended_scores_BW=ended_scores_BW,
                bonus_BW=bonus_BW,
                ended_chosen_BW=ended_chosen_BW,
                finished_B=finished_B | out_of_room_B,
                cut_B=now.cut_B | out_of_room_B,
            ),
            caches=caches,
        )
        return after, Competed(grown.log_probs_BC, grown.word_BC, grown.parent_BC, next_BW)

    def gather(self, state: State, place_G: Int[Array, " group"] | None = None) -> Hypotheses:
        """The `num_best` best ended hypotheses of some slots (of all), from the first word on."""
        now = state.now if place_G is None else jax.tree.map(lambda x: x[place_G], state.now)
        words_BWT = now.ended_words_BWT[:, : self.num_best]
        return Hypotheses(words_BWT, now.ended_scores_BW[:, : self.num_best], now.cut_B)

    def living(self, state: State) -> Hypotheses:
        """The hypotheses of all slots that have not ended, from the first word on, best first, but
        samples by their places.

        Their scores are log-probabilities in nats.
        """
        now = state.now
        return Hypotheses(now.live_words_BWT, now.live_log_probs_BW, now.cut_B)

    def _unborn(
        self,
        number_B: Int[Array, " batch"],
        age_B: Int[Array, " batch"],
        limit_B: Int[Array, " batch"],
        src_segments_BS: Int[Array, "batch source"],
        controls: Controls = NOTHING,
    ) -> Sentences:
        none_BWT = jnp.zeros((len(number_B), self.beam_size, self.room), jnp.int32)
        begins = (jnp.arange(self.beam_size) == 0)[None]
        if controls.num_samples_B is not None:  # each begins in a place of its own
            begins |= jnp.arange(self.beam_size)[None] < controls.num_samples_B[:, None]
        none_BW = jnp.full((len(number_B), self.beam_size), -jnp.inf)
        return Sentences(
            number_B=number_B,
            age_B=age_B,
            limit_B=limit_B,
            first_B=jnp.zeros_like(number_B),
            src_segments_BS=src_segments_BS,
            live_words_BWT=none_BWT,
            live_log_probs_BW=jnp.where(begins, 0.0, none_BW),
            places_BWT=none_BWT,
            ended_words_BWT=none_BWT,
            ended_scores_BW=none_BW,
            bonus_BW=None if controls.bias_BV is None else jnp.zeros_like(none_BW),
            ended_chosen_BW=None if controls.bias_BV is None else none_BW,
            finished_B=limit_B <= 0,
            cut_B=jnp.zeros(len(number_B), bool),
            controls=controls,
        )

    def _grow(
        self, state: State, age_B: Int[Array, " batch"]
    ) -> tuple[_Grown, Int[Array, "batch beam room"], tuple[LayerCache, ...]]:
        """The best continuations of each sentence, the places of the words read, the caches.

        There are 2·beam of them, and each hypothesis has at most one that ends: so at least
        `beam_size` live on.
        """
        now, here_B1T = state.now, (jnp.arange(self.room)[None] == age_B[:, None])[:, None]
        before_B11 = jnp.maximum(age_B - 1, 0)[:, None, None]
        before_BW = jnp.take_along_axis(now.live_words_BWT, before_B11, axis=2)[..., 0]
        last_BW = jnp.where((age_B == 0)[:, None], now.first_B[:, None], before_BW)
        places_BWT = jnp.where(here_B1T, jnp.arange(self.beam_size)[None, :, None], now.places_BWT)
        logits_VN, caches = self.decoder.step(
            last_BW, state.caches, age_B, places_BWT, now.src_segments_BS
        )
        log_probs_BC, parent_BC, word_BC = self._candidates(now, logits_VN, age_B)
        words_BCT = jnp.take_along_axis(now.live_words_BWT, parent_BC[..., None], axis=1)
        words_BCT = jnp.where(here_B1T, word_BC[..., None], words_BCT)
        bonus_BC = None
        if now.bonus_BW is not None and (bias_BV := now.controls.bias_BV) is not None:
            # What is no hypothesis may have words of the padded vocabulary.
            bias_BC = jnp.take_along_axis(bias_BV, word_BC, axis=1, mode="clip")
            bonus_BC = jnp.take_along_axis(now.bonus_BW, parent_BC, axis=1) + bias_BC
        grown = _Grown(log_probs_BC, word_BC, words_BCT, parent_BC, word_BC == self.eos, bonus_BC)
        return grown, places_BWT, caches

    def _candidates(
        self,
        now: Sentences,
        logits_VN: Float[Array, "vocabulary columns"],
        age_B: Int[Array, " batch"],
    ) -> tuple[Float[Array, "batch count"], Int[Array, "batch count"], Int[Array, "batch count"]]:
        """As `_continuations`, of what is asked: masked, chosen by more than their own
        log-probability, and of samples the one word drawn."""
        asked, live_BW, allowed_VN = now.controls, now.live_log_probs_BW, None
        if asked.masks:
            sizes = self.model.num_outputs, len(logits_VN)
            first_B = None
            if isinstance(self.model, LanguageModel):  # whose texts may begin with a word
                first_B = jnp.where(now.first_B == self.bos, FREE, now.first_B)
            written = now.live_words_BWT, age_B, now.limit_B
            allowed_VN = allowed_words(asked, *written, *sizes, self.eos, first_B)
        at_limit_B = age_B + 1 >= now.limit_B
        chosen_VN = chosen_logits(asked, logits_VN, allowed_VN)
        found = _continuations(
            *(logits_VN, live_BW, at_limit_B, 2 * self.beam_size, self.eos),
            None if chosen_VN is logits_VN else chosen_VN,
            now.bonus_BW,
        )
        if asked.num_samples_B is None:
            return found
        drawn = draw(asked, logits_VN, allowed_VN, live_BW, age_B)
        is_drawn_B1 = ((asked.num_samples_B > 0) & ~at_limit_B)[:, None]  # at the limit all end
        return jax.tree.map(partial(jnp.where, is_drawn_B1), drawn, found)

    def _ended(
        self, now: Sentences, grown: _Grown, age_B: Int[Array, " batch"]
    ) -> tuple[
        Float[Array, "batch beam"],
        Int[Array, "batch beam room"],
        Float[Array, "batch beam"] | None,
    ]:
        """The best hypotheses that have ended, those of this step among them, and what they are
        ranked by, if not their scores; a sentence that is finished keeps its own."""
        penalty_B1 = self._penalty(now, age_B + 1)[:, None]
        scores_BC = grown.log_probs_BC / penalty_B1
        in_beam_1C = (jnp.arange(2 * self.beam_size) < self.beam_size)[None]
        scores_BC = jnp.where(grown.ends_BC & in_beam_1C, scores_BC, -jnp.inf)
        all_scores = jnp.concatenate([now.ended_scores_BW, scores_BC], axis=1)
        all_words = jnp.concatenate([now.ended_words_BWT, grown.words_BCT], axis=1)
        keep_B1, chosen_BW = now.finished_B[:, None], None
        if grown.bonus_BC is None or now.ended_chosen_BW is None:
            scores_BW, best_BW = lax.top_k(all_scores, self.beam_size)
        else:
            chosen_BC = scores_BC + grown.bonus_BC / penalty_B1
            all_chosen = jnp.concatenate([now.ended_chosen_BW, chosen_BC], axis=1)
            chosen_BW, best_BW = lax.top_k(all_chosen, self.beam_size)
            scores_BW = jnp.take_along_axis(all_scores, best_BW, axis=1)
            chosen_BW = jnp.where(keep_B1, now.ended_chosen_BW, chosen_BW)
        words_BWT = jnp.take_along_axis(all_words, best_BW[..., None], axis=1)
        scores_BW = jnp.where(keep_B1, now.ended_scores_BW, scores_BW)
        words_BWT = jnp.where(keep_B1[..., None], now.ended_words_BWT, words_BWT)
        return scores_BW, words_BWT, chosen_BW

    def _finished(
        self,
        now: Sentences,
        live_BW: Float[Array, "batch beam"],
        ended_BW: Float[Array, "batch beam"],
    ) -> Bool[Array, " batch"]:
        """Whether no living hypothesis can come into the best any more, by what they are chosen
        by."""
        if self.beam_size == 1:
            return ended_BW[:, 0] > -jnp.inf
        best_B = live_BW.max(axis=1)
        hope_B = best_B / self._penalty(now, now.limit_B)
        if (bias_BV := now.controls.bias_BV) is not None:
            # With probability 1 and the word that is given most, and EOS at once or at the limit.
            most_B = jnp.maximum(bias_BV.max(axis=1), 0.0)
            best_B += most_B * (now.limit_B - now.age_B - 1).astype(jnp.float32)
            hope_B = best_B / self._penalty(now, now.limit_B)
            hope_B = jnp.maximum(hope_B, best_B / self._penalty(now, now.age_B + 2))
        return (hope_B <= ended_BW[:, self.num_best - 1]) & (ended_BW[:, 0] > -jnp.inf)

    def _penalty(self, now: Sentences, length_B: Int[Array, " batch"]) -> Float[Array, " batch"]:
        asked_B = now.controls.alpha_B
        return penalty(length_B, self.alpha if asked_B is None else asked_B, self.form)


class _File(NamedTuple):
    state: State
    begun: Int[Array, ""]
    found: Hypotheses


@partial(
    jax.jit,
    static_argnames=(
        "graphdef",
        "beam_size",
        "alpha",
        "at_once",
        "room",
        "num_best",
        "bos",
        "eos",
        "form",
    ),
)
def search(
    graphdef: nnx.GraphDef[AnyModel],
    params: Params,
    weights: Weights,
    src_AS: Int[Array, "all source"],
    src_segments_AS: Int[Array, "all source"],
    limit_A: Int[Array, " all"],
    controls: Controls = NOTHING,
    *,
    beam_size: int,
    alpha: float,
    at_once: int,
    room: int,
    bos: int,
    eos: int,
    num_best: int = 1,
    form: PenaltyForm = "gnmt",
) -> Hypotheses:
    """The best hypotheses of a whole file of sentences, `at_once` of them searched at a time; see
    `Search`.

    `limit_A` is the most tokens, EOS included, that each sentence's output may have; `controls` is
    what else is asked. The last sentences may be empty, with a limit of 0, and take no time.
    Parameters and weights with a first axis of models are those of an ensemble.
    """
    settings = {"beam_size": beam_size, "alpha": alpha, "room": room, "bos": bos, "eos": eos}
    slots = _slots(graphdef, params, weights, num_best=num_best, form=form, **settings)
    (most, width), total = src_AS.shape, (limit_A > 0).sum()
    batch = min(at_once, most)
    group = _group_size(batch, width)
    banned = controls.banned_BKL
    is_of_all = banned is not None and len(banned) == 1
    of_each = controls._replace(banned_BKL=None) if is_of_all else controls
    given = (src_AS, src_segments_AS, limit_A, of_each)
    given = jax.tree.map(lambda x: jnp.pad(x, [(0, group)] + [(0, 0)] * (x.ndim - 1)), given)
    positions_GS = jnp.broadcast_to(jnp.arange(width)[None], (group, width))

    def collect(file: _File, place_G: Int[Array, " group"] | None = None) -> Hypotheses:
        numbers = file.state.now.number_B
        number_G = numbers if place_G is None else numbers[place_G]
        new = slots.gather(file.state, place_G)
        return jax.tree.map(lambda x, y: x.at[number_G].set(y, mode="drop"), file.found, new)

    def has_room(file: _File) -> Bool[Array, ""]:
        return (file.state.now.finished_B.sum() >= group) & (file.begun < total)

    def begin(file: _File) -> _File:
        """The next group, in the place of finished sentences."""
        place_G = jnp.nonzero(file.state.now.finished_B, size=group)[0]
        src_GS, segments_GS, limit_G, controls_G = jax.tree.map(
            lambda x: lax.dynamic_slice_in_dim(x, file.begun, group), given
        )
        controls_G = controls_G._replace(banned_BKL=banned) if is_of_all else controls_G
        number_G = file.begun + jnp.arange(group)
        state = slots.begin(
            file.state, place_G, number_G, src_GS, segments_GS, positions_GS, limit_G, controls_G
        )
        return _File(state, file.begun + group, collect(file, place_G))

    def step(file: _File) -> _File:
        file = lax.while_loop(has_room, begin, file)
        return file._replace(state=slots.step(file.state))

    first = _File(
        begun=jnp.zeros((), jnp.int32),
        state=slots.start(batch, width, nobody=most, controls=controls),
        found=Hypotheses(
            jnp.zeros((most, num_best, room), jnp.int32),
            jnp.full((most, num_best), -jnp.inf),
            jnp.zeros(most, bool),
        ),
    )
    last = lax.while_loop(
        lambda file: ~file.state.now.finished_B.all() | (file.begun < total), step, first
    )
    return collect(last)


def _slots(
    graphdef: nnx.GraphDef[AnyModel], params: Params, weights: Weights, **settings: Any
) -> Search:
    """The slots of a model, or of an ensemble, whose arrays have a first axis of models."""
    if params["embedding"].ndim < 3:
        return Search(nnx.merge(graphdef, params), weights, **settings)
    decoder = EnsembleDecoder(graphdef, params, weights)
    params, weights = jax.tree.map(lambda x: x[0], (params, weights))
    return Search(nnx.merge(graphdef, params), weights, decoder=decoder, **settings)


def _group_size(at_once: int, width: int) -> int:
    """The number of sentences that begin together: small, so that few slots wait for a group, and
    large enough that the encoder's products are not slivers."""
    return min(at_once, max(-(-at_once // 8), 128 // width))


_NO_WORD = -1e30
"""Below the log-probability of any word, above that of a row without one, whose logit is the lowest
float."""


def _continuations(
    logits_VN: Float[Array, "vocabulary columns"],
    live_log_probs_BW: Float[Array, "batch beam"],
    at_limit_B: Bool[Array, " batch"],
    count: int,
    eos: int,
    chosen_VN: Float[Array, "vocabulary columns"] | None = None,
    bonus_BW: Float[Array, "batch beam"] | None = None,
) -> tuple[Float[Array, "batch count"], Int[Array, "batch count"], Int[Array, "batch count"]]:
    """The best continuations of each sentence: their log-probability, the hypothesis that each
    continues, and its next word. At the limit the only word is EOS, at its true probability.

    They are the best by `chosen_VN` in place of the logits, −inf for what is not allowed, and by
    the bonus of each hypothesis, where these are given. What is forbidden or given more leaves the
    others' log-probabilities as they are.

    The best `count` words lie in the `count` groups with the highest maxima over all hypotheses. So
    most of the vocabulary is read once, for the maxima of its groups.
    """
    (batch, beam_size), logits_VN = live_log_probs_BW.shape, logits_VN.astype(jnp.float32)
    logits_GEN = logits_VN.reshape(-1, VOCABULARY_MULTIPLE, batch * beam_size)
    best_GN = logits_GEN.max(axis=1)
    best_GN = lax.optimization_barrier(best_GN)  # or XLA looks for each maximum's maximum again
    highest_1N = best_GN.max(axis=0, keepdims=True)
    lse_N = highest_1N[0] + jnp.log(jnp.exp(logits_VN - highest_1N).sum(axis=0))
    before_N = live_log_probs_BW.reshape(-1) - lse_N
    if chosen_VN is not None:
        logits_GEN = chosen_VN.astype(jnp.float32).reshape(logits_GEN.shape)
        best_GN = logits_GEN.max(axis=1)
    own_N = before_N
    if bonus_BW is not None:
        before_N += bonus_BW.reshape(-1)

    groups = len(best_GN)
    of_groups = (best_GN + before_N[None]).T.reshape(batch, -1)
    _, chosen_BC = lax.top_k(of_groups, min(count, beam_size * groups))
    column_BC = chosen_BC // groups + beam_size * jnp.arange(batch)[:, None]
    scores_BCE = logits_GEN[chosen_BC % groups, :, column_BC] + before_N[column_BC][..., None]
    top_BC, place_BC = lax.top_k(scores_BCE.reshape(batch, -1), count)
    top_BC = jnp.where(top_BC > _NO_WORD, top_BC, -jnp.inf)
    group_BC = jnp.take_along_axis(chosen_BC, place_BC // VOCABULARY_MULTIPLE, axis=1)
    word_BC = group_BC % groups * VOCABULARY_MULTIPLE + place_BC % VOCABULARY_MULTIPLE
    if bonus_BW is not None:
        of_BC = group_BC // groups + beam_size * jnp.arange(batch)[:, None]
        top_BC = jnp.where(top_BC > -jnp.inf, logits_VN[word_BC, of_BC] + own_N[of_BC], -jnp.inf)

    eos_BW = (logits_VN[eos] + own_N).reshape(batch, beam_size)
    ends_BW, order_BW = _best(eos_BW, bonus_BW, beam_size)
    missing = [(0, 0), (0, count - beam_size)]
    at_limit_B1 = at_limit_B[:, None]
    return (
        jnp.where(at_limit_B1, jnp.pad(ends_BW, missing, constant_values=-jnp.inf), top_BC),
        jnp.where(at_limit_B1, jnp.pad(order_BW, missing), group_BC // groups),
        jnp.where(at_limit_B1, eos, word_BC),
    )


def _best(
    log_probs_BC: Float[Array, "batch count"],
    bonus_BC: Float[Array, "batch count"] | None,
    count: int,
) -> tuple[Float[Array, "batch kept"], Int[Array, "batch kept"]]:
    """The best `count` by their log-probability and their bonus, if there is one, best first: their
    log-probabilities and their places."""
    if bonus_BC is None:
        best_log_probs_BW, best_BW = lax.top_k(log_probs_BC, count)
        return best_log_probs_BW, best_BW
    _, best_BW = lax.top_k(log_probs_BC + bonus_BC, count)
    return jnp.take_along_axis(log_probs_BC, best_BW, axis=1), best_BW
