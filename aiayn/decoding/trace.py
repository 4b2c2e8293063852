"""One sentence's search step by step, for a picture of its beam (§6.1).

Shapes as in `aiayn.decoding.search`; R for the steps there is room for.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int

from aiayn.decoding.controls import FREE, NOTHING
from aiayn.decoding.incremental import AnyModel, Weights
from aiayn.decoding.search import Competed, Hypotheses, PenaltyForm, Search, State, penalty
from aiayn.decoding.translator import Translator, padded_width
from aiayn.model.structure import Params


class Trace(NamedTuple):
    """What competed in each step of a search, and what came of it."""

    num_steps: Int[Array, ""]
    steps: Competed
    """With an axis of steps before those of one sentence; the first `num_steps` are of the search.
    """
    penalty_R: Float[Array, " room"]
    """What the log-probability is divided by of a hypothesis that ends in each step."""
    found: Hypotheses


def trace_of(
    translator: Translator, source: Sequence[int], prefix: Sequence[int], num_best: int
) -> Trace:
    """The search for one sentence, as `translator` has it for the `num_best` best, as NumPy arrays.

    Both texts are given as ids; that of the output begins with `prefix`, which may be empty: so one
    program is compiled for each width of sources, forced or not.
    """
    tokenizer, config = translator.tokenizer, translator.config
    width = padded_width(1 + len(source))
    room = width + config.max_extra_tokens
    src, segments = np.zeros((2, 1, width), np.int32)
    src[0, : len(source) + 1], segments[0, : len(source) + 1] = [*source, tokenizer.eos], 1
    forced = np.full((1, room), FREE, np.int32)
    forced[0, : len(prefix)] = prefix
    found = _trace(
        translator.programs.graphdef,
        translator.params,
        translator.weights,
        jnp.asarray(src),
        jnp.asarray(segments),
        jnp.asarray([translator.limit(source)], jnp.int32),
        jnp.asarray(forced),
        beam_size=max(config.beam_size, num_best),
        alpha=config.length_penalty,
        room=room,
        bos=tokenizer.bos,
        eos=tokenizer.eos,
        num_best=num_best,
        form=config.length_penalty_form,
    )
    return jax.device_get(found)


@partial(
    jax.jit,
    static_argnames=("graphdef", "beam_size", "alpha", "room", "bos", "eos", "num_best", "form"),
)
def _trace(
    graphdef: nnx.GraphDef[AnyModel],
    params: Params,
    weights: Weights,
    src_1S: Int[Array, "1 source"],
    src_segments_1S: Int[Array, "1 source"],
    limit_1: Int[Array, " 1"],
    prefix_1P: Int[Array, "1 prefix"],
    *,
    beam_size: int,
    alpha: float,
    room: int,
    bos: int,
    eos: int,
    num_best: int,
    form: PenaltyForm,
) -> Trace:
    """As `aiayn.decoding.search.search` of one sentence, with all that competed."""
    slots = Search(
        nnx.merge(graphdef, params),
        weights,
        beam_size=beam_size,
        alpha=alpha,
        room=room,
        bos=bos,
        eos=eos,
        num_best=num_best,
        form=form,
    )
    controls = NOTHING._replace(prefix_BP=prefix_1P)
    zero_1, width = jnp.zeros(1, jnp.int32), src_1S.shape[1]
    state = slots.start(1, width, controls=controls)
    source = src_1S, src_segments_1S, jnp.arange(width)[None]
    state = slots.begin(state, zero_1, zero_1, *source, limit_1, controls)
    one_step = jax.eval_shape(slots.watched_step, state)[1]
    nothing = jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), one_step)

    def step(seen: tuple[State, Competed]) -> tuple[State, Competed]:
        state, new = slots.watched_step(seen[0])
        at = partial(lax.dynamic_update_index_in_dim, index=seen[0].now.age_B[0], axis=0)
        return state, jax.tree.map(at, seen[1], new)

    state, steps = lax.while_loop(
        lambda seen: ~seen[0].now.finished_B.all(), step, (state, nothing)
    )
    of_one = jax.tree.map(lambda x: x[:, 0], steps)
    penalty_R = penalty(jnp.arange(1, room + 1), alpha, form)
    return Trace(state.now.age_B[0], of_one, penalty_R, slots.gather(state))
