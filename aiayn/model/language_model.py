"""The decoder alone as a language model (§3.1, §3.2.3): the next word of a text from those before.

Its layer is `EncoderLayer` under the decoder's mask: the paper's decoder layer without attention to
an encoder, and the block of GPT-1 (Radford et al. 2018). Its parts are named as the translator's
are, so that a trained one can begin a translator (`train.initial`).
"""

from flax import nnx
from jaxtyping import Array, Float

from aiayn.config import ModelConfig
from aiayn.data.rows import Rows
from aiayn.model.dropout import Noise, dropout, fold
from aiayn.model.stack import traced_once
from aiayn.model.transformer import EncoderLayer, WordModel, causal_mask


class LanguageModel(WordModel):
    """A stack of causal layers. It reads the target side of rows, whose source has no slots."""

    def __init__(self, config: ModelConfig, num_words: int, *, rngs: nnx.Rngs):
        super().__init__(config, num_words, rngs=rngs)
        self.decoder = nnx.List([EncoderLayer(config, rngs=rngs) for _ in range(config.num_layers)])

    def features(
        self, rows: Rows, noise_B2: Noise | None = None
    ) -> Float[Array, "batch target d_model"]:
        """The last layer's output at every slot, before the shared matrix."""
        x_BTD = self.embed(rows.tgt_in_BT, rows.tgt_positions_BT, "tgt")
        x_BTD = dropout(x_BTD, self.config.dropout_rate, fold(noise_B2, 0))
        mask_B1TT = causal_mask(rows.tgt_segments_BT)
        for number, layer in enumerate(traced_once(self.decoder)):
            x_BTD = layer(x_BTD, mask_B1TT, fold(noise_B2, 1 + number))
        return x_BTD
