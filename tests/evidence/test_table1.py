import jax
import jax.numpy as jnp
import pytest

from aiayn.config import ModelConfig
from aiayn.evidence.table1 import (
    convolution,
    path_length,
    recurrent,
    restricted_attention,
    self_attention,
    sequential_operations,
)
from aiayn.model.flops import (
    decoding_flops,
    dot_flops,
    exponent,
    matmul_flops,
    traced_training_flops,
    training_flops,
)


def _shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def test_products_of_each_layer_by_hand():
    # n = 7, d = 3, k = 2, r = 5; two FLOPs for each multiply-add.
    assert dot_flops(self_attention, _shape(7, 3)) == 2 * (7 * 7 * 3) * 2
    assert dot_flops(recurrent, _shape(7, 3), _shape(6, 3)) == 2 * 7 * (6 * 3)
    assert dot_flops(convolution, _shape(7, 3), _shape(2, 3, 3)) == 2 * 7 * (2 * 3 * 3)
    assert dot_flops(lambda x: restricted_attention(x, 5), _shape(7, 3)) == 2 * (7 * 5 * 3) * 2


def test_loops_and_inner_programs_count_as_often_as_they_run():
    def four_times(x):
        step = jax.checkpoint(lambda y: y @ x)
        return jax.lax.fori_loop(0, 4, lambda _, y: jax.jit(step)(y), x)

    assert dot_flops(four_times, _shape(5, 5)) == 4 * 2 * 5**3


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


def test_exponents_are_those_of_powers():
    assert exponent([2, 4, 8], [12, 48, 192]) == pytest.approx(2)


@pytest.mark.parametrize("lengths", [(5, 7), (9, 4)])
def test_the_closed_form_of_a_step_is_what_its_program_does(lengths):
    config = ModelConfig(num_layers=2, d_model=12, d_ff=20, num_heads=2, d_k=5, d_v=7)
    closed = training_flops(config, 128, *lengths)
    assert closed == traced_training_flops(config, 128, *lengths)


def test_a_search_takes_a_forward_pass_without_the_future():
    config = ModelConfig(num_layers=2, d_model=12, d_ff=20, num_heads=2, d_k=5, d_v=7)
    forward = traced_training_flops(config, 128, 9, 4) / 3
    # Four tokens look at 4 · 4 places in training and at 1 + 2 + 3 + 4 in a search.
    future = 2 * 2 * 2 * (5 + 7) * (16 - 10)
    assert decoding_flops(config, 128, 9, 4) == forward - future
    # Each further hypothesis is a decoder more, and the encoder is there without any output.
    encoder = decoding_flops(config, 128, 9, 0)
    assert encoder > 0
    assert decoding_flops(config, 128, 9, 4, beam_size=3) == 3 * (forward - future) - 2 * encoder


def test_matmul_flops_are_the_published_ones_for_base():
    # Per token pair at 37,000 words: 22.02M + 22.02M + 18.94M multiply-adds, two FLOPs each,
    # without the products whose size is the square of the length.
    assert matmul_flops(ModelConfig(), 37_000, 1, 1) == pytest.approx(2 * 62.98e6, rel=1e-3)
