"""A tokenizer for words that have no text, and what a benchmarked model has beside its weights."""

from collections.abc import Sequence

from aiayn.bench.workloads import Decoding, Generation
from aiayn.config import DataConfig, Experiment
from aiayn.data.tokenizer import Tokenizer

_SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")


class Pieces(Tokenizer):
    """The words of a workload, whose text are their numbers."""

    def __init__(self, num_words: int):
        self.model = b""
        self.pad, self.unknown, self.bos, self.eos = range(len(_SPECIAL))
        self._num_words = num_words

    @property
    def num_words(self) -> int:
        return self._num_words

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [_SPECIAL[id] if id < len(_SPECIAL) else f"w{id}" for id in ids]

    def files(self) -> dict[str, bytes]:
        return {}


def experiment_of(workload: Decoding | Generation) -> Experiment:
    """The settings that a model of this workload is kept with."""
    if isinstance(workload, Decoding):
        return Experiment("bench", model=workload.model, preset="custom")
    width = -(-workload.context // 8) * 8
    return Experiment(
        "bench",
        preset="custom",
        task="language_model",
        data=DataConfig(src="", max_tokens=workload.context, row_widths=(width,)),
        model=workload.model,
    )
