"""Sentences as they are compared and kept: blanks, Unicode form, chunks of pairs (§5.1)."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

MAX_CHARACTERS = 10_000
"""A longer line is no sentence, and is dropped before anything else looks at it."""

CHUNK_PAIRS, CHUNK_CHARACTERS = 10_000, 8_000_000


_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    chr(p + c) for p in range(0, 17 << 16, 1 << 16) for c in (0xFFFE, 0xFFFF)
)
_INVISIBLE = re.compile(
    # What follows the black flag and ends so is the flag of a region, and one visible sign.
    "(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)|["
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # controls, apart from blanks and ends of lines
    "\u00ad"  # soft hyphen: where a line may be broken
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # in which direction text is shown
    "\u200b\u2060-\u2064\ufeff"  # blanks of no width, joiners of lines, operators nobody sees
    "\u206a-\u206f"  # deprecated since Unicode 3
    "\ufff9-\ufffb"  # where an annotation begins and ends
    "\U000e0001\U000e0020-\U000e007f"  # tags, in which text can hide
    f"{_NONCHARACTERS}]"  # no characters, now or ever
)
"""Characters that nobody sees and that no language needs to spell a word. Kept are those that some
do: U+200C and U+200D (Persian, the scripts of India, emoji), U+034F (Hebrew), variation selectors
(Mongolian, Han, emoji), U+180E (Mongolian), fillers of Hangul, and all that is drawn."""


def visible(text: str) -> str:
    """The text without the characters that nobody sees and that no language needs."""
    # Python calls none of them printable.
    return text if text.isprintable() else _INVISIBLE.sub(r"\1", text)


def visible_places(text: str) -> list[int]:
    """Where in the text each character stands that `visible` leaves."""
    found = [match for match in _INVISIBLE.finditer(text) if not match[1]]
    gone = {place for match in found for place in range(*match.span())}
    return [place for place in range(len(text)) if place not in gone]


def clean(text: str) -> str:
    """Visible and composed: as all text for training is."""
    return composed(visible(text))


def composed(text: str) -> str:
    """NFC, with every run of blanks (Unicode's, line breaks among them) as one blank."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())


def composed_document(text: str) -> str:
    """NFC, with `\\n` for every kind of line break and a plain blank for each of Unicode's others;
    tabs, and as many blanks as there are, stay.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return re.sub(r"[^\S\n\t]", " ", re.sub("\r\n|[\r\x85\u2028\u2029]", "\n", text))


def one_line(text: str) -> str:
    """The text with a blank for the line breaks in it, one for those in a row."""
    return re.sub(r"[\r\n]+", " ", text)


class _Letters(dict[int, str]):
    """For `str.translate`: letters and the marks on them stay, all else becomes a blank."""

    def __missing__(self, code: int) -> str:
        letter = unicodedata.category(chr(code))[0] in "LM"
        self[code] = chr(code) if letter else " "
        return self[code]


_LETTERS = _Letters()


def normalise(text: str) -> str:
    """The lower-cased words without digits and punctuation, to recognise a sentence by."""
    text = unicodedata.normalize("NFC", visible(text)).lower()
    return " ".join(text.translate(_LETTERS).split())


def sentence_key(text: str) -> str:
    """What tells sentences apart however they are written: their words, or all but the blanks of
    those without a letter, such as sums.
    """
    return normalise(text) or "".join(clean(text).split())


_DENSE = (
    "\u2e80-\u2fdf\u3001-\u30ff\u3100-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf"
    "\uf900-\ufaff\uff01-\uff9f\U00020000-\U000323af"
)
"""Han, Kana, Bopomofo and Yi, with the punctuation among them."""
_LOOSE = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\ua980-\ua9ff"
    "\uaa60-\uaadf"
)
"""Thai, Lao, Tibetan, Myanmar, Khmer, the scripts of the Tai, Balinese, Javanese."""
UNSPACED = re.compile(f"[{_DENSE}{_LOOSE}]")
"""A character of a script without blanks between words."""
_UNSPACED_RUN = re.compile(f"([{_DENSE}]+)|[{_LOOSE}]+")


def num_words(text: str) -> int:
    """The words of clean text: what stands between blanks, or as much as that in other scripts.

    Where a script has no blanks between words, two characters of Chinese or Japanese and four of
    Thai, Tibetan and the like count as a word, which is about their share of an English one in
    translations; blanks there, as of a segmenter, count for nothing.
    """
    if text.isascii() or not UNSPACED.search(text):
        return text.count(" ") + 1
    quarters = 0
    for run in _UNSPACED_RUN.finditer(text):
        quarters += len(run[0]) * (2 if run[1] else 1)
    return len(_UNSPACED_RUN.sub(" ", text).split()) + -(-quarters // 4)


# --- Worker processes ---------------------------------------------------------------------------


def chunked(pairs: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """The pairs in lists that are bounded in number and in characters."""
    chunk: list[tuple[str, str]] = []
    characters = 0
    for pair in pairs:
        chunk.append(pair)
        characters += len(pair[0]) + len(pair[1])
        if len(chunk) == CHUNK_PAIRS or characters > CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk
