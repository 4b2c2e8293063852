"""The layers of a stack as functions of which JAX traces one only."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array


def traced_once(layers: Iterable[nnx.Module]) -> list[Callable[..., Array]]:
    """Each layer as a function of its inputs.

    The layers differ in nothing but their parameters, so JAX traces the first alone and XLA copies
    its program for the others. The jitted function is new on each call: an old one would keep its
    trace even after something it calls was replaced.
    """

    @partial(jax.jit, static_argnums=0)
    def apply(graphdef: nnx.GraphDef[Any], params: Any, *arguments: Any) -> Array:
        return nnx.merge(graphdef, params)(*arguments)

    return [partial(apply, *nnx.split(layer)) for layer in layers]
