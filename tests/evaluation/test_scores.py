import io
import json

import msgspec
import pytest

from aiayn.evaluation.bleu import score
from aiayn.evaluation.scores import Score, Scores, bleu_name, show, tokeniser
from aiayn.render.terminal import Terminal


def test_scores_come_back_from_json():
    found = score(["a b c", ""], ["a b d", "e"], src="en", tgt="de")
    assert found.warnings
    assert msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(found))), Scores) == found


def shown(results, width=80, **options) -> str:
    console = Terminal(width=width, record=True, file=io.StringIO())
    show(results, console, **options)
    return console.export_text()


def test_table_fits_a_terminal_and_shows_signatures_and_warnings():
    before = score(["a b c d e x"], ["a b c d e f"], src="en", tgt="de")
    after = score([""], ["a b c d e f"], src="en", tgt="de")
    text = shown({"newstest2014": {"last checkpoint": before, "average of 5": after}})
    table = text.split("BLEU 13a compares")[0]
    assert "75.98" in table
    assert "…" not in text
    assert max(map(len, table.splitlines())) <= 80
    assert before["sacrebleu"].how in text
    assert "newstest2014: 1 of 1 hypotheses are empty." in text


@pytest.mark.parametrize("width", [1, 20, 40, 80, 200])
def test_no_figure_name_or_signature_is_cut_or_broken(width):
    names = "news[de].en", "[/x]", "newstest2014-full-of-the-campaign-of-that-year"
    found = score(["a b c d e x"], [["a b c d e f"], [""]], src="en", tgt="de")
    text = shown({name: {"[b]last": found} for name in names}, width, title="[red]t", every=True)
    for entry in found.entries:
        assert f"  {entry.how}\n" in text
        assert f" {entry.value:.2f}" in text
    for whole in (*names, "[b]last", "[red]t", *(f"{w}\n" for w in found.warnings)):
        assert whole in text
    assert "…" not in text


def test_a_figure_that_could_not_be_taken_is_a_dash_with_its_reason():
    found = score(["买了两顶帽子"], ["买了一顶帽子"], src="en", tgt="zh")
    text = shown({"test": {"": found}})
    (row,) = (line for line in text.splitlines() if line.split()[:1] == ["test"] and "." in line)
    assert row.split()[3:] == [f"{found['chrf2'].value:.2f}", "–", "–", "–"]
    assert "BLEU zh compares with" in text
    assert text.count(found["tokenised"].how) == 1
    assert f"Moses cased, Moses uncased, Moses split: not taken, {found['tokenised'].how}\n" in text


def test_the_columns_of_tokenised_text_are_the_figures_that_it_has():
    found = score(["a b c d e x"], ["a b c d e f"], src="en", tgt="de", tokens=True)
    for every in (False, True):
        text = shown({"test": {"": found}}, every=every)
        assert "Moses" not in text
        assert "tokens as they are compares with multi-bleu.perl or fairseq's score" in text
        (row,) = (
            line for line in text.splitlines() if line.split()[:1] == ["test"] and "." in line
        )
        assert row.split()[1:] == [f"{entry.value:.2f}" for entry in found.entries]


def test_the_tokeniser_is_read_from_a_signature():
    assert tokeniser(
        "references normalised (NFC, nothing invisible), nrefs:1|tok:ja-mecab-0.9-IPA|v:2"
    ) == ("ja-mecab-0.9-IPA")
    assert tokeniser("") == ""
    named = [bleu_name(f"nrefs:1|tok:{name}|smooth:exp") for name in ("13a", "none")]
    assert [*named, bleu_name("")] == ["BLEU (13a)", "BLEU, tokens as they are", "BLEU"]


def test_a_set_that_was_not_scored_has_dashes_beside_the_others():
    found = score(["a b c d e x"], ["a b c d e f"], src="en", tgt="de")
    lost = Scores("en", "de", 1, (Score("sacrebleu", None, "not scored: why", "nothing"),))
    text = shown({"good": {"": found}, "bad": {"": lost}})
    (row,) = (line for line in text.splitlines() if line.split()[:1] == ["bad"])
    assert set(row.split()[1:]) == {"–"}
    assert "BLEU 13a: not taken, not scored: why" in text
