from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from aiayn.config import Experiment
from aiayn.errors import UserError
from aiayn.evaluation.average import average
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.step import TrainState
from tests.support.models import TOKENIZER


def test_the_average_is_the_mean(straight):
    checkpoints = Checkpoints.open(straight)
    first, second, third = (checkpoints.params(step) for step in (4, 8, 12))
    mean = average(checkpoints, [4, 8, 12])
    assert mean.keys() == first.keys()
    for name, value in mean.items():
        wanted = (first[name] + second[name] + third[name]) / 3
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-7, err_msg=name)
        assert (first[name] != third[name]).any(), name


@pytest.mark.parametrize("odd", [{"w": 3, "v": 2}, {"w": 2}, {"w": 2, "v": 2, "u": 1}])
def test_checkpoints_of_several_models_have_no_mean(odd, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step, sizes in ((1, {"w": 2, "v": 2}), (2, odd), (3, {"w": 2, "v": 2})):
        params = {name: jnp.ones(size) for name, size in sizes.items()}
        checkpoints.save(TrainState(params, (), jnp.asarray(step)), Experiment("x"), TOKENIZER)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, read_only=True)
    with pytest.raises(UserError, match=r"/2 is of another model than 1 and 3 beside it; wanted"):
        average(checkpoints, [1, 2, 3])
    checkpoints.close()


def test_checkpoints_of_other_tokenizers_have_no_mean(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    for step in (1, 2):
        state = TrainState({"w": jnp.ones(2)}, (), jnp.asarray(step))
        checkpoints.save(state, Experiment("x"), TOKENIZER)
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path, read_only=True)
    about = checkpoints.about
    other = SimpleNamespace(model=b"other")
    told = {1: (Experiment("x"), other), 2: about(2)}
    monkeypatch.setattr(checkpoints, "about", told.__getitem__)
    with pytest.raises(UserError, match=r"/1 is of another model"):
        average(checkpoints, [1, 2])
    checkpoints.close()
