"""Sentences as they are compared and kept: blanks, Unicode form, chunks of pairs (§5.1)."""

import unicodedata
from collections.abc import Iterable, Iterator
from typing import TypeVar

from aiayn.data.sources.formats import Pair

T = TypeVar("T")

MAX_CHARACTERS = 10_000
"""A longer line is no sentence, and is dropped before anything else looks at it."""

CHUNK_PAIRS, CHUNK_CHARACTERS = 10_000, 8_000_000


def clean(text: str) -> str:
    """NFC, with every run of blanks (Unicode's, line breaks among them) as one blank."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())


class _Letters(dict[int, str]):
    """For `str.translate`: letters and the marks on them stay, all else becomes a blank."""

    def __missing__(self, code: int) -> str:
        letter = unicodedata.category(chr(code))[0] in "LM"
        self[code] = chr(code) if letter else " "
        return self[code]


_LETTERS = _Letters()


def normalise(text: str) -> str:
    """The lower-cased words without digits and punctuation, to recognise a sentence by."""
    text = unicodedata.normalize("NFC", text).lower()
    return " ".join(text.translate(_LETTERS).split())


# --- Worker processes ---------------------------------------------------------------------------


def chunked(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """The pairs in lists that are bounded in number and in characters."""
    chunk: list[Pair] = []
    characters = 0
    for pair in pairs:
        chunk.append(pair)
        characters += len(pair[0]) + len(pair[1])
        if len(chunk) == CHUNK_PAIRS or characters > CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
