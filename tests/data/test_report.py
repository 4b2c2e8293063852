"""What a report says of a corpus, by hand."""

import io
import json
from dataclasses import replace

import pytest

from aiayn.data import report as report_module
from aiayn.data.prepare import Prepared
from aiayn.data.prepare import prepare as prepare_rows
from aiayn.data.report import REPORT, report, script_shares, show
from aiayn.data.store import PackedSplit
from aiayn.render.terminal import Terminal
from tests.support.corpora import config, prepare, write_pairs, write_texts
from tests.support.models import TOKENIZER
from tests.support.trees import write_treebank


def prepared(folder, pairs, too_long=0, **changes):
    """Prepared text of these pairs, with a tokenizer that was there before."""
    write_pairs(folder / "source", "train", pairs)
    write_pairs(folder / "source", "dev", [("dev", "dev")])
    tgt = changes.get("tgt", "de")
    for name in ("train", "dev"):
        (folder / "source" / f"{name}.de").rename(folder / "source" / f"{name}.{tgt}")
    data = config(folder / "source", test_files=(), deduplicate=False, **changes)
    manifest = prepare(data, folder / "data" / "text")
    rows = PackedSplit(folder / "data", "train", (), too_long)
    return Prepared(folder / "data", manifest, TOKENIZER, rows, rows)


def text_of(found):
    file = io.StringIO()
    show(found, Terminal(file=file, width=40))
    return file.getvalue()


def test_figures_are_those_of_the_pairs(tmp_path):
    pairs = [(" ".join(["ab"] * n), "x" * n) for n in range(1, 22)]
    found, is_new = report(prepared(tmp_path, pairs))
    assert is_new
    src, tgt = found.sides
    # 1 to 21 words: least, 5 %, median, 95 %, most; of two letters and a blank each.
    assert src.words == [1, 2, 11, 20, 21]
    assert src.characters == [2, 5, 32, 59, 62]
    assert tgt.words == [1] * 5
    assert src.scripts == {"LATIN": 1.0}
    assert len(found.pairs) == 5
    assert {tuple(pair) for pair in found.pairs} <= set(pairs)
    assert found.warnings == []


def test_it_is_made_once_for_a_text(tmp_path):
    pairs = [(f"the {n}", f"das {n}") for n in range(30)]
    data = prepared(tmp_path, pairs)
    first, _ = report(data)
    assert report(data) == (first, False)
    assert json.loads((data.folder / REPORT).read_text())["pairs"] == [list(p) for p in first.pairs]
    for damage in ("{", "[]", '{"made_from": 1}'):
        (data.folder / REPORT).write_text(damage)
        assert report(data) == (first, True)
    again, is_new = report(prepared(tmp_path, [*pairs, ("a", "b")]))
    assert is_new
    assert again.made_from != first.made_from
    more, is_new = report(prepared(tmp_path, [*pairs, ("a", "b"), *[("", "")] * 30]))
    assert is_new, "of the same text other pairs were left out"
    assert more.made_from == again.made_from
    assert more.dropped != again.dropped


def test_a_sample_stands_for_a_large_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(report_module, "SAMPLE", 100)
    pairs = [("same", "same") if n % 4 == 0 else ("one", "eins") for n in range(1_000)]
    found, _ = report(prepared(tmp_path, pairs))
    assert found.identical == pytest.approx(0.25, abs=0.15)


@pytest.mark.parametrize(
    ("pairs", "changes", "warning"),
    [
        (
            [("same", "same"), ("one", "eins"), ("two", "zwei")],
            {},
            "33% of the pairs have",
        ),
        ([("3 + 4", "7"), ("one", "eins")], {}, "50% of the pairs have no letter at all"),
        ([("one", "один"), ("two", "два")], {}, "100% of the letters of the target are Cyrillic"),
        (
            [("one", "eins"), ("a b c", "d")],
            {"max_words": 2},
            "50% of train was left out",
        ),
        ([("one", "一二"), ("two", "三四")], {"tgt": "zh"}, ""),
        ([("one", "いち"), ("two", "二")], {"tgt": "ja"}, ""),
        ([("one", "один"), ("two", "dva")], {"tgt": "sr"}, ""),
        ([("one", "하나"), ("two", "둘")], {"tgt": "ko"}, ""),
        ([("one", "এক"), ("two", "দুই")], {"tgt": "bn"}, ""),
        ([("one", "१"), ("two", "एक दो")], {"tgt": "hi-Deva"}, ""),
        ([("one", "abc"), ("two", "дав")], {"tgt": "xx"}, ""),
    ],
)
def test_a_warning_is_given_for_what_is_unusual_alone(tmp_path, pairs, changes, warning):
    found, _ = report(prepared(tmp_path, pairs, **changes))
    assert [warning in said for said in found.warnings] == ([True] if warning else [])
    assert ("Warning: " in text_of(found)) == bool(warning)


def test_what_trees_of_dev_have_and_train_has_not_is_said_with_its_count(tmp_path):
    data = write_treebank(tmp_path / "trees", train=60, dev=4)
    dev = tmp_path / "trees" / "dev.mrg"
    for more, warnings in (
        ("", []),
        (
            "(TOP (SINV (NN tea) (VBZ is) (SINV (NN tea) (. .))))\n",
            ["dev has labels or tags that no tree of train has: SINV (2), VBZ (1)"],
        ),
    ):
        dev.write_text(dev.read_text() + more)
        found, _ = report(prepare_rows(data, tmp_path / f"data{len(more)}", progress=False))
        assert found.warnings == warnings


def test_text_of_users_is_shown_as_it_is(tmp_path):
    odd = "[bold]x[/bold] [/] :smile: {0} \\[a]"
    found, _ = report(prepared(tmp_path, [(odd, f"{odd} {n}") for n in range(5)]))
    shown = text_of(found)
    assert shown.count(odd) == 10
    assert "\x1b" not in shown


def test_scripts_are_those_of_letters():
    assert script_shares(["ab1!", "аб", "Ａ", "3"]) == {"LATIN": 0.6, "CYRILLIC": 0.4}
    assert script_shares(["3 + 4"]) == {}


def test_shares_are_of_all_that_was_read(tmp_path):
    pairs = [("one", "eins"), ("", "x"), ("two", "zwei"), ("", "y")]
    found, _ = report(prepared(tmp_path, pairs, too_long=1))
    assert found.dropped == {"empty": 0.5, "max_tokens": 0.25}
    assert len(found.warnings) == 2


def prepared_texts(folder, text, documents="blank_line"):
    data = replace(write_texts(folder / "source", train=text, dev="dev"), documents=documents)
    manifest = prepare(data, folder / "data" / "text")
    rows = PackedSplit(folder / "data", "train", (), 0)
    return Prepared(folder / "data", manifest, TOKENIZER, rows, rows)


def test_a_report_on_text_is_of_its_documents(tmp_path):
    texts = ["Satz:\n  " + " ".join(["ab"] * n) for n in range(1, 22)]
    found, _ = report(prepared_texts(tmp_path, "\n\n".join([*texts, "12", "12"])))
    (side,) = found.sides
    assert (side.language, side.words[0], side.words[-1]) == ("de", 1, 22)
    assert side.characters[-1] == len(texts[-1])
    assert (found.identical, found.numbers) == (0, pytest.approx(1 / 22))
    assert found.dropped == {"duplicate": pytest.approx(1 / 23, abs=1e-4)}
    assert found.warnings == []
    shown = text_of(found)
    assert shown.startswith("5 documents of train, chosen at random:\n  Satz:\n    ab")
    assert "Shares: 4.5% without a letter, 4.3% duplicate" in shown.replace("\n", " ")
    assert "both sides" not in shown
    again, is_new = report(prepared_texts(tmp_path / "cyrillic", "дом\n\nдень"))
    assert is_new
    assert again.warnings == [
        "100% of the letters of the text are Cyrillic, which de is not written in"
    ]
    numbers, _ = report(prepared_texts(tmp_path / "numbers", "12\n\ntext"))
    assert numbers.warnings == ["50% of the documents have no letter at all"]


def test_few_documents_stand_for_a_corpus_of_long_ones(tmp_path, monkeypatch):
    # 40 documents of 108 bytes with their line ends, of which 1,000 bytes are looked at.
    monkeypatch.setattr(report_module, "CHUNK_CHARACTERS", 1_000)
    asked = []
    monkeypatch.setattr(report_module, "num_words", lambda text: asked.append(text) or 1)
    report(prepared_texts(tmp_path, "\n".join(f"{n:07} {'x' * 99}" for n in range(40)), "line"))
    assert len(asked) == 1_000 * 40 // (108 * 40)
