import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiayn.decoding.sentences import joined, place_to_cut, sentences

TEXTS = [
    # Each list is one text: joined and cut again, its sentences must come back.
    ["We wait on platform 7. ", "He came at 9:15 AM. ", "She left at 7 p.m. ", "It costs 3.50."],
    ["Dr. Smith and J. R. Jones paid, e.g. for tea. ", "See No. 5 (pp. 7). ", "No. ", "Why not?"],
    ['"Stop!" she cried. ', "“Why?” he asked. ", "‘I see … yes.’ ", "(It rained.) ", "So what?!"],
    ["Am 3. Oktober kam er, z. B. mit Dr. Kohl. ", "Montag, 4. Mai. ", "„Geh!“ ", "Er ging."],
    ["Vraiment ? ", "« Oui. » ", "M. Blanc part… ", "Où ça ?"],
    ["¿Qué hora es? ", "¡Vamos! ", "Llegó el Sr. Gómez."],
    ["Он пришёл. ", "Почему? ", "Т.е. никто не знает."],
    [
        "我们在7号站台等。",
        "他说他会来！",
        "“你好吗？”",
        "版本3.5很好…真的。",
        "再见!",
        "走吧?",
        "好．",
    ],
    ["これは本です。", "「はい。」と言った。", "東京へ行く！", "１．５倍です。"],
    ["यह किताब है। ", "वह आया॥ ", "क्या वह आया?"],
    ["ما اسمك؟ ", "أنا بخير. ", "شكرا۔ ", "ہاں"],
    ["Բարեւ։ ", "Ինչպես ես։"],
    ["ሰላም። ", "ደህና ነኝ።"],
    ["བཀྲ་ཤིས། ", "བདེ་ལེགས༎"],
    ["1. Buy bread. ", "2. Sell it. ... ", "Then rest."],
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[0])
def test_a_text_is_cut_at_the_ends_of_its_sentences(text):
    assert sentences("".join(text)) == text


@given(st.text(st.sampled_from("aB 1.?!…。？।།,;\"'“”«»()と\u0301\n"), max_size=40) | st.text())
def test_sentences_joined_are_the_text(text):
    found = sentences(text)
    assert "".join(found) == text
    assert len(found) == 1 or all(map(str.strip, found))


@pytest.mark.parametrize("mark", ["1. ", "A. ", "。", '."'])
def test_a_line_of_any_length_is_cut(mark):
    # In a time that grows as its length; the square of it would be minutes.
    assert "".join(sentences(mark * 50_000)) == mark * 50_000


def parts(pieces, room):
    found = []
    while len(pieces) > room:
        end = place_to_cut(pieces[: room + 1])
        found.append(pieces[:end])
        pieces = pieces[end:]
    return ["".join(part) for part in (*found, pieces)]


def test_a_long_sentence_is_cut_at_clauses_then_words_then_characters():
    clauses = re.findall("▁?.", "▁abc,▁cd▁ef▁gh;▁i▁jk")
    assert parts(clauses, 8) == ["▁abc,", "▁cd▁ef▁gh;", "▁i▁jk"]
    assert parts(re.findall("▁?.", "▁1,000,000,000"), 8) == ["▁1,000,00", "0,000"]
    assert parts(re.findall("▁?.", "▁ab▁cde▁fgh"), 4) == ["▁ab", "▁cde", "▁fgh"]
    assert parts(list("我们在，他们说、好吧我们走"), 6) == ["我们在，", "他们说、", "好吧我们走"]
    # A character in bytes, and a letter with its accent, stay whole.
    spelled = [f"<0x{byte:02X}>" for byte in "😀😀😀".encode()]
    assert parts(spelled, 6) == ["".join(spelled[4 * n : 4 * n + 4]) for n in range(3)]
    assert parts(list("aae\u0301"), 3) == ["aa", "e\u0301"]


@pytest.mark.parametrize(
    ("language", "texts", "wanted"),
    [
        ("de", ["Eins.", "", "Zwei."], "Eins. Zwei."),
        ("ko", ["하나.", "둘."], "하나. 둘."),
        ("zh", ["一。", "A。"], "一。A。"),
        ("zh_CN", ["一。", "二。"], "一。二。"),
        ("jpn", ["一。", "二。"], "一。二。"),
        ("th", ["หนึ่ง", "สอง"], "หนึ่งสอง"),
        # A model of several languages does not say which one it writes.
        ("mul", ["一。", "二。"], "一。二。"),
        ("mul", ["One.", "二。"], "One. 二。"),
        ("de", [], ""),
    ],
)
def test_translations_are_joined_as_their_language_is_written(language, texts, wanted):
    assert joined(texts, language) == wanted
