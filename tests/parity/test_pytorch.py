"""PyTorch's own Transformer and its Adam against ours."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

from aiayn.config import ModelConfig, TrainConfig
from aiayn.data.rows import rows_of_texts
from aiayn.model.structure import flatten
from aiayn.training.optim import optimizer
from tests.support.models import drawn_by_numpy, on_device, transformer, unpacked_rows

CONFIG = ModelConfig(num_layers=3, d_model=24, d_ff=40, num_heads=4, d_k=6, d_v=6)
PAIRS = [([5, 6, 7, 8], [9, 10]), ([11, 12], [13, 14, 15, 16, 17])]


def _copy(linear, params, name):
    linear.weight.copy_(torch.tensor(params[f"{name}.kernel"].T))
    linear.bias.copy_(torch.tensor(params[f"{name}.bias"]))


def _copy_attention(attention, params, name):
    projections = [f"{name}.{part}" for part in ("query", "key", "value")]
    attention.in_proj_weight.copy_(
        torch.tensor(np.concatenate([params[f"{p}.kernel"].T for p in projections]))
    )
    attention.in_proj_bias.copy_(
        torch.tensor(np.concatenate([params[f"{p}.bias"] for p in projections]))
    )
    _copy(attention.out_proj, params, f"{name}.out")


def _copy_norm(norm, params, name):
    norm.weight.copy_(torch.tensor(params[f"{name}.scale"]))
    norm.bias.copy_(torch.tensor(params[f"{name}.bias"]))


@pytest.fixture(scope="module")
def pair():
    """nn.Transformer without the norms that it adds behind its stacks, and ours."""
    graphdef, params = transformer(CONFIG)
    flat = flatten(params)
    sizes = (CONFIG.d_model, CONFIG.num_heads, CONFIG.d_ff)
    settings = {"dropout": 0.0, "batch_first": True, "layer_norm_eps": CONFIG.layer_norm_epsilon}
    encoder = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(*sizes, **settings),
        CONFIG.num_layers,
        enable_nested_tensor=False,
    )
    decoder = torch.nn.TransformerDecoder(
        torch.nn.TransformerDecoderLayer(*sizes, **settings), CONFIG.num_layers
    )
    theirs = torch.nn.Transformer(
        CONFIG.d_model,
        CONFIG.num_heads,
        custom_encoder=encoder,
        custom_decoder=decoder,
        batch_first=True,
    ).eval()
    with torch.no_grad():
        for stack, layers in (("encoder", encoder.layers), ("decoder", decoder.layers)):
            for number, layer in enumerate(layers):
                name = f"{stack}.{number}"
                _copy_attention(layer.self_attn, flat, f"{name}.self_attention")
                _copy_norm(layer.norm1, flat, f"{name}.self_norm")
                last = layer.norm2
                if stack == "decoder":
                    _copy_attention(layer.multihead_attn, flat, f"{name}.cross_attention")
                    _copy_norm(layer.norm2, flat, f"{name}.cross_norm")
                    last = layer.norm3
                _copy(layer.linear1, flat, f"{name}.feed_forward.inner")
                _copy(layer.linear2, flat, f"{name}.feed_forward.outer")
                _copy_norm(last, flat, f"{name}.feed_forward_norm")
    return theirs, graphdef, params


def test_logits_agree(pair):
    theirs, graphdef, params = pair
    rows = unpacked_rows(PAIRS)

    @jax.jit
    def ours(params, rows):
        model = nnx.merge(graphdef, params)
        embedded = [
            model.embed(ids, positions, "src")
            for ids, positions in (
                (rows.src_BS, rows.src_positions_BS),
                (rows.tgt_in_BT, rows.tgt_positions_BT),
            )
        ]
        return model(rows), *embedded

    logits, src, tgt = ours(params, rows)
    src_padding, tgt_padding = (
        torch.tensor(np.asarray(segments) == 0)
        for segments in (rows.src_segments_BS, rows.tgt_segments_BT)
    )
    with torch.no_grad():
        out = theirs(
            torch.tensor(np.asarray(src)),
            torch.tensor(np.asarray(tgt)),
            tgt_mask=torch.triu(torch.ones(tgt.shape[1], tgt.shape[1], dtype=torch.bool), 1),
            src_key_padding_mask=src_padding,
            memory_key_padding_mask=src_padding,
            tgt_key_padding_mask=tgt_padding,
        )
    real = ~tgt_padding.numpy()
    words = 300
    wanted = out.numpy()[real] @ np.asarray(params["embedding"])[:words].T
    found = np.asarray(logits)[real][:, :words]
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 1e-5


def test_the_decoder_alone_agrees():
    """A language model of the paper's recipe; theirs is an encoder under the decoder's mask."""
    config = replace(CONFIG, kind="decoder")
    graphdef, params = drawn_by_numpy(config)
    flat, sizes = flatten(params), (config.d_model, config.num_heads, config.d_ff)
    settings = {"dropout": 0.0, "batch_first": True, "layer_norm_eps": config.layer_norm_epsilon}
    layer = torch.nn.TransformerEncoderLayer(*sizes, **settings)
    theirs = torch.nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False)
    theirs.eval()
    with torch.no_grad():
        for number, layer in enumerate(theirs.layers):
            name = f"decoder.{number}"
            _copy_attention(layer.self_attn, flat, f"{name}.self_attention")
            _copy_norm(layer.norm1, flat, f"{name}.self_norm")
            _copy(layer.linear1, flat, f"{name}.feed_forward.inner")
            _copy(layer.linear2, flat, f"{name}.feed_forward.outer")
            _copy_norm(layer.norm2, flat, f"{name}.feed_forward_norm")
    rows = on_device(rows_of_texts([text for _, text in PAIRS], bos=2, eos=3))

    @jax.jit
    def ours(params, rows):
        model = nnx.merge(graphdef, params)
        return model(rows), model.embed(rows.tgt_in_BT, rows.tgt_positions_BT, "tgt")

    logits, embedded = ours(params, rows)
    real, size = np.asarray(rows.tgt_segments_BT) > 0, embedded.shape[1]
    with torch.no_grad():
        out = theirs(
            torch.tensor(np.asarray(embedded)),
            mask=torch.triu(torch.ones(size, size, dtype=torch.bool), 1),
            src_key_padding_mask=torch.tensor(~real),
        )
    wanted = out.numpy()[real] @ np.asarray(params["embedding"])[:300].T
    found = np.asarray(logits)[real][:, :300]
    assert np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 1e-5


def test_a_hundred_updates_of_adam_under_the_schedule_agree():
    train = TrainConfig(warmup_steps=40)
    rng = np.random.default_rng(0)
    start = rng.normal(size=(7, 5)).astype(np.float32)
    gradients = rng.normal(size=(100, 7, 5)).astype(np.float32) * rng.uniform(0, 3, (100, 1, 1))
    gradients = gradients.astype(np.float32)

    parameter = torch.nn.Parameter(torch.tensor(start))
    adam = torch.optim.Adam([parameter], lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    noam = torch.optim.lr_scheduler.LambdaLR(
        adam,
        lambda done: CONFIG.d_model**-0.5 * min((done + 1) ** -0.5, (done + 1) * 40**-1.5),
    )
    rule = optimizer(CONFIG, train)
    params = jnp.asarray(start)
    state = rule.init(params)
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        adam.step()
        noam.step()
        updates, state = rule.update(jnp.asarray(gradient), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params, parameter.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(params) - start).max() > 0.1, "they went somewhere"
