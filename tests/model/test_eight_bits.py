"""Each number of a matrix is at most half a step away; what is no such tensor stays as it is."""

import numpy as np
import pytest

from aiayn.model.eight_bits import from_bytes, in_bytes


def test_bytes_and_scales_by_hand():
    kernel = np.array([[1.27, 0.0], [-0.635, 0.0]], np.float32)
    embedding = np.array([[2.54, -1.27], [0.127, 0.0636]], np.float32)
    found = in_bytes({"layer.kernel": kernel, "embedding": embedding})
    assert found["layer.kernel"].tolist() == [[127, 0], [-64, 0]]  # -63.5 goes to the even one
    np.testing.assert_allclose(found["layer.kernel.scale_of_bytes"], [[0.01, 1 / 127]], rtol=1e-6)
    assert found["embedding"].tolist() == [[127, -64], [127, 64]]
    np.testing.assert_allclose(found["embedding.scale_of_bytes"], [[0.02], [0.001]], rtol=1e-6)


@pytest.mark.parametrize("name", ["kernel", "embedding"])
def test_every_number_is_at_most_half_a_scale_away(name):
    value = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32) ** 3
    value[:, 7] = 0
    value[9] = 0
    stored = in_bytes({name: value, "bias": value[0]})
    found = from_bytes(stored)
    assert found.keys() == {name, "bias"}
    steps = np.broadcast_to(stored[f"{name}.scale_of_bytes"], value.shape)
    assert (np.abs(found[name] - value) <= 0.501 * steps).all()
    assert (found[name][value == 0] == 0).all()
    np.testing.assert_array_equal(found["bias"], value[0])


def test_tensors_that_are_not_of_bytes_stay_as_they_are():
    bytes_of, scale = np.ones((2, 3), np.int8), np.ones((1, 3), np.float32)
    tensors = {
        "alone": bytes_of,
        "alone too.scale_of_bytes": scale,
        "wrong shape": bytes_of,
        "wrong shape.scale_of_bytes": np.ones((3, 1), np.float32),
        "floats": np.ones((2, 3), np.float32),
        "floats.scale_of_bytes": scale,
    }
    found = from_bytes(tensors)
    assert found["alone"] is bytes_of
    assert found["alone too.scale_of_bytes"] is scale
    assert found["wrong shape"] is bytes_of
    assert found["floats"] is tensors["floats"]
