import jax
from flax import nnx

from aiayn.model.stack import traced_once
from aiayn.model.transformer import DecoderLayer, EncoderLayer
from tests.support.models import one_packed_row, random_pairs, transformer


def test_each_layer_has_parameters_of_its_own():
    layers = [nnx.Linear(3, 3, rngs=nnx.Rngs(seed)) for seed in range(2)]
    x = jax.numpy.arange(6.0).reshape(2, 3)
    for layer, function in zip(layers, traced_once(layers), strict=True):
        assert jax.numpy.allclose(function(x), layer(x))


def test_one_layer_of_a_stack_is_traced_and_anew_each_time(monkeypatch):
    graphdef, params = transformer()
    rows = one_packed_row(random_pairs([(3, 4)]))
    traced = []
    for kind in EncoderLayer, DecoderLayer:

        def counted(layer, *arguments, original=kind.__call__):
            traced.append(type(layer))
            return original(layer, *arguments)

        monkeypatch.setattr(kind, "__call__", counted)
    for _ in range(2):  # else a function replaced in between would be left out
        jax.make_jaxpr(lambda params: nnx.merge(graphdef, params)(rows))(params)
    assert traced == [EncoderLayer, DecoderLayer] * 2
