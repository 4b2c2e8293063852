"""From a corpus to rows ready for training: text, tokenizer, packed rows, each inspectable (§5.1).

Prepared data is shared by all experiments with the same data settings and reused when intact.
"""

import errno
import hashlib
import json
import re
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from aiayn.config import TREES, DataConfig, data_hash, training_hash
from aiayn.data.corpus import (
    Manifest,
    OpenSource,
    changed_source,
    damaged_text,
    hash_of_tests,
    heeded,
    open_pairs,
    prepare_corpus,
    read_lines,
    read_split,
    read_test_files,
    taken,
)
from aiayn.data.packing import pack_split, unlimited
from aiayn.data.sources.documents import unfolded
from aiayn.data.sources.formats import Pair
from aiayn.data.store import PackedSplit
from aiayn.data.text import clean
from aiayn.data.tokenizer import (
    Tokenizer,
    own_tokenizer,
    place_of_own,
    train_tokenizer,
    train_tree_tokenizer,
)
from aiayn.errors import UserError
from aiayn.system.checksums import damaged, sha256
from aiayn.system.files import locked, read_json, user_os_errors, write_bytes, write_text
from aiayn.system.workers import apart


class TestText(NamedTuple):
    """The text of a test set: how many sentences or documents, and the SHA-256 of both sides, one a
    line."""

    sentences: int
    src: str
    ref: str


@dataclass(frozen=True)
class Prepared:
    """Prepared data: text, tokenizer and packed rows, as training and evaluation read them."""

    folder: Path
    manifest: Manifest
    tokenizer: Tokenizer
    train: PackedSplit
    dev: PackedSplit
    tests: Mapping[str, Sequence[Pair]] | None = None
    """The test sets, where they are others than those that train was cleaned of."""
    changed: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """By split, files of train and dev that are not any more what a run was begun with."""

    def lines(self, split: str, side: str) -> list[str]:
        """All sentences of `dev` or of `test.NAME`, on side `src` or `tgt`; or all documents, whose
        sources are empty."""
        found = self._lines(split, side)
        return found if self.manifest.src else list(map(unfolded, found))

    def _lines(self, split: str, side: str) -> list[str]:
        """As `lines`, each document on one line."""
        name = split.removeprefix("test.")
        if self.tests is not None and name in self.tests and name != split:
            return [pair[side == "tgt"] for pair in self.tests[name]]
        return list(read_lines(self.folder / "text" / f"{split}.{side}"))

    @property
    def test_sets(self) -> dict[str, str]:
        """The splits that are scored at the end, by the names they are reported under.

        Those of the corpus; dev where it has none.
        """
        names = self.manifest.tests if self.tests is None else self.tests
        return {name: f"test.{name}" for name in names} or {"dev": "dev"}

    def test_text(self, split: str) -> TestText:
        """What a record says of a split that was scored."""
        src, ref = (self._lines(split, side) for side in ("src", "tgt"))
        return TestText(len(src), *(sha256_of_lines(lines) for lines in (src, ref)))

    def seen_in_train(self, split: str) -> int | None:
        """How many sentences of a split train holds on either side, word for word, of trees by
        their words; None where train was cleaned of them."""
        text = self.test_text(split)
        files = self.manifest.files
        for own in (*(f"test.{name}" for name in self.manifest.tests), "dev"):
            if [files[f"{own}.{side}"].sha256 for side in ("src", "tgt")] == [text.src, text.ref]:
                return None
        seen: set[int] = set()
        for side in ("src",) if self.manifest.tgt == TREES else ("src", "tgt"):
            places: dict[str, list[int]] = {}
            for number, line in enumerate(self.lines(split, side)):
                places.setdefault(clean(line), []).append(number)
            places.pop("", None)
            for line in read_lines(self.folder / "text" / f"train.{side}"):
                seen.update(places.pop(line if self.manifest.src else clean(line), ()))
        return len(seen)

    def first_pairs(self, count: int) -> list[tuple[str, str]]:
        """The beginning of train."""
        return list(islice(read_split(self.folder / "text", "train", self.manifest.src), count))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the text of train and dev and the tokenizer: equal fingerprints, equal rows.

        Not over test sets: training never reads them.
        """
        return fingerprint(self.manifest, self.tokenizer.model)

    def is_of(self, written: str) -> bool:
        """Whether a fingerprint is of this data; earlier versions had the test sets in it."""
        with_tests = fingerprint(self.manifest, self.tokenizer.model, tests=True)
        return written in (self.fingerprint, with_tests)


def fingerprint(manifest: Manifest, tokenizer: bytes, tests: bool = False) -> str:
    """The fingerprint of prepared text and a tokenizer's model; see `Prepared.fingerprint`."""
    hashes = {
        name: file.sha256
        for name, file in manifest.files.items()
        if tests or not name.startswith("test.")
    }
    digest = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode())
    digest.update(tokenizer)
    return digest.hexdigest()


class Begun(NamedTuple):
    """The data that a run was begun with."""

    data: DataConfig
    fingerprint: str
    tokenizer: bytes

    def fits(self, manifest: Manifest) -> bool:
        """Whether it was begun with the text of this manifest."""
        found = [fingerprint(manifest, self.tokenizer, tests) for tests in (False, True)]
        return self.fingerprint in found


def _folder(data: DataConfig, root: Path) -> Path:
    """The folder of these data settings under `root`."""
    return root / f"{_prefix(data)}{data_hash(data)[:10]}"


def _prefix(data: DataConfig) -> str:
    names = "".join(f"{name}-" for name in (data.corpus, data.src, data.tgt) if name)
    return re.sub(r"[^\w.-]", "_", names)


def find_prepared(begun: Begun, root: Path) -> Path | None:
    """The folder under `root` of the data that a run was begun with, whatever its test sets."""
    own = _folder(begun.data, root)
    for folder in (own, *sorted(root.glob(f"{_prefix(begun.data)}*"))):
        with suppress(UserError, LookupError):
            manifest = Manifest.load(folder / "text")
            known = manifest.training_hash
            same = known == training_hash(begun.data) if known else folder == own
            if same and begun.fits(manifest):
                return folder
    return None


def _home(data: DataConfig, root: Path) -> Path:
    """The folder to prepare data in.

    Where one of these settings is there and nothing but its test sets has changed, it is another
    one: a run may go on with the text that was cleaned of the old sets.
    """
    folder = _folder(data, root)
    with suppress(UserError):
        manifest = Manifest.load(folder / "text")
        changed = changed_source(data, manifest) if manifest.data_hash == data_hash(data) else {}
        if changed and all(split.startswith("test.") for split in changed):
            return folder.with_name(f"{folder.name}-{hash_of_tests(data)[:10]}")
    return folder


def prepare(
    data: DataConfig,
    root: Path,
    progress: bool = True,
    open_source: OpenSource = open_pairs,
    begun: Begun | None = None,
) -> Prepared:
    """The prepared data under `root`, made now from its source or found there.

    Of a run that has begun, it is the data that it was begun with, where that is there, and beside
    it the test sets as they are named now. One process at a time works in a folder; others wait,
    and find what it made. Where nothing can be written, what is whole is enough.

    Raises:
        UserError: the corpus cannot be read, or does not suit the settings.
    """
    found = find_prepared(begun, root) if begun else None
    is_whole = found is not None and not _damaged_of_run(found / "text")
    training = _of_training(data, begun, open_source) if begun and not is_whole else data
    folder = found or _home(training, root)
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with user_os_errors(folder), _alone(folder):
        text, given = folder / "text", _own_tokenizer(training, folder, begun)
        if is_whole:
            manifest = Manifest.load(text)
        else:
            manifest = prepare_corpus(training, text, progress=progress, open_source=open_source)
        tokenizer = _tokenizer(training, manifest, folder, begun, given)
        for split in _OF_TRAINING:
            _rows(training, manifest, tokenizer, folder, split, progress)
    prepared = open_prepared(folder)
    if not begun:
        return prepared
    changed = changed_source(data, manifest)
    return replace(
        prepared,
        tests=_tests(data, prepared, changed, begun),
        changed={split: changed[split] for split in _OF_TRAINING if split in changed},
    )


def _of_training(data: DataConfig, begun: Begun, open_source: OpenSource) -> DataConfig:
    """The settings to prepare a run's data anew with: its own, whose test sets train was cleaned
    of, unless these are gone."""
    own = replace(begun.data, folder=data.folder)
    try:
        open_source(own)
    except UserError:
        return data
    return own


_OF_TRAINING = ("train", "dev")


def _damaged_of_run(text: Path) -> str:
    """What is wrong with the text that a run cannot do without: train, dev, and the test sets that
    are in no files of their own. The others are read from these anew."""
    manifest = Manifest.load(text)
    splits = [f"test.{name}" for name in manifest.tests]
    splits = [*_OF_TRAINING, *(split for split in splits if split not in manifest.source)]
    return damaged_text(manifest, text, splits)


def _tests(
    data: DataConfig, prepared: Prepared, changed: Mapping[str, object], begun: Begun
) -> dict[str, list[Pair]] | None:
    """The test sets that the settings name, unless they are those of the prepared text. Of one
    whose files are gone that is what there is.

    Raises:
        UserError: one cannot be read, or has the name of one that is in no files.
    """
    manifest, text = prepared.manifest, prepared.folder / "text"
    names = [f"test.{name}" for name in manifest.tests]
    are_whole = not names or not damaged_text(manifest, text, names)
    hashes = data_hash(data), data_hash(replace(data, folder=begun.data.folder))
    are_same = not any(split.startswith("test.") for split in changed)
    if manifest.data_hash in hashes and are_whole and are_same:
        return None

    def kept(name: str) -> list[Pair]:
        sides = (prepared.lines(f"test.{name}", side) for side in ("src", "tgt"))
        return list(zip(*sides, strict=True))

    found = {n: kept(n) for n in manifest.tests if f"test.{n}" not in manifest.source}
    for spec in heeded(data):
        name = spec.partition("=")[0]
        if name in found:
            raise UserError(taken(name))
        split = f"test.{name}"
        is_known = split in manifest.source and spec in begun.data.test_files
        try:
            found |= read_test_files(replace(data, test_files=(spec,)))
        except UserError:
            if not is_known or split in changed or damaged_text(manifest, text, [split]):
                raise
            found[name] = kept(name)
    return found


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Hold the folder's lock, or nothing where nobody can write there."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / "lock"))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
        yield


def prepare_once(
    data: DataConfig,
    root: Path,
    progress: bool = True,
    open_source: OpenSource = open_pairs,
    begun: Begun | None = None,
) -> Prepared:
    """As `prepare`, by the first of several processes; the others wait for it, and read it.

    Raises:
        UserError: also where they do not see what it made.
    """
    from aiayn.system import hosts

    if hosts.first():
        prepared = prepare(data, root, progress, open_source, begun)
        hosts.wait_for_all()
        hosts.told([prepared.folder.name, prepared.tests, prepared.changed])
        return prepared
    hosts.wait_for_all()
    name, tests, changed = hosts.told(None)
    folder = root / name
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not there, though the first process has prepared it; wanted a --data-dir "
            "in a file system that all processes see."
        )
    if tests is not None:
        tests = {name: [(src, tgt) for src, tgt in pairs] for name, pairs in tests.items()}
    return replace(open_prepared(folder), tests=tests, changed=changed)


def open_prepared(folder: Path) -> Prepared:
    """The prepared data of a folder, unchecked."""
    train, dev = (PackedSplit.load(folder / "rows", split) for split in _OF_TRAINING)
    manifest = Manifest.load(folder / "text")
    return Prepared(folder, manifest, Tokenizer.load(folder / "tokenizer.model"), train, dev)


_LARGE = 100_000
"""Pairs from which on a tokenizer is trained in a process of its own: SentencePiece holds all of
them, and much of that memory would stay with what follows."""
_LONG = 100
"""Bytes of a text that counts as one of them; a document can be many."""


def _own_tokenizer(data: DataConfig, folder: Path, begun: Begun | None) -> bytes:
    """The model that `data.tokenizer` names, or where that is gone, the copy; nothing if none is
    named. A run that has begun keeps its own.
    """
    if not data.tokenizer:
        return b""
    if begun and begun.tokenizer:
        return begun.tokenizer
    copy, place = folder / "tokenizer.model", place_of_own(data)
    if copy.is_file() and not place.exists():
        found = read_json(folder / "tokenizer.made_from")
        if damage := damaged(folder, dict(found.get("sha256", {}))):
            raise UserError(f"{damage} It cannot be made anew, since {place} does not exist.")
        return copy.read_bytes()
    return own_tokenizer(data).model


def _tokenizer(
    data: DataConfig, manifest: Manifest, folder: Path, begun: Begun | None, given: bytes
) -> Tokenizer:
    """The tokenizer that is given, else that of this text, trained now unless it was before."""
    path, stamp = folder / "tokenizer.model", folder / "tokenizer.made_from"
    origin = [hashlib.sha256(given).hexdigest()] if given else _hashes(manifest, "train")
    with _made_from(stamp, origin, lambda: [path.name]) as made:
        if not made and given:
            write_bytes(path, given)
        elif not made and begun and begun.tokenizer and begun.fits(manifest):
            write_bytes(path, begun.tokenizer)
        elif not made and not _is_of_earlier_version(path, stamp, origin):
            job = folder / "text", data
            kept, size = manifest.splits["train"].kept, manifest.files["train.tgt"].size
            is_large = max(kept, size // _LONG) >= _LARGE
            write_bytes(path, apart(_train, job) if is_large else _train(job))
    return Tokenizer.load(path)


def _is_of_earlier_version(path: Path, stamp: Path, origin: Sequence[str]) -> bool:
    """Whether a tokenizer is there of this text, and is the one that rows were packed with.

    Earlier versions kept no sum of it. Trained anew by another SentencePiece, it could be another.
    """
    try:
        of_rows = (stamp.parent / "rows" / "train.made_from").read_text(encoding="utf-8")
        same_text = stamp.read_text(encoding="utf-8") == "\n".join(origin)
        return same_text and of_rows == "\n".join([*origin, sha256(path)])
    except (OSError, ValueError):
        return False


def _train(job: tuple[Path, DataConfig]) -> bytes:
    """A tokenizer model for this text; `job` is the text and the settings."""
    text, data = job
    if data.trees != "none":
        words, symbols = (read_lines(text / f"train.{side}") for side in ("src", "tgt"))
        return train_tree_tokenizer(words, symbols, data.vocab_size, data.split_digits).model
    sentences = _both_sides(text) if data.src else map(unfolded, read_lines(text / "train.tgt"))
    keeps_lines = data.documents != "line"
    return train_tokenizer(sentences, data.vocab_size, data.split_digits, keeps_lines).model


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
    origin = [*_hashes(manifest, split), hashlib.sha256(tokenizer.model).hexdigest()]
    stamp = rows / f"{split}.made_from"
    with _made_from(stamp, origin, lambda: PackedSplit.load(rows, split).files) as made:
        if not made:
            num_pairs = manifest.splits[split].kept
            if not num_pairs:
                raise UserError(
                    f"The {split} split of {data.corpus} is empty; wanted some {data.noun}."
                )
            pairs = read_split(folder / "text", split, data.src)
            limits = data if split == "train" else unlimited(data)
            pack_split(pairs, num_pairs, tokenizer, limits, rows, split, progress)


def _hashes(manifest: Manifest, split: str) -> list[str]:
    return [manifest.files[f"{split}.{side}"].sha256 for side in ("src", "tgt")]


@contextmanager
def _made_from(
    stamp: Path, origin: Sequence[str], files: Callable[[], Sequence[str]]
) -> Generator[bool]:
    """Whether the files beside a stamp were made from `origin` before, and are as they were made.

    At the end the stamp says so of what `files` names then: origin and sums. What was half made
    when a process died does not have the sums of any stamp.
    """
    damage: str | None = None
    # There may be none, or an earlier version's, which is no JSON.
    with suppress(OSError, UserError, LookupError, TypeError, AttributeError):
        found = read_json(stamp)
        if found["origin"] == list(origin):
            damage = damaged(stamp.parent, dict(found["sha256"].items()))
    if damage:
        print(f"{damage} It is made anew.", file=sys.stderr)
    yield damage == ""
    if damage == "":
        return
    sums = {name: sha256(stamp.parent / name) for name in files()}
    write_text(stamp, json.dumps({"origin": list(origin), "sha256": sums}, indent=1))


def sha256_of_lines(lines: Sequence[str]) -> str:
    """Of sentences, one a line, as records name text."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _both_sides(text: Path) -> Iterator[str]:
    yield from read_lines(text / "train.src")
    yield from read_lines(text / "train.tgt")
