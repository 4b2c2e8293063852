"""Training and scoring work with any model that has the few methods of the interface."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from aiayn.config import TrainConfig
from aiayn.decoding.programs import _forced
from aiayn.model.interface import AutoregressiveModel
from aiayn.model.loss import smoothed_cross_entropy
from aiayn.training.mesh import data_mesh, mapped_evaluation_step
from aiayn.training.replay import _first
from aiayn.training.step import TrainState, loss_and_gradient
from tests.support.models import one_packed_row, random_pairs, transformer


class Bigram(nnx.Module):
    """Predicts a word from the word before it: no source, no layers, no bias."""

    num_words = 300
    bias_V = None

    def __init__(self):
        self.embedding = nnx.Param(jax.random.normal(jax.random.key(0), (384, 4)))

    def features(self, rows, noise_B2=None):
        return self.embedding[...][rows.tgt_in_BT]

    def loss(self, rows, noise_B2=None, smoothing=0.0, over="all"):
        words = rows.tgt_out_BT, rows.weight_BT, self.num_words
        features = self.features(rows, noise_B2)
        return smoothed_cross_entropy(features, self.embedding[...], *words, smoothing, over)


def test_the_transformer_is_such_a_model():
    assert isinstance(nnx.merge(*transformer()), AutoregressiveModel)
    assert isinstance(Bigram(), AutoregressiveModel)
    assert not isinstance(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), AutoregressiveModel)


def test_another_model_is_trained_validated_replayed_and_scored():
    model, mesh = Bigram(), data_mesh(jax.devices()[:1])
    graphdef, variables = nnx.split(model, nnx.Param)
    params = nnx.to_pure_dict(variables)
    rows = one_packed_row(random_pairs([(3, 5), (4, 2)]))
    words = model.features(rows) @ params["embedding"][:300].T
    log_probs = jax.nn.log_softmax(words)
    right = jnp.take_along_axis(log_probs, rows.tgt_out_BT[..., None], -1)[..., 0]
    wanted = float((right * rows.weight_BT).sum())
    spread = float((log_probs.mean(-1) * rows.weight_BT).sum())

    step = partial(loss_and_gradient, graphdef=graphdef, config=TrainConfig())
    mapped = jax.shard_map(
        step, mesh=mesh, in_specs=(P(), P(None, "data"), P()), out_specs=P(), check_vma=False
    )
    state = TrainState(params, None, jnp.int32(0))
    rounds = jax.tree.map(lambda x: x[None], rows)
    loss, plain, _, tokens, grads = jax.jit(mapped)(state, rounds, jax.random.key(0))
    assert int(tokens) == 9
    assert float(plain) == pytest.approx(-wanted, rel=1e-5)
    assert float(loss) == pytest.approx(-0.9 * wanted - 0.1 * spread, rel=1e-5)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    assert np.any(grads["embedding"])

    found = mapped_evaluation_step(graphdef, mesh)(params, rows)
    np.testing.assert_allclose(found, (-wanted, 9), rtol=1e-5)
    np.testing.assert_allclose(_forced(graphdef, params, rows), [wanted], rtol=1e-5)
    assert _first(model, rows, jnp.zeros((1, 2), jnp.uint32)) is None
    model.embedding[...] = model.embedding[...] * 1e25  # finite, but their products overflow
    assert "loss.py" in (_first(model, rows, jnp.zeros((1, 2), jnp.uint32)) or "")


def test_the_first_value_that_is_not_finite_is_looked_for_behind_attention_too():
    # In JAX's softmax infinities are no fault.
    graphdef, params = transformer()
    rows, noise = one_packed_row(random_pairs([(3, 5), (4, 2)])), jnp.zeros((1, 2), jnp.uint32)
    assert _first(nnx.merge(graphdef, params), rows, noise) is None
    kernel = params["decoder"][1]["feed_forward"]["outer"]["kernel"]
    params["decoder"][1]["feed_forward"]["outer"]["kernel"] = kernel * 1e38
    found = _first(nnx.merge(graphdef, params), rows, noise) or ""
    assert "transformer.py" in found
    # The product is finite, its square is not.
    assert found.endswith(": variance = jnp.square(centred).mean(axis, keepdims=True)")
