"""Translation units of a TMX file, in bounded memory, past those that are damaged (§5.1)."""

import codecs
import io
import re
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import ParseError

from aiayn.data.sources.opening import BYTE_ORDER_MARK, LONGEST_LINE, MARKS, opened
from aiayn.errors import UserError

DEEPEST = 1_000
"""Elements within each other. Those of TMX are a dozen; more are meant to exhaust a stack."""
_PIECE = 1 << 14
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""What XML does not allow, and bytes that are no UTF-8."""
_CONTROL, _BYTES = 0xFDD0, 0xFFF00
"""What the parser is given for them: a noncharacter, and private characters, one for each byte."""
_CODES = {"bpt", "ept", "it", "ph", "ut", "sub"}
"""Elements within a segment that hold native codes; all others mark text."""
_RESTORED = {_CONTROL: "\0"} | {_BYTES + byte: chr(0xDC00 + byte) for byte in range(0x80, 0x100)}
_START = re.compile(rb"<(?:[\w.-]+:)?tu(?=[\s>/])")
_END = re.compile(rb"</(?:[\w.-]+:)?tmx\s*>")
_MARGIN = 100
"""Bytes of a tag that may lie in the next piece."""


class Unit(NamedTuple):
    """One translation unit: its segments with the codes of their languages, or why there are none.

    Where the file holds what XML forbids, a segment has "\\0" in place of a control and surrogates
    in place of bytes that are no text.
    """

    segments: list[tuple[str, str]]
    flaw: str = ""


def units(path: Path) -> Iterator[Unit]:
    """All units of the file. Damage costs the unit that it is in: reading goes on at the next.

    What a declaration could multiply is refused: entities, and default values of attributes, which
    each element would have a copy of.

    Raises:
        UserError: the file cannot be read, has no body, breaks off, or holds such declarations.
    """
    with opened(path) as file:
        yield from _Parser(path).units(_pieces(file, path))


def _pieces(file: io.BufferedReader, path: Path) -> Iterator[bytes]:
    """The document as UTF-8, with stand-ins for what the parser would stop at."""
    head = file.peek(_PIECE)
    encoding, errors = MARKS.get(head[:4]) or MARKS.get(head[:2]), "surrogatepass"
    if not encoding:
        encoding, errors = _declared(head.removeprefix(BYTE_ORDER_MARK), path), "surrogateescape"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    try:
        while data := file.read(_PIECE):
            yield _allowed(decoder.decode(data))
        yield _allowed(decoder.decode(b"", final=True))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} cannot be read as TMX: {error}.") from error


def _declared(head: bytes, path: Path) -> str:
    """The encoding that the XML declaration names, UTF-8 without one."""
    found = re.match(rb"""\s*<\?xml[^>]*?\bencoding\s*=\s*["']([\w.-]+)["']""", head)
    name = found[1].decode() if found else "utf-8"
    try:
        codec = codecs.lookup(name).name
        if codec in ("utf-8", "ascii"):
            return "utf-8-sig"
        if bytes(range(128)).decode(codec) == "".join(map(chr, range(128))) and all(
            len(bytes([byte]).decode(codec, "replace")) == 1 for byte in range(256)
        ):
            bytes(range(256)).decode(codec, "replace")
            if len(bytes(range(128, 256)).decode(codec, "replace")) == 128:
                return codec
    except (LookupError, ValueError):
        pass
    raise UserError(
        f"{path} cannot be read as TMX: it says that its encoding is {name!r}; wanted UTF-8, "
        "UTF-16 with a mark at its start, or an encoding of one byte a character."
    )


def _allowed(text: str) -> bytes:
    return _FORBIDDEN.sub(_stand_in, text).encode()


def _stand_in(found: re.Match[str]) -> str:
    code = ord(found[0])
    return chr(_BYTES + code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else _CONTROL)


class _DamagedError(Exception):
    """A unit holds the beginning of another one."""


class _Target:
    """What the parser calls: gathers the segments of each unit, without the native codes (bpt, ept,
    it, ph, ut) that TMX wraps in elements.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.expat: Any = None
        self.bytes_from: Callable[[int], bytes] = lambda _: b""
        """The document from a place that the parser knows by number."""
        self.in_body = False
        self.found: list[Unit] = []
        self.begin()

    def begin(self) -> None:
        """Outside of any element."""
        self.depth = 0
        self.unit_start = -1
        self.unit: list[str] = []  # the names of the open elements of the unit
        self.segments: list[tuple[str, str]] = []
        self.code: str | None = None
        self.text: list[str] | None = None
        self.codes_open = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        tag, self.depth = tag.rpartition("}")[2], self.depth + 1
        if self.depth > DEEPEST:
            raise UserError(
                f"{self.path} cannot be read as TMX: its elements are nested over {DEEPEST:,} deep."
            )
        self.in_body |= tag == "body"
        if tag == "tu":
            if self.unit:
                raise _DamagedError
            self.unit_start, self.segments = self.expat.CurrentByteIndex, []
        elif not self.unit:
            return
        self.unit.append(tag)
        if self.text is not None:
            self.codes_open += tag in _CODES
        elif self.unit == ["tu", "tuv"]:
            lang = attributes.get("{http://www.w3.org/XML/1998/namespace}lang")
            self.code = lang or attributes.get("lang") or ""
        elif self.unit == ["tu", "tuv", "seg"] and self.code is not None:
            self.text, self.codes_open = [], 0

    def data(self, text: str) -> None:
        if self.text is not None and not self.codes_open:
            self.text.append(text)

    def end(self, tag: str) -> None:
        tag, self.depth = tag.rpartition("}")[2], self.depth - 1
        if not self.unit:
            return
        self.unit.pop()
        if len(self.unit) >= 3:
            self.codes_open -= self.text is not None and tag in _CODES
        elif self.text is not None:
            text = "".join(self.text).translate(_RESTORED)
            self.segments.append((self.code or "", text))
            self.text = self.code = None  # a second segment of a variant is not looked at
        elif not self.unit:
            length = self.expat.CurrentByteIndex - self.unit_start
            # One within a comment or CDATA section that does not end where it should.
            if _START.search(self.bytes_from(self.unit_start)[:length], 1):
                self.unit = ["tu"]
                raise _DamagedError
            self.found.append(Unit(self.segments))

    def close(self) -> None:
        pass

    def take(self) -> list[Unit]:
        """The units that have ended since the last call."""
        found, self.found = self.found, []
        return found


class _Parser:
    """Feeds a parser, and another one from the next unit on where it meets damage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.target = _Target(path)
        self.target.bytes_from = lambda number: self.pending[number - self.origin :]
        self.ended = False
        self.prefixes: dict[str, str] = {}
        self.pending = b""
        """The document from the open unit, or tag, on."""
        self.origin = self.fed = 0
        """The parser's number of the first byte there, and how many of them it has been fed."""
        self.parser = self._new(b"")

    def _new(self, before: bytes) -> Any:
        """A parser that has read `before`."""
        from defusedxml.ElementTree import DefusedXMLParser

        def check_attribute(_: str, name: str, _kind: str, default: str | None, _r: int) -> None:
            if default:
                message = f"{self.path} declares a default value of {name!r}, which is refused."
                raise UserError(message)

        def keep_prefix(prefix: str | None, uri: str | None) -> None:
            if prefix and self.target.depth < 2:
                self.prefixes[prefix] = uri or ""

        parser: Any = DefusedXMLParser(target=self.target, encoding="utf-8")
        parser.parser.AttlistDeclHandler = check_attribute
        parser.parser.StartNamespaceDeclHandler = keep_prefix
        self.target.expat = parser.parser
        self.target.begin()
        self.origin, self.fed = len(before), 0
        parser.feed(before)
        return parser

    def units(self, pieces: Iterator[bytes]) -> Iterator[Unit]:
        skipping = False
        for piece in chain(pieces, (None,)):
            self.pending += piece or b""
            while not (skipping and not self._at_next_unit()):
                flaw = self._feed(last=piece is None)
                yield from self.target.take()
                skipping = bool(flaw)
                if not flaw:
                    break
                if self.target.unit or not self.ended:
                    yield Unit([], flaw)
        if not self.ended:
            raise UserError(f"{self.path} cannot be read as TMX: it breaks off before its end.")

    def _at_next_unit(self) -> bool:
        """Begin anew at the next unit, if it is there."""
        found = _START.search(self.pending)
        if not found:
            self.ended = self.ended or _END.search(self.pending) is not None
            self.pending = self.pending[-_MARGIN:]
            return False
        self.ended = False
        self.pending = self.pending[found.start() :]
        declared = "".join(f' xmlns:{name}="{_quoted(uri)}"' for name, uri in self.prefixes.items())
        self.parser = self._new(f"<tmx{declared}><body>".encode())
        return True

    def _feed(self, last: bool) -> str:
        """Parse what was not yet; what is wrong with the present unit, or nothing."""
        from defusedxml.common import DefusedXmlException

        target, new = self.target, self.pending[self.fed :]
        self.fed = len(self.pending)
        try:
            self.parser.feed(new)
            if last:
                self.parser.close()
        except DefusedXmlException as error:
            message = f"{self.path} declares XML entities, which are refused: {error}."
            raise UserError(message) from error
        except (ParseError, _DamagedError) as error:
            if not target.in_body:
                raise UserError(f"{self.path} cannot be read as TMX: {error}.") from error
            self.ended = target.depth == 0
            # No unit holds another one: the next to begin after this one is a unit again, however
            # far the parser went before it saw the damage.
            place = target.unit_start if target.unit else target.expat.ErrorByteIndex
            self.pending = self.pending[max(0, place - self.origin) + 1 :]
            return "malformed"
        self.ended = last
        start = target.unit_start if target.unit else target.expat.CurrentByteIndex
        kept = max(0, start - self.origin)
        self.pending = self.pending[kept:]
        self.origin, self.fed = self.origin + kept, self.fed - kept
        if len(self.pending) <= LONGEST_LINE or last:
            return ""
        if not target.unit:
            raise UserError(
                f"{self.path} cannot be read as TMX: a tag or comment outside its units has more "
                f"than {LONGEST_LINE:,} bytes."
            )
        self.pending = self.pending[1:]
        return "too_long"


def _quoted(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
