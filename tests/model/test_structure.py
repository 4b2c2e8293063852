from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from aiayn.config import ModelConfig
from aiayn.evidence.paper import TABLE_3
from aiayn.model.structure import (
    abstract_parameters,
    build,
    count_parameters,
    flatten,
    initial_parameters,
    params_sha256,
    unflatten,
)
from tests.support.models import MODEL, NUM_WORDS, one_packed_row, random_pairs, transformer

# Of the rows that state a count, all but the big model's belong to one vocabulary.
COUNTED = {
    name: row for name, row in TABLE_3.items() if row.parameters is not None and name != "big"
}


def closed_form(config: ModelConfig, rows: int, attention_biases: bool = True) -> int:
    """Parameters of the paper's model with this many rows of the shared matrix."""
    d, heads, bias = config.d_model, config.num_heads, int(attention_biases)
    attention = (d + bias) * heads * (2 * config.d_k + config.d_v) + (heads * config.d_v + bias) * d
    feed_forward = (d + 1) * config.d_ff + (config.d_ff + 1) * d
    norm = 2 * d
    encoder = config.num_layers * (attention + feed_forward + 2 * norm)
    decoder = config.num_layers * (2 * attention + feed_forward + 3 * norm)
    return rows * d + encoder + decoder


def row_of_table_3(name: str) -> ModelConfig:
    changes = COUNTED[name].changes.items()
    return ModelConfig(**{key.removeprefix("model."): value for key, value in changes})


@pytest.mark.parametrize(
    ("config", "num_words", "rows"),
    [(MODEL, NUM_WORDS, 384), (row_of_table_3("base"), 40_960, 40_960)],
)
def test_parameters_equal_the_closed_form(config, num_words, rows):
    # The matrix has rows up to the next multiple of 128.
    assert count_parameters(config, num_words) == closed_form(config, rows)


def test_parameters_round_to_those_of_table_3():
    # 40,960 is the vocabulary that tensor2tensor set in 2017; with it all ten rows fit.
    found = {name: round(closed_form(row_of_table_3(name), 40_960) / 1e6) for name in COUNTED}
    assert found == {name: row.parameters for name, row in COUNTED.items()}
    assert len(found) == 10


def test_without_biases_in_attention_one_row_of_table_3_does_not_fit():
    misses = []
    for name, row in COUNTED.items():
        without = closed_form(row_of_table_3(name), 40_960, attention_biases=False)
        if round(without / 1e6) != row.parameters:
            misses.append(name)
    assert misses == ["C6"]


def test_big_fits_table_3_with_a_smaller_vocabulary_only():
    # Table 3 says 213 million. Each row of the vocabulary costs 1,024.
    big = ModelConfig(d_model=1024, d_ff=4096, num_heads=16)
    at_40960 = closed_form(big, 40_960)
    assert round(at_40960 / 1e5) == 2183
    implied = 40_960 - (at_40960 - 213e6) / 1024
    assert 35_500 < implied < 36_500


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTED)
def test_each_row_of_table_3_equals_the_closed_form(name):
    config = row_of_table_3(name)
    assert count_parameters(config, 40_960) == closed_form(config, 40_960)


def test_a_structure_and_its_parameters_make_the_model():
    graphdef, params = build(MODEL, NUM_WORDS), initial_parameters(MODEL, NUM_WORDS, seed=3)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    assert shapes == abstract_parameters(MODEL, NUM_WORDS)
    rows = one_packed_row(random_pairs([(2, 3)]))
    found = jax.eval_shape(lambda params: nnx.merge(graphdef, params)(rows), params)
    assert found.shape == (*rows.tgt_in_BT.shape, 384)


def test_a_seed_makes_the_same_parameters_again_and_another_others():
    one, same, other = (
        params_sha256(flatten(initial_parameters(MODEL, NUM_WORDS, seed))) for seed in (1, 1, 2)
    )
    assert one == same != other


def test_names_flatten_and_unflatten():
    _, params = transformer()
    flat = flatten(params)
    assert "decoder.1.cross_attention.key.kernel" in flat
    assert jax.tree.structure(unflatten(flat)) == jax.tree.structure(params)
    for one, same in zip(*map(jax.tree.leaves, (unflatten(flat), params)), strict=True):
        np.testing.assert_array_equal(one, same)


def test_the_hash_of_parameters_notices_values_and_names():
    flat = {"a": np.zeros(2, np.float32), "b": np.ones(2, np.float32)}
    swapped = {"a": flat["b"], "b": flat["a"]}
    assert params_sha256(flat) == params_sha256(dict(reversed(flat.items())))
    assert params_sha256(flat) != params_sha256(swapped)
    for other in (np.zeros((2, 1), np.float32), np.zeros(2, np.int32), np.zeros(3, np.float32)):
        assert params_sha256(flat) != params_sha256({**flat, "a": other}), "shape or type"


@pytest.mark.parametrize(
    "changes",
    [
        {"positions": "learned", "target_space_embedding": True, "logits_bias": True},
        {"positions": "learned", "kind": "decoder"},
    ],
)
def test_every_random_weight_is_normal_where_that_is_asked(changes):
    # GPT-1's N(0, 0.02); the mean of n such numbers deviates by 0.02/√n, 8 of which are allowed.
    config = replace(MODEL, d_model=64, initializer="normal", **changes)
    drawn = flatten(initial_parameters(config, NUM_WORDS, 1))
    constant = {name for name, array in drawn.items() if array.ndim == 1}
    assert all(len(set(drawn[name])) == 1 for name in constant)
    for name in drawn.keys() - constant:
        mean, deviation = drawn[name].mean(), drawn[name].std()
        assert abs(mean) < 8 * 0.02 / drawn[name].size ** 0.5, name
        assert deviation == pytest.approx(0.02, rel=8 / (2 * drawn[name].size) ** 0.5), name
    # By default nothing is: of the embedding, say, the deviation is 1/√64.
    usual = flatten(initial_parameters(replace(config, initializer="glorot"), NUM_WORDS, 1))
    assert usual["embedding"].std() == pytest.approx(1 / 8, rel=0.02)
    assert all(usual[name].std() > 0.04 for name in drawn.keys() - constant)


def test_tensor2tensor_draws_maps_of_the_same_input_as_one():
    # Uniform within ±√(6/(inputs + outputs)): of queries and keys 20 each, of values 12.
    config = replace(MODEL, d_model=40, num_heads=4, d_k=5, d_v=3, initializer="t2t")
    drawn = flatten(initial_parameters(config, NUM_WORDS, 1))
    outputs = {
        **dict.fromkeys(("self_attention.query", "self_attention.key"), 20 + 20 + 12),
        "self_attention.value": 20 + 20 + 12,
        **dict.fromkeys(("cross_attention.key", "cross_attention.value"), 20 + 12),
        "cross_attention.query": 20,
    }
    for name, count in outputs.items():
        kernel, limit = drawn[f"decoder.1.{name}.kernel"], (6 / (40 + count)) ** 0.5
        assert 0.97 * limit < np.abs(kernel).max() <= limit, name
        assert kernel.std() == pytest.approx(limit / 3**0.5, rel=0.1), name
    # All else is Glorot's, with the same bits.
    usual = flatten(initial_parameters(replace(config, initializer="glorot"), NUM_WORDS, 1))
    other = {name for name in drawn if not np.array_equal(drawn[name], usual[name])}
    smaller = outputs.keys() - {"cross_attention.query"}
    assert {name.split(".", 2)[2] for name in other} == {f"{name}.kernel" for name in smaller}
