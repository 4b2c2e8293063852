"""Parsed text beside a treebank alone, by hand."""

from msgspec.structs import replace

from aiayn.evidence.claims import entries
from aiayn.evidence.parsed_text import OWN, PARSED, changes, summary, table_rows
from aiayn.evidence.records import AblatedRun, Row
from aiayn.evidence.tables import render_parsed_text
from aiayn.experiments import load_experiment
from tests.evidence.test_table3 import ABOUT, MINIATURE

BASE = load_experiment("parsed_text")


def _record(**f1):
    rows = {
        row: Row(
            changes(BASE, row),
            1_000,
            [
                AblatedRun(**ABOUT, seed=seed, perplexity=2.0, bleu=score)
                for seed, score in enumerate(scores, 1)
            ],
        )
        for row, scores in f1.items()
    }
    about = {"experiment": "parsed_text", "file": "parsed_text.json", "config": BASE.to_dict()}
    return replace(MINIATURE, **about, rows=rows)


RECORD = _record(base=[60.0, 62.0], other=[64.0, 64.0], own=[60.0, 63.0])


def test_rows_differ_by_the_files_of_train():
    files = list(BASE.data.train_files)
    assert changes(BASE, "base") == {}
    assert changes(BASE, "other") == {"data.train_files": [*files, PARSED]}
    assert changes(BASE, "own") == {"data.train_files": [*files, OWN]}


def test_each_row_is_held_against_the_treebank_alone_with_the_same_seed():
    assert list(table_rows(RECORD)) == [
        ["learnt from", "F1", "Δ F1"],
        ["the treebank", "61.0", "–"],
        # 4 and 2, 0 and 1: means and deviations.
        ["and text, parsed by another parser", "64.0", "+3.00 ± 1.41"],
        ["and the same text, parsed by the first row", "61.5", "+0.50 ± 0.71"],
    ]
    assert summary(RECORD).startswith("Means over 2 seeds")
    single = _record(base=[60.0], other=[64.0], own=[60.5])
    assert "| and text, parsed by another parser | 64.0 | +4.00 |" in render_parsed_text([single])
    assert summary(single).startswith("One seed.")


def test_a_record_is_rendered_and_stands_in_the_ledger():
    text = render_parsed_text([RECORD])
    assert "### Parsed text: parsed_text\n" in text
    assert "2 seeds" in text
    assert "config " in text
    ledger = {entry.id: entry for entry in entries({}, {}, parsed=RECORD)}
    claim = ledger["parsing-more-text"].decide()
    assert claim.status == "measured"
    assert claim.ours.startswith("+3.00 ± 1.41 F1 from text, parsed by another parser, +0.50")
    assert "results/parsed_text/parsed_text.json" in claim.how
    without = {entry.id: entry for entry in entries({}, {})}["parsing-more-text"].decide()
    assert without.status == "not run here"
    assert "aiayn ablate parsed_text" in without.how
