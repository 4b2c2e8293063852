import io
from contextlib import closing

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from aiayn.data.prepare import prepare
from aiayn.errors import UserError
from aiayn.training.mesh import data_mesh
from aiayn.training.optim import optimizer
from aiayn.training.states import States, forget_interruptions
from aiayn.training.step import abstract_state
from tests.support.runs import copied, straight_experiment


def test_the_newest_state_that_is_not_past_the_end_is_gone_on_from(
    corpus, data_dir, straight, tmp_path
):
    experiment = straight_experiment(corpus)
    tokenizer = prepare(experiment.data, data_dir, progress=False).tokenizer
    run_dir = copied(straight, tmp_path / "run", newest=8)

    def opened(num_steps=12):
        asked = experiment.with_overrides([f"train.num_steps={num_steps}"])
        return closing(States(run_dir, asked, tokenizer, Console(file=io.StringIO())))

    def found(num_steps=12):
        with opened(num_steps) as states:
            return states.start, states.is_between, states.is_finished

    assert found() == (8, False, False)
    adam, mesh = optimizer(experiment.model, experiment.train), data_mesh(jax.devices()[:1])
    like = abstract_state(experiment.model, tokenizer.num_words, adam, mesh)
    with opened() as states:
        state = states.restore(like)
        assert int(state.step) == 8
        states.keep_interrupted(state._replace(step=jnp.int32(10)), {"seconds": 10.0})
    assert found() == (10, True, False)
    with opened() as states:
        assert int(states.restore(like).step) == 10
        assert states.totals() == {"seconds": 10.0}
    assert found(num_steps=8) == (8, False, True), "step 10 is past this end"
    with pytest.raises(UserError, match=r"is at step 8 already; train.num_steps is 4"):
        found(num_steps=4)
    forget_interruptions(run_dir)
    assert found() == (8, False, False)


def _opened(experiment, run_dir, tokenizer):
    return closing(States(run_dir, experiment, tokenizer, Console(file=io.StringIO())))


def _like(experiment, tokenizer):
    adam, mesh = optimizer(experiment.model, experiment.train), data_mesh(jax.devices()[:1])
    return abstract_state(experiment.model, tokenizer.num_words, adam, mesh)


def test_of_an_interrupted_step_as_old_as_a_checkpoint_the_checkpoint_counts(
    corpus, data_dir, straight, tmp_path
):
    # It was validated: nothing is between it and the next update.
    experiment = straight_experiment(corpus)
    tokenizer = prepare(experiment.data, data_dir, progress=False).tokenizer
    run_dir = copied(straight, tmp_path / "run", newest=8)
    with _opened(experiment, run_dir, tokenizer) as states:
        state = states.restore(_like(experiment, tokenizer))
        spoilt = jax.tree.map(lambda x: x * 0, state.params)
        states.keep_interrupted(state._replace(params=spoilt), {"seconds": -1.0})
    with _opened(experiment, run_dir, tokenizer) as states:
        assert (states.start, states.is_between) == (8, False)
        assert states.totals() != {"seconds": -1.0}
        found = states.restore(_like(experiment, tokenizer))
    assert (found.params["embedding"] == state.params["embedding"]).all()


@pytest.mark.parametrize("part", ["params", "opt_state"])
def test_a_state_that_is_not_finite_is_refused_before_the_first_update(
    corpus, data_dir, straight, tmp_path, part
):
    experiment = straight_experiment(corpus)
    tokenizer = prepare(experiment.data, data_dir, progress=False).tokenizer
    run_dir = copied(straight, tmp_path / "run", newest=8)

    def spoil(path, leaf):
        place = jax.tree_util.keystr(path)
        is_it = "embedding" in place and ("nu" in place or part == "params")
        return leaf.at[0, 0].set(jnp.nan) if is_it else leaf

    with _opened(experiment, run_dir, tokenizer) as states:
        state = states.restore(_like(experiment, tokenizer))
        tree = jax.tree_util.tree_map_with_path(spoil, getattr(state, part))
        state = state._replace(**{part: tree}, step=jnp.int32(10))
        states.keep_interrupted(state, {})
    with (
        _opened(experiment, run_dir, tokenizer) as states,
        pytest.raises(UserError, match=rf"interrupted/10 holds values in {part}\S*embedding that"),
    ):
        states.restore(_like(experiment, tokenizer))
