"""From a source of sentence pairs to train, dev and test text, cleaned and counted (§5.1).

One sentence a line, UTF-8: `train.src`, `train.tgt`, `dev.src`, ..., `test.NAME.tgt`, and
`manifest.json`, which says where the text came from and what became of every pair. Only \\n ends a
line; `read_lines` reads it so. Train is cleaned; dev and test stay as they are.

Without a source, documents are the targets and every source is empty. A document is one line here,
as `sources/documents` folds it.
"""

import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import compress, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aiayn.config import DataConfig, data_hash, training_hash
from aiayn.data.cleaning import (
    NEVER,
    Rules,
    SeenHashes,
    Workers,
    check_direction,
    clean_chunk,
    holdout_order,
    judge,
)
from aiayn.data.plain import check_plain
from aiayn.data.sources.documents import unfolded
from aiayn.data.sources.embedded import EMBEDDED
from aiayn.data.sources.formats import Pair, Skipped, Source, Split, open_files, open_tests
from aiayn.data.sources.hub import open_hub
from aiayn.data.text import chunked, one_line, visible
from aiayn.errors import UserError
from aiayn.system.checksums import damaged
from aiayn.system.files import place, read_json, user_os_errors

MANIFEST = "manifest.json"
OpenSource = Callable[[DataConfig], Source]
"""From settings to the text that they name."""


@dataclass(frozen=True)
class SplitCounts:
    """Counts of the pairs of one split; `read` is `kept` plus all of `dropped`."""

    read: int
    kept: int
    src_words: int
    tgt_words: int
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    """Pairs of train that were left out, by reason."""
    line_breaks: int = 0
    """Pairs of dev or test in which a line break had to become a blank."""

    def __post_init__(self) -> None:
        if self.read != self.kept + sum(self.dropped.values()):
            raise ValueError(f"The counts do not add up: {self}")


@dataclass(frozen=True)
class WrittenFile:
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contents of a folder of prepared text. `splits` are "train", "dev" and "test.NAME"."""

    corpus: str
    src: str
    tgt: str
    source: Mapping[str, Any]
    splits: Mapping[str, SplitCounts]
    files: Mapping[str, WrittenFile]
    data_hash: str
    training_hash: str = ""
    """Nothing where an earlier version prepared it."""

    @property
    def tests(self) -> tuple[str, ...]:
        """The names of the test sets."""
        return tuple(name.removeprefix("test.") for name in self.splits if name.startswith("test."))

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """The manifest of prepared text.

        Raises:
            UserError: the folder holds none, or one that cannot be read.
        """
        try:
            values = read_json(folder / MANIFEST)
            values["splits"] = {k: SplitCounts(**v) for k, v in values["splits"].items()}
            values["files"] = {k: WrittenFile(**v) for k, v in values["files"].items()}
            manifest = cls(**values)
            manifest.source["kind"]  # which readers go by
            return manifest
        except (OSError, UserError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{folder} holds no prepared text ({MANIFEST}: {error}).") from error


def read_lines(path: Path) -> Iterator[str]:
    """The sentences of a prepared file; U+2028 and the like stay inside them."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line.removesuffix("\n")


def read_plain(path: Path) -> list[str]:
    """As `read_lines`, all of them.

    Raises:
        UserError: the file is missing, or is no text.
    """
    try:
        return [*read_lines(path)]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be used: {error}.") from error


def read_split(folder: Path, split: str, src: str) -> Iterator[Pair]:
    """The pairs of a split of prepared text; without a source, its documents as they are."""
    sides = (read_lines(folder / f"{split}.{side}") for side in ("src", "tgt"))
    pairs = zip(*sides, strict=True)
    return pairs if src else (("", unfolded(text)) for _, text in pairs)


def prepare_corpus(
    config: DataConfig,
    out: Path,
    progress: bool = True,
    num_workers: int | None = None,
    open_source: OpenSource | None = None,
) -> Manifest:
    """Write the text of a corpus and its manifest into `out`, or find them there complete.

    The files are built beside `out` and moved into it at the end, the manifest last, so that a
    manifest in `out` stands for all of them. One process at a time may do so; `prepare` sees to
    that. The result does not depend on `num_workers` (1 works in this process, None decides by the
    corpus's size and the CPUs).

    Raises:
        UserError: the source or `out` cannot be used; the message says what to change.
    """
    out = out.resolve()
    found = _prepared_before(config, out)
    if found:
        return found
    source = (open_source or open_pairs)(config)
    if left_out := len(config.test_files) - len(heeded(config)):
        print(
            f"{left_out} of data.test_files are relative to data.folder, which is not set, and are "
            "left out; the Hub's own test set is scored. An absolute path is heeded.",
            file=sys.stderr,
        )
    workers = Workers(num_workers, progress)
    with user_os_errors(out), _folder_beside(out) as folder:
        manifest = _build(config, source, folder, workers)
        _move(folder, out, manifest)
    return manifest


# --- Source -------------------------------------------------------------------------------------


def open_pairs(data: DataConfig) -> Source:
    """The sentence pairs, or the text, that the settings name: those built in, local files', the
    Hub's; with the first and the last the test sets in `data.test_files` as well.

    Raises:
        UserError: the settings name none, or it cannot be opened; or one has no meaning there.
    """
    if data.corpus in EMBEDDED:
        for name in (*_OF_FILES, *_OF_HUB, *(() if data.test_files else ("columns",))):
            if getattr(data, name):
                raise UserError(
                    f"data.{name} is set, but data.corpus is {data.corpus!r}, which is built in. "
                    "Give your corpus a name: --set data.corpus=NAME"
                )
        return _with_tests(EMBEDDED[data.corpus].open(data), data)
    for name in () if data.hub else _OF_HUB:
        if getattr(data, name):
            raise UserError(f"data.{name} is set, but data.hub, which it is a part of, is not.")
    if data.folder:
        return open_files(data)
    if data.hub:
        return _with_tests(open_hub(data), data)
    files = "" if data.train_files else " and data.train_files=PATTERN"
    raise UserError(
        f"data.corpus is {data.corpus!r}, but nothing says where to find it. For local files, set "
        f"data.folder=DIR{files}; for the Hugging Face Hub, data.hub=OWNER/NAME."
    )


_OF_FILES = ("folder", "train_files", "dev_files")
_OF_HUB = ("hub", "hub_config", "revision", "num_pairs")


def _with_tests(source: Source, data: DataConfig) -> Source:
    """The source with the test sets in local files beside its own."""
    details = dict(source.details)
    tests = open_tests(replace(data, test_files=heeded(data)), details)
    if twice := sorted({*source.tests} & {*tests}):
        raise UserError(taken(twice[0]))
    return replace(source, details=details, tests={**source.tests, **tests})


def taken(name: str) -> str:
    """What to say of a test set of one's own that has the name of another."""
    return (
        f"data.test_files names a test set {name!r}, and the corpus has one of that name; wanted "
        "another name."
    )


def heeded(data: DataConfig) -> tuple[str, ...]:
    """The test sets in local files that belong to a corpus.

    An experiment with a dataset of the Hub may name files to use instead, relative to the
    `data.folder` that has them. Without it these are not there, train's and dev's no more than the
    tests'.
    """
    if data.folder or not (data.hub and data.train_files):
        return data.test_files
    return tuple(spec for spec in data.test_files if place(spec.partition("=")[2]).is_absolute())


def _prepared_before(data: DataConfig, out: Path) -> Manifest | None:
    """The manifest in `out`, if it is for `data`, its files are whole and its source unchanged."""
    try:
        manifest = Manifest.load(out)
    except UserError:
        return None
    if manifest.data_hash != data_hash(data) or changed_source(data, manifest):
        return None
    if damage := damaged_text(manifest, out):
        print(f"{damage} The text is made anew.", file=sys.stderr)
        return None
    return manifest


def damaged_text(manifest: Manifest, out: Path, splits: Sequence[str] = ()) -> str:
    """What is wrong with prepared text, or with that of some splits; nothing if it is whole."""
    files = {
        name: written.sha256
        for name, written in manifest.files.items()
        if not splits or name.rpartition(".")[0] in splits
    }
    return damaged(out, files)


def changed_source(data: DataConfig, manifest: Manifest) -> dict[str, list[str]]:
    """By split, the names of what is not any more as it was when the text was prepared.

    Without its source, prepared text is still good: what is gone has not changed.
    """
    before, kind = manifest.source, manifest.source["kind"]
    tests = {split: files for split, files in before.items() if split.startswith("test.")}
    rest = {split: files for split, files in before.items() if split not in tests}
    changed: dict[str, list[str]] = {}
    if kind == "files":
        with suppress(UserError):
            changed = _changed(rest, open_files(replace(data, test_files=())).details)
    elif kind in EMBEDDED and EMBEDDED[kind].details() != rest:
        changed = {"train": [f"the {kind}"]}
    now: dict[str, Any] = {}
    for spec in heeded(data):
        split = f"test.{spec.partition('=')[0]}"
        try:
            open_tests(replace(data, test_files=(spec,)), now)
        except UserError:
            if split in tests:
                now[split] = tests[split]
    return changed | _changed(tests, now)


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names of the files that are not the same, by split."""
    return {
        split: _unlike(before.get(split, []), now.get(split, []))
        for split in sorted({*before, *now} - {"kind"})
        if before.get(split) != now.get(split)
    }


def _unlike(before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of files that are not the same in both lists."""
    names = dict.fromkeys(str(file["name"]) for file in (*before, *now))
    return [
        name
        for name in names
        if [f for f in before if f["name"] == name] != [f for f in now if f["name"] == name]
    ]


def hash_of_tests(data: DataConfig) -> str:
    """SHA-256 over what is known of the files of the test sets, without reading large ones."""
    tests = _details_of_tests(data)
    return hashlib.sha256(json.dumps(tests, sort_keys=True).encode()).hexdigest()


def _details_of_tests(data: DataConfig) -> dict[str, Any]:
    details: dict[str, Any] = {}
    open_tests(replace(data, test_files=heeded(data)), details)
    return details


def read_test_files(data: DataConfig) -> dict[str, list[Pair]]:
    """The pairs of the test sets in `data.test_files`, as they are.

    Raises:
        UserError: a file cannot be read, or holds no pairs, or the sides look swapped.
    """
    found: dict[str, list[Pair]] = {}
    for name, split in open_tests(data, {}).items():
        found[name], _ = _read_whole(data, split, f"test.{name}")
        check_direction(found[name], data.src, data.tgt, f"test.{name}")
    return found


# --- Building -----------------------------------------------------------------------------------


def _build(data: DataConfig, source: Source, folder: Path, workers: Workers) -> Manifest:
    """Write all files of the preparation into `folder`."""
    sample = next(chunked(islice(source.train.pairs(Skipped()), 2_000)), [])
    check_direction(sample, data.src, data.tgt, "train")
    what = ("target sentences", "references") if data.src else ("lines", "lines")
    check_plain(f"{what[0]} at the beginning of train", _lines(sample, data.src))
    evaluation: dict[str, list[Pair]] = {}
    line_breaks: Counter[str] = Counter()
    sets = {"dev": source.dev} if source.dev else {}
    for name, split in (sets | {f"test.{k}": v for k, v in source.tests.items()}).items():
        evaluation[name], line_breaks[name] = _read_whole(data, split, name)
        check_direction(evaluation[name], data.src, data.tgt, name)
        named = ", ".join(file["name"] for file in source.details.get(name, []))
        title = f"{what[1]} of {name}" + (f" ({named})" if named else "")
        check_plain(title, _lines(evaluation[name], data.src))

    missing = ([] if source.dev else ["dev"]) + ([] if source.tests else ["test.test"])
    if data.holdout_pairs and not missing:
        raise UserError(
            f"data.holdout_pairs is {data.holdout_pairs:,}, but there are a dev set and test sets; "
            "wanted 0, since nothing would be held out."
        )
    holding_out = bool(missing) and data.holdout_pairs > 0
    rules = Rules.of(data, evaluation, normalised=holding_out)
    if holding_out:
        evaluation |= _hold_out(data, source.train, missing, rules, workers)
        rules = Rules.of(data, evaluation, normalised=True)
    elif "dev" in missing:
        raise UserError(
            "The corpus has no dev set. Name one in data.dev_files, or set data.holdout_pairs to "
            f"the number of {data.noun} to take out of train for it."
        )

    files: dict[str, WrittenFile] = {}
    splits = {"train": _write_train(data, source.train, rules, folder, files, workers)}
    for name, pairs in ({"dev": evaluation["dev"]} | evaluation).items():
        src, tgt = zip(*pairs, strict=True)
        for suffix, texts in (("src", src), ("tgt", tgt)):
            with _writing(folder / f"{name}.{suffix}", files) as write:
                write("".join(f"{text}\n" for text in texts).encode())
        splits[name] = SplitCounts(
            read=len(pairs),
            kept=len(pairs),
            src_words=sum(len(text.split()) for text in src),
            tgt_words=sum(len(text.split()) for text in tgt),
            line_breaks=line_breaks[name],
        )
    hashes = data_hash(data), training_hash(data)
    manifest = Manifest(data.corpus, data.src, data.tgt, source.details, splits, files, *hashes)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _lines(pairs: Sequence[Pair], src: str) -> list[str]:
    """The target sides, and the lines of documents one by one."""
    texts = [text for _, text in pairs]
    return texts if src else [line for text in texts for line in unfolded(text).split("\n")]


def _read_whole(data: DataConfig, split: Split, name: str) -> tuple[list[Pair], int]:
    """The pairs of dev or test, without what nobody sees, and in how many of them a line break had
    to become a blank. Documents without text are none.
    """
    skipped = Skipped()
    pairs = [(visible(src), visible(tgt)) for src, tgt in split.pairs(skipped)]
    pairs = [pair for pair in pairs if data.src or pair[1].strip()]
    if skipped.counts:
        raise UserError(
            f"{name} has {skipped.counts.total():,} {data.noun} that cannot be used; the first is "
            f"{skipped.first}. A set that measures models is not filtered: mend the file."
        )
    if not pairs:
        raise UserError(f"{name} holds no {data.noun}.")
    joined = [(one_line(src), one_line(tgt)) for src, tgt in pairs]
    return joined, sum(a != b for a, b in zip(pairs, joined, strict=True))


def _hold_out(
    data: DataConfig, train: Split, names: Sequence[str], rules: Rules, workers: Workers
) -> dict[str, list[Pair]]:
    """The sets in `names`, of `data.holdout_pairs` pairs each, which train is to lose.

    They are the distinct source sentences whose hashes are smallest, each with its first
    translation; `data.limit` does not change them.
    """
    wanted = data.holdout_pairs * len(names)
    best: dict[int, Pair] = {}
    bound = NEVER
    chunks = chunked(train.pairs(Skipped()))
    with closing(workers.map(holdout_order, chunks, rules, "hold out", train.total)) as results:
        for chunk, order in results:
            for index in np.flatnonzero(order < bound).tolist():
                _, src, tgt = judge(chunk[index], rules)
                best.setdefault(int(order[index]), (src, tgt))
            if len(best) > wanted:
                best = dict(sorted(best.items())[:wanted])
                bound = max(best)
    if len(best) < wanted:
        unit = "sentences" if data.src else data.noun
        raise UserError(
            f"data.holdout_pairs is {data.holdout_pairs:,} for each of {', '.join(names)}, but "
            f"train has only {len(best):,} distinct usable {unit}."
        )
    chosen = [pair for _, pair in sorted(best.items())]
    return {name: chosen[i :: len(names)] for i, name in enumerate(names)}


def _write_train(
    data: DataConfig,
    split: Split,
    rules: Rules,
    folder: Path,
    files: dict[str, WrittenFile],
    workers: Workers,
) -> SplitCounts:
    skipped, seen = Skipped(), SeenHashes()
    read = kept = src_words = tgt_words = 0
    dropped: Counter[str] = Counter()
    chunks = chunked(islice(split.pairs(skipped), data.limit or None))
    total = min(filter(None, (split.total, data.limit)), default=None)
    with (
        _writing(folder / "train.tgt", files) as write_tgt,
        _writing(folder / "train.src", files) as write_src,
        closing(workers.map(clean_chunk, chunks, rules, "train", total)) as results,
    ):
        for chunk, cleaned in results:
            is_first = np.ones(len(cleaned.hashes), np.bool_)
            if data.deduplicate:
                is_first = seen.add(cleaned.hashes)
            read += len(chunk)
            kept += int(is_first.sum())
            dropped += cleaned.dropped + Counter(duplicate=int((~is_first).sum()))
            src_words += int(cleaned.src_words[is_first].sum())
            tgt_words += int(cleaned.tgt_words[is_first].sum())
            write_src(_selected(cleaned.src, is_first))
            write_tgt(_selected(cleaned.tgt, is_first))
    read += skipped.counts.total()
    dropped += skipped.counts
    if not kept:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in dropped.items()) or "it is empty"
        reasons += f"; the first is {skipped.first}" if skipped.counts else ""
        raise UserError(f"Nothing of train is left ({reasons}).{_limits(data, dropped)}")
    return SplitCounts(read, kept, src_words, tgt_words, dict(sorted(dropped.items())))


def _limits(data: DataConfig, dropped: Mapping[str, int]) -> str:
    """What the limits were, and how words are counted, where pairs were dropped for it."""
    values = {"max_words": data.max_words, "max_ratio": data.max_ratio}
    said = [f"data.{name} is {value}" for name, value in values.items() if dropped.get(name)]
    if not said:
        return ""
    return (
        f" {' and '.join(said)}; where a script has no blanks, two characters of Chinese or "
        "Japanese, or four of Thai and the like, count as a word."
    )


def _selected(lines: bytes, mask: npt.NDArray[np.bool_]) -> bytes:
    if mask.all():
        return lines
    return b"".join(compress(lines.splitlines(keepends=True), mask.tolist()))


# --- Files --------------------------------------------------------------------------------------


@contextmanager
def _writing(
    path: Path, files: dict[str, WrittenFile]
) -> Generator[Callable[[bytes], None], None, None]:
    """A function that appends to a new file, which is then entered in `files`."""
    size, digest = 0, hashlib.sha256()
    with path.open("wb") as file:

        def write(data: bytes) -> None:
            nonlocal size
            size += file.write(data)
            digest.update(data)

        yield write
    files[path.name] = WrittenFile(size, digest.hexdigest())


@contextmanager
def _folder_beside(out: Path) -> Generator[Path, None, None]:
    """A new folder on the same disk, gone in the end; what a killed run left goes first."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{out} cannot be a folder: {error.filename} is a file.") from error
    folder = out.parent / f".{out.name}.partial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, out: Path, manifest: Manifest) -> None:
    """Put the finished files into `out`; whatever else lies there stays."""
    if not out.exists():
        folder.rename(out)
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file; wanted a folder for the prepared text.")
    (out / MANIFEST).unlink(missing_ok=True)
    for side in ("src", "tgt"):
        for old in out.glob(f"test.*.{side}"):
            old.unlink()
    for name in (*manifest.files, MANIFEST):
        (folder / name).replace(out / name)
