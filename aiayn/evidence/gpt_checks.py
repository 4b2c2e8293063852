"""Claims of GPT-1's paper (Radford et al. 2018) that a computation can decide, one function each.

Its model is the paper's decoder alone, and the program's own code is what runs, as in
`model_checks`; the ledger that names these checks is `claims`.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from aiayn.config import ModelConfig
from aiayn.data.rows import Rows, make_rows
from aiayn.evidence.model_checks import Found, agrees, built, difference, random
from aiayn.model import transformer as model
from aiayn.model.language_model import LanguageModel
from aiayn.model.structure import abstract_parameters, count_parameters
from aiayn.model.transformer import VOCABULARY_MULTIPLE

GPT1 = ModelConfig(
    kind="decoder",
    num_layers=12,
    d_model=768,
    d_ff=3072,
    num_heads=12,
    attention_dropout_rate=0.1,
    positions="learned",
    max_positions=512,
    activation="gelu",
    scale_embedding=False,
    layer_norm_epsilon=1e-5,
)
"""Its model specifications (§4.1), with the context that they train on."""
WORDS, PARAMETERS = 40_478, 116_534_784
"""Pieces of its published vocabulary, and numbers in its published model."""
_NUM_WORDS, _LENGTH = 128, 6
_SMALL = replace(
    GPT1,
    **{"num_layers": 2, "d_model": 12, "d_ff": 20, "num_heads": 2, "d_k": 5, "d_v": 7},
    **{"max_positions": 8, "matmul_dtype": "float32"},
)


def sizes() -> Found:
    """Twelve layers of width 768 with twelve heads and inner layers of 3,072."""
    shapes = abstract_parameters(GPT1, WORDS)
    layer = shapes["decoder"][0]
    width, inner = layer["feed_forward"]["inner"]["kernel"].shape
    found = len(shapes["decoder"]), width, GPT1.num_heads, inner
    text = "{} layers, {}, {} heads, {:,}".format(*found)
    holds = found == (12, 768, 12, 3072) and width == GPT1.num_heads * GPT1.d_k
    return Found(text, holds and "cross_attention" not in layer)


def parameters() -> Found:
    """As many as the published model has; rows that only pad the embedding are not counted."""
    padding = -WORDS % VOCABULARY_MULTIPLE
    count = count_parameters(GPT1, WORDS) - padding * GPT1.d_model
    return Found(f"{count:,}", count == PARAMETERS)


def block() -> Found:
    """h_0 = U W_e + W_p, then blocks that normalise after each sum, under the decoder's mask."""
    made, rows = _small()
    x_BTD = made.embedding[...][rows.tgt_in_BT] + made.tgt_positions[...][None, :_LENGTH]
    mask_B1TT = model.causal_mask(rows.tgt_segments_BT)
    for layer in made.decoder:
        attended_BTD = layer.self_norm(x_BTD + layer.self_attention(x_BTD, x_BTD, mask_B1TT))
        x_BTD = layer.feed_forward_norm(attended_BTD + layer.feed_forward(attended_BTD))
    logits_BTV = x_BTD @ made.embedding[...].T
    return agrees("logits equal to the formulas'", made(rows)[..., :_NUM_WORDS], logits_BTV)


def causality() -> Found:
    """Another last word changes no prediction before it."""
    made, rows = _small()
    changed = rows._replace(tgt_in_BT=rows.tgt_in_BT.at[:, -1].add(1))
    before, after = made.features(rows), made.features(changed)
    earlier, last = (difference(before[:, at], after[:, at]) for at in (slice(0, -1), -1))
    return Found(f"earlier features change by {earlier:g}", earlier == 0 and last > 0)


def gelu() -> Found:
    """The inner layer's activation is GELU, in the form with tanh."""
    layer = built(lambda rngs: model.FeedForward(_SMALL, rngs=rngs))
    x_BTD = random(1, _LENGTH, _SMALL.d_model)
    inner = np.asarray(layer.inner(x_BTD), np.float64)
    active = 0.5 * inner * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    return agrees("outputs equal", layer(x_BTD), layer.outer(jnp.asarray(active, jnp.float32)))


def _small() -> tuple[LanguageModel, Rows]:
    """A small model of this recipe, and a text."""
    made = built(lambda rngs: LanguageModel(_SMALL, _NUM_WORDS, rngs=rngs))
    ids_BT = np.array(jax.random.randint(jax.random.key(2), (1, _LENGTH), 4, _NUM_WORDS - 1))
    none_B0 = np.zeros((1, 0), np.int32)
    rows = make_rows(none_B0, none_B0, ids_BT, np.ones_like(ids_BT), bos=2)
    return made, Rows(*map(jnp.asarray, rows))
