"""nanoGPT's recipe for tiny Shakespeare on a CPU, in PyTorch.

The recipe as it is described: 4 layers of width 128 with 4 heads, normalised before each sublayer
and behind the last one, GELU, learned positions, no biases, one matrix for embedding and output; a
character is a word; batches of 12 windows of 64; AdamW (0.9, 0.99), which decays matrices by 0.1;
gradients cut to a norm of 1, no dropout; a rate of 0.001 after 100 updates of warm-up, which falls
as a cosine to 0.0001. There the cosine ends after 2,000 updates; here when the time is over.

Scored by the rule of `aiayn evaluate --text`: windows of 64, each half new. The first character of
all, which nothing comes before, is not predicted.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
_RATE, _LAST_RATE, _WARM_UP = 1e-3, 1e-4, 100


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.LayerNorm(WIDTH, bias=False) for _ in range(2))
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.inner = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.outer = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        parts = self.qkv(self.first(x)).view(batch, length, 3, HEADS, WIDTH // HEADS)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.outer(functional.gelu(self.inner(self.second(x))))


class Model(nn.Module):
    """The decoder of the recipe, over so many characters."""

    def __init__(self, num_characters: int):
        super().__init__()
        self.embedding = nn.Embedding(num_characters, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(_Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                is_residual = name.endswith(("out.weight", "outer.weight"))
                std = 0.02 / math.sqrt(2 * LAYERS) if is_residual else 0.02
                nn.init.normal_(parameter, std=std)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        return self.norm(self.blocks(x)) @ self.embedding.weight.T


def rate(share: float, step: int) -> float:
    """The rate of an update when this share of the time is over."""
    if step < _WARM_UP:
        return _RATE * (step + 1) / (_WARM_UP + 1)
    return _LAST_RATE + 0.5 * (1 + math.cos(math.pi * min(share, 1.0))) * (_RATE - _LAST_RATE)


def train(
    text: torch.Tensor, num_characters: int, share_over: Callable[[], float]
) -> tuple[Model, int]:
    """The model after as many updates as there is time for, and how many they were; `share_over` is
    1 when it is over."""
    torch.manual_seed(0)
    model = Model(num_characters)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=_RATE, betas=(0.9, 0.99), fused=True)
    step = 0
    while (share := share_over()) < 1:
        for group in adam.param_groups:
            group["lr"] = rate(share, step)
        starts = torch.randint(len(text) - CONTEXT, (BATCH,))
        windows = torch.stack([text[start : start + CONTEXT + 1] for start in starts])
        logits = model(windows[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        step += 1
    return model, step


@torch.inference_mode()
def nats(model: Callable[[torch.Tensor], torch.Tensor], text: torch.Tensor) -> tuple[float, int]:
    """The loss of all characters but the first, and how many they are."""
    total, done, last = 0.0, 0, len(text) - 1
    while done < last:
        start = max(done - CONTEXT // 2, 0)
        end = min(start + CONTEXT, last)
        logits = model(text[None, start:end])[0, done - start :]
        target = text[done + 1 : end + 1]
        total += functional.cross_entropy(logits, target, reduction="sum").item()
        done = end
    return total, last


def train_and_score(train_text: str, dev_text: str, seconds: float) -> dict[str, float]:
    """What the recipe comes to on a text after so many seconds of training."""
    ids = {character: number for number, character in enumerate(sorted({*train_text, *dev_text}))}
    text, dev = (torch.tensor([ids[character] for character in t]) for t in (train_text, dev_text))
    began = 0.0

    def share_over() -> float:
        nonlocal began
        began = began or time.perf_counter()  # what PyTorch imports for AdamW is no training
        return (time.perf_counter() - began) / seconds

    model, updates = train(text, len(ids), share_over)
    trained = time.perf_counter() - began
    total, count = nats(model.eval(), dev)
    return {
        "nats": total,
        "characters": count,
        "updates": updates,
        "seconds": trained,
        "parameters": sum(p.numel() for p in model.parameters()),
        "threads": torch.get_num_threads(),
    }
