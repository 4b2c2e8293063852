"""A search taken some steps at a time, for whoever looks at outputs while they grow.

The programs are compiled once for the sizes in `Turns` and the arrays of its controls; which
sentences are in the slots, and what each asks, compiles nothing.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Int

from aiayn.decoding.controls import Controls
from aiayn.decoding.incremental import AnyModel, Weights
from aiayn.decoding.search import Hypotheses, PenaltyForm, Search, State
from aiayn.model.structure import Params


class Sizes(NamedTuple):
    """What the programs of a search are compiled for."""

    slots: int
    """Sentences at a time."""
    width: int
    """Tokens of the longest source, or of the text that is gone on with."""
    room: int
    """Words of the longest output."""
    beam_size: int
    bos: int
    eos: int
    alpha: float = 0.0
    form: PenaltyForm = "gnmt"
    num_best: int | None = None
    """Outputs that are wanted of each sentence, as many as the beam is wide unless given."""


class Look(NamedTuple):
    """What is in the slots after a turn, as NumPy arrays."""

    finished_B: Bool[np.ndarray, " batch"]
    age_B: Int[np.ndarray, " batch"]
    """Words of those that grow, with what they go on with."""
    living: Hypotheses
    ended: Hypotheses


class Structure:
    """A model's structure as a key of compiled programs: its hash, which takes Flax half as long to
    find as a tiny model a step, is found once."""

    def __init__(self, graphdef: nnx.GraphDef[AnyModel]):
        self.graphdef = graphdef
        self._hash = hash(graphdef)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self.graphdef == other.graphdef


_Seen = tuple[Bool[Array, " batch"], Int[Array, " batch"], Hypotheses, Hypotheses]
"""The fields of a `Look`, on the device."""

_structure = lru_cache(maxsize=64)(Structure)
"""The same one for the same model, so that nothing of it is compared."""


class Turns:
    """The slots of one search and what is in them.

    `begin` puts sentences into slots that are free, `advance` takes some steps of all, `look` tells
    what there is, and `end` frees slots whose sentence nobody waits for any more.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef[AnyModel],
        params: Params,
        weights: Weights,
        sizes: Sizes,
        controls: Controls,
    ):
        """`controls` of any sentence: which arrays it holds is compiled in."""
        self.sizes = sizes
        self._model = _structure(graphdef), params, weights
        state = _start(*self._model, controls, sizes=sizes)
        # Where its arrays stay, or the first turns would be compiled anew for those of the second.
        self._state = jax.device_put(state, jax.tree.leaves(params)[0].sharding)
        self._finished_B = np.ones(sizes.slots, bool)
        self._seen: _Seen | None = None
        """What the last steps left, as long as nothing else has changed it."""

    def begin(
        self,
        places: Int[np.ndarray, " group"],
        src_GS: Int[np.ndarray, "group source"],
        segments_GS: Int[np.ndarray, "group source"],
        limits: Int[np.ndarray, " group"],
        controls: Controls,
        firsts: Int[np.ndarray, " group"] | None = None,
    ) -> None:
        """Put a group into slots; one whose place is past the last slot is put nowhere.

        The texts that a language model goes on with may be narrower than `width`. `firsts` is what
        it reads before each text, BOS unless given.
        """
        given = places, src_GS, segments_GS, limits
        arrays = (np.asarray(each, np.int32) for each in given)
        first_G = None if firsts is None else np.asarray(firsts, np.int32)
        new = *arrays, controls, first_G
        self._state, self._seen = _begin(*self._model, self._state, *new, sizes=self.sizes), None

    def advance(self, count: int, until_one_ends: bool = False) -> None:
        """Take `count` steps, or fewer where all are finished before, or one of them."""
        how = np.int32(count), np.bool_(until_one_ends)
        now = self._state
        self._state, seen = _advance(*self._model, now, *how, sizes=self.sizes)
        self._seen, self._finished_B = seen, seen[0]

    def finished(self) -> Bool[np.ndarray, " batch"]:
        """Which slots held nothing that grows after the last step, for less than a `look` costs."""
        return np.asarray(self._finished_B)

    def end(self, places: Int[np.ndarray, " group"]) -> None:
        """Finish what is in some slots as it is."""
        ended_B = np.zeros(self.sizes.slots, bool)  # of one shape, however many they are
        ended_B[places] = True
        self._state, self._seen = _end(self._state, ended_B), None

    def look(self) -> Look:
        """The outputs of all slots: those that grow and those that have ended.

        Straight after `advance` no program runs for it, which would wait for those that do.
        """
        if self._seen is None:
            self._seen = _look(*self._model, self._state, sizes=self.sizes)
        return Look(*jax.device_get(self._seen))


def _search(structure: Structure, params: Params, weights: Weights, sizes: Sizes) -> Search:
    return Search(
        nnx.merge(structure.graphdef, params),
        weights,
        beam_size=sizes.beam_size,
        alpha=sizes.alpha,
        room=sizes.room,
        bos=sizes.bos,
        eos=sizes.eos,
        num_best=sizes.num_best or sizes.beam_size,
        form=sizes.form,
    )


_compiled = partial(jax.jit, static_argnames=("structure", "sizes"))


@_compiled
def _start(
    structure: Structure,
    params: Params,
    weights: Weights,
    controls: Controls,
    *,
    sizes: Sizes,
) -> State:
    slots = _search(structure, params, weights, sizes)
    state = slots.start(sizes.slots, sizes.width, controls=controls)
    # As steps leave it: no number of Python's, which JAX would take for another type.
    return jax.tree.map(lambda x: lax.convert_element_type(x, x.dtype), state)


@partial(_compiled, donate_argnames="state")
def _begin(
    structure: Structure,
    params: Params,
    weights: Weights,
    state: State,
    place_G: Int[Array, " group"],
    src_GS: Int[Array, "group source"],
    segments_GS: Int[Array, "group source"],
    limit_G: Int[Array, " group"],
    controls: Controls,
    first_G: Int[Array, " group"] | None,
    *,
    sizes: Sizes,
) -> State:
    positions_GS = jnp.broadcast_to(jnp.arange(src_GS.shape[1])[None], src_GS.shape)
    slots = _search(structure, params, weights, sizes)
    return slots.begin(
        state, place_G, place_G, src_GS, segments_GS, positions_GS, limit_G, controls, first_G
    )


@partial(jax.jit, donate_argnames="state")
def _end(state: State, ended_B: Bool[Array, " batch"]) -> State:
    return state._replace(now=state.now._replace(finished_B=state.now.finished_B | ended_B))


@partial(_compiled, donate_argnames="state")
def _advance(
    structure: Structure,
    params: Params,
    weights: Weights,
    state: State,
    count: Int[Array, ""],
    until_one_ends: Bool[Array, ""],
    *,
    sizes: Sizes,
) -> tuple[State, _Seen]:
    slots = _search(structure, params, weights, sizes)
    finished_B = state.now.finished_B

    def goes_on(taken: tuple[Int[Array, ""], State]) -> Bool[Array, ""]:
        now_B = taken[1].now.finished_B
        has_ended = until_one_ends & (now_B & ~finished_B).any()
        return (taken[0] < count) & ~now_B.all() & ~has_ended

    def step(taken: tuple[Int[Array, ""], State]) -> tuple[Int[Array, ""], State]:
        return taken[0] + 1, slots.step(taken[1])

    after = lax.while_loop(goes_on, step, (jnp.zeros_like(count), state))[1]
    return after, _seen(slots, after)


@_compiled
def _look(
    structure: Structure,
    params: Params,
    weights: Weights,
    state: State,
    *,
    sizes: Sizes,
) -> _Seen:
    return _seen(_search(structure, params, weights, sizes), state)


def _seen(slots: Search, state: State) -> _Seen:
    now = state.now
    return now.finished_B, now.age_B, slots.living(state), slots.gather(state)
