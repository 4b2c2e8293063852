"""Codes of languages, compared as languages: "EN", "eng" and "en_US" are English (BCP 47).

Names and aliases come from CLDR through Babel, which is imported only where two letters do not say
it all. Machines that only train may be without it; there, codes of three letters stay.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, NamedTuple

_RENAMED = {
    **{"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro", "nb": "no", "sh": "sr"},
    **{"tl": "fil", "tw": "ak"},
}
"""Two letters that mean what others mean: old codes, Norwegian's usual written form, and what CLDR
keeps Tagalog and Twi as."""


CHINESE = frozenset(["zh", "yue", "wuu", "nan", "hak", "gan", "hsn", "cdo", "cjy", "lzh"])
_UNSPACED = CHINESE | {"ja", "th", "lo", "km", "my", "bo", "dz", "shn", "mnw", "nod", "tts"}


class Language(NamedTuple):
    """A code by its parts, each empty where the code does not say it."""

    language: str
    script: str = ""
    region: str = ""
    variant: str = ""
    private: str = ""
    """What follows `-x-`: whatever its user means by it, such as `simple` in `en-x-simple`."""


@lru_cache(1_000)
def parse(code: str) -> Language:
    """The parts of a code: BCP 47, ISO 639-3 (`deu`, `zho_Hans`), or a locale (`pt_BR.UTF-8`)."""
    tag, _, private = re.sub("[.@].*", "", code.strip().lower()).replace("_", "-").partition("-x-")
    first, *rest = tag.split("-")
    if rest and re.fullmatch("[a-z]{3}", rest[0]):  # as in zh-cmn-Hans
        first = rest.pop(0)
    script = region = ""
    if rest and re.fullmatch("[a-z]{4}", rest[0]):
        script = rest.pop(0)
    if rest and re.fullmatch("[a-z]{2}|[0-9]{3}", rest[0]):
        region = rest.pop(0)
    return Language(_shortest(first), script, region, "-".join(rest), private)


def _shortest(first: str) -> str:
    if len(first) == 3:
        alias = _cldr("language_aliases").get(first, first)
        first = alias.split("_")[0].lower()
    return _RENAMED.get(first, first)


def has_blanks(code: str) -> bool:
    """Whether words are written apart; so they are where another script than usual is Latin."""
    found = parse(code)
    return found.script == "latn" or found.language not in _UNSPACED


def same_language(code: str, other: str) -> bool:
    """Whether both are kinds of one language: `en-GB` and `en-x-simple`."""
    return parse(code).language == parse(other).language


def matches(wanted: str, offered: str) -> bool:
    """Whether text in the offered language is what was wanted.

    A script, a region or a variant counts where it is wanted: `pt-BR` is `pt`, and `pt` is `pt-BR`
    since Portuguese is most often Brazil's, as CLDR has it, but `pt-PT` is neither.
    """
    want, have = parse(wanted), parse(offered)
    if (want.language, want.private) != (have.language, have.private):
        return False
    if want.variant and want.variant != have.variant:
        return False
    if not (want.script or want.region):
        return True
    have = _completed(have)
    return want.script in ("", have.script) and want.region in ("", have.region)


def find(wanted: str, offered: Sequence[str]) -> int | None:
    """The place of the language in a list of codes: the same code if it is there, else the
    likeliest kind of the language, else the first that matches.
    """
    places = [place for place, code in enumerate(offered) if matches(wanted, code)]
    if len(places) < 2:
        return places[0] if places else None
    distances = [_distance(wanted, offered[place]) for place in places]
    return places[distances.index(min(distances))]


def _distance(wanted: str, offered: str) -> tuple[bool, bool, bool]:
    """Whether the codes differ as they are written, as codes, and as the likeliest kinds."""
    spelled = {text.strip().lower().replace("_", "-") for text in (wanted, offered)}
    want, have = parse(wanted), parse(offered)
    same = want == have
    return len(spelled) > 1, not same, not same and _completed(want) != _completed(have)


def scripts(code: str) -> set[str]:
    """The scripts that the language is written in, as in ISO 15924: {"Cyrl", "Latn"} for `sr`.

    Empty where CLDR does not know the language.
    """
    given = parse(code)
    if given.script:
        return {given.script.title()}
    found = {_completed(given).script.title()} - {""}
    if found and not given.region:
        identifiers = import_module("babel.localedata").locale_identifiers()
        parts = (identifier.split("_") for identifier in identifiers)
        found |= {p[1] for p in parts if p[0] == given.language and len(p) > 1 and len(p[1]) == 4}
    return found


def script_name(script: str) -> str:
    """Its English name in capitals: "CYRILLIC" for Cyrl."""
    english = _locale("en")
    return str(english.scripts.get(script, script) if english else script).upper()


@cache
def names(code: str) -> frozenset[str]:
    """The language's names, in English and in its own words, in lower case."""
    given = parse(code)
    keys = [given.language]
    keys += [f"{given.language}_{given.region.upper()}"] if given.region else []
    own = _locale(given.language)
    known = [locale.languages.get(key) for locale in (_locale("en"), own) if locale for key in keys]
    return frozenset(name.lower() for name in known if name)


@cache
def english_name(code: str) -> str:
    """The language's name in English, or the code of one that CLDR does not know."""
    english = _locale("en")
    return str(english.languages.get(parse(code).language, code)) if english else code


@cache
def english_names() -> Mapping[str, str]:
    """The code of every language by its English name in lower case."""
    english = _locale("en")
    return {name.lower(): code for code, name in english.languages.items()} if english else {}


@cache
def is_code(text: str) -> bool:
    """Whether this is the code of a language that CLDR knows."""
    if not re.fullmatch(r"[A-Za-z]{2,3}([-_][A-Za-z]{4})?([-_]([A-Za-z]{2}|\d{3}))?", text.strip()):
        return False
    return parse(text).language in set(english_names().values())


def _completed(given: Language) -> Language:
    """With the script and the region that are likeliest for what is given."""
    likely = _cldr("likely_subtags")
    language, script, region = given.language, given.script.title(), given.region.upper()
    for key in (f"{language}_{script}", f"{language}_{region}", language):
        if key in likely:
            _, likely_script, likely_region = likely[key].lower().split("_")[:3]
            return given._replace(
                script=given.script or likely_script, region=given.region or likely_region
            )
    return given


def _cldr(table: str) -> Mapping[str, str]:
    with suppress(ImportError):
        return import_module("babel.core").get_global(table)
    return {}


@cache
def _locale(language: str) -> Any:
    with suppress(ImportError):
        babel = import_module("babel.core")
        with suppress(babel.UnknownLocaleError, ValueError):
            return babel.Locale.parse(language)
    return None
