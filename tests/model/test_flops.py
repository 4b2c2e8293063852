from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from aiayn.config import ModelConfig
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


def test_products_by_hand():
    # Two FLOPs for each multiply-add; sums and products of two vectors do not count.
    assert dot_flops(lambda x, y: x @ y + 1.0, _shape(2, 3), _shape(3, 5)) == 2 * 2 * 3 * 5
    assert dot_flops(jnp.dot, _shape(7), _shape(7)) == 0
    batches = "bij,bkj->bik"
    found = dot_flops(lambda x, y: jnp.einsum(batches, x, y), _shape(2, 3, 5), _shape(2, 7, 5))
    assert found == 2 * 2 * 3 * 7 * 5

    def convolution(x, kernel):
        layout = ("NWC", "WIO", "NWC")
        return jax.lax.conv_general_dilated(x, kernel, (1,), "SAME", dimension_numbers=layout)

    # Each of 7 positions and 5 channels out sums over 2 neighbours and 3 channels in.
    assert dot_flops(convolution, _shape(1, 7, 3), _shape(2, 3, 5)) == 2 * 7 * 5 * 2 * 3


def test_loops_and_inner_programs_count_as_often_as_they_run():
    def four_times(x):
        step = jax.checkpoint(lambda y: y @ x)
        return jax.lax.fori_loop(0, 4, lambda _, y: jax.jit(step)(y), x)

    assert dot_flops(four_times, _shape(5, 5)) == 4 * 2 * 5**3


def test_exponents_are_those_of_powers():
    assert exponent([2, 4, 8], [12, 48, 192]) == pytest.approx(2)


@pytest.mark.parametrize("lengths", [(5, 7), (9, 4)])
def test_the_closed_form_of_a_step_is_what_its_program_does(lengths):
    config = ModelConfig(num_layers=2, d_model=12, d_ff=20, num_heads=2, d_k=5, d_v=7)
    closed = training_flops(config, 128, *lengths)
    assert closed == traced_training_flops(config, 128, *lengths)
    first = replace(config, num_outputs=128)  # of 384 words, as many are predicted as there
    assert training_flops(first, 384, *lengths) == closed
    assert traced_training_flops(first, 384, *lengths) == closed


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
