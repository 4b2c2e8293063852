"""Which source words each head of the decoder looks at (§3.2.3)."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from aiayn.model import Transformer, causal_mask, padding_mask
from aiayn.rows import Rows
from aiayn.step import Params


@partial(jax.jit, static_argnums=0)
def cross_attention(
    graphdef: nnx.GraphDef[Transformer], params: Params, rows: Rows
) -> Float[Array, "layers batch heads target source"]:
    """The weights of every head of encoder-decoder attention, by layer."""
    model: Transformer = nnx.merge(graphdef, params)
    memory_BSD = model.encode(rows.src_BS, rows.src_segments_BS, rows.src_positions_BS)
    self_mask_B1TT = causal_mask(rows.tgt_segments_BT)
    cross_mask_B1TS = padding_mask(rows.tgt_segments_BT, rows.src_segments_BS)
    x_BTD = model.embed(rows.tgt_in_BT, rows.tgt_positions_BT, "tgt")
    collected: list[Array] = []
    for layer in model.decoder:
        y_BTD = layer.self_norm(x_BTD + layer.self_attention(x_BTD, x_BTD, self_mask_B1TT))
        collected.append(layer.cross_attention.weights(y_BTD, memory_BSD, cross_mask_B1TS))
        x_BTD = layer(x_BTD, memory_BSD, self_mask_B1TT, cross_mask_B1TS)
    return jnp.stack(collected)
