"""The work that benchmarks time, and whom they can take turns with."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from aiayn.config import ModelConfig


@dataclass(frozen=True)
class Training:
    """Updates on rows of random tokens, each filled with as many sentences as go in whole; those of
    a language model have no source."""

    model: ModelConfig
    num_words: int
    num_rows: int
    width: int
    """Slots of a row, on either side."""
    length: int
    """Tokens of a sentence, EOS included, on either side."""
    steps_per_round: int
    warm_up: ClassVar[int] = 10

    @property
    def sentences_per_row(self) -> int:
        return self.width // self.length

    @property
    def num_sentences(self) -> int:
        return self.num_rows * self.sentences_per_row

    @property
    def tokens(self) -> int:
        """Real target tokens of a step."""
        return self.num_sentences * self.length

    @property
    def source_tokens(self) -> int:
        """Real source tokens of a step."""
        return 0 if self.is_text else self.tokens

    @property
    def is_text(self) -> bool:
        """Whether the model is a language model."""
        return self.model.kind == "decoder"

    @property
    def smoothing(self) -> float:
        """Of the labels: the paper's, and none where GPT-1 is trained."""
        return 0.0 if self.is_text else 0.1


@dataclass(frozen=True)
class Decoding:
    """Greedy or beam search over sentences of random tokens, to outputs of a forced length.

    A step translates them all in batches, one after another or side by side.
    """

    model: ModelConfig
    num_words: int
    steps_per_round: int
    num_sentences: int = 64
    batch_size: int = 16
    length: int = 30
    """Tokens of a source sentence, EOS included."""
    output_length: int = 32
    """Tokens of an output, EOS included."""
    warm_up: ClassVar[int] = 1

    @property
    def tokens(self) -> int:
        """Target tokens of a step."""
        return self.num_sentences * self.output_length

    @property
    def source_tokens(self) -> int:
        """Source tokens of a step."""
        return self.num_sentences * self.length


@dataclass(frozen=True)
class Generation:
    """Greedy texts of a forced length that go on with prompts of random tokens, side by side."""

    model: ModelConfig
    num_words: int
    steps_per_round: int
    num_texts: int = 16
    prompt_length: int = 16
    output_length: int = 128
    warm_up: ClassVar[int] = 1

    @property
    def context(self) -> int:
        """Tokens of a text, with what begins it."""
        return 1 + self.prompt_length + self.output_length

    @property
    def tokens(self) -> int:
        """Tokens that a step writes."""
        return self.num_texts * self.output_length

    @property
    def source_tokens(self) -> int:
        """Tokens that a step reads."""
        return self.num_texts * self.prompt_length


_SMALL = ModelConfig(num_layers=3, d_model=256, d_ff=1024, num_heads=4, d_k=64, d_v=64)
_BIG = ModelConfig(d_model=1024, d_ff=4096, num_heads=16, d_k=64, d_v=64, dropout_rate=0.3)
_TINY = ModelConfig(num_layers=1, d_model=16, d_ff=32, num_heads=2, d_k=8, d_v=8)


def _gpt(model: ModelConfig, context: int) -> ModelConfig:
    """The language model of GPT-1's recipe at these sizes."""
    return replace(
        model,
        kind="decoder",
        positions="learned",
        max_positions=context,
        activation="gelu",
        scale_embedding=False,
        layer_norm_epsilon=1e-5,
        attention_dropout_rate=0.1,
    )


_TINY_TEXT = _gpt(replace(_TINY, d_ff=64), 16)
TRAINING: Mapping[str, Training] = {
    "T1": Training(_SMALL, 8_000, num_rows=64, width=32, length=32, steps_per_round=3),
    "T2": Training(ModelConfig(), 37_000, num_rows=32, width=32, length=32, steps_per_round=2),
    "base": Training(ModelConfig(), 37_000, 104, width=256, length=28, steps_per_round=20),
    "big": Training(_BIG, 37_000, 104, width=256, length=28, steps_per_round=20),
    "L1": Training(_gpt(_SMALL, 128), 8_000, 16, width=128, length=128, steps_per_round=3),
    "tiny": Training(_TINY, 300, 8, width=16, length=16, steps_per_round=1),
    "tiny_text": Training(_TINY_TEXT, 300, 8, width=16, length=16, steps_per_round=1),
}
"""T1 and T2 fit two processor cores; base and big an accelerator, or eight: 26,208 tokens a side,
packed. L1 is T1's decoder as a language model. `tiny` and `tiny_text` are there to try a benchmark.
"""


def _biased(model: ModelConfig) -> ModelConfig:
    """With a bias of the logits, which can keep a search from EOS."""
    return replace(model, logits_bias=True)


DECODING: Mapping[str, Decoding] = {
    "D1tiny": Decoding(_biased(_SMALL), 8_000, steps_per_round=4),
    "D1base": Decoding(_biased(ModelConfig()), 37_000, steps_per_round=1),
    **{f"base{n}": Decoding(_biased(ModelConfig()), 37_000, 1, 1_024, n) for n in (32, 128, 1_024)},
    "tiny": Decoding(_biased(_TINY), 300, 1, num_sentences=4, batch_size=2, output_length=5),
}
"""D1tiny and D1base fit two processor cores, with the models of T1 and T2; base32 and so on an
accelerator, the base model with batches of that size. `tiny` is there to try a benchmark."""
GENERATION: Mapping[str, Generation] = {
    "G1": Generation(_biased(_gpt(_SMALL, 152)), 8_000, steps_per_round=1),
    "tiny": Generation(_biased(_TINY_TEXT), 300, 1, 2, prompt_length=4, output_length=7),
}
"""G1 fits two processor cores, with the model of L1. `tiny` is there to try a benchmark."""
PROMPTS: Mapping[str, Generation] = {
    "P1": Generation(_biased(_gpt(_SMALL, 264)), 8_000, 4, 1, prompt_length=256, output_length=1),
    "tiny": Generation(_biased(_TINY_TEXT), 300, 1, 1, prompt_length=10, output_length=1),
}
"""Up to the first word after a prompt: P1 with the model of G1."""
Workload = Training | Decoding | Generation
WORKLOADS: Mapping[str, Mapping[str, Workload]] = {
    "train": TRAINING,
    "decode": DECODING,
    "generate": GENERATION,
    "prompt": PROMPTS,
}
"""By what is timed."""
BEAM_SIZES = (1, 4)
"""That a decoding workload is timed with."""
PEERS = ("hf", "torch", "fairseq", "ctranslate2", "libretranslate")
"""Hugging Face's MarianMTModel, and OpenAIGPTLMHeadModel to train and GPT2LMHeadModel to write;
torch.nn.Transformer and fairseq's, which here train translators only; CTranslate2, which
does not train."""
TOOLKITS = ("hf", "fairseq")
"""Those of them that train a whole translator by their own loop."""
