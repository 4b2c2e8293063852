import jax
import jax.numpy as jnp
import pytest

from aiayn.evidence.table1 import (
    convolution,
    path_length,
    recurrent,
    restricted_attention,
    self_attention,
    sequential_operations,
)
from aiayn.model.flops import dot_flops


def _shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_products_of_each_layer_by_hand():
    # n = 7, d = 3, k = 2, r = 5; two FLOPs for each multiply-add.
    assert dot_flops(self_attention, _shape(7, 3)) == 2 * (7 * 7 * 3) * 2
    assert dot_flops(recurrent, _shape(7, 3), _shape(6, 3)) == 2 * 7 * (6 * 3)
    assert dot_flops(convolution, _shape(7, 3), _shape(2, 3, 3)) == 2 * 7 * (2 * 3 * 3)
    assert dot_flops(lambda x: restricted_attention(x, 5), _shape(7, 3)) == 2 * (7 * 5 * 3) * 2


def test_attention_restricted_to_everything_is_attention():
    x = jax.random.normal(jax.random.key(0), (6, 4))
    # 13 neighbours, 6 to either side, are all there are.
    assert jnp.allclose(restricted_attention(x, 13), self_attention(x), atol=1e-6)


def test_only_recurrence_waits():
    kernel = jnp.ones((4, 2))
    assert sequential_operations(recurrent, _shape(9, 2), kernel) == 9
    assert sequential_operations(self_attention, _shape(9, 2)) == 1


def test_a_path_is_as_long_as_operations_are_needed():
    # Windows of 3 reach one position further each time; from 0 to 9 that takes nine.
    kernel = jax.random.normal(jax.random.key(0), (3, 2, 2))
    assert path_length([lambda x: convolution(x, kernel)], 10) == 9
    assert path_length([self_attention], 10) == 1
    with pytest.raises(ValueError, match="never connect"):
        path_length([lambda x: 2 * x], 4)
