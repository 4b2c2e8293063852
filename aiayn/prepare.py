"""From a corpus to rows ready for training: text, tokenizer, packed rows, each inspectable (§5.1).

Prepared data is shared by all experiments with the same data settings and reused when intact.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aiayn.config import DataConfig, data_hash
from aiayn.corpus import Manifest, prepare_corpus, read_lines
from aiayn.errors import UserError
from aiayn.files import user_os_errors, write_text
from aiayn.packing import pack_split
from aiayn.rows import PackedSplit
from aiayn.tokenizer import Tokenizer, train_tokenizer


@dataclass(frozen=True)
class Prepared:
    """What training and evaluation read."""

    folder: Path
    manifest: Manifest
    tokenizer: Tokenizer
    train: PackedSplit
    dev: PackedSplit

    def lines(self, split: str, side: str) -> list[str]:
        """All sentences of `dev` or of `test.NAME`, on side `src` or `tgt`."""
        return list(read_lines(self.folder / "text" / f"{split}.{side}"))

    def first_pairs(self, count: int) -> list[tuple[str, str]]:
        """The beginning of train."""
        text = self.folder / "text"
        pairs = zip(read_lines(text / "train.src"), read_lines(text / "train.tgt"), strict=True)
        return list(islice(pairs, count))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the prepared text and the tokenizer: equal fingerprints, equal rows."""
        hashes = {name: file.sha256 for name, file in self.manifest.files.items()}
        digest = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode())
        digest.update(self.tokenizer.model)
        return digest.hexdigest()


def prepare(data: DataConfig, root: Path, progress: bool = True) -> Prepared:
    """The prepared data under `root`, made now or found there.

    Raises:
        UserError: the corpus cannot be read, or does not suit the settings.
    """
    name = re.sub(r"[^\w.-]", "_", f"{data.corpus}-{data.src}-{data.tgt}-{data_hash(data)[:10]}")
    folder = root / name
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        manifest = prepare_corpus(data, folder / "text", progress=progress)
        tokenizer = _tokenizer(data, manifest, folder)
        splits = {
            split: _rows(data, manifest, tokenizer, folder, split, progress)
            for split in ("train", "dev")
        }
    return Prepared(folder, manifest, tokenizer, splits["train"], splits["dev"])


def _tokenizer(data: DataConfig, manifest: Manifest, folder: Path) -> Tokenizer:
    path = folder / "tokenizer.model"
    if not path.is_file():
        tokenizer = train_tokenizer(
            _both_sides(folder / "text" / "train"), data.vocab_size, data.split_digits
        )
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(tokenizer.model)
        temporary.replace(path)
    return Tokenizer.load(path)


def _rows(
    data: DataConfig,
    manifest: Manifest,
    tokenizer: Tokenizer,
    folder: Path,
    split: str,
    progress: bool,
) -> PackedSplit:
    """Rows of the split, packed now unless they were packed from this text with this tokenizer."""
    stamp = folder / "rows" / f"{split}.made_from"
    sides = [manifest.files[f"{split}.{side}"].sha256 for side in ("src", "tgt")]
    made_from = "\n".join([*sides, hashlib.sha256(tokenizer.model).hexdigest()])
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == made_from:
        return PackedSplit.load(folder / "rows", split)
    stamp.unlink(missing_ok=True)
    pairs = zip(
        read_lines(folder / "text" / f"{split}.src"),
        read_lines(folder / "text" / f"{split}.tgt"),
        strict=True,
    )
    num_pairs = manifest.splits[split].kept
    if not num_pairs:
        raise UserError(f"The {split} split of {data.corpus} is empty; wanted at least one pair.")
    packed = pack_split(pairs, num_pairs, tokenizer, data, folder / "rows", split, progress)
    write_text(stamp, made_from)
    return packed


def _both_sides(train: Path) -> Iterator[str]:
    yield from read_lines(train.with_suffix(".src"))
    yield from read_lines(train.with_suffix(".tgt"))
