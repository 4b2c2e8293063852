"""What of a text is translated, and what is kept as it is: blanks, line breaks, tags."""

import html
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aiayn.data.text import visible

_LINE = re.compile("[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_TAG = re.compile(r"<!--|<[!/?]?[A-Za-z](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>")
_VERBATIM = re.compile(r"<(script|style)\b", re.IGNORECASE)
_BY_LINE = re.compile(r"<(/?)(pre|textarea)\b", re.IGNORECASE)
"""Where a line break of HTML is no blank."""


class Part(NamedTuple):
    """A line, or the text between two tags."""

    before: str
    """What stands before it, and is kept as it is."""
    line: str


class Document(NamedTuple):
    """A text in parts."""

    parts: Sequence[Part]
    after: str
    """What stands after the last part."""
    is_html: bool = False

    def written(self, line: str) -> str:
        """The translation of a part as it stands in the document."""
        return html.escape(line, quote=False) if self.is_html else line


def document(text: str, is_html: bool = False) -> Document:
    """The lines of a text, or what is between the tags of HTML, where a line break is a blank."""
    parts: list[Part] = []
    before, is_by_line = "", not is_html
    for piece, is_kept in _pieces_of_html(text) if is_html else [(text, False)]:
        if is_kept:
            before += piece
            if found := _BY_LINE.match(piece):
                is_by_line = not found[1]
            continue
        plain = html.unescape(piece) if is_html else piece
        for line in _LINE.findall(plain) if is_by_line else [plain]:
            core = visible(line if is_by_line else " ".join(line.split())).strip()
            if not core:
                before += line
                continue
            start = len(line) - len(line.lstrip())
            parts.append(Part(before + line[:start], core))
            before = line[len(line.rstrip()) :]
    return Document(parts, before, is_html)


def _pieces_of_html(text: str) -> Iterator[tuple[str, bool]]:
    """Tags, comments, scripts and styles, which are kept, and all between them, which is text."""
    at, lower = 0, text.lower()
    if len(lower) != len(text):  # some letters have small forms of two characters
        lower = text
    while found := _TAG.search(text, at):
        if found.start() > at:
            yield text[at : found.start()], False
        at = found.end()
        end = ""
        if found[0] == "<!--":
            end = "-->"
        elif verbatim := _VERBATIM.match(found[0]):
            end = f"</{verbatim[1].lower()}"
        if end:
            at = lower.find(end, at)
            at = len(text) if at < 0 else at + (len(end) if end == "-->" else 0)
        yield text[found.start() : at], True
    if at < len(text):
        yield text[at:], False
