"""A small GPT-1 in the form of Hugging Face's files, and its formulas in NumPy."""

import json
from itertools import chain, product
from pathlib import Path
from string import ascii_lowercase

import numpy as np
from safetensors.numpy import save

# All different, and the context no multiple of 8.
WORDS, CONTEXT, WIDTH, LAYERS, HEADS = 307, 21, 12, 2, 3
CONFIG = {
    "model_type": "openai-gpt",
    "architectures": ["OpenAIGPTLMHeadModel"],
    **{"vocab_size": WORDS, "n_positions": CONTEXT, "n_ctx": CONTEXT},
    **{"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS},
}


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Letters, then pairs of frequent ones, inside words and at their end; and the merges."""
    letters = [f"{letter}{end}" for end in ("", "</w>") for letter in ascii_lowercase]
    frequent = "etaoinshrdlu"
    pairs = chain(product(frequent, frequent), product(frequent, [f"{x}</w>" for x in frequent]))
    merges = list(pairs)[: WORDS - 1 - len(letters)]
    pieces = ["<unk>", *letters, *map("".join, merges)]
    return {piece: number for number, piece in enumerate(pieces)}, merges


def state(seed: int = 0) -> dict[str, np.ndarray]:
    """Random tensors by their names there."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "tokens_embed.weight": (WORDS, WIDTH),
        "positions_embed.weight": (CONTEXT, WIDTH),
    }
    for number in range(LAYERS):
        for name, outputs, inputs in (
            ("attn.c_attn", 3 * WIDTH, WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", 4 * WIDTH, WIDTH),
            ("mlp.c_proj", WIDTH, 4 * WIDTH),
        ):
            shapes[f"h.{number}.{name}.weight"] = (inputs, outputs)
            shapes[f"h.{number}.{name}.bias"] = (outputs,)
        for name in ("ln_1", "ln_2"):
            shapes |= {f"h.{number}.{name}.{part}": (WIDTH,) for part in ("weight", "bias")}
    drawn = {n: 0.5 * rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    return {f"transformer.{n}": v + ("ln_" in n and "weight" in n) for n, v in drawn.items()}


def files(seed: int = 0, **changes: object) -> dict[str, bytes]:
    """The files of a folder, with changes in its config."""
    ids, merges = vocabulary()
    return {
        "config.json": json.dumps({**CONFIG, **changes}).encode(),
        "model.safetensors": save(state(seed)),
        "vocab.json": json.dumps(ids).encode(),
        "merges.txt": ("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges)).encode(),
    }


def write(folder: Path, made: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        (folder / name).write_bytes(content)
    return folder


def logits(tensors: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    """Those of the next word at each place."""
    w = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    size = len(ids)
    x_TD = w["tokens_embed.weight"][ids] + w["positions_embed.weight"][:size]
    for number in range(LAYERS):
        h = f"h.{number}."
        qkv = x_TD @ w[h + "attn.c_attn.weight"] + w[h + "attn.c_attn.bias"]
        q_HTK, k_HTK, v_HTK = (
            part.reshape(size, HEADS, -1).swapaxes(0, 1) for part in np.split(qkv, 3, axis=1)
        )
        scores_HTT = q_HTK @ k_HTK.swapaxes(1, 2) / (WIDTH // HEADS) ** 0.5
        scores_HTT = np.where(np.tril(np.ones((size, size), bool)), scores_HTT, -np.inf)
        e_HTT = np.exp(scores_HTT - scores_HTT.max(axis=-1, keepdims=True))
        y_HTK = e_HTT / e_HTT.sum(axis=-1, keepdims=True) @ v_HTK
        y_TD = y_HTK.swapaxes(0, 1).reshape(size, WIDTH)
        y_TD = y_TD @ w[h + "attn.c_proj.weight"] + w[h + "attn.c_proj.bias"]
        x_TD = _norm(x_TD + y_TD, w[h + "ln_1.weight"], w[h + "ln_1.bias"])
        y_TF = x_TD @ w[h + "mlp.c_fc.weight"] + w[h + "mlp.c_fc.bias"]
        y_TF = 0.5 * y_TF * (1 + np.tanh((2 / np.pi) ** 0.5 * (y_TF + 0.044715 * y_TF**3)))
        y_TD = y_TF @ w[h + "mlp.c_proj.weight"] + w[h + "mlp.c_proj.bias"]
        x_TD = _norm(x_TD + y_TD, w[h + "ln_2.weight"], w[h + "ln_2.bias"])
    return x_TD @ w["tokens_embed.weight"].T


def _norm(x_TD: np.ndarray, scale_D: np.ndarray, bias_D: np.ndarray) -> np.ndarray:
    centred = x_TD - x_TD.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * scale_D + bias_D
