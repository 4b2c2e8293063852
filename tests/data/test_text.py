import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiayn.data.text import (
    clean,
    composed_document,
    normalise,
    num_words,
    sentence_key,
    visible,
)


def test_normalised_sentences_are_words_alone():
    assert normalise("  1. Déjà-vu, she said: “No!” (2)  ") == "déjà vu she said no"
    assert normalise("कि") != normalise("का")  # Vowel signs tell words apart.
    assert normalise("1984?!") == ""


def test_clean_text_has_one_plain_blank_between_words_and_composed_letters():
    assert clean("  a\u00a0b\t\n c\u2028d ") == "a b c d"
    assert clean("e\u0301") == "é"


HIDDEN = (
    *("\x00\x08\x1b\x7f\x84\x9f\u00ad\u061c\u200b\u200e\u202e\u2060\u2066\ufeff\ufff9\ufdd0"),
    *("\U000e0041", "\U0010ffff"),
)
SEEN = (
    "می\u200cخواهم",  # Persian: other letters are joined without U+200C
    "क्\u200dष",
    "👩\u200d🔬❤\ufe0f",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # England's flag
    "葛\U000e0100",
    "ᠠ\u180e",
    "\u0600 ۝",
    "tab\tline\u2028\x0b",
)


def test_what_nobody_sees_is_removed():
    for char in HIDDEN:
        assert visible(f"a{char}b{char}") == "ab", ascii(char)
        assert clean(f" a{char}b") == "ab"
        assert normalise(f"a{char}b") == "ab"
    # Accents come together once nothing stands between them.
    assert clean("e\u200b\u0301") == "é"


@pytest.mark.parametrize("text", SEEN)
def test_what_a_language_needs_stays(text):
    assert visible(text) == text


def test_a_tag_that_belongs_to_no_flag_is_removed():
    assert visible("x\U000e0067\U000e007f 🏴\U000e0067") == "x 🏴"


@given(st.text())
def test_clean_text_stays_as_it_is(text):
    assert clean(clean(text)) == clean(text)
    assert visible(visible(text)) == visible(text)
    assert num_words(clean(text)) >= bool(clean(text))


def test_sums_are_told_apart_by_what_they_are():
    assert sentence_key("3 + 4 = 7") == sentence_key(" 3+4 =7")
    assert sentence_key("3 + 4 = 7") != sentence_key("3 + 5 = 8")
    assert sentence_key("Room 3!") == sentence_key("room 4") == "room"
    assert sentence_key(" \u200b ") == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one two three", 3),
        ("Das ist größer.", 3),
        ("안녕하세요 여러분", 2),  # Korean has blanks
        ("学生上周买了一顶蓝帽子。", 6),  # 12 characters
        ("学生 上周 买了 一顶 蓝帽子 。", 6),  # whoever has cut it
        ("iPhone 很贵", 2),  # one word, and two characters
        ("学", 1),
        ("สวัสดีครับ", 3),  # 10 characters: 2.5 words
        ("わたしは学生です", 4),
    ],
)
def test_words_are_counted_in_scripts_without_blanks(text, words):
    assert num_words(text) == words


def test_a_document_keeps_its_blanks_and_line_breaks():
    text = "  cafe\u0301\u00a0\u3000a\tb  \r\n\r\n\tc\rd\x85e\u2028f\u2029"
    assert composed_document(text) == "  café  a\tb  \n\n\tc\nd\ne\nf\n"


@given(st.text())
def test_a_composed_document_stays_as_it_is(text):
    once = composed_document(text)
    assert composed_document(once) == once
    assert once.split() == clean(text).split() or visible(text) != text
