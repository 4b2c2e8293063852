"""A model and its parameters apart: shapes, names, counts, initial values.

Flax and the model's code are imported where a model is made: a translation whose programs were
traced before needs neither, and importing them takes as long as the translation.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from aiayn.config import ModelConfig
from aiayn.system.kept import kept

if TYPE_CHECKING:
    from flax import nnx

    from aiayn.model.transformer import WordModel

Params = Any
"""Nested dictionaries of arrays, as `nnx.to_pure_dict` gives them."""


@cache
def structure(config: ModelConfig, num_words: int) -> "tuple[nnx.GraphDef[Any], Any]":
    """The model without its parameters, which jit may close over, and their shapes and types."""
    from flax import nnx

    model = nnx.eval_shape(lambda: made(config, num_words, nnx.Rngs(0)))
    return nnx.split(model, nnx.Param)


def made(config: ModelConfig, num_words: int, rngs: "nnx.Rngs") -> "WordModel":
    """The model of a config's kind, with parameters drawn as it says."""
    if config.kind == "decoder":
        from aiayn.model.language_model import LanguageModel

        return LanguageModel(config, num_words, rngs=rngs)
    from aiayn.model.transformer import Transformer

    return Transformer(config, num_words, rngs=rngs)


def build(config: ModelConfig, num_words: int) -> "nnx.GraphDef[Any]":
    """The model without its parameters, which jit may close over.

    It is of a `WordModel`; each function names as much of that as it needs in its own signature.
    """
    return structure(config, num_words)[0]


def initial_parameters(config: ModelConfig, num_words: int, seed: int) -> Params:
    """Parameters drawn from `seed` as the config's `initializer` says.

    Not under jit: one program for each shape compiles sooner than all layers' together.
    """
    from flax import nnx

    model = made(config, num_words, nnx.Rngs(seed))
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def abstract_parameters(config: ModelConfig, num_words: int) -> Any:
    """Shapes and types of all parameters, in nested dictionaries; none is allocated."""
    from flax import nnx

    return nnx.to_pure_dict(structure(config, num_words)[1])


def parameter_shapes(config: ModelConfig, num_words: int) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter by dotted name, in the order of the nested dictionaries."""

    def make() -> bytes:
        shapes = by_name(abstract_parameters(config, num_words))
        return json.dumps({name: leaf.shape for name, leaf in shapes.items()}).encode()

    found = json.loads(kept("shapes", f"{config} {num_words}", make))
    return {name: tuple(shape) for name, shape in found.items()}


def count_parameters(config: ModelConfig, num_words: int) -> int:
    """Parameters; the unused rows of the vocabulary count."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_parameters(config, num_words)))


def flatten(params: Params) -> dict[str, np.ndarray]:
    """Nested parameters by dotted name: `decoder.0.cross_attention.key.kernel`."""
    return {name: np.asarray(leaf) for name, leaf in by_name(params).items()}


def by_name(tree: Any) -> dict[str, Any]:
    """The leaves of nested dictionaries by dotted name."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        ".".join(str(getattr(part, "key", getattr(part, "idx", ""))) for part in path): leaf
        for path, leaf in leaves
    }


def unflatten(flat: Mapping[str, np.ndarray]) -> Params:
    """The nested dictionaries that `flatten` came from; layers are numbered by integers."""
    nested: dict[Any, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        place = nested
        for part in parents:
            place = place.setdefault(int(part) if part.isdigit() else part, {})
        place[last] = value
    return nested


def params_sha256(flat: Mapping[str, np.ndarray]) -> str:
    """One hash over names, shapes, types and bytes of all parameters."""
    digest = hashlib.sha256()
    for name in sorted(flat):
        value = np.ascontiguousarray(flat[name])
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
