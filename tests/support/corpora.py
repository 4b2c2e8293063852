"""Tiny corpora as files, and how the tests prepare them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiayn.config import DataConfig
from aiayn.data.corpus import Manifest, prepare_corpus, read_lines
from aiayn.data.sources.formats import Pair

EN = "the house of the old man is not far from the river and you have to go there with him"
DE = "das Haus von dem alten Mann ist nicht weit von dem Fluss und du musst mit ihm dahin"
PACKING = DataConfig(
    row_widths=(16, 32), max_tokens=32, src_tokens_per_update=40, tgt_tokens_per_update=40
)
"""Rows of two widths, with a few sentences in each."""


def pair(number: int) -> Pair:
    return f"sentence {number} of a text", f"Satz {number} eines Textes"


def write_pairs(folder: Path, name: str, pairs: Sequence[Pair]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for side, lang in enumerate(("en", "de")):
        text = "".join(f"{p[side]}\n" for p in pairs)
        (folder / f"{name}.{lang}").write_bytes(text.encode("utf-8", "surrogateescape"))


def config(folder: Path, **changes: Any) -> DataConfig:
    values: dict[str, Any] = {
        "corpus": "tiny",
        "folder": str(folder),
        "train_files": ("train.{lang}",),
        "dev_files": ("dev.{lang}",),
        "test_files": ("news=test.{lang}",),
    }
    return DataConfig(**(values | changes))


def read(out: Path, name: str) -> list[Pair]:
    return list(zip(read_lines(out / f"{name}.src"), read_lines(out / f"{name}.tgt"), strict=True))


def prepare(data: DataConfig, out: Path, **arguments: Any) -> Manifest:
    return prepare_corpus(data, out, progress=False, **arguments)
