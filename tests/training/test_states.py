import io
import shutil
from contextlib import closing

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from aiayn.data.prepare import prepare
from aiayn.errors import UserError
from aiayn.render.terminal import Terminal
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.loop import train
from aiayn.training.mesh import data_mesh
from aiayn.training.optim import optimizer
from aiayn.training.states import States, forget_interruptions
from aiayn.training.step import abstract_state
from tests.support.runs import copied, straight_experiment


@pytest.mark.usefixtures("one_device")
def test_a_run_keeps_its_last_checkpoints_and_that_of_the_lowest_loss_on_dev(
    corpus, data_dir, tmp_path
):
    losses = {4: 1.0, 8: 5.0, 12: 4.0, 16: 3.0, 20: 2.0, 24: 2.5}

    def make_validator(*_):
        return lambda state, _: {"dev_loss": losses[int(state.step)], "dev_perplexity": 2.0}

    experiment = straight_experiment(corpus, num_steps=24, keep_last=3, keep_best=1)
    prepared = prepare(experiment.data, data_dir, progress=False)
    train(experiment, tmp_path / "run", prepared, Console(file=io.StringIO()), make_validator)
    checkpoints = Checkpoints.open(tmp_path / "run")
    assert checkpoints.steps() == [4, 16, 20, 24]
    checkpoints.close()


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
        state = _restored(states, like)
        assert int(state.step) == 8
        states.keep_interrupted(state._replace(step=jnp.int32(10)), {"seconds": 10.0})
    assert found() == (10, True, False)
    with opened() as states:
        assert int(_restored(states, like).step) == 10
        assert states.totals() == {"seconds": 10.0}
    assert found(num_steps=8) == (8, False, True), "step 10 is past this end"
    with pytest.raises(UserError, match=r"is at step 8 already; train.num_steps is 4"):
        found(num_steps=4)
    forget_interruptions(run_dir)
    assert found() == (8, False, False)


def _restored(states, like):
    found = states.restore(like)
    assert found
    return found


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
        state = _restored(states, _like(experiment, tokenizer))
        spoilt = jax.tree.map(lambda x: x * 0, state.params)
        states.keep_interrupted(state._replace(params=spoilt), {"seconds": -1.0})
    with _opened(experiment, run_dir, tokenizer) as states:
        assert (states.start, states.is_between) == (8, False)
        assert states.totals() != {"seconds": -1.0}
        found = _restored(states, _like(experiment, tokenizer))
    assert (found.params["embedding"] == state.params["embedding"]).all()


def test_no_interrupted_step_is_gone_on_from_where_a_checkpoint_before_it_is_missing(
    corpus, data_dir, straight, tmp_path
):
    # With checkpoints each 4 updates the one of 8 would never be made again.
    experiment = straight_experiment(corpus)
    tokenizer = prepare(experiment.data, data_dir, progress=False).tokenizer
    for newest, interrupted, start in ((4, 10, 4), (4, 8, 8), (8, 10, 10), (0, 10, 10)):
        run_dir = copied(straight, tmp_path / f"{newest}-{interrupted}", newest=max(newest, 4))
        with _opened(experiment, run_dir, tokenizer) as states:
            state = _restored(states, _like(experiment, tokenizer))
            states.keep_interrupted(state._replace(step=jnp.int32(interrupted)), {})
        if not newest:
            shutil.rmtree(run_dir / "checkpoints/4")
        with _opened(experiment, run_dir, tokenizer) as states:
            assert states.start == start
            assert states.is_between == (start == interrupted)


def _spoilt(state, part):
    """The state with a NaN in a table of its parameters or of its optimiser."""

    def spoil(path, leaf):
        place = jax.tree_util.keystr(path)
        is_it = "embedding" in place and ("nu" in place or part == "params")
        return leaf.at[0, 0].set(jnp.nan) if is_it else leaf

    tree = jax.tree_util.tree_map_with_path(spoil, getattr(state, part))
    return state._replace(**{part: tree})


@pytest.mark.parametrize("part", ["params", "opt_state"])
def test_states_that_are_not_finite_are_set_aside_for_the_newest_that_is(
    corpus, data_dir, straight, tmp_path, part
):
    experiment = straight_experiment(corpus)
    tokenizer = prepare(experiment.data, data_dir, progress=False).tokenizer
    run_dir = copied(straight, tmp_path / "run", newest=4)
    like, output = _like(experiment, tokenizer), io.StringIO()
    with _opened(experiment, run_dir, tokenizer) as states:
        whole = states.restore(like)
        assert whole
        spoilt = _spoilt(whole, part)
        states.keep(spoilt._replace(step=jnp.int32(8)), 1.0, {})
        states.keep_interrupted(spoilt._replace(step=jnp.int32(10)), {})
    with closing(States(run_dir, experiment, tokenizer, Terminal(file=output))) as states:
        assert states.start == 10
        found = states.restore(like)
        assert (states.start, states.is_between, states.is_finished) == (4, False, False)
        assert states.totals() == Checkpoints.open(run_dir).totals(4)
    assert found
    assert (found.params["embedding"] == whole.params["embedding"]).all()
    first, second = output.getvalue().splitlines()
    for line, name in ((first, "interrupted/10"), (second, "checkpoints/8")):
        assert f"{run_dir / name} holds values in {part}" in line
        assert f"lies in {run_dir / 'damaged' / name.partition('/')[0]} now" in line
        assert (run_dir / "damaged" / name / "state").is_dir(), "nothing is deleted"
        assert not (run_dir / name).exists()


def test_a_last_checkpoint_that_is_not_finite_is_made_anew(corpus, data_dir, straight, tmp_path):
    # A run with it would be finished, and could not be scored.
    experiment = straight_experiment(corpus)
    tokenizer = prepare(experiment.data, data_dir, progress=False).tokenizer
    run_dir = copied(straight, tmp_path / "run", newest=8)
    with _opened(experiment, run_dir, tokenizer) as states:
        state = _spoilt(states.restore(_like(experiment, tokenizer)), "params")
        states.keep(state._replace(step=jnp.int32(12)), 1.0, {})
    with _opened(experiment, run_dir, tokenizer) as states:
        assert (states.start, states.is_finished) == (8, False)


@pytest.mark.parametrize("damage", ["bits", "numbers"])
def test_an_interrupted_step_is_gone_on_from_where_the_only_checkpoint_is_of_no_use(
    corpus, data_dir, straight, tmp_path, damage
):
    experiment = straight_experiment(corpus)
    tokenizer = prepare(experiment.data, data_dir, progress=False).tokenizer
    run_dir, like = copied(straight, tmp_path / "run", newest=4), _like(experiment, tokenizer)
    with _opened(experiment, run_dir, tokenizer) as states:
        whole = states.restore(like)
        assert whole
        states.keep_interrupted(whole._replace(step=jnp.int32(2)), {})
    if damage == "bits":
        shutil.rmtree(run_dir / "checkpoints/4/state")
    else:
        shutil.rmtree(run_dir / "checkpoints/4")
        with _opened(experiment, run_dir, tokenizer) as states:
            states.keep(_spoilt(whole, "params"), 1.0, {})
    with _opened(experiment, run_dir, tokenizer) as states:
        assert states.restore(like)
        assert (states.start, states.is_between) == (2, True)
    assert (run_dir / "damaged/checkpoints/4").is_dir()


def test_the_only_checkpoint_stays_where_it_is_and_an_interrupted_step_does_not(
    corpus, data_dir, straight, tmp_path
):
    experiment = straight_experiment(corpus)
    tokenizer = prepare(experiment.data, data_dir, progress=False).tokenizer
    run_dir, like = copied(straight, tmp_path / "run", newest=4), _like(experiment, tokenizer)
    with _opened(experiment, run_dir, tokenizer) as states:
        spoilt = _spoilt(states.restore(like), "params")
    shutil.rmtree(run_dir / "checkpoints/4")
    with _opened(experiment, run_dir, tokenizer) as states:
        states.keep_interrupted(spoilt._replace(step=jnp.int32(2)), {})
    with _opened(experiment, run_dir, tokenizer) as states:
        assert states.start == 2
        assert states.restore(like) is None, "nothing but the start is before it"
        assert states.start == 0
        states.keep(spoilt, 1.0, {})
    with (
        _opened(experiment, run_dir, tokenizer) as states,
        pytest.raises(UserError, match=r"checkpoints/4 holds .* Move \S+checkpoints away to begin"),
    ):
        states.restore(like)
    assert (run_dir / "checkpoints/4").is_dir()
