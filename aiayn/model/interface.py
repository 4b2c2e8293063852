"""What training and scoring ask of a model, whatever its layers are."""

from typing import Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Array, Float

from aiayn.data.rows import Rows
from aiayn.model.dropout import Noise
from aiayn.model.loss import Sums


@runtime_checkable
class AutoregressiveModel(Protocol):
    """A model that predicts the next target word at every slot of a row (§3).

    The training step, validation, replay, scoring and the FLOP counts use nothing else of a model.
    `Transformer` is one, and `LanguageModel`, which ignores the source fields of the rows.
    """

    @property
    def num_words(self) -> int:
        """Words of the tokenizer. The embedding may have more rows; they are never predicted."""
        ...

    @property
    def embedding(self) -> nnx.Param[Array]:
        """The matrix whose rows embed words and, times the features, score them (§3.4)."""
        ...

    @property
    def bias_V(self) -> Float[Array, " vocabulary"] | None:
        """Added to the scores of all words, if there is one."""
        ...

    def features(
        self, rows: Rows, noise_B2: Noise | None = None
    ) -> Float[Array, "batch target d_model"]:
        """The last layer's output at every target slot; `noise_B2` switches dropout on."""
        ...

    def loss(
        self,
        rows: Rows,
        noise_B2: Noise | None = None,
        smoothing: float = 0.0,
        over: str = "all",
    ) -> Sums:
        """The smoothed and the plain loss in nats, summed over the real target words (§5.4)."""
        ...


def output_rows(model: AutoregressiveModel) -> tuple[Float[Array, "outputs d_model"], int]:
    """The rows of the matrix that score words, and how many of them have one: all, or what a model
    that predicts some alone calls its `num_outputs`."""
    matrix_VD, count = model.embedding[...], getattr(model, "num_outputs", model.num_words)
    return (matrix_VD[:count] if count < model.num_words else matrix_VD), count
