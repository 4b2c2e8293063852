"""Each ruler against figures worked out by hand, and against sacreBLEU on real output."""

import gzip
import math
import sys
from functools import cache
from pathlib import Path

import pytest

from aiayn.errors import UserError
from aiayn.evaluation.bleu import plain_quotes, score, split_compounds
from aiayn.evaluation.scores import Scores

NEWSTEST = Path(__file__).parents[3] / "shared" / "data" / "newstest"


def one(hypothesis: str, reference: str, name: str) -> float | None:
    return score([hypothesis], [reference], src="en", tgt="de")[name].value


def test_bleu_is_the_geometric_mean_of_four_precisions():
    # The last of six words is wrong: 5/6, 4/5, 3/4 and 2/3 of the n-grams match, product 1/3.
    assert one("a b c d e x", "a b c d e f", "sacrebleu") == pytest.approx(100 * (1 / 3) ** 0.25)


def test_short_output_pays_the_brevity_penalty():
    # All precisions are 1; five tokens for six give exp(1 - 6/5).
    assert one("a b c d e", "a b c d e f", "sacrebleu") == pytest.approx(100 * math.exp(-0.2))


def test_counts_are_summed_over_the_corpus_before_they_are_divided():
    # Sentence 1: 5/6, 4/5, 3/4, 2/3 as above; sentence 2, all right: 4/4, 3/3, 2/2, 1/1.
    # Summed: 9/10, 7/8, 5/6, 3/4. A mean of the two sentences' own BLEU would be 87.99.
    found = score(["a b c d e x", "g h i j"], ["a b c d e f", "g h i j"], src="en", tgt="de")
    product = (9 / 10) * (7 / 8) * (5 / 6) * (3 / 4)
    assert found["sacrebleu"].value == pytest.approx(100 * product**0.25)
    assert found["sacrebleu"].detail == "90.0/87.5/83.3/75.0, BP 1.000, 10/10"


@pytest.mark.parametrize("ruler", ["sacrebleu", "tokenised"])
def test_case_counts_except_where_the_name_says_so(ruler: str):
    # One wrong word at the start: the same 5/6 · 4/5 · 3/4 · 2/3 as at the end.
    assert one("A b c d e f", "a b c d e f", ruler) == pytest.approx(100 * (1 / 3) ** 0.25)
    assert one("A b c d e f", "a b c d e f", f"{ruler}-lc") == pytest.approx(100)


def test_chrf2_is_the_f_score_of_character_n_grams():
    # Single characters: 1 of 2 match; pairs: 0 of 1; longer n-grams do not exist and do not count.
    # So precision and recall are both (1/2 + 0) / 2, and so is every F of them.
    assert one("ab", "ac", "chrf2") == pytest.approx(25)


def test_only_the_papers_ruler_gives_credit_for_half_a_compound():
    hypothesis, reference = "wir sahen die so-benannte Stadt", "wir sahen die so-genannte Stadt"
    # Five tokens with the fourth wrong: 4/5, 2/4, 1/3, and none of the 4-grams.
    # multi-bleu.perl then gives 0; sacreBLEU counts half a match among the two, 1/4.
    assert one(hypothesis, reference, "tokenised") == 0
    smoothed = (4 / 5) * (2 / 4) * (1 / 3) * (1 / 4)
    assert one(hypothesis, reference, "sacrebleu") == pytest.approx(100 * smoothed**0.25)
    # Split, there are seven tokens with the sixth wrong: 6/7, 4/6, 3/5, 2/4.
    split = (6 / 7) * (4 / 6) * (3 / 5) * (2 / 4)
    assert one(hypothesis, reference, "compound-split") == pytest.approx(100 * split**0.25)


def test_moses_separates_punctuation_but_not_german_ordinals():
    # Er kam am 3. Mai , dann ging er . | ... dann lief er . : 9 tokens, the seventh wrong.
    # By n-gram length 8/9, 6/8, 4/7, 3/6 match. English rules would tear "3." in two.
    hypothesis, reference = "Er kam am 3. Mai, dann lief er.", "Er kam am 3. Mai, dann ging er."
    product = (9 / 10) * (7 / 9) * (5 / 8) * (4 / 7)
    assert one(hypothesis, reference, "tokenised") == pytest.approx(100 * product**0.25)


def test_compounds_split_as_the_papers_script_does():
    at = "##AT##-##AT##"
    assert split_compounds("die US-Regierung - ja") == f"die US {at} Regierung - ja"
    assert split_compounds("Aix-en-Provence") == f"Aix {at} en {at} Provence"
    assert split_compounds("x-y-z") == f"x {at} y-z"  # matches do not overlap
    assert split_compounds("-minus plus-") == "-minus plus-"


def test_plain_quotes_give_credit_that_typographic_ones_do_not():
    # Six tokens of which the two quotes differ; made plain, all are right.
    hypothesis, reference = 'er "kam und sah" es', "er „kam und sah“ es"
    assert plain_quotes("„a“ ‚b‘ «c»") == '"a" \'b\' "c"'
    assert one(hypothesis, reference, "compound-split-quotes") == pytest.approx(100)
    assert one(hypothesis, reference, "compound-split") == 0


@pytest.mark.parametrize(("num_sentences", "noted"), [(2_737, True), (3_003, False)])
def test_the_filtered_newstest2014_is_named(num_sentences: int, noted: bool):
    text = ["Er kam und sah."] * num_sentences
    warnings = " ".join(score(text, text, src="en", tgt="de").warnings)
    assert ("wmt14/full" in warnings) == noted


# From newstest's README beside the data, made with sacrebleu 2.6.0's own command.
GOLDEN = {
    "bergamot-tiny": (
        28.0514,
        28.5648,
        28.5001,
        56.1281,
        "59.8/34.0/21.9/14.7, BP 0.988, 62947/63737",
    ),
    "bergamot-base-memory": (
        28.0884,
        28.6244,
        28.5042,
        56.2544,
        "59.5/33.8/21.8/14.6, BP 0.993, 63291/63737",
    ),
}


# Printed by Moses' own scripts, tokenizer.perl 1.1 (-q -l de, as PyPI's mosestokenizer 1.2.1 holds
# it) and multi-bleu.perl (mosesdecoder 31473d8), the compounds split by get_ende_bleu.sh's line of
# Perl in between.
MOSES = {
    "bergamot-tiny": {
        "tokenised": ("27.96", "59.7/33.8/21.7/14.6, BP 0.989, 62730/63412"),
        "tokenised-lc": ("28.48", "60.8/34.4/22.1/14.8, BP 0.989, 62730/63412"),
        "compound-split": ("28.42", "59.9/34.1/22.0/14.8, BP 0.994, 63890/64248"),
    },
    "bergamot-base-memory": {
        "tokenised": ("28.03", "59.4/33.7/21.7/14.5, BP 0.995, 63091/63412"),
        "tokenised-lc": ("28.56", "60.6/34.3/22.1/14.8, BP 0.995, 63091/63412"),
        "compound-split": ("28.45", "59.7/34.0/22.0/14.8, BP 0.999, 64177/64248"),
    },
}


@cache
def newstest2013(system: str) -> Scores:
    def lines(name: str) -> list[str]:
        with gzip.open(NEWSTEST / name, "rt", encoding="utf-8") as file:
            return file.read().splitlines()

    return score(
        lines(f"outputs/newstest2013.en-de.{system}.de.gz"),
        lines("newstest2013.de.gz"),
        lines("newstest2013.en.gz"),
        src="en",
        tgt="de",
    )


@pytest.mark.skipif(not NEWSTEST.is_dir(), reason="newstest2013 is not at hand")
@pytest.mark.parametrize("system", MOSES)
def test_real_output_scores_as_by_the_scripts_of_moses(system: str):
    found = newstest2013(system)
    for name, (value, detail) in MOSES[system].items():
        assert (f"{found[name].value:.2f}", found[name].detail) == (value, detail)


@pytest.mark.skipif(not NEWSTEST.is_dir(), reason="newstest2013 is not at hand")
@pytest.mark.parametrize("system", GOLDEN)
def test_real_output_scores_as_published(system: str):
    found = newstest2013(system)
    *values, detail = GOLDEN[system]
    names = ("sacrebleu", "sacrebleu-lc", "intl", "chrf2")
    assert [found[name].value for name in names] == pytest.approx(values, abs=5e-5)
    assert found["sacrebleu"].detail == detail
    assert found.num_sentences == 3000
    assert found.warnings == ()


def test_unequal_counts_are_refused_by_their_numbers():
    with pytest.raises(UserError, match="2 hypotheses but 3 references"):
        score(["a", "b"], ["a", "b", "c"], src="en", tgt="de")
    with pytest.raises(UserError, match="1 sources but 2 references"):
        score(["a", "b"], ["a", "b"], ["a"], src="en", tgt="de")
    with pytest.raises(UserError, match="no references"):
        score([], [], src="en", tgt="de")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("▁Er ▁kam", "subword markers"),
        ("er ge@@ kommen", "subword markers"),
        ('<seg id="1">Er kam.</seg>', "SGML"),
    ],
)
def test_text_that_is_not_detokenised_is_refused_and_a_stray_line_of_it_noted(line: str, what: str):
    plain = ["Er kam und sah."] * 20
    with pytest.raises(UserError, match=f"3 of 20 hypotheses hold {what}.*line 18"):
        score([*plain[:17], line, line, line], plain, src="en", tgt="de")
    (warning,) = score([*plain[:18], line, line], plain, src="en", tgt="de").warnings
    assert f"2 of 20 hypotheses hold {what}" in warning


def test_warnings_name_what_makes_figures_doubtful():
    ref = ["Er kam und sah.", "Sie ging."]
    src = ["He came and saw.", "She left."]

    def warnings(hypotheses: list[str]) -> str:
        return " ".join(score(hypotheses, ref, src, src="en", tgt="de").warnings)

    assert warnings(["Er kam und sah.", "Sie lief."]) == ""
    assert "1 of 2 hypotheses are empty" in warnings(["Er kam und sah.", ""])
    assert "look tokenised" in warnings(["Er kam und sah .", "Sie ging ."])
    assert "repeat their source" in warnings(src)


def test_figures_that_need_a_missing_package_say_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    found = score(["a b c d"], ["a b c d"], src="en", tgt="de")
    assert found["sacrebleu"].value == pytest.approx(100)
    assert found["compound-split"].value is None
    assert found["compound-split"].how == "sacremoses is not installed"
