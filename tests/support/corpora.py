"""Tiny corpora as files, and how the tests prepare them."""

import random
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
TEXT_PACKING = DataConfig(src="", row_widths=(16, 32), max_tokens=32, tgt_tokens_per_update=80)
"""The same for text without a source."""


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


def write_texts(folder: Path, **splits: str) -> DataConfig:
    """Files of text by the names of splits, and the settings that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in splits.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", errors="surrogateescape")
    named = {f"{name}_files": (f"{name}.txt",) for name in ("train", "dev") if name in splits}
    tests = tuple(f"{n}={n}.txt" for n in splits if n not in ("train", "dev"))
    return DataConfig("texts", "", folder=str(folder), test_files=tests, **named)


def read(out: Path, name: str) -> list[Pair]:
    return list(zip(read_lines(out / f"{name}.src"), read_lines(out / f"{name}.tgt"), strict=True))


def prepare(data: DataConfig, out: Path, **arguments: Any) -> Manifest:
    return prepare_corpus(data, out, progress=False, **arguments)


def copy_corpus(
    folder: Path, num_train: int, seed: int = 0, num_words: int = 12, shortest: int = 2
) -> None:
    """Source: words. Target: the same words backwards. Split into train, dev and test."""
    rng = random.Random(seed)
    words = [
        "red",
        "blue",
        "green",
        "black",
        "white",
        "brown",
        "grey",
        "pink",
        "gold",
        "teal",
        "plum",
        "lime",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    seen: set[tuple[str, ...]] = set()
    for split, count in (("train", num_train), ("dev", 100), ("test", 100)):
        src, tgt = [], []
        while len(src) < count:
            sentence = tuple(rng.choice(words[:num_words]) for _ in range(rng.randint(shortest, 7)))
            if sentence in seen:
                continue
            seen.add(sentence)
            src.append(" ".join(sentence))
            tgt.append(" ".join(reversed(sentence)))
        (folder / f"{split}.aa").write_text("\n".join(src) + "\n", encoding="utf-8")
        (folder / f"{split}.bb").write_text("\n".join(tgt) + "\n", encoding="utf-8")
