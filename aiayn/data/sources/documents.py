"""Lines of text as documents: one a line, what lies between blank lines, or a whole file (§5.1).

From here to the tokenizer a document is one line of a prepared file: its line breaks are U+2028,
and where it has that character itself, it has a line break there.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from aiayn.data.sources.opening import TOO_LONG
from aiayn.errors import UserError

How = Literal["line", "blank_line", "file"]
"""As `data.documents`."""
LONGEST_DOCUMENT = 64 << 20
"""Characters of the longest document that is held in memory, ten times the Bible's; of a file that
is one, bytes."""
_LINE_BREAK = "\u2028"
_LINE_END = re.compile("\r\n|[\n\r]")
_BREAKS = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Document(NamedTuple):
    """A document on one line, the number of the line it begins at, and whether it, or a line of it,
    is longer than is read."""

    text: str
    line: int
    too_long: bool = False


def folded(text: str) -> str:
    """The document on one line."""
    return _BREAKS.sub(_LINE_BREAK, text)


def unfolded(line: str) -> str:
    """The document that `folded` wrote, with its line breaks."""
    return line.replace(_LINE_BREAK, "\n")


def lines_of(cell: str) -> list[str]:
    """The lines of a cell of a table, which is read as a file is."""
    return [cell] if cell is TOO_LONG else _LINE_END.split(cell)


def documents(lines: Iterable[str], how: How, where: str) -> Iterator[Document]:
    """The documents of a file or of a cell of a table, which are named `where`.

    Blank lines at either end belong to none, and those between lines of documents neither. The
    blank ones among documents of a line each, and a file without text, are documents of no words.

    Raises:
        UserError: the file is one document, and too large for memory.
    """
    if how == "line":
        for number, line in enumerate(lines, 1):
            yield Document(_BREAKS.sub(" ", line), number, line is TOO_LONG)
        return
    held: list[str] = []
    begin, size, too_long = 1, 0, False
    for number, line in enumerate(lines, 1):
        if line.strip() == "" and (how == "blank_line" or not size):
            if size:
                yield _document(held, begin, too_long)
            held, size, too_long = [], 0, False
            continue
        begin = begin if size else number
        size += len(line) + 1
        too_long |= line is TOO_LONG
        if size > LONGEST_DOCUMENT:
            if how == "file":
                raise too_large(where, f"over {LONGEST_DOCUMENT:,} characters")
            held, too_long = [], True
        held.append(line)
    if size or how == "file":
        yield _document(held, begin, too_long)


def too_large(where: object, size: str) -> UserError:
    """What to say of one document that is too large for memory."""
    return UserError(
        f"{where} has {size}, and data.documents is 'file', which makes it one document; wanted at "
        f"most {LONGEST_DOCUMENT:,}. Cut it into files, or set data.documents=blank_line or line."
    )


def _document(lines: list[str], begin: int, too_long: bool) -> Document:
    while lines and not lines[-1].strip():
        lines.pop()
    return Document(_LINE_BREAK.join(map(folded, lines)), begin, too_long)
