"""Parallel text on disk, in five formats, as streams of sentence pairs (§5.1).

Every reader runs in bounded memory and reports what it could not use in a `Skipped`; nothing is
lost without being counted. A file that cannot be read at all is a `UserError` with its name.
"""

import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, cast
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from aiayn.config import DataConfig
from aiayn.errors import UserError
from aiayn.system.checksums import sha256_if_small

Pair = tuple[str, str]
"""A source sentence and its translation."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Of UTF-8, as some editors put it before a text."""
ARROW_ROWS = 10_000
"""Rows of a Parquet file or a Hub dataset that are in memory at once."""


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
    tests: dict[str, Split] = {}
    for spec in data.test_files:
        name, _, pattern = spec.partition("=")
        if name in tests or not re.fullmatch(r"[\w-]+(\.[\w-]+)*", name):
            raise UserError(
                f"data.test_files names a test set {name!r}; wanted a name of letters, digits, "
                "'-', '_' and '.' that no other test set has."
            )
        tests[name] = _files_split(data, (pattern,), "data.test_files", f"test.{name}", details)
    return Source(details, train, dev, tests)


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

    def pairs(skipped: Skipped) -> Iterator[Pair]:
        for files in found:
            yield from read_pairs(files, data.src, data.tgt, skipped)

    return Split(pairs)


def find_files(
    pattern: str, folder: str, src: str, tgt: str, setting: str
) -> list[tuple[Path, ...]]:
    """The files that a pattern names, sorted; two parallel ones each where it holds `{lang}`.

    `*` and `?` stand for any characters of one path component. Where `{lang}` and wildcards meet,
    the two files of a pair have the same text in the wildcards' places.

    Raises:
        UserError: nothing there, one language without the other, or a format unknown here.
    """
    extension = _extension(Path(pattern))
    if "{lang}" not in pattern:
        if extension not in READERS:
            raise UserError(
                f"{setting} is {pattern!r}, a format unknown here. Known: {', '.join(READERS)} "
                "(text formats also with .gz), and patterns with {lang} for two parallel text "
                "files."
            )
        matches = _matches(pattern, folder, setting)
        return [(matches[key],) for key in sorted(matches)]
    if extension in READERS:
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
    exact = Path(folder) / pattern
    if exact.is_file():
        return {(): exact}
    found: dict[tuple[str, ...], Path] = {}
    if ("*" in pattern or "?" in pattern) and not Path(pattern).is_absolute():
        wildcards = {"*": "([^/]*)", "?": "([^/])"}
        regex = "(?:.*/)?" + "".join(wildcards.get(c, re.escape(c)) for c in pattern)
        for path in Path(folder).glob(pattern.replace("[", "[[]")):
            match = re.fullmatch(regex, path.as_posix())
            if match and path.is_file():
                found[match.groups()] = path
    if not found:
        raise UserError(
            f"{exact} does not exist; {setting} names it. Mend {setting} or data.folder."
        )
    return found


def read_pairs(files: tuple[Path, ...], src: str, tgt: str, skipped: Skipped) -> Iterator[Pair]:
    """The pairs of one file, or of two parallel text files, in their order."""
    if len(files) == 2:
        return _read_parallel(files[0], files[1], skipped)
    return READERS[_extension(files[0])](files[0], src, tgt, skipped)


def _extension(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


@contextmanager
def _opened(path: Path) -> Generator[BinaryIO, None, None]:
    """The bytes of a file, unpacked if its name ends in .gz."""
    try:
        with path.open("rb") as raw:
            if path.suffix.lower() == ".gz":
                if not raw.peek(1):  # which GzipFile takes for a file without content
                    raise EOFError("it is empty")
                # GzipFile finds its lines in Python; a BufferedReader around it does so in C.
                yield io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=raw)), 1 << 18)
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not a whole gzip file: {error}. Fetch it again.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file. Only \\n ends one: U+2028, \\x85, \\v and \\f occur inside sentences.

    A trailing \\r and a byte order mark at the start of the file are no part of the text; a file
    that is only a mark has no line.
    """
    with _opened(path) as file:
        for number, line in enumerate(file):
            if number == 0:
                line = line.removeprefix(BYTE_ORDER_MARK)
            if line:
                yield line.removesuffix(b"\n").removesuffix(b"\r")


def read_text(path: Path) -> Iterator[str]:
    """The lines of a text file, plain or .gz.

    Raises:
        UserError: it cannot be read, or a line is not UTF-8.
    """
    for number, line in enumerate(_lines(path), 1):
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{path}, line {number}, is not UTF-8: {error}.") from None


def _decode(line: bytes) -> str:
    """The text; bytes that are no UTF-8 become surrogates, which `_flaw` finds."""
    return line.decode("utf-8", "surrogateescape")


def _flaw(src: object, tgt: object) -> str:
    """Why these are not two usable sentences, or nothing."""
    if not isinstance(src, str) or not isinstance(tgt, str):
        return "missing_side"
    if "\0" in src or "\0" in tgt:
        return "control"
    try:
        src.encode()
        tgt.encode()
    except UnicodeEncodeError:
        return "invalid_utf8"
    return ""


def _read_parallel(src_file: Path, tgt_file: Path, skipped: Skipped) -> Iterator[Pair]:
    src_count = tgt_count = 0
    for src_line, tgt_line in zip_longest(_lines(src_file), _lines(tgt_file)):
        src_count += src_line is not None
        tgt_count += tgt_line is not None
        if src_line is None or tgt_line is None:
            continue  # The files differ; the longer one is read to its end for its count.
        src, tgt = _decode(src_line), _decode(tgt_line)
        if flaw := _flaw(src, tgt):
            skipped.add(flaw, f"{src_file} or {tgt_file}, line {src_count}")
        else:
            yield src, tgt
    if src_count != tgt_count:
        raise UserError(
            f"{src_file} has {src_count:,} lines and {tgt_file} has {tgt_count:,}; parallel files "
            "must have the same number."
        )


def _read_tsv(path: Path, src: str, tgt: str, skipped: Skipped) -> Iterator[Pair]:
    """Two columns, or those that a first line with the names of both languages points out."""
    src_column, tgt_column = 0, 1
    for number, line in enumerate(_lines(path), start=1):
        cells = _decode(line).split("\t")
        names = [_language(cell) for cell in cells]
        if number == 1 and _language(src) in names and _language(tgt) in names:
            src_column, tgt_column = names.index(_language(src)), names.index(_language(tgt))
        elif len(cells) <= max(src_column, tgt_column):
            skipped.add("missing_side", f"{path}, line {number}")
        elif flaw := _flaw(cells[src_column], cells[tgt_column]):
            skipped.add(flaw, f"{path}, line {number}")
        else:
            yield cells[src_column], cells[tgt_column]


def _read_jsonl(path: Path, src: str, tgt: str, skipped: Skipped) -> Iterator[Pair]:
    """An object a line: {"en": ..., "de": ...} or {"translation": {"en": ..., "de": ...}}."""
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(_decode(line))
        except (ValueError, RecursionError):
            skipped.add("malformed", f"{path}, line {number}")
            continue
        if isinstance(value, dict) and "translation" in value:
            value = cast(dict[str, Any], value)["translation"]
        if not isinstance(value, dict):
            skipped.add("malformed", f"{path}, line {number}")
            continue
        sides = {_language(key): text for key, text in cast(dict[str, Any], value).items()}
        src_text, tgt_text = sides.get(_language(src)), sides.get(_language(tgt))
        if flaw := _flaw(src_text, tgt_text):
            skipped.add(flaw, f"{path}, line {number}")
        else:
            yield cast(Pair, (src_text, tgt_text))


def _read_parquet(path: Path, src: str, tgt: str, skipped: Skipped) -> Iterator[Pair]:
    arrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            columns = arrow_columns(file.schema_arrow, src, tgt, str(path))
            for batch in file.iter_batches(ARROW_ROWS, columns=columns):
                yield from arrow_pairs(batch, src, tgt, str(path), skipped)
    except (OSError, arrow.ArrowException) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}") from error


def arrow_columns(schema: Any, src: str, tgt: str, where: str) -> list[str]:
    """The columns that hold the pairs: `translation` with both languages, or one for each.

    Raises:
        UserError: neither is there.
    """
    arrow: Any = import_module("pyarrow")
    names: list[str] = schema.names
    if names.count(src) == names.count(tgt) == 1:
        return [src, tgt]
    if names.count("translation") == 1:
        kind = schema.field("translation").type
        fields = [part.name for part in kind] if arrow.types.is_struct(kind) else []
        if fields.count(src) == fields.count(tgt) == 1:
            return ["translation"]
        names = [*names, *(f"translation.{name}" for name in fields)]
    raise UserError(
        f"{where} has the columns {', '.join(names)}; wanted {src!r} and {tgt!r}, or a column "
        "'translation' that holds both."
    )


def arrow_pairs(batch: Any, src: str, tgt: str, where: str, skipped: Skipped) -> Iterator[Pair]:
    """The pairs of a record batch or table with the columns that `arrow_columns` found."""
    if "translation" in batch.schema.names:
        compute: Any = import_module("pyarrow.compute")
        sides = [compute.struct_field(batch.column("translation"), lang) for lang in (src, tgt)]
    else:
        sides = [batch.column(lang) for lang in (src, tgt)]
    for src_text, tgt_text in zip(*map(_arrow_texts, sides), strict=True):
        if flaw := _flaw(src_text, tgt_text):
            skipped.add(flaw, where)
        else:
            yield cast(Pair, (src_text, tgt_text))


def _arrow_texts(column: Any) -> list[object]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        values: list[bytes | None] = column.cast("binary").to_pylist()
        return [None if value is None else _decode(value) for value in values]


def _read_tmx(path: Path, src: str, tgt: str, skipped: Skipped) -> Iterator[Pair]:
    """Translation units. What a declaration could multiply is refused: entities, and default values
    of attributes, which each element would have a copy of. Read elements are released.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser, iterparse

    def check_attribute(_element: str, name: str, _kind: str, default: str | None, _: int) -> None:
        if default:
            raise UserError(f"{path} declares a default value of {name!r}, which is refused.")

    parser: Any = DefusedXMLParser(target=TreeBuilder())
    parser.parser.AttlistDeclHandler = check_attribute
    number, body = 0, None
    with _opened(path) as file:
        try:
            for event, element in iterparse(file, ("start", "end"), parser):
                tag = element.tag.rpartition("}")[2]
                if event == "start" and tag == "body":
                    body = element
                if event == "end" and tag == "tu":
                    number += 1
                    src_text, tgt_text = _segment(element, src), _segment(element, tgt)
                    if flaw := _flaw(src_text, tgt_text):
                        skipped.add(flaw, f"{path}, unit {number}")
                    else:
                        yield cast(Pair, (src_text, tgt_text))
                    if body is not None:
                        body.clear()
        except DefusedXmlException as error:
            raise UserError(f"{path} declares XML entities, which are refused: {error}.") from error
        except (ParseError, LookupError, ValueError, RecursionError) as error:
            # Besides what is not well-formed: encodings that the parser does not know, or elements
            # nested a thousand deep.
            raise UserError(f"{path} cannot be read as TMX: {error}.") from error


def _segment(unit: Element, lang: str) -> str | None:
    """The unit's first segment in a language; "en-US" is "en", unless a region is wanted."""
    wanted = _language(lang)
    for variant in unit.findall("{*}tuv"):
        tag = variant.get("{http://www.w3.org/XML/1998/namespace}lang") or variant.get("lang") or ""
        tag = _language(tag)
        segment = variant.find("{*}seg")
        if segment is not None and wanted in (tag, tag.split("-")[0]):
            return _text(segment)
    return None


def _language(code: str) -> str:
    """A code as codes are compared: "pt_BR" and " PT-br" are one language."""
    return code.strip().lower().replace("_", "-")


def _text(element: Element) -> str:
    """The text without the native codes (bpt, ept, it, ph, ut) that TMX wraps in elements."""
    parts = [element.text or ""]
    for child in element:
        is_text = child.tag.rpartition("}")[2] == "hi"
        parts += [_text(child) if is_text else "", child.tail or ""]
    return "".join(parts)


READERS: Mapping[str, Callable[[Path, str, str, Skipped], Iterator[Pair]]] = {
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".tmx": _read_tmx,
}
