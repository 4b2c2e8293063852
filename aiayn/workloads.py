"""The work that benchmarks time, and whom they can take turns with."""

from collections.abc import Mapping
from dataclasses import dataclass

from aiayn.config import ModelConfig


@dataclass(frozen=True)
class Workload:
    """Training on rows of random tokens, each filled with as many sentences as go in whole."""

    model: ModelConfig
    num_words: int
    num_rows: int
    width: int
    """Slots of a row, on either side."""
    length: int
    """Tokens of a sentence, EOS included, on either side."""
    steps_per_round: int

    @property
    def sentences_per_row(self) -> int:
        return self.width // self.length

    @property
    def num_sentences(self) -> int:
        return self.num_rows * self.sentences_per_row

    @property
    def tokens(self) -> int:
        """Real target tokens of a step; as many on the source side."""
        return self.num_sentences * self.length


_SMALL = ModelConfig(num_layers=3, d_model=256, d_ff=1024, num_heads=4, d_k=64, d_v=64)
_BIG = ModelConfig(d_model=1024, d_ff=4096, num_heads=16, d_k=64, d_v=64, dropout_rate=0.3)
WORKLOADS: Mapping[str, Workload] = {
    "T1": Workload(_SMALL, 8_000, num_rows=64, width=32, length=32, steps_per_round=3),
    "T2": Workload(ModelConfig(), 37_000, num_rows=32, width=32, length=32, steps_per_round=2),
    "base": Workload(ModelConfig(), 37_000, 100, width=256, length=28, steps_per_round=20),
    "big": Workload(_BIG, 37_000, 100, width=256, length=28, steps_per_round=20),
    "tiny": Workload(
        ModelConfig(num_layers=1, d_model=16, d_ff=32, num_heads=2, d_k=8, d_v=8),
        *(300, 4, 16, 16, 1),
    ),
}
"""T1 and T2 fit two processor cores, base and big an accelerator: 25,200 tokens a side, packed.

`tiny` is there to try a benchmark.
"""
PEERS = ("hf", "torch")
"""Hugging Face's MarianMTModel, torch.nn.Transformer."""
