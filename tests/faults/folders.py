"""What is damaged: small whole folders of a model, of a run and of Hugging Face's, in memory."""

import base64
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import save

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig
from aiayn.data.corpus import Manifest, SplitCounts, WrittenFile
from aiayn.data.tokenizer import Tokenizer, train_tokenizer
from aiayn.model.saved import Model, save_model
from aiayn.model.structure import flatten
from aiayn.model.transformer import Transformer
from aiayn.system.files import FORMAT
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.optim import optimizer
from aiayn.training.step import initial_state

from .inputs import Files

SIZES = ModelConfig(num_layers=1, d_model=8, d_ff=12, num_heads=2, d_k=4, d_v=4)
EXPERIMENT = Experiment(
    "small",
    data=DataConfig(max_tokens=30, row_widths=(32,)),
    model=SIZES,
    train=TrainConfig(num_steps=2, warmup_steps=1),
    decode=DecodeConfig(beam_size=2, max_extra_tokens=8, slots_per_batch=1_280),
)
RECORD = Path(__file__).parents[2] / "experiments" / "results" / "phrasebook.json"


@cache
def tokenizer() -> Tokenizer:
    return train_tokenizer(("one two three four five six seven eight nine ten " * 3).split(), 300)


def tokenizer_folder() -> Files:
    return {"tokenizer.model": tokenizer().model}


@cache
def pair_folder() -> Files:
    """A SentencePiece model for each language, as `aiayn import` writes them."""
    words = range(tokenizer().num_words)
    side = base64.b64encode(tokenizer().model).decode()
    vocabulary = {tokenizer().pieces([number])[0]: number for number in words}
    pair = {"source": side, "target": side, "vocabulary": vocabulary, "starts_with": 0}
    return {"tokenizer.model": json.dumps(pair).encode()}


def _written(write: Callable[[Path], object]) -> Files:
    """The files that a function puts into a folder."""
    with TemporaryDirectory() as folder:
        write(Path(folder))
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@cache
def model_folder() -> Files:
    """As `aiayn average` writes it."""
    _, state = nnx.split(Transformer(SIZES, tokenizer().num_words, rngs=nnx.Rngs(0)), nnx.Param)
    model = Model(EXPERIMENT, tokenizer(), flatten(nnx.to_pure_dict(state)))
    files = _written(lambda folder: save_model(folder / "model", model))
    return {name.removeprefix("model/"): data for name, data in files.items()}


@cache
def run_folder() -> Files:
    """The JSON of a run: what it is, what trained it, what came out."""
    about = {
        "format": FORMAT,
        "experiment": EXPERIMENT.to_dict(),
        "hash": EXPERIMENT.hash(),
        "data_fingerprint": "0" * 64,
    }
    counts = SplitCounts(read=3, kept=2, src_words=4, tgt_words=5, dropped={"empty": 1})
    written = {"train.src": WrittenFile(10, "0" * 64)}
    manifest = Manifest("c", "en", "de", {"kind": "files"}, {"train": counts}, written, "0" * 64)
    rows = [{"step": step, "seconds": 1.5, "loss": 2.25} for step in (1, 2)]
    return {
        "config.json": json.dumps(about).encode(),
        "manifest.json": manifest.to_json().encode(),
        "metrics.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows).encode(),
        "result.json": RECORD.read_bytes(),
    }


@cache
def checkpoint_folder() -> Files:
    """A run with one checkpoint."""
    adam = optimizer(SIZES, EXPERIMENT.train)
    state = initial_state(SIZES, tokenizer().num_words, 1, adam)._replace(step=jax.numpy.int32(2))

    def write(folder: Path) -> None:
        checkpoints = Checkpoints(folder / "checkpoints")
        checkpoints.save(state, EXPERIMENT, tokenizer(), 2.0)
        checkpoints.close()

    return {"config.json": run_folder()["config.json"], **_written(write)}


@cache
def marian_folder() -> Files:
    """As `save_pretrained` writes it, all weights zero."""
    words, width, inner = tokenizer().num_words, SIZES.d_model, SIZES.d_ff
    shapes: dict[str, tuple[int, ...]] = {
        "model.shared.weight": (words, width),
        "final_logits_bias": (1, words),
    }
    for stack, attentions in (
        ("encoder", ["self_attn"]),
        ("decoder", ["self_attn", "encoder_attn"]),
    ):
        layer = f"model.{stack}.layers.0."
        dense = {"fc1": (inner, width), "fc2": (width, inner)}
        norms = ["final_layer_norm"]
        for attention in attentions:
            norms.append(f"{attention}_layer_norm")
            dense |= {f"{attention}.{part}_proj": (width, width) for part in ("q", "k", "v", "out")}
        for name, shape in {**dense, **dict.fromkeys(norms, (width,))}.items():
            shapes |= {f"{layer}{name}.weight": shape, f"{layer}{name}.bias": shape[:1]}
    config = {
        **{"model_type": "marian", "vocab_size": words, "d_model": width},
        **{"activation_function": "swish", "decoder_start_token_id": tokenizer().pad},
        **{f"{stack}_layers": 1 for stack in ("encoder", "decoder")},
        **{f"{stack}_attention_heads": 2 for stack in ("encoder", "decoder")},
        **{f"{stack}_ffn_dim": inner for stack in ("encoder", "decoder")},
    }
    vocabulary = {tokenizer().pieces([number])[0]: number for number in range(words)}
    tables = {
        "config": config,
        "vocab": vocabulary,
        "tokenizer_config": {"source_lang": "en", "target_lang": "de"},
    }
    return {
        "model.safetensors": save({n: np.zeros(s, np.float32) for n, s in shapes.items()}),
        **{f"{name}.json": json.dumps(table).encode() for name, table in tables.items()},
        **{f"{side}.spm": tokenizer().model for side in ("source", "target")},
    }
