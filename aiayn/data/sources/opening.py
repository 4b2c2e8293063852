"""The one way in for text: what is packed is unpacked, and any Unicode encoding is decoded (§5.1).

A file is known by its first bytes. What cannot be read as text is refused by the name of what it
is, with the command that makes text of it.
"""

import bz2
import codecs
import gzip
import io
import lzma
import os
import re
import shlex
import sys
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from aiayn.data.languages import parse
from aiayn.errors import UserError
from aiayn.system.streams import STANDARD_INPUT

LONGEST_LINE = 4 << 20
"""Bytes of the longest line, cell or unit that is held in memory. A sentence for training has at
most 10,000 characters; the longest lines of real text, whole books without a break, fit too."""
TOO_LONG = "\udc00"
"""Stands for a line longer than that. No line reads so: half a character never comes from bytes."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""Of UTF-8, as some editors put it before a text."""
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""What a text in another encoding of Unicode than UTF-8 begins with; the longer ones first."""


class _Packing(NamedTuple):
    """A way of packing one file that the standard library can undo."""

    name: str
    magic: bytes
    open: Callable[[io.BufferedReader], Any]
    command: str


_PACKINGS = {
    ".gz": _Packing("gzip", rb"\x1f\x8b", lambda raw: gzip.GzipFile(fileobj=raw), "gzip -dc"),
    ".bz2": _Packing("bzip2", rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", bz2.BZ2File, "bzip2 -dc"),
    ".xz": _Packing("xz", rb"\xfd7zXZ\x00", lzma.LZMAFile, "xz -dc"),
    ".lzma": _Packing("lzma", rb"\x5d\x00\x00..\xff{8}", lzma.LZMAFile, "xz -dc"),
}
PACKED = tuple(_PACKINGS)
"""The suffixes of what is unpacked here."""
_FOREIGN = (
    (rb"PK(\x03\x04|\x05\x06)", "a zip archive (as .docx and .xlsx are)", "Unpack it: unzip {}"),
    (rb"\x28\xb5\x2f\xfd", "packed with zstd", "Unpack it: zstd -d {}"),
    (rb"\x04\x22\x4d\x18", "packed with lz4", "Unpack it: lz4 -d {}"),
    (rb"\x1f[\x9d\xa0]", "packed with compress", "Unpack it: gzip -d {}"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it: 7z x {}"),
    (rb"Rar!\x1a\x07", "a RAR archive", "Unpack it: unrar x {}"),
    (rb"(?s:.{257})ustar", "a tar archive", "Unpack it: tar -xf {}"),
    (rb"PAR1", "a Parquet file", "Give it a name that ends in .parquet"),
    (rb"ARROW1\0\0", "an Arrow file", "Write it as Parquet"),
    (rb"%PDF-", "a PDF", "Take the text out: pdftotext {}"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document", "Save it as plain text"),
    (rb"SQLite format 3\0", "an SQLite database", "Write its table as TSV"),
    (rb"version https://git-lfs", "a pointer of Git LFS", "Fetch the file itself: git lfs pull"),
    (rb"(?i)\s*<!doctype html", "a page of HTML, perhaps an error page", "Fetch the file again"),
)
"""What is no text by its first bytes, and what to do about it."""
FOREIGN_SUFFIXES = {
    **{".zip": "unzip", ".zst": "zstd -d", ".lz4": "lz4 -d", ".z": "gzip -d", ".7z": "7z x"},
    **{".rar": "unrar x", ".tar": "tar -xf", ".tgz": "tar -xf", ".br": "brotli -d"},
}
"""The endings of what is packed in a way not read here, and the command that unpacks it."""
_HEAD = 4_096


# --- From a file to bytes -----------------------------------------------------------------------


@contextmanager
def opened(path: Path) -> Generator["io.BufferedReader[Any]", None, None]:
    """The bytes of a file, unpacked if they are packed with gzip, bzip2 or xz.

    Raises:
        UserError: it cannot be read, is damaged, or is no text by its first bytes.
    """
    try:
        with _raw(path) as raw:
            file: io.BufferedReader[Any] = raw
            packing = _packing(raw.peek(_HEAD)) or _PACKINGS.get(path.suffix.lower())
            if packing and not raw.peek(1):  # which GzipFile takes for a file without content
                raise EOFError("it is empty")
            if _foreign(raw.peek(_HEAD)):
                packing = None
            elif packing:
                # These find their lines in Python; a BufferedReader around them does so in C.
                file = io.BufferedReader(cast(io.RawIOBase, packing.open(raw)), 1 << 18)
            _refuse_foreign(file.peek(_HEAD), str(path), packing)
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise _not_whole(path, error) from error
    except OSError as error:
        if error.errno is None:  # bzip2's way of saying so
            raise _not_whole(path, error) from error
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error


@contextmanager
def _raw(path: Path) -> Generator["io.BufferedReader[Any]", None, None]:
    if path != STANDARD_INPUT:
        with path.open("rb") as file:
            yield file
        return
    with suppress(OSError, ValueError):  # one in memory
        os.set_blocking(sys.stdin.fileno(), True)  # or nothing yet would look like its end
    # A pipe may give a byte at first, which does not tell what the text is.
    stream = cast(io.BufferedIOBase, sys.stdin.buffer)
    yield io.BufferedReader(_Begun(stream.read(_HEAD), stream), 1 << 18)


class _Begun(io.RawIOBase):
    """A stream of which the first bytes were read already."""

    def __init__(self, head: bytes, rest: io.BufferedIOBase) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        found = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(found) :]
        buffer[: len(found)] = found
        return len(found)


def _not_whole(path: Path, error: Exception) -> UserError:
    packing = _PACKINGS.get(path.suffix.lower())
    kind = packing.name if packing else "packed"
    return UserError(f"{path} is not a whole {kind} file: {error}. Fetch it again.")


def _packing(head: bytes) -> _Packing | None:
    found = (each for each in _PACKINGS.values() if re.match(each.magic, head, re.DOTALL))
    return next(found, None)


def _foreign(head: bytes) -> tuple[str, str] | None:
    found = ((name, advice) for magic, name, advice in _FOREIGN if re.match(magic, head))
    return next(found, None)


def _refuse_foreign(head: bytes, name: str, packing: _Packing | None = None) -> None:
    """Refuse what is no text by its first bytes."""
    inside = f"{name} holds" if packing else f"{name} is"
    if found := _foreign(head):
        kind, advice = found
        raise UserError(f"{inside} {kind}, not text. {advice.format(shlex.quote(name))}")
    if packing and (inner := _packing(head)):
        raise UserError(
            f"{name} is packed twice. Unpack it once: {packing.command} {shlex.quote(name)} "
            f"(which gives a file packed with {inner.name})"
        )
    zeros = [head[start::2].count(0) / max(1, len(head) // 2) for start in (0, 1)]
    if len(head) >= 8 and max(zeros) > 0.4 and head[:4] not in MARKS and head[:2] not in MARKS:
        encoding = "UTF-32" if min(zeros) > 0.4 else "UTF-16LE" if zeros[1] > 0.4 else "UTF-16BE"
        raise UserError(
            f"{inside} text in {encoding} without a mark at its start that says so, or no text. "
            f"{_iconv(name, encoding, packing)}"
        )


def _iconv(name: str, encoding: str, packing: _Packing | None = None) -> str:
    """The command that makes UTF-8 of a file."""
    if not Path(name).is_file():  # standard input
        return f"Convert it: iconv -f {encoding} -t UTF-8"
    convert, name = f"iconv -f {encoding} -t UTF-8", shlex.quote(name)
    if packing:
        return f"Convert it: {packing.command} {name} | {convert} > utf8.txt"
    return f"Convert it: {convert} {name} > utf8.txt"


# --- From bytes to lines ------------------------------------------------------------------------


def lines(path: Path, languages: Sequence[str] = ()) -> Iterator[str]:
    """The lines of a text file. Only \\n ends one: U+2028, \\x85, \\v, \\f occur inside sentences.

    A trailing \\r and a byte order mark at the start of the file are no part of the text; a file
    that is only a mark has no line. Bytes that are no UTF-8 become surrogates, as Python's
    `surrogateescape` has them, and a line past `LONGEST_LINE` becomes `TOO_LONG`.

    Raises:
        UserError: the file cannot be read, or over 3 % of its lines are not UTF-8; the encoding is
            guessed from them and from the languages that the text may be in.
    """
    with opened(path) as file:
        head = file.peek(4)
        wide = MARKS.get(head[:4]) or MARKS.get(head[:2])
        if wide:
            yield from _wide_lines(file, wide, path)
            return
        doubts = Doubts(str(path), languages, _packing_around(file))
        for number, line in enumerate(_bounded(file)):
            if line is None:
                text = TOO_LONG
            else:
                line = line.removeprefix(BYTE_ORDER_MARK) if number == 0 else line
                if not line:
                    continue
                text = doubts.decode(line.removesuffix(b"\n").removesuffix(b"\r"))
            yield text
        doubts.settle()


def _packing_around(file: "io.BufferedReader[Any]") -> _Packing | None:
    kinds = {gzip.GzipFile: ".gz", bz2.BZ2File: ".bz2", lzma.LZMAFile: ".xz"}
    return _PACKINGS.get(kinds.get(type(file.raw), ""))


def _bounded(file: "io.BufferedReader[Any]") -> Iterator[bytes | None]:
    """The lines with their ends; None for those that are too long, which are passed over."""
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) <= LONGEST_LINE or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)
        yield None


def _wide_lines(file: "io.BufferedReader[Any]", encoding: str, path: Path) -> Iterator[str]:
    """The lines of a text in UTF-16 or UTF-32; halves of characters are surrogates."""
    text = io.TextIOWrapper(file, encoding, "surrogatepass", newline="\n")
    try:
        while line := text.readline(LONGEST_LINE // 2):
            if len(line) < LONGEST_LINE // 2 or line.endswith("\n"):
                yield line.removesuffix("\n").removesuffix("\r")
                continue
            while line and not line.endswith("\n"):
                line = text.readline(LONGEST_LINE // 2)
            yield TOO_LONG
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} begins as {encoding.upper()}, but is not all of it: {error.reason}."
        ) from error
    finally:
        text.detach()


class Doubts:
    """How many lines of a text were no UTF-8, and whether it is in another encoding as a whole.

    A few damaged lines are left out one by one. A text of another encoding would lose each line
    with a letter outside ASCII, so it is refused: at the first ten thousand lines, or at its end.
    """

    SHARE = 0.03
    FEWEST = 3
    LINES = 10_000

    def __init__(
        self,
        name: str,
        languages: Sequence[str] = (),
        packing: _Packing | None = None,
        noun: str = "lines",
        streamed: bool = False,
    ) -> None:
        self.streamed = streamed
        self.name, self.languages, self.packing, self.noun = name, languages, packing, noun
        self.lines = self.bad = self.foreign = 0
        self._first = 0
        self._sample: list[bytes] = []

    def decode(self, line: bytes) -> str:
        """The text; bytes that are no UTF-8 become surrogates."""
        self.lines += 1
        if self.lines == self.LINES and not self.streamed:
            self.settle()
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self.bad += 1
            self._first = self._first or self.lines
            if len(self._sample) < 100:
                self._sample.append(line[:10_000])
            return line.decode("utf-8", "surrogateescape")
        self.foreign += not text.isascii()
        return text

    def settle(self) -> None:
        """Refuse the text if it is in another encoding. A stream, whose lines each need an answer,
        is only refused if most of what is outside ASCII is no UTF-8.
        """
        if self.bad < self.FEWEST or self.bad <= self.SHARE * self.lines:
            return
        if self.streamed and self.bad <= self.foreign:
            return
        found = (
            f"{self.name}: {self.bad:,} of {self.lines:,} {self.noun} are not UTF-8, the first of "
            f"them number {self._first}"
        )
        if self.foreign > self.bad:
            raise UserError(f"{found}; others are. Bring all of it into UTF-8, or leave them out.")
        encoding = likely_encoding(self._sample, self.languages)
        raise UserError(
            f"{found}. It looks like {encoding}. {_iconv(self.name, encoding, self.packing)}"
        )


_LEGACY = {
    **{"ru uk be bg mk sr": ("WINDOWS-1251", "KOI8-R")},
    **{"cs pl hu sk sl hr ro sq": ("WINDOWS-1250",), "el": ("WINDOWS-1253",)},
    **{"tr az": ("WINDOWS-1254",), "he yi": ("WINDOWS-1255",), "ar fa ur": ("WINDOWS-1256",)},
    **{"et lv lt": ("WINDOWS-1257",), "vi": ("WINDOWS-1258",), "th": ("CP874",)},
    **{"zh": ("GB18030", "BIG5"), "ja": ("CP932", "EUC-JP"), "ko": ("CP949",)},
}
"""The encodings that text in a language had before UTF-8, by iconv's names."""


def likely_encoding(sample: Sequence[bytes], languages: Sequence[str] = ()) -> str:
    """The encoding that these lines are probably in, by iconv's name."""
    halves = [sum(line[i : i + 1] == b"\0" for line in sample) for i in (0, -1)]
    text = b"\n".join(sample)
    if max(halves) * 2 > len(sample) or text.count(0) * 4 > len(text):
        return "UTF-16LE" if halves[0] >= halves[1] else "UTF-16BE"
    spoken = {parse(code).language for code in languages}
    candidates = [
        name for known, names in _LEGACY.items() if spoken & set(known.split()) for name in names
    ]
    # In Western text letters outside ASCII stand alone, or by two; elsewhere they are whole words.
    high = re.findall(rb"[\x80-\xff]+", text)
    alone = sum(map(len, high)) < 2.5 * len(high)
    western = "WINDOWS-1252" if re.search(rb"[\x80-\x9f]", text) else "ISO-8859-1"
    if not alone and not spoken:
        candidates = ["CP932", "EUC-JP", "GB18030", "BIG5", "WINDOWS-1251"]
    for name in candidates:
        try:
            text.decode(name.lower())
        except UnicodeDecodeError:
            continue
        return name
    return western


# --- Bytes that come piece by piece -------------------------------------------------------------


class Stream:
    """Text that comes in pieces, as UTF-8 without a mark: standard input is judged as a file is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._head: bytes | None = b""
        self._decoder: codecs.IncrementalDecoder | None = None

    def feed(self, piece: bytes, last: bool = False) -> bytes:
        """What can be said of the bytes so far.

        Raises:
            UserError: they are no text.
        """
        if self._head is not None:
            self._head += piece
            starts = (BYTE_ORDER_MARK, *MARKS, b"\x1f\x8b", b"BZh91AY&SY", b"\xfd7zXZ\0", b"PK\3\4")
            if not last and any(s.startswith(self._head) and s != self._head for s in starts):
                return b""
            piece, self._head = self._head.removeprefix(BYTE_ORDER_MARK), None
            self._begin(piece)
        if self._decoder is None:
            return piece
        try:
            return self._decoder.decode(piece, last).encode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.name} is not all UTF-16: {error.reason}.") from error

    def _begin(self, head: bytes) -> None:
        if packing := _packing(head):
            raise UserError(
                f"{self.name} is packed with {packing.name}; wanted text. Unpack it before: "
                f"{packing.command}"
            )
        _refuse_foreign(head[:_HEAD], self.name)
        if wide := MARKS.get(head[:4]) or MARKS.get(head[:2]):
            self._decoder = codecs.getincrementaldecoder(wide)("surrogatepass")
