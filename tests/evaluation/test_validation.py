import pytest

from aiayn.errors import UserError
from aiayn.training.checkpoint import Checkpoints
from tests.support.runs import diverging, reverse_experiment, train_here


def test_a_state_that_is_not_finite_on_dev_is_not_kept(corpus, data_dir, tmp_path, one_device):
    experiment = reverse_experiment(corpus, num_steps=4, checkpoint_every=1)
    broken = diverging(experiment)
    with pytest.raises(UserError, match="The loss on dev is nan after step 1, which is not kept"):
        train_here(broken, tmp_path / "run", data_dir)
    with pytest.raises(UserError, match="holds no complete checkpoint"):
        Checkpoints.open(tmp_path / "run")
