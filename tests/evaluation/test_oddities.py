"""Each warning with its count, and none about text that has nothing odd."""

import unicodedata

import pytest

from aiayn.errors import UserError
from aiayn.evaluation.bleu import language, score
from aiayn.evaluation.oddities import is_normalised, oddities

REF = ["Er kam und sah.", "Sie ging."]
SRC = ["He came and saw.", "She left."]
HYP = ["Er kam und sah.", "Sie lief."]


def warnings(hypotheses=HYP, references=REF, sources=SRC, tgt="de") -> str:
    return " ".join(score(hypotheses, references, sources, src="en", tgt=tgt).warnings)


def test_warnings_name_what_makes_figures_doubtful():
    assert warnings() == ""
    assert "1 of 2 hypotheses are empty" in warnings(["Er kam und sah.", ""])
    assert "look tokenised" in warnings(["Er kam und sah .", "Sie ging ."])
    assert "repeat their source" in warnings(SRC)


@pytest.mark.parametrize(
    ("references", "said"),
    [
        (["Er kam.", " "], "1 of 2 references are empty"),
        (["Er kam .", "Sie ging ."], "2 of 2 references look tokenised"),
        (["Er ka\u0308me.", "Sie ging."], "1 of 2 references were not in the Unicode form NFC"),
        (["Er kam.\r", "Sie ging.\r"], "2 of 2 references end in a carriage return"),
        (["Er kam. ", "Sie ging."], "1 of 2 references begin or end in blanks"),
        ([["Er kam.", "Sie."], ["Er kam.", ""]], "1 of 2 references (list 2) are empty"),
        (HYP, "All 2 hypotheses are the same as the references"),
    ],
)
def test_oddities_of_references_are_named(references, said):
    assert said in warnings(references=references)


@pytest.mark.parametrize("line", ["▁Er ▁kam", "er ge@@ kommen", '<seg id="1">Er kam.</seg>'])
def test_every_list_of_references_must_be_plain(line):
    plain = ["Er kam und sah."] * 20
    with pytest.raises(UserError, match=r"3 of 20 references \(list 2\) hold .*line 18"):
        score(plain, [plain, [*plain[:17], line, line, line]], src="en", tgt="de")


def test_of_hypotheses_the_same_is_said():
    decomposed = [unicodedata.normalize("NFD", "Er käme.\r"), "Sie ging."]
    found = warnings(decomposed)
    assert "1 of 2 hypotheses were not in the Unicode form NFC" in found
    assert "1 of 2 hypotheses end in a carriage return" in found


def test_what_cleaning_takes_out_of_ascii_text_is_normalised_too():
    assert is_normalised("a b")
    assert not is_normalised("a\x07b")


def test_blanks_and_line_ends_change_no_figure():
    plain = score(HYP, REF, src="en", tgt="de")
    blanks = score(
        [f" {x} \r" for x in HYP], [x.replace(" ", "  ") for x in REF], src="en", tgt="de"
    )
    assert blanks.entries == plain.entries


@pytest.mark.parametrize("tgt", ["", "xx", "jp", "en"])
def test_text_without_blanks_asks_for_its_language(tgt):
    references = ["彼得今天早上买了一把雨伞。", "学生昨天买了一顶蓝帽子 (IBM)。"]
    assert "script without blanks" in warnings(references=references, tgt=tgt)
    assert "script without blanks" not in warnings(references=references, tgt="zho_Hans")
    assert "script without blanks" not in warnings(tgt=tgt)


@pytest.mark.parametrize(
    ("num_sentences", "line", "pair", "noted"),
    [
        (2_737, "Orlando Bloom und Miranda Kerr lieben sich noch immer", ("en", "de"), True),
        (2_737, "Orlando Bloom and Miranda Kerr still love each other", ("deu", "eng"), True),
        (2_737, "Orlando Bloom und Miranda Kerr lieben sich noch immer .", ("", ""), True),
        (2_737, "Er kam und sah.", ("en", "de"), False),
        (3_003, "Orlando Bloom und Miranda Kerr lieben sich noch immer", ("en", "de"), False),
    ],
)
def test_the_filtered_newstest2014_is_known_by_its_length_and_a_line(
    num_sentences, line, pair, noted
):
    text = [line, *["Er kam."] * (num_sentences - 1)]
    found = oddities(text, [text], None, *map(language, pair), finds_words=False)
    assert any("wmt14/full" in warning for warning in found) == noted
