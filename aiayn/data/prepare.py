"""From a corpus to rows ready for training: text, tokenizer, packed rows, each inspectable (§5.1).

Prepared data is shared by all experiments with the same data settings and reused when intact.
"""

import hashlib
import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from aiayn.config import DataConfig, data_hash
from aiayn.data.corpus import Manifest, OpenSource, open_pairs, prepare_corpus, read_lines
from aiayn.data.packing import pack_split, unlimited
from aiayn.data.store import PackedSplit
from aiayn.data.tokenizer import Tokenizer, own_tokenizer, place_of_own, train_tokenizer
from aiayn.errors import UserError
from aiayn.system.files import locked, user_os_errors, write_bytes, write_text
from aiayn.system.workers import apart


@dataclass(frozen=True)
class Prepared:
    """Prepared data: text, tokenizer and packed rows, as training and evaluation read them."""

    folder: Path
    manifest: Manifest
    tokenizer: Tokenizer
    train: PackedSplit
    dev: PackedSplit

    def lines(self, split: str, side: str) -> list[str]:
        """All sentences of `dev` or of `test.NAME`, on side `src` or `tgt`."""
        return list(read_lines(self.folder / "text" / f"{split}.{side}"))

    @property
    def test_sets(self) -> dict[str, str]:
        """The splits that are scored at the end, by the names they are reported under.

        Those of the corpus; dev where it has none.
        """
        return {name: f"test.{name}" for name in self.manifest.tests} or {"dev": "dev"}

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


def _folder(data: DataConfig, root: Path) -> Path:
    """The folder of these data settings under `root`."""
    name = f"{data.corpus}-{data.src}-{data.tgt}-{data_hash(data)[:10]}"
    return root / re.sub(r"[^\w.-]", "_", name)


def prepare(
    data: DataConfig, root: Path, progress: bool = True, open_source: OpenSource = open_pairs
) -> Prepared:
    """The prepared data under `root`, made now from its source or found there.

    One process at a time works in a folder; others wait, and find what it made.

    Raises:
        UserError: the corpus cannot be read, or does not suit the settings.
    """
    folder = _folder(data, root)
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with user_os_errors(folder), locked(folder / "lock"):
        own = _own_tokenizer(data, folder)
        manifest = prepare_corpus(data, folder / "text", progress=progress, open_source=open_source)
        tokenizer = own or _tokenizer(data, manifest, folder)
        for split in ("train", "dev"):
            _rows(data, manifest, tokenizer, folder, split, progress)
    return open_prepared(folder)


def prepare_once(
    data: DataConfig, root: Path, progress: bool = True, open_source: OpenSource = open_pairs
) -> Prepared:
    """As `prepare`, by the first of several processes; the others wait for it, and read it.

    Raises:
        UserError: also where they do not see what it made.
    """
    from aiayn.system import hosts

    if hosts.first():
        prepared = prepare(data, root, progress, open_source)
        hosts.wait_for_all()
        return prepared
    hosts.wait_for_all()
    folder = _folder(data, root)
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not there, though the first process has prepared it; wanted a --data-dir "
            "in a file system that all processes see."
        )
    return open_prepared(folder)


def open_prepared(folder: Path) -> Prepared:
    """The prepared data of a folder, unchecked."""
    train, dev = (PackedSplit.load(folder / "rows", split) for split in ("train", "dev"))
    manifest = Manifest.load(folder / "text")
    return Prepared(folder, manifest, Tokenizer.load(folder / "tokenizer.model"), train, dev)


_LARGE = 100_000
"""Pairs from which on a tokenizer is trained in a process of its own: SentencePiece holds all of
them, and much of that memory would stay with what follows."""


def _own_tokenizer(data: DataConfig, folder: Path) -> Tokenizer | None:
    """The tokenizer that `data.tokenizer` names, copied; where that is gone, the copy."""
    if not data.tokenizer:
        return None
    copy = folder / "tokenizer.model"
    if copy.is_file() and not place_of_own(data).exists():
        return Tokenizer.load(copy)
    tokenizer = own_tokenizer(data)
    if not (copy.is_file() and copy.read_bytes() == tokenizer.model):
        write_bytes(copy, tokenizer.model)
    return tokenizer


def _tokenizer(data: DataConfig, manifest: Manifest, folder: Path) -> Tokenizer:
    """The tokenizer of this text, trained now unless it was before."""
    path = folder / "tokenizer.model"
    with _made_from(folder / "tokenizer.made_from", *_hashes(manifest, "train")) as made:
        if not (made and path.is_file()):
            job = folder / "text" / "train", data.vocab_size, data.split_digits
            is_large = manifest.splits["train"].kept >= _LARGE
            write_bytes(path, apart(_train, job) if is_large else _train(job))
    return Tokenizer.load(path)


def _train(job: tuple[Path, int, bool]) -> bytes:
    """A tokenizer model of N pieces for this text; `job` is (text, N, whether digits are split)."""
    text, vocab_size, split_digits = job
    return train_tokenizer(_both_sides(text), vocab_size, split_digits).model


def _rows(
    data: DataConfig,
    manifest: Manifest,
    tokenizer: Tokenizer,
    folder: Path,
    split: str,
    progress: bool,
) -> None:
    """Pack the rows of this text and tokenizer, unless they were before."""
    rows = folder / "rows"
    rows.mkdir(exist_ok=True)
    model = hashlib.sha256(tokenizer.model).hexdigest()
    with _made_from(rows / f"{split}.made_from", *_hashes(manifest, split), model) as made:
        if not (made and PackedSplit.is_whole(rows, split)):
            num_pairs = manifest.splits[split].kept
            if not num_pairs:
                raise UserError(f"The {split} split of {data.corpus} is empty; wanted some pairs.")
            text = folder / "text"
            pairs = zip(
                read_lines(text / f"{split}.src"), read_lines(text / f"{split}.tgt"), strict=True
            )
            limits = data if split == "train" else unlimited(data)
            pack_split(pairs, num_pairs, tokenizer, limits, rows, split, progress)


def _hashes(manifest: Manifest, split: str) -> list[str]:
    return [manifest.files[f"{split}.{side}"].sha256 for side in ("src", "tgt")]


@contextmanager
def _made_from(stamp: Path, *origin: str) -> Generator[bool]:
    """Whether all was made from `origin` before; the stamp is renewed at the end."""
    text = "\n".join(origin)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == text:
        yield True
        return
    stamp.unlink(missing_ok=True)
    yield False
    write_text(stamp, text)


def _both_sides(train: Path) -> Iterator[str]:
    yield from read_lines(train.with_suffix(".src"))
    yield from read_lines(train.with_suffix(".tgt"))
