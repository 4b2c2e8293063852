import numpy as np

from aiayn.evaluation.average import average
from aiayn.training.checkpoint import Checkpoints


def test_the_average_is_the_mean(straight):
    checkpoints = Checkpoints.open(straight)
    first, second, third = (checkpoints.params(step) for step in (4, 8, 12))
    mean = average(checkpoints, [4, 8, 12])
    assert mean.keys() == first.keys()
    for name, value in mean.items():
        wanted = (first[name] + second[name] + third[name]) / 3
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-7, err_msg=name)
        assert (first[name] != third[name]).any(), name
