"""The workers of a benchmark that run PyTorch, in an environment that has it:

python -m aiayn.bench.peers hf train WORKLOAD               Hugging Face's MarianMTModel, or
                                                            OpenAIGPTLMHeadModel
python -m aiayn.bench.peers torch train WORKLOAD            torch.nn.Transformer
python -m aiayn.bench.peers fairseq train WORKLOAD          fairseq's TransformerModelBase
python -m aiayn.bench.peers hf decode WORKLOAD BEAM_SIZE
python -m aiayn.bench.peers hf generate WORKLOAD            Hugging Face's GPT2LMHeadModel
python -m aiayn.bench.peers hf export MODEL FOLDER          a Marian model of our model's sizes
python -m aiayn.bench.peers hf sentence FOLDER              the lines of standard input by it

In training all share one matrix among embeddings and output, drop out where the paper does (GPT
where its own does), smooth labels where ours does and follow Adam with the paper's rate; loss and
Adam are PyTorch's.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from aiayn.bench.worker import Contender, prompts_of, rows_of, sentences_of, serve
from aiayn.bench.workloads import DECODING, GENERATION, TRAINING, Decoding, Generation, Training
from aiayn.config import ModelConfig


def trainer(peer: str, workload: Training) -> Contender:
    """A peer's step on the same rows again and again."""
    assert workload.sentences_per_row == 1, "peers have no packed rows"
    torch.manual_seed(0)
    src, tgt, _ = (torch.tensor(np.asarray(side), dtype=torch.long) for side in rows_of(workload))
    shifted = functional.pad(tgt, (1, -1), value=2)
    of_hf = _Gpt if workload.is_text else _Marian
    model = {"hf": of_hf, "torch": _Transformer, "fairseq": _Fairseq}[peer](workload)
    model.train()
    d_model, warmup = workload.model.d_model, 4_000
    adam = torch.optim.Adam(model.parameters(), 1.0, betas=(0.9, 0.98), eps=1e-9, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(
        adam, lambda step: d_model**-0.5 * min((step + 1) ** -0.5, (step + 1) * warmup**-1.5)
    )

    def run(steps: int) -> dict[str, float]:
        loss = torch.tensor(0.0)
        for _ in range(steps):
            logits = model(src, shifted)
            loss = functional.cross_entropy(
                logits.flatten(0, 1), tgt.flatten(), label_smoothing=workload.smoothing
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
            rate.step()
        return {"loss": float(loss.detach())}

    return Contender(_about(peer, model), run)


def translator(workload: Decoding, beam_size: int) -> Contender:
    """Hugging Face's search, which the bias of the logits keeps from EOS, as it does ours."""
    torch.manual_seed(0)
    model = marian(workload.model, workload.num_words).eval()
    model.final_logits_bias[:, :4] = -1e4
    ids = torch.tensor(sentences_of(workload), dtype=torch.long)
    length = workload.output_length

    @torch.inference_mode()
    def run(steps: int) -> dict[str, float]:
        tokens = 0
        for _ in range(steps):
            found = [
                model.generate(
                    input_ids=batch,
                    attention_mask=torch.ones_like(batch),
                    num_beams=beam_size,
                    do_sample=False,
                    max_new_tokens=length,
                )
                for batch in ids.split(workload.batch_size)
            ]
            tokens = sum(output[:, 1:].numel() for output in found)
        return {"tokens": float(tokens)}

    return Contender(_about("hf", model), run)


def generator(workload: Generation) -> Contender:
    """Hugging Face's greedy search with its cache, of GPT-2, since its GPT-1 has none: as many
    products of matrices, and a norm more behind the last layer. There is no EOS."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    size, length = workload.model, workload.output_length
    config = GPT2Config(
        vocab_size=workload.num_words,
        n_positions=size.max_positions,
        n_embd=size.d_model,
        n_layer=size.num_layers,
        n_head=size.num_heads,
        n_inner=size.d_ff,
        bos_token_id=2,
        eos_token_id=None,
        pad_token_id=0,
    )
    model = GPT2LMHeadModel(config).eval()
    prompts = torch.tensor(prompts_of(workload), dtype=torch.long)
    ids = functional.pad(prompts, (1, 0), value=2)

    @torch.inference_mode()
    def run(steps: int) -> dict[str, float]:
        tokens = 0
        for _ in range(steps):
            found = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=length,
                use_cache=True,
            )
            tokens = found[:, ids.shape[1] :].numel()
        return {"tokens": float(tokens)}

    return Contender(_about("hf", model), run)


@torch.inference_mode()
def _product() -> float:
    """FLOP/s of PyTorch's large matrix product, measured as `aiayn.bench.ours` measures XLA's."""
    size = 2048
    x = torch.randn(size, size)
    best = math.inf
    for _ in range(3):
        began = time.perf_counter()
        torch.mm(x, x)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def _about(peer: str, model: nn.Module) -> dict[str, object]:
    packages = ["torch", *{"hf": ["transformers"], "fairseq": ["fairseq"]}.get(peer, [])]
    return {
        "name": peer,
        "versions": {name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }


def marian(size: ModelConfig, num_words: int, use_cache: bool = True) -> Any:
    """A MarianMTModel of these sizes with random weights, with our ids of special pieces."""
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=num_words,
        d_model=size.d_model,
        encoder_layers=size.num_layers,
        decoder_layers=size.num_layers,
        encoder_attention_heads=size.num_heads,
        decoder_attention_heads=size.num_heads,
        encoder_ffn_dim=size.d_ff,
        decoder_ffn_dim=size.d_ff,
        activation_function="relu",
        dropout=size.dropout_rate,
        attention_dropout=0.0,
        activation_dropout=0.0,
        scale_embedding=True,
        pad_token_id=0,
        decoder_start_token_id=2,
        eos_token_id=3,
        forced_eos_token_id=None,
        use_cache=use_cache,
    )
    return MarianMTModel(config)


class _Marian(nn.Module):
    def __init__(self, workload: Training):
        super().__init__()
        self.model = marian(workload.model, workload.num_words, use_cache=False)

    def forward(self, src: torch.Tensor, shifted: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=src, decoder_input_ids=shifted).logits


class _Gpt(nn.Module):
    """GPT-1, which reads targets alone."""

    def __init__(self, workload: Training):
        super().__init__()
        from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

        size = workload.model
        assert size.d_ff == 4 * size.d_model, "it has no other"
        config = OpenAIGPTConfig(
            vocab_size=workload.num_words,
            n_positions=size.max_positions,
            n_embd=size.d_model,
            n_layer=size.num_layers,
            n_head=size.num_heads,
            afn="gelu",
            layer_norm_epsilon=size.layer_norm_epsilon,
            embd_pdrop=size.dropout_rate,
            resid_pdrop=size.dropout_rate,
            attn_pdrop=size.attention_dropout_rate,
        )
        self.model = OpenAIGPTLMHeadModel(config)

    def forward(self, src: torch.Tensor, shifted: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=shifted).logits


class _Transformer(nn.Module):
    def __init__(self, workload: Training):
        super().__init__()
        size = workload.model
        self.embedding = nn.Embedding(workload.num_words, size.d_model)
        nn.init.normal_(self.embedding.weight, std=size.d_model**-0.5)
        self.transformer = nn.Transformer(
            size.d_model,
            size.num_heads,
            size.num_layers,
            size.num_layers,
            size.d_ff,
            size.dropout_rate,
            batch_first=True,
        )
        for module in self.transformer.modules():  # nowhere but on the outputs of sublayers
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                module.dropout.p = 0.0
        place = torch.arange(workload.width)[:, None]
        rate = 10_000 ** (-torch.arange(0, size.d_model, 2) / size.d_model)
        waves = torch.stack([(place * rate).sin(), (place * rate).cos()], dim=-1).flatten(1)
        self.register_buffer("positions", waves)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(workload.width))
        self.scale, self.rate = math.sqrt(size.d_model), size.dropout_rate

    def forward(self, src: torch.Tensor, shifted: torch.Tensor) -> torch.Tensor:
        src, tgt = (
            functional.dropout(self.embedding(ids) * self.scale + self.positions, self.rate)
            for ids in (src, shifted)
        )
        features = self.transformer(src, tgt, tgt_mask=self.mask, tgt_is_causal=True)
        return features @ self.embedding.weight.T


@contextmanager
def importing_fairseq() -> Iterator[None]:
    """Within it, fairseq can be imported by Python 3.11, which wants the defaults of fields, here
    settings, to be hashable."""
    import_module("torch.distributed.rpc")  # what it imports of PyTorch cannot have that
    with patch("dataclasses.dataclass", partial(dataclasses.dataclass, unsafe_hash=True)):
        yield


def trained(model: Any) -> list[nn.Parameter]:
    """The parameters of a model of fairseq's, without those of its encoder's fast path: copies that
    training never uses."""
    layers = model.encoder.layers
    unused = {id(copy) for layer in layers for copy in layer.parameters(recurse=False)}
    return [p for p in model.parameters() if id(p) not in unused]


class _Fairseq(nn.Module):
    def __init__(self, workload: Training):
        super().__init__()
        with importing_fairseq():
            from fairseq.data import Dictionary
            from fairseq.models.transformer import TransformerConfig, TransformerModelBase

        size = workload.model
        config = TransformerConfig(dropout=size.dropout_rate, share_all_embeddings=True)
        for stack in (config.encoder, config.decoder):
            stack.embed_dim, stack.ffn_embed_dim = size.d_model, size.d_ff
            stack.layers, stack.attention_heads = size.num_layers, size.num_heads
        config.decoder.input_dim = config.decoder.output_dim = size.d_model
        words = Dictionary()
        for word in range(len(words), workload.num_words):
            words.add_symbol(str(word))
        task = SimpleNamespace(source_dictionary=words, target_dictionary=words)
        self.model = TransformerModelBase.build_model(config, task)
        kept = {id(parameter) for parameter in trained(self.model)}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in kept)
        self.register_buffer("lengths", torch.full([workload.num_rows], workload.length))

    def forward(self, src: torch.Tensor, shifted: torch.Tensor) -> torch.Tensor:
        return self.model(src, self.lengths, shifted)[0]


def _export(model: str, folder: str) -> None:
    """A Marian model of our model's sizes and words, with random weights, in a new folder."""
    import json

    from aiayn.model.saved import model_of

    found = model_of(Path(model))
    tokenizer, out = found.tokenizer, Path(folder)
    made = marian(found.experiment.model, tokenizer.num_words)
    made.final_logits_bias[:, :4] = -1e4  # so that it ends where ours is told to
    made.save_pretrained(out)
    names = tokenizer.pieces(range(tokenizer.num_words))
    (out / "vocab.json").write_text(json.dumps({name: n for n, name in enumerate(names)}))
    for side in ("source", "target"):
        (out / f"{side}.spm").write_bytes(tokenizer.model)
    about = {"beam_size": found.experiment.decode.beam_size, "words": 10}
    (out / "decode.json").write_text(json.dumps(about))


def _translate_sentence(folder: str) -> None:
    """The lines of standard input, by a model that `_export` wrote."""
    import json

    from transformers import MarianMTModel, MarianTokenizer

    about = json.loads((Path(folder) / "decode.json").read_text())
    tokenizer = MarianTokenizer(
        source_spm=f"{folder}/source.spm",
        target_spm=f"{folder}/target.spm",
        vocab=f"{folder}/vocab.json",
    )
    model = MarianMTModel.from_pretrained(folder).eval()
    lines = [line.strip() for line in sys.stdin]
    with torch.inference_mode():
        found = model.generate(
            **tokenizer(lines, return_tensors="pt", padding=True),
            num_beams=about["beam_size"],
            do_sample=False,
            max_new_tokens=about["words"],
        )
    for text in tokenizer.batch_decode(found, skip_special_tokens=True):
        print(text)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [peer, "train", name]:
            serve(partial(trainer, peer, TRAINING[name]), product=_product)
        case ["hf", "decode", name, beam_size]:
            serve(partial(translator, DECODING[name], int(beam_size)), product=_product)
        case ["hf", "generate", name]:
            serve(partial(generator, GENERATION[name]), product=_product)
        case ["hf", "export", model, folder]:
            _export(model, folder)
        case ["hf", "sentence", folder]:
            _translate_sentence(folder)
