"""Where a line too long for a model may be cut, and how its translations are joined again."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from aiayn.data.languages import has_blanks
from aiayn.data.text import UNSPACED

_SURE = frozenset("。｡．？！؟۔।॥։።፧፨།༎။។៕᠃᠉܀܁܂߹᱾᱿꧉꯫᭞᭟")
"""Marks that end a sentence whatever follows, in scripts that have no capital letters or blanks."""
_PLAIN = frozenset(".?!…‥‼⁇⁈⁉‽")
"""Marks that end one where a blank follows, and no small letter."""
_CLAUSE = frozenset(",;:，、；：､،؛፣፤၊·")
_OPENERS = "\"'“‘„‚«‹「『([{（【《〈〔［¿¡-–—―•*"
_CLOSERS = "\"'”’»›」』)]}）】》〉〕］"
_FAR = 40
"""Characters before a full stop that are looked at for an abbreviation."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _any_of(*characters: str) -> str:
    return f"[{re.escape(''.join(characters))}]"


_MARKS = "".join(sorted(_SURE | _PLAIN))
_CLOSING = rf"{_any_of(_MARKS, _CLOSERS)}|[“«‹](?=\s|$)|\s[»›]"
"""German closes with what English opens with; French has a blank before."""
_END = re.compile(rf"{_any_of(_MARKS)}(?:{_CLOSING})*")
_AHEAD = re.compile(rf"(\s*)(?:{_any_of(_OPENERS)}|\s)*(.?)", re.DOTALL)
_LAST_WORD = re.compile(r"([^\W\d_]+(?:\.[^\W\d_]+)*|\d+)$")
_SHORTENED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,3}$")

_BEFORE_NAMES = _words(
    "mr mrs ms messrs dr prof rev hon gen col maj sgt capt cpt cmdr lt adm gov sen rep st ste mt vs"
    " mm mme mmes mlle dra sra srta sr sig sigg dott avv dhr mevr mw drs hr fr dipl ing inż mgr"
    " bzw vgl ggf evtl bspw sog inkl bijv np tzn им ул проф стр"
)
"""Abbreviations that no sentence ends with, since something always follows them."""
_BEFORE_NUMBERS = _words(
    "no nos nr nrs vol vols pp fig figs abb tab art arts ch sec abs kap bd núm num pág str ca"
    " approx al geb est"
)
"""Abbreviations before a number; elsewhere the same letters may be a word."""
_DAYTIME = frozenset(("a.m", "p.m"))
"""Written like abbreviations, and common at the end of a sentence."""
_ORDINAL = re.compile(r"\b(?:der|die|das|den|dem|des|im|vom|zum|beim)\s+\d{1,2}$", re.IGNORECASE)
_MONTH = re.compile(
    r"\s*(?:Jänner|Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November"
    r"|Dezember|Jahrhundert|Jh)\b"
)
"""German writes ordinals with a full stop, and nouns with a capital letter: am 3. Oktober."""


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with the blanks after it: joined they are the text again."""
    cut: list[str] = []
    begin, looked_at, has_letter = 0, 0, False
    for found in _END.finditer(text):
        # "1." and "..." are none of their own: they belong to what follows.
        has_letter = has_letter or any(map(str.isalpha, text[looked_at : found.start()]))
        looked_at = found.end()
        if has_letter and (end := _sentence_end(text, found)):
            cut.append(text[begin:end])
            begin, has_letter = end, False
    rest = text[begin:]
    if cut and not any(map(str.isalnum, rest)):
        cut[-1] += rest
        return cut
    return [*cut, rest]


def _sentence_end(text: str, found: re.Match[str]) -> int:
    """Where the next sentence begins after these marks; 0 if none does."""
    ahead = _AHEAD.match(text, found.end())
    if not ahead or not (first := ahead[2]):
        return 0
    blanks, next_one = ahead[1], text[ahead.end(1)]
    if next_one in _MARKS:
        return 0
    before = text[max(0, found.start() - _FAR) : found.start()]
    marks = found[0].strip("“«‹" + _CLOSERS + " \xa0\u202f")
    if _SURE.intersection(marks):
        within = before[-1:].isdigit() and next_one.isdigit()  # 3．5
        on = next_one in _CLAUSE or next_one == "と" or unicodedata.category(next_one)[0] == "M"
        return 0 if not blanks and (within or on) else ahead.end(1)
    if not blanks:  # as in Chinese with Latin marks; there "…" often stands within a sentence
        between = all(map(UNSPACED.match, (before[-1:], next_one)))
        return found.end() if between and not marks.strip(".?!") else 0
    if first.islower() or (marks == "." and _is_abbreviation(before, first, text, found.end())):
        return 0
    return ahead.end(1)


def _is_abbreviation(before: str, first: str, text: str, end: int) -> bool:
    """Whether a full stop after `before` belongs to a short form or an ordinal number."""
    found = _LAST_WORD.search(before)
    if not found:
        return False
    word = found[0].lower()
    if word.isdigit():
        return bool(_ORDINAL.search(before) or (len(word) <= 2 and _MONTH.match(text, end)))
    if word in _DAYTIME:
        return False
    is_initial = len(word) == 1 and word != word.upper()
    if is_initial or word in _BEFORE_NAMES or _SHORTENED.match(word):
        return True
    return word in _BEFORE_NUMBERS and first.isdigit()


def place_to_cut(pieces: Sequence[str]) -> int:
    """How many of these pieces of a sentence to take where all but the last would fit.

    At least half of them: up to the last clause, else the last word, else the last character.
    """
    most = len(pieces) - 1
    neighbours = list(pairwise(pieces))
    for may_part in (_is_between_clauses, _is_between_words, _is_between_characters):
        for place in range(most, max(1, most // 2) - 1, -1):
            if may_part(*neighbours[place - 1]):
                return place
    return most


def _is_between_words(_: str, right: str) -> bool:
    return right.startswith("\u2581")


def _is_between_clauses(left: str, right: str) -> bool:
    mark = left.rstrip(_CLOSERS)[-1:]
    return mark in _CLAUSE and (not mark.isascii() or _is_between_words(left, right))


def _is_between_characters(_: str, right: str) -> bool:
    """Neither within the bytes that spell a character nor before a mark on it."""
    return not re.match(r"<0x[89AB][0-9A-F]>$", right) and unicodedata.category(right[:1])[0] != "M"


def joined(texts: Sequence[str], language: str) -> str:
    """The parts of a text as one line, with a blank between them where the language has blanks.

    Some models write several languages: there the characters that meet decide as well.
    """
    without = not has_blanks(language)
    found: list[str] = []
    for text in filter(None, texts):
        if found and not without and not all(map(UNSPACED.match, (found[-1][-1], text[0]))):
            found.append(" ")
        found.append(text)
    return "".join(found)
