"""Parallel text on disk, in five formats, as streams of sentence pairs (§5.1).

Without a source each pair is ("", document). The readers of tables take its column for both sides.

Every reader runs in bounded memory and reports what it could not use in a `Skipped`; nothing is
lost without being counted. A file that cannot be read at all is a `UserError` with its name.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, cast

from aiayn.config import DataConfig
from aiayn.data import languages
from aiayn.data.sources.columns import (
    SAMPLE_CHARACTERS,
    SAMPLE_LINES,
    by_path,
    not_found,
    of_table,
)
from aiayn.data.sources.documents import (
    LONGEST_DOCUMENT,
    Document,
    How,
    documents,
    lines_of,
    too_large,
    unfolded,
)
from aiayn.data.sources.opening import (
    FOREIGN_SUFFIXES,
    LONGEST_LINE,
    PACKED,
    TOO_LONG,
    Doubts,
    likely_encoding,
    lines,
)
from aiayn.data.sources.tmx import units
from aiayn.data.sources.treebank import pairs as pairs_of_trees
from aiayn.errors import UserError
from aiayn.system.checksums import sha256_if_small
from aiayn.system.files import place

Pair = tuple[str, str]
"""A source sentence and its translation."""

ARROW_ROWS = 10_000
"""Rows of a Parquet file or a Hub dataset that are in memory at once."""
_MOST_A_CELL = 1 << 16
"""Bytes of a cell, on average over a group of rows, in a table of sentences."""


@dataclass
class Skipped:
    """Pairs that a reader could not use: their number by reason, and the place of the first."""

    counts: Counter[str] = field(default_factory=Counter[str])
    first: str = ""

    def add(self, reason: str, where: str) -> None:
        if not self.counts:
            self.first = f"{where}: {reason.replace('_', ' ')}"
        self.counts[reason] += 1


@dataclass(frozen=True)
class Split:
    """One split of a corpus. Each call of `pairs` reads it anew."""

    pairs: Callable[[Skipped], Iterator[Pair]]
    total: int | None = None
    """Pairs, where that is known without reading."""


@dataclass(frozen=True)
class Source:
    """Where a corpus comes from. `details` go into the manifest: no paths of this machine."""

    details: Mapping[str, Any]
    train: Split
    dev: Split | None
    tests: Mapping[str, Split]


def open_files(data: DataConfig) -> Source:
    """The local files that `data` names under `data.folder`. They are looked for, not yet read.

    Raises:
        UserError: no train files are named, a file is missing, or its format is unknown.
    """
    if not data.train_files:
        raise UserError(
            f"data.folder is {data.folder!r}, but data.train_files is empty; wanted patterns of "
            "files in that folder, for example --set data.train_files=train.{lang}"
        )
    details: dict[str, Any] = {"kind": "files"}
    train = _files_split(data, data.train_files, "data.train_files", "train", details)
    dev = None
    if data.dev_files:
        dev = _files_split(data, data.dev_files, "data.dev_files", "dev", details)
    tests = open_tests(data, details)
    named = [*data.train_files, *data.dev_files, *data.test_files]
    if data.columns and not any(_extension(Path(p)) in WITH_COLUMNS for p in named):
        raise UserError(
            f"data.columns is {','.join(data.columns)}, but no file has columns to choose from; "
            f"wanted {', '.join(WITH_COLUMNS)}."
        )
    return Source(details, train, dev, tests)


def open_tests(data: DataConfig, details: dict[str, Any]) -> dict[str, Split]:
    """The test sets in `data.test_files`, whatever train comes from; adds to the details.

    Raises:
        UserError: as `open_files`.
    """
    tests: dict[str, Split] = {}
    for spec in data.test_files:
        name, _, pattern = spec.partition("=")
        if name in tests or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name):
            raise UserError(
                f"data.test_files names a test set {name!r}; wanted a name of letters, digits, "
                "'-', '_' and '.' that no other test set has."
            )
        tests[name] = _files_split(data, (pattern,), "data.test_files", f"test.{name}", details)
    return tests


def _files_split(
    data: DataConfig, patterns: tuple[str, ...], setting: str, split: str, details: dict[str, Any]
) -> Split:
    found = [
        files for p in patterns for files in find_files(p, data.folder, data.src, data.tgt, setting)
    ]
    details[split] = [
        {"name": f.name, "bytes": f.stat().st_size, "sha256": sha256_if_small(f)}
        for files in found
        for f in files
    ]

    for file in chain(*found):
        _check_treebank(file, data, setting)
    for file, about in zip(chain(*found), details[split], strict=True):
        is_document = data.documents == "file" and not is_table(file)
        if is_document and about["bytes"] > LONGEST_DOCUMENT:
            raise too_large(file, f"{about['bytes']:,} bytes")

    def pairs(skipped: Skipped) -> Iterator[Pair]:
        for files in found:
            yield from read_files(files, data, skipped)

    return Split(pairs)


TREEBANKS = (".mrg", ".ptb", ".trees")


def _check_treebank(file: Path, data: DataConfig, setting: str) -> None:
    """Raises UserError for a treebank that is to be text, or text that is to be a treebank."""
    is_treebank = _extension(file) in TREEBANKS
    if is_treebank and data.trees == "none" and data.src:
        raise UserError(
            f"{setting} names {file}, a treebank, whose trees are no translations; wanted "
            "task=parsing with data.trees=tags and data.tgt=trees, or files of text."
        )
    if not is_treebank and data.trees != "none":
        raise UserError(
            f"{setting} names {file}, but data.trees is {data.trees!r}; wanted a treebank, which "
            f"ends in {', '.join(TREEBANKS)}, or packed in {', '.join(PACKED)}."
        )


_HINTS = {
    ".csv": " CSV has several ways of quoting; save it as TSV, with a tab between columns.",
    ".xlsx": " Save the sheet as TSV, with a tab between columns.",
    ".json": " Write one object a line, as JSONL has it: jq -c '.[]'",
    ".txt": " If it has tabs between columns, give it a name that ends in .tsv.",
}
"""More to say of formats that come close."""
_TABLES = (".csv", ".xlsx", ".json")
"""Those of them that are no plain text either."""


def find_files(
    pattern: str, folder: str, src: str, tgt: str, setting: str
) -> list[tuple[Path, ...]]:
    """The files that a pattern names, sorted; two parallel ones each where it holds `{lang}`.

    `*` and `?` stand for any characters of one path component. Where `{lang}` and wildcards meet,
    the two files of a pair have the same text in the wildcards' places. Without a source `{lang}`
    is the target's language, and what is no table is plain text, whatever its name ends in.

    Raises:
        UserError: nothing there, one language without the other, or a format unknown here.
    """
    extension = _extension(Path(pattern))
    suffix = Path(pattern).suffix.lower()
    if suffix in FOREIGN_SUFFIXES:
        raise UserError(
            f"{setting} is {pattern!r}, packed in a way that is not read here; wanted plain files, "
            f"or {', '.join(PACKED)}. Unpack it first: {FOREIGN_SUFFIXES[suffix]}"
        )
    if not src:
        pattern = pattern.replace("{lang}", tgt)
    if "{lang}" not in pattern:
        known = extension in READERS or extension in TREEBANKS
        if not known and (src or extension in _TABLES):
            hint = _HINTS.get(extension, "")
            raise UserError(
                f"{setting} is {pattern!r}, a format unknown here. Known: "
                f"{', '.join((*READERS, *TREEBANKS))} (text formats also with "
                f"{', '.join(PACKED)}), and patterns with {{lang}} for two parallel text "
                f"files.{hint}"
            )
        matches = _matches(pattern, folder, setting)
        return [(matches[key],) for key in sorted(matches)]
    if extension in READERS or extension in TREEBANKS:
        raise UserError(
            f"{setting} is {pattern!r}; {{lang}} is for two parallel text files, but one "
            f"{extension} file holds both sides. Name it without {{lang}}."
        )
    src_files, tgt_files = (
        _matches(pattern.replace("{lang}", lang), folder, setting) for lang in (src, tgt)
    )
    for key in sorted(src_files.keys() ^ tgt_files.keys()):
        alone, lang = (src_files[key], tgt) if key in src_files else (tgt_files[key], src)
        raise UserError(f"{alone} has no parallel file in {lang!r} ({setting} is {pattern!r}).")
    return [(src_files[key], tgt_files[key]) for key in sorted(src_files)]


def _matches(pattern: str, folder: str, setting: str) -> dict[tuple[str, ...], Path]:
    """The pattern's files by the text that its wildcards match."""
    pattern = str(place(pattern)) if pattern.startswith("~") else pattern
    root = place(folder)
    if "**" in pattern:
        raise UserError(
            f"{setting} is {pattern!r}; wanted * for the characters of one folder's or file's "
            "name, such as */*/train.{lang}."
        )
    exact = root / pattern
    if exact.is_file():
        return {(): exact}
    found: dict[tuple[str, ...], Path] = {}
    if "*" in pattern or "?" in pattern:
        wildcards = {"*": "([^/]*)", "?": "([^/])"}
        regex = "(?:.*/)?" + "".join(wildcards.get(c, re.escape(c)) for c in pattern)
        anchor = Path(pattern).anchor
        within = pattern.removeprefix(anchor).replace("[", "[[]")
        for path in (Path(anchor) if anchor else root).glob(within):
            match = re.fullmatch(regex, path.as_posix())
            if match and path.is_file():
                found[match.groups()] = path
    if not found:
        raise UserError(
            f"{exact} does not exist; {setting} names it. Mend {setting} or data.folder."
        )
    return found


def read_files(files: tuple[Path, ...], data: DataConfig, skipped: Skipped) -> Iterator[Pair]:
    """The pairs of one file, or of two parallel text files, or the documents or trees of one."""
    if data.trees != "none":
        return pairs_of_trees(files[0], data.trees, skipped.add)
    if not data.src and not is_table(files[0]):
        found = documents(lines(files[0], [data.tgt]), data.documents, str(files[0]))
        return _usable(found, str(files[0]), skipped)
    pairs = read_pairs(files, data.src, data.tgt, skipped, data.columns)
    return pairs if data.src else as_documents(pairs, data.documents, str(files[0]), skipped)


def read_pairs(
    files: tuple[Path, ...], src: str, tgt: str, skipped: Skipped, columns: Sequence[str] = ()
) -> Iterator[Pair]:
    """The pairs of one file, or of two parallel text files, in their order."""
    if len(files) == 2:
        return _read_parallel((files[0], files[1]), (src, tgt), skipped)
    extension = _extension(files[0])
    if columns and extension in WITH_COLUMNS:
        return READERS[extension](files[0], src, tgt, skipped, columns)
    return READERS[extension](files[0], src, tgt, skipped)


def as_documents(pairs: Iterable[Pair], how: How, where: str, skipped: Skipped) -> Iterator[Pair]:
    """The documents in the cells of one column, which readers give as both sides of pairs."""
    for _, cell in pairs:
        found = documents(lines_of(cell), how, f"A cell of {where}")
        yield from _usable(found, f"{where}, a cell", skipped)


def _usable(found: Iterable[Document], where: str, skipped: Skipped) -> Iterator[Pair]:
    """Documents as the target sides of pairs without a source."""
    for document in found:
        text, place = document.text, 0
        flaw = "too_long" if document.too_long else "control" if "\0" in text else ""
        if flaw == "control":
            place = text.index("\0")
        elif not flaw and not _is_text(text):
            flaw = "invalid_utf8"
            place = next(n for n, char in enumerate(text) if not _is_text(char))
        if flaw:
            line = document.line + unfolded(text[:place]).count("\n")
            skipped.add(flaw, f"{where}, line {line}")
        else:
            yield "", text


def _extension(path: Path) -> str:
    """What the name ends in, but for the endings of packed files."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in PACKED else suffix


def is_table(path: Path) -> bool:
    """Whether the name says that the file is one of a kind with cells or units, not plain text."""
    return _extension(path) in READERS


def read_text(path: Path) -> Iterator[str]:
    """The lines of a text file, plain or packed.

    Raises:
        UserError: it cannot be read, or a line is not UTF-8, or too long.
    """
    for number, line in enumerate(lines(path), 1):
        if line is TOO_LONG:
            raise UserError(
                f"{path}, line {number}, is too long; wanted at most {LONGEST_LINE:,} bytes."
            )
        if not _is_text(line):
            raise UserError(f"{path}, line {number}, {_damage(line)}.")
        yield line


def _damage(line: str) -> str:
    """What keeps a line from being text."""
    try:
        raw = line.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # UTF-16 and UTF-32 can spell one
        return "holds half of a character, without the other half"
    return f"is not UTF-8. It looks like {likely_encoding([raw])}"


def _is_text(line: str) -> bool:
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def _flaw(src: object, tgt: object) -> str:
    """Why these are not two usable sentences, or nothing."""
    if not isinstance(src, str) or not isinstance(tgt, str):
        return "missing_side"
    if src is TOO_LONG or tgt is TOO_LONG or max(len(src), len(tgt)) > LONGEST_LINE:
        return "too_long"
    if "\0" in src or "\0" in tgt:
        return "control"
    return "" if _is_text(src) and _is_text(tgt) else "invalid_utf8"


def _read_parallel(files: tuple[Path, Path], codes: Pair, skipped: Skipped) -> Iterator[Pair]:
    src_file, tgt_file = files
    src_count = tgt_count = 0
    both = (lines(file, [code]) for file, code in zip(files, codes, strict=True))
    for src, tgt in zip_longest(*both):
        src_count += src is not None
        tgt_count += tgt is not None
        if src is None or tgt is None:
            continue  # The files differ; the longer one is read to its end for its count.
        if flaw := _flaw(src, tgt):
            skipped.add(flaw, f"{src_file} or {tgt_file}, line {src_count}")
        else:
            yield src, tgt
    if src_count != tgt_count:
        raise UserError(
            f"{src_file} has {src_count:,} lines and {tgt_file} has {tgt_count:,}; parallel files "
            "must have the same number."
        )


def _read_tsv(
    path: Path, src: str, tgt: str, skipped: Skipped, columns: Sequence[str] = ()
) -> Iterator[Pair]:
    """Two columns: those asked for, those that a header names, or the only two."""
    begin, rows = _begun(lines(path, (src, tgt)))
    src_column, tgt_column, header = of_table(path, begin, src, tgt, columns)
    for number, line in enumerate(chain(begin, rows), 1):
        cells = line.split("\t")
        if line is TOO_LONG:
            skipped.add("too_long", f"{path}, line {number}")
        elif header and line.strip():
            header = False
        elif len(cells) <= max(src_column, tgt_column):
            skipped.add("missing_side", f"{path}, line {number}")
        elif flaw := _flaw(cells[src_column], cells[tgt_column]):
            skipped.add(flaw, f"{path}, line {number}")
        else:
            yield cells[src_column], cells[tgt_column]


def _begun(rows: Iterator[str]) -> tuple[list[str], Iterator[str]]:
    """The first lines, as many as tell what a file is like, and the others."""
    begin: list[str] = []
    characters = 0
    while len(begin) < SAMPLE_LINES and characters < SAMPLE_CHARACTERS:
        line = next(rows, None)
        if line is None:
            break
        begin.append(line)
        characters += len(line)
    return begin, rows


def _read_jsonl(
    path: Path, src: str, tgt: str, skipped: Skipped, columns: Sequence[str] = ()
) -> Iterator[Pair]:
    """An object a line: {"en": ..., "de": ...} or {"translation": {"en": ..., "de": ...}}."""

    @lru_cache(1_000)
    def places(names: tuple[tuple[str, ...], ...]) -> tuple[int, int] | None:
        return by_path(names, src, tgt, columns)

    seen: dict[str, None] = {}
    objects, found = 0, False
    for number, line in enumerate(lines(path, (src, tgt)), start=1):
        if not line.strip():
            continue
        if line is TOO_LONG:
            skipped.add("too_long", f"{path}, line {number}")
            continue
        try:
            value: Any = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            skipped.add("malformed", f"{path}, line {number}")
            continue
        values = _paths(cast(dict[str, Any], value))
        names = tuple(name for name, part in values.items() if not isinstance(part, dict))
        sides = places(names)
        if not found:
            objects, found = objects + 1, sides is not None
            seen |= {".".join(name): None for name in names[:100]} if len(seen) < 100 else {}
            if objects == SAMPLE_LINES and not found:
                break
        src_text, tgt_text = (values[names[n]] for n in sides) if sides else (None, None)
        if flaw := _flaw(src_text, tgt_text):
            skipped.add(flaw, f"{path}, line {number}")
        else:
            yield cast(Pair, (src_text, tgt_text))
    if objects and not found:
        raise not_found(str(path), list(seen), src, tgt, columns)


def _paths(value: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """The values of an object by the names that lead to them, one or two."""
    inner = {
        (name, key): text
        for name, part in value.items()
        if isinstance(part, dict)
        for key, text in cast(dict[str, Any], part).items()
    }
    return {(name,): part for name, part in value.items()} | inner


def _read_parquet(
    path: Path, src: str, tgt: str, skipped: Skipped, columns: Sequence[str] = ()
) -> Iterator[Pair]:
    arrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            paths = arrow_columns(file.schema_arrow, src, tgt, str(path), columns)
        # Equal cells are held once: a few bytes of a file can stand for ten thousand large ones.
        # Arrow cannot do so inside another column, so fewer rows of these are held.
        flat = [path[0] for path in paths if len(path) == 1]
        num_rows = ARROW_ROWS if len(flat) == 2 else ARROW_ROWS // 20
        with parquet.ParquetFile(path, read_dictionary=flat) as file:
            columns = sorted({p[0] for p in paths})
            _check_cells(file.metadata, path, columns)
            for batch in file.iter_batches(num_rows, columns=columns):
                yield from arrow_pairs(batch, paths, str(path), skipped)
    except (OSError, arrow.ArrowException, UnicodeDecodeError) as error:  # in a column's name
        raise UserError(f"{path} cannot be read as Parquet: {error}") from error


def _check_cells(metadata: Any, path: Path, columns: Sequence[str]) -> None:
    """Refuse columns of something else than sentences before their pages, which are read whole,
    take memory."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in map(group.column, range(group.num_columns)):
            path_in_file = column.path_in_schema
            is_read = any(f"{path_in_file}.".startswith(f"{name}.") for name in columns)
            size = column.total_uncompressed_size
            if is_read and size > LONGEST_LINE + group.num_rows * _MOST_A_CELL:
                raise UserError(
                    f"{path} has {size:,} bytes in {group.num_rows:,} cells of column "
                    f"{column.path_in_schema}; wanted sentences, of at most "
                    f"{_MOST_A_CELL:,} bytes on average."
                )


Paths = tuple[tuple[str, ...], tuple[str, ...]]
"""The columns of source and target, each by the names that lead to it."""


def arrow_columns(
    schema: Any, src: str, tgt: str, where: str, columns: Sequence[str] = ()
) -> Paths:
    """The columns that hold the pairs: those asked for, one named after each language, or
    `translation` with both.

    Raises:
        UserError: none of this is there.
    """
    arrow: Any = import_module("pyarrow")
    names: list[tuple[str, ...]] = []
    for column in schema:
        names.append((column.name,))
        if arrow.types.is_struct(column.type):
            names += [(column.name, part.name) for part in column.type]
    single = [name for name in names if names.count(name) == names.count(name[:1]) == 1]
    parents = {name[:1] for name in names if len(name) > 1}  # which hold no text themselves
    single = [name for name in single if name not in parents]
    found = by_path(single, src, tgt, columns)
    if found is None:
        raise not_found(where, [".".join(name) for name in names], src, tgt, columns)
    return single[found[0]], single[found[1]]


def arrow_pairs(batch: Any, paths: Paths, where: str, skipped: Skipped) -> Iterator[Pair]:
    """The pairs of a record batch or table with the columns that `arrow_columns` found."""
    for src_text, tgt_text in zip(*(_arrow_texts(batch, path) for path in paths), strict=True):
        if flaw := _flaw(src_text, tgt_text):
            skipped.add(flaw, where)
        else:
            yield cast(Pair, (src_text, tgt_text))


def _arrow_texts(batch: Any, path: tuple[str, ...]) -> list[object]:
    """The cells as text, and as what they are where they are none; equal ones are one object."""
    arrow: Any = import_module("pyarrow")
    compute: Any = import_module("pyarrow.compute")
    column = batch.column(path[0])
    if len(path) > 1:
        column = compute.struct_field(column, path[1])
    chunks = column.chunks if isinstance(column, arrow.ChunkedArray) else [column]
    texts: list[object] = []
    for chunk in chunks:
        if arrow.types.is_dictionary(chunk.type):
            known = _cells(chunk.dictionary)
            places = chunk.indices.to_pylist()
            texts += [None if place is None else known[place] for place in places]
        else:
            texts += _cells(chunk)
    return texts


def _cells(array: Any) -> list[object]:
    arrow: Any = import_module("pyarrow")
    compute: Any = import_module("pyarrow.compute")
    kinds = (arrow.string(), arrow.large_string(), arrow.binary(), arrow.large_binary())
    if array.type not in kinds:
        return array.to_pylist()
    binary = array.cast(arrow.large_binary())
    sizes = compute.binary_length(binary).to_pylist()
    return [
        TOO_LONG
        if (size or 0) > LONGEST_LINE
        else None
        if size is None
        else binary[place].as_py().decode("utf-8", "surrogateescape")
        for place, size in enumerate(sizes)
    ]


def _read_tmx(path: Path, src: str, tgt: str, skipped: Skipped) -> Iterator[Pair]:
    """Translation units that have both languages."""

    @lru_cache(1_000)
    def places(codes: tuple[str, ...]) -> tuple[int | None, int | None]:
        return languages.find(src or tgt, codes), languages.find(tgt, codes)

    doubts = Doubts(str(path), (src, tgt), noun="units")
    for number, unit in enumerate(units(path), 1):
        texts = [text for _, text in unit.segments]
        doubts.decode("\n".join(texts).encode("utf-8", "surrogateescape"))
        src_place, tgt_place = places(tuple(code for code, _ in unit.segments))
        flaw = unit.flaw
        if src_place is None or tgt_place is None or (src and src_place == tgt_place):
            flaw = flaw or "missing_side"
        else:
            flaw = flaw or _flaw(texts[src_place], texts[tgt_place])
            if not flaw:
                yield texts[src_place], texts[tgt_place]
        if flaw:
            skipped.add(flaw, f"{path}, unit {number}")
    doubts.settle()


READERS: Mapping[str, Callable[..., Iterator[Pair]]] = {
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".tmx": _read_tmx,
}
WITH_COLUMNS = (".tsv", ".jsonl", ".parquet")
"""The formats in which `data.columns` names the two sides."""
