"""Codes are compared as languages."""

import pytest

from aiayn.data import languages
from aiayn.data.languages import (
    find,
    has_blanks,
    is_code,
    matches,
    names,
    parse,
    same_language,
    scripts,
)


@pytest.mark.parametrize(
    "code",
    ["de", "DE", " de ", "deu", "ger", "de-DE", "de_AT", "deu_Latn", "de_DE.UTF-8"],
)
def test_all_ways_to_write_german_are_german(code):
    assert parse(code).language == "de"
    assert matches("de", code)
    assert not matches("en", code)


@pytest.mark.parametrize(
    ("code", "language"),
    [
        *(("eng", "en"), ("cmn", "zh"), ("zho_Hans", "zh"), ("zh-cmn-Hans", "zh"), ("jpn", "ja")),
        *(("iw", "he"), ("arb_Arab", "ar"), ("pes", "fa"), ("nb", "no"), ("xx", "xx"), ("", "")),
        *(("tl", "fil"), ("tgl", "fil"), ("tw", "ak"), ("twi", "ak")),
    ],
)
def test_codes_of_three_letters_and_old_ones_are_those_of_two(code, language):
    assert parse(code).language == language


@pytest.mark.parametrize(
    ("wanted", "offered", "is_it"),
    [
        ("pt", "pt-BR", True),
        ("pt_br", "pt-BR", True),
        ("pt-BR", "pt", True),  # what Portuguese is when nothing else is said
        ("pt-PT", "pt", False),
        ("pt-PT", "pt_BR", False),
        ("zh", "zh-Hant", True),
        ("zh-CN", "zh-Hans", True),
        ("zh-TW", "zh-Hant", True),
        ("zh-TW", "zh-Hans", False),
        ("zh-Hans", "cmn", True),
        ("sr-Latn", "sr", False),
        ("de-AT", "de", False),
        ("en", "en-x-simple", False),
        ("en-x-simple", "en", False),
        ("EN-X-SIMPLE", "en-x-simple", True),
        ("ca-valencia", "ca", False),
        ("ca", "ca-valencia", True),
    ],
)
def test_what_is_wanted_counts_and_what_is_not_does_not(wanted, offered, is_it):
    assert matches(wanted, offered) is is_it


@pytest.mark.parametrize(
    ("wanted", "offered", "place"),
    [
        ("pt-BR", ["pt-PT", "pt-BR"], 1),
        ("pt", ["pt-PT", "pt-BR"], 1),  # the likelier one
        ("pt", ["pt-AO", "pt-MZ"], 0),
        ("en", ["en-GB", "EN", "en-US"], 1),
        ("en", ["en-x-simple", "en"], 1),
        ("de", ["score", "fr"], None),
    ],
)
def test_of_several_kinds_the_nearest_is_taken(wanted, offered, place):
    assert find(wanted, offered) == place


def test_dialects_and_private_kinds_are_one_language():
    assert same_language("en-GB", "eng")
    assert same_language("en", "en-x-simple")
    assert not same_language("en", "de")


def test_without_babel_codes_of_two_letters_are_compared_all_the_same(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(languages, "import_module", missing)
    for function in (parse, languages._locale, languages.english_names, is_code, names):
        function.cache_clear()
    assert matches("de", "de-AT")
    assert matches("de-AT", "DE_at")
    assert not matches("de", "deu")
    assert (scripts("ru"), names("de"), is_code("en")) == (set(), frozenset(), False)
    for function in (parse, languages._locale, languages.english_names, is_code, names):
        function.cache_clear()


def test_languages_have_names_and_scripts():
    assert {"german", "deutsch"} <= names("de")
    assert names("xx") == frozenset()
    assert (scripts("ru"), scripts("zh-Hant"), scripts("xx")) == ({"Cyrl"}, {"Hant"}, set())
    assert {"Cyrl", "Latn"} <= scripts("sr")
    assert [is_code(text) for text in ("en", "deu", "zh-Hans", "qq", "The", "hello")] == [
        *(True, True, True, False, False, False)
    ]


@pytest.mark.parametrize("code", ["zh", "zh_CN", "cmn", "yue", "JA", "jpn", "th-TH", "khm", "bo"])
def test_languages_written_without_blanks_are_known_by_any_code(code):
    assert not has_blanks(code)


@pytest.mark.parametrize("code", ["en", "ko", "kor", "zh-Latn", "ja-Latn", "vi", ""])
def test_other_languages_and_romanised_ones_have_blanks(code):
    assert has_blanks(code)
