"""Several trained models as one: the probability of a word is the mean of theirs.

They have the same words and sizes, so that their parameters lie in arrays with one axis more, K for
the models, and one program computes all.
"""

import dataclasses
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from aiayn.decoding.incremental import AnyModel, IncrementalDecoder, LayerCache, Weights
from aiayn.errors import UserError
from aiayn.model.saved import Model, check_kind
from aiayn.model.structure import Params, unflatten

_FREE = ("dropout_rate", "attention_dropout_rate", "relu_dropout_rate", "matmul_dtype")
"""Settings of a model that mean nothing, or nothing different, once it is trained."""


def stacked(model: Model, others: Sequence[Model]) -> Params:
    """The parameters of an ensemble, each with a first axis of models.

    Raises:
        UserError: one has another tokenizer, other sizes or other languages than the first.
    """
    first = model.experiment
    for number, other in enumerate(others, 2):
        name = f"Model {number} of the ensemble, {other.experiment.name},"
        check_kind(other, "encoder_decoder")
        hashes = [sha256(each.tokenizer.model).hexdigest()[:12] for each in (model, other)]
        if hashes[0] != hashes[1]:
            raise UserError(
                f"{name} has another tokenizer ({hashes[1]}) than {first.name} ({hashes[0]}); "
                "wanted the same, as data.tokenizer gives it to several runs."
            )
        for key in ("src", "tgt"):
            found, wanted = (getattr(each.data, key) for each in (other.experiment, first))
            if found != wanted:
                raise UserError(
                    f"{name} has data.{key} {found!r}; wanted {wanted!r}, as {first.name}."
                )
        theirs = dataclasses.asdict(other.experiment.model)
        for key, value in dataclasses.asdict(first.model).items():
            if key not in _FREE and theirs[key] != value:
                raise UserError(
                    f"{name} has model.{key} {theirs[key]!r}; wanted {value!r}, as {first.name}."
                )
    members = (model, *others)
    flat = {
        name: np.stack([each.params[name].astype(np.float32) for each in members])
        for name in model.params
    }
    return jax.device_put(unflatten(flat))


class EnsembleDecoder:
    """The decoders of several models of the same sizes as one: the probability of a word is the
    mean of theirs.

    Parameters, weights and caches have a first axis of models, K.
    """

    def __init__(self, graphdef: nnx.GraphDef[AnyModel], params: Params, weights: Weights):
        self.graphdef, self.params, self.weights = graphdef, params, weights

    def _each(self, function: Callable[..., Any], *arguments: Any, shared: int) -> Any:
        """What a function of a decoder makes of each model's own; the last `shared` arguments are
        the same for all."""

        def of_one(params: Params, weights: Weights, *arguments: Any) -> Any:
            model: AnyModel = nnx.merge(self.graphdef, params)
            return function(IncrementalDecoder(model, weights), *arguments)

        axes = (0,) * (2 + len(arguments) - shared) + (None,) * shared
        return jax.vmap(of_one, in_axes=axes)(self.params, self.weights, *arguments)

    def start(self, *sizes: int) -> tuple[LayerCache, ...]:
        """As that of a single decoder."""
        return self._each(lambda decoder: decoder.start(*sizes), shared=0)

    def read(self, caches: tuple[LayerCache, ...], *sources: Array) -> tuple[LayerCache, ...]:
        """As that of a single decoder."""
        return self._each(IncrementalDecoder.read, caches, *sources, shared=len(sources))

    def step(
        self,
        word_BW: Int[Array, "batch beam"],
        caches: tuple[LayerCache, ...],
        *state: Array,
    ) -> tuple[Float[Array, "vocabulary columns"], tuple[LayerCache, ...]]:
        """As that of a single decoder; the logits are log-probabilities."""

        def step(
            decoder: IncrementalDecoder, caches: tuple[LayerCache, ...], *others: Array
        ) -> tuple[Array, tuple[LayerCache, ...]]:
            return decoder.step(others[0], caches, *others[1:])

        shared = word_BW, *state
        logits_KVN, caches = self._each(step, caches, *shared, shared=len(shared))
        return mean_log_probs(logits_KVN, axis=1), caches


def mean_log_probs(logits: Float[Array, "models *shape"], axis: int) -> Float[Array, "*shape"]:
    """The logarithm of the mean over models, the first axis, of the probabilities along `axis`."""
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32), axis=axis)
    return jax.nn.logsumexp(log_probs, axis=0) - jnp.log(jnp.float32(len(logits)))
