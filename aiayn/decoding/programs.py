"""A model's compiled functions for translating: laying out weights, searching, scoring.

On a CPU a process takes over what earlier ones traced and lowered, as `jax.export` stores it;
JAX's own cache keeps what it is compiled to. To trace a search and to import what that needs takes
longer than all the rest of a short translation.
"""

from collections.abc import Callable
from functools import cache, cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import export
from jaxtyping import Array, Bool, Float, Int

from aiayn.config import ModelConfig
from aiayn.data.rows import Rows
from aiayn.decoding.alignment import layers_of
from aiayn.model.structure import Params, abstract_parameters, build
from aiayn.system.kept import kept

if TYPE_CHECKING:
    from flax import nnx

    from aiayn.model.interface import AutoregressiveModel
    from aiayn.model.transformer import Transformer

Weights = Any
"""The decoder's weights as a step needs them, whatever holds them."""
Found = tuple[Int[Array, "all beam room"], Float[Array, "all beam"], Bool[Array, " all"]]
"""`aiayn.decoding.search.Hypotheses`, which is not imported for this."""
_Setting = tuple[str, Any]


class Programs:
    """The functions of one model, each compiled once for each of its sizes."""

    def __init__(self, config: ModelConfig, num_words: int, keep: bool):
        """With `keep`, programs are taken over from earlier processes and left for later ones; the
        parameters are then float32, on one device."""
        self._config, self._num_words = config, num_words
        self._keep = keep and jax.default_backend() == "cpu" and jax.device_count() == 1

    @cached_property
    def graphdef(self) -> "nnx.GraphDef[Any]":
        """The model without its parameters."""
        return build(self._config, self._num_words)

    def lay_out(self, params: Params) -> Weights:
        """The decoder's weights as a step needs them; for `search` alone."""
        if self._keep:
            return _layout(self._config, self._num_words)(jax.tree.leaves(params))
        from aiayn.decoding.incremental import lay_out

        if _are_several(params):
            return jax.vmap(lambda own: lay_out(self.graphdef, own))(params)
        return lay_out(self.graphdef, params)

    def search(
        self,
        params: Params,
        weights: Weights,
        src_AS: Int[Array, "all source"],
        src_segments_AS: Int[Array, "all source"],
        limit_A: Int[Array, " all"],
        controls: tuple[Any, ...] | None = None,
        **settings: Any,
    ) -> Found:
        """As `aiayn.decoding.search.search`.

        Only searches without `controls` are kept: each set of wishes and each length of a prefix
        would be a file of its own, for what few processes repeat.
        """
        if self._keep and controls is None:
            chosen = tuple(sorted(settings.items()))
            program = _search(self._config, self._num_words, src_AS.shape, chosen)
            return program(jax.tree.leaves(params), weights, src_AS, src_segments_AS, limit_A)
        from aiayn.decoding.search import search

        text = (src_AS, src_segments_AS, limit_A) + (() if controls is None else (controls,))
        return search(self.graphdef, params, self.nested(weights), *text, **settings)

    def nested(self, weights: Weights) -> Weights:
        """What `lay_out` gave, as functions take it that are not kept between processes."""
        return jax.tree.unflatten(self._layout_tree, weights) if self._keep else weights

    def forced(self, params: Params, rows: Rows) -> Float[Array, " batch"]:
        """Log-probability in nats of each row's target."""
        return _forced(self.graphdef, params, rows)

    def forced_words(self, params: Params, rows: Rows) -> Float[Array, "batch target"]:
        """Log-probability in nats of each word of each row's target."""
        return _forced_words(self.graphdef, params, rows)

    def alignment(self, params: Params, rows: Rows) -> Float[Array, "batch target source"]:
        """How much each word of the targets comes from each of the sources."""
        return _alignment(self.graphdef, params, rows)

    @cached_property
    def _layout_tree(self) -> Any:
        """How the weights lie that a kept program gives as a flat list."""
        from aiayn.decoding.incremental import lay_out

        nested = abstract_parameters(self._config, self._num_words)
        return jax.tree.structure(jax.eval_shape(partial(lay_out, self.graphdef), nested))


_one_at_a_time = Lock()
"""Of two searches that begin side by side the second waits for what the first traces."""


def _layout(config: ModelConfig, num_words: int) -> Callable[..., list[Array]]:
    """`lay_out` from and to flat lists of arrays."""
    with _one_at_a_time:
        return _made_layout(config, num_words)


def _search(
    config: ModelConfig, num_words: int, shape: tuple[int, ...], settings: tuple[_Setting, ...]
) -> Callable[..., Found]:
    """`search` of sources of this shape, with parameters and weights as flat lists."""
    with _one_at_a_time:
        return _made_search(config, num_words, shape, settings)


@cache
def _made_layout(config: ModelConfig, num_words: int) -> Callable[..., list[Array]]:
    def trace() -> export.Exported:
        from aiayn.decoding.incremental import lay_out

        graphdef = build(config, num_words)
        params, nested = jax.tree.flatten(abstract_parameters(config, num_words))

        def flat(params: list[Array]) -> list[Array]:
            return jax.tree.leaves(lay_out(graphdef, jax.tree.unflatten(nested, params)))

        return export.export(jax.jit(flat))(params)

    return _kept("layout", (config, num_words), trace)


@cache
def _made_search(
    config: ModelConfig, num_words: int, shape: tuple[int, ...], settings: tuple[_Setting, ...]
) -> Callable[..., Found]:
    def trace() -> export.Exported:
        from aiayn.decoding.incremental import lay_out
        from aiayn.decoding.search import search

        graphdef = build(config, num_words)
        nested = abstract_parameters(config, num_words)
        laid_out = jax.eval_shape(partial(lay_out, graphdef), nested)
        (params, params_tree), (weights, weights_tree) = map(jax.tree.flatten, (nested, laid_out))

        def flat(params: list[Array], weights: list[Array], *text: Array) -> Found:
            trees = (
                jax.tree.unflatten(params_tree, params),
                jax.tree.unflatten(weights_tree, weights),
            )
            return tuple(search(graphdef, *trees, *text, **dict(settings)))

        ids = jax.ShapeDtypeStruct(shape, jnp.int32)
        limit = jax.ShapeDtypeStruct(shape[:1], jnp.int32)
        return export.export(jax.jit(flat))(params, weights, ids, ids, limit)

    return _kept("search", (config, num_words, shape, settings), trace)


def _kept(kind: str, about: object, trace: Callable[[], export.Exported]) -> Callable[..., Any]:
    """The function that `trace` exports, here or in an earlier process."""
    exported = kept(kind, str(about), lambda: bytes(trace().serialize()))
    return jax.jit(export.deserialize(bytearray(exported)).call)


@partial(jax.jit, static_argnums=0)
def _forced(
    graphdef: "nnx.GraphDef[AutoregressiveModel]", params: Params, rows: Rows
) -> Float[Array, " batch"]:
    return _word_log_probs(graphdef, params, rows).sum(axis=1)


@partial(jax.jit, static_argnums=0)
def _forced_words(
    graphdef: "nnx.GraphDef[AutoregressiveModel]", params: Params, rows: Rows
) -> Float[Array, "batch target"]:
    return _word_log_probs(graphdef, params, rows)


@partial(jax.jit, static_argnums=0)
def _alignment(
    graphdef: "nnx.GraphDef[Transformer]", params: Params, rows: Rows
) -> Float[Array, "batch target source"]:
    from aiayn.decoding.heads import all_weights

    def of_one(params: Params) -> Float[Array, "batch target source"]:
        cross_LBHTS = all_weights(graphdef, params, rows).cross
        return cross_LBHTS[layers_of(len(cross_LBHTS))].mean(axis=(0, 2))

    return jax.vmap(of_one)(params).mean(axis=0) if _are_several(params) else of_one(params)


def _are_several(params: Params) -> bool:
    """Whether these are the parameters of an ensemble, with a first axis of models."""
    return params["embedding"].ndim == 3


def _word_log_probs(
    graphdef: "nnx.GraphDef[AutoregressiveModel]", params: Params, rows: Rows
) -> Float[Array, "batch target"]:
    """The log-probability in nats of each word of the targets; 0 for padding. That of an ensemble
    is of the mean of its models' probabilities."""
    from flax import nnx

    from aiayn.model.interface import output_rows
    from aiayn.model.loss import token_log_probs

    if _are_several(params):
        found_KBT = jax.vmap(lambda own: _word_log_probs(graphdef, own, rows))(params)
        mean_BT = jax.nn.logsumexp(found_KBT, axis=0) - jnp.log(jnp.float32(len(found_KBT)))
        return mean_BT * rows.weight_BT
    model = nnx.merge(graphdef, params)
    x_BTD, (matrix_VD, num_outputs) = model.features(rows), output_rows(model)
    log_probs_N = token_log_probs(
        x_BTD.reshape(-1, x_BTD.shape[-1]),
        matrix_VD,
        rows.tgt_out_BT.reshape(-1),
        num_outputs,
        model.bias_V,
    )
    return log_probs_N.reshape(rows.tgt_out_BT.shape) * rows.weight_BT
