"""`aiayn parse` as a filter, one sentence in, one tree out; a wrong verb names the right one."""

import io
import json
import re
import sys

import pytest

import aiayn.commands.parse
from aiayn.__main__ import main
from aiayn.decoding.outputs import Hypothesis
from aiayn.decoding.parser import Parser
from aiayn.model.saved import save_model
from tests.commands.test_verb import refusal
from tests.support.trees import random_parser, tree

TEXT = "the dog sees a (house) .\n\ndog\n"


@pytest.fixture(scope="module")
def parser(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "parser"
    save_model(folder, random_parser())
    return folder


def _parsed(monkeypatch, capfdbinary, parser, *options):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert main(["parse", str(parser), *options]) == 0
    return capfdbinary.readouterr().out.decode().split("\n")


def _stream(self, lines, num_best=1, on_done=None):
    """In place of a search, whose outputs `tests/decoding/test_parser.py` is about."""
    for line in lines:
        symbols = f"(S {'NN ' * len(line.split())})S"
        yield [Hypothesis(f"(S {symbols} )S" * k or symbols, float(-k)) for k in range(num_best)]


def test_more_trees_than_hypotheses_are_refused(parser, capsys):
    options = ("--num-best", "2", "--beam-size", "1")
    assert "--num-best is 2, and --beam-size is 1" in refusal(capsys, "parse", parser, *options)


def test_parse_gives_one_tree_for_each_line(parser, monkeypatch, capfdbinary):
    monkeypatch.setattr(Parser, "stream", _stream)
    first, empty, second, end = _parsed(monkeypatch, capfdbinary, parser)
    assert empty == end == ""
    assert " ".join(tree(first).words) == "the dog sees a -LRB-house-RRB- ."
    assert tree(second).words == ("dog",)

    # The best of several is that one; the number is that of the line.
    rows = [
        r.split("\t") for r in _parsed(monkeypatch, capfdbinary, parser, "--num-best", "2")[:-1]
    ]
    assert [row[0] for row in rows] == ["1", "1", "3", "3"]
    assert [rows[0][2], rows[2][2]] == [first, second]
    assert [row[1] for row in rows[:2]] == ["0.0000", "-1.0000"]

    rows = [json.loads(r) for r in _parsed(monkeypatch, capfdbinary, parser, "--json")[:-1]]
    assert [row["line"] for row in rows] == [1, 3]
    assert [row["tree"] for row in rows] == [first, second]
    assert rows[1]["symbols"] == ["(S", "NN", ")S"]


@pytest.mark.parametrize("window", [1, 1_024])
def test_a_line_longer_than_any_of_training_is_parsed_whole_and_said_once(
    parser, monkeypatch, capfdbinary, window
):
    monkeypatch.setattr(Parser, "stream", _stream)
    monkeypatch.setattr(aiayn.commands.parse, "_WINDOW", window)
    # After it one that is refused, before which it is parsed.
    lines = ["dog", "dog " * 200, "dog " * 5_000]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
    assert main(["parse", str(parser)]) == 2
    out, err = (text.decode() for text in capfdbinary.readouterr())
    assert [len(tree(line).words) for line in out.splitlines()] == [1, 200]
    said = r"line 2: \d+ tokens, more than the 255 of training; parsed as a whole\n"
    assert len(re.findall(said, err)) == 1
    assert "Sentence 3 has" in err


def test_raw_text_is_cut_into_words_and_says_where_they_stand(parser, monkeypatch, capfdbinary):
    monkeypatch.setattr(Parser, "stream", _stream)
    monkeypatch.setattr("tests.commands.test_parse.TEXT", "A dog (isn't it).\n\nYes\n")
    first, _, second, _ = _parsed(monkeypatch, capfdbinary, parser, "--tokenize")
    assert tree(first).words == ("A", "dog", "-LRB-", "is", "n't", "it", "-RRB-", ".")
    assert tree(second).words == ("Yes",)
    lines = _parsed(monkeypatch, capfdbinary, parser, "--tokenize", "--json")
    rows = [json.loads(line) for line in lines[:-1]]
    places = rows[0]["places"]
    assert ["A dog (isn't it)."[start:end] for start, end in places][2:5] == ["(", "is", "n't"]
    assert [row["line"] for row in rows] == [1, 3]


def test_trees_are_scored_from_one_file(parser, tmp_path, capsys):
    trees = tmp_path / "trees.mrg"
    trees.write_text("(S (NN dog))\n(NX (NN dog))\n(S (NN the)\n", encoding="utf-8")
    assert main(["score", str(parser), str(trees)]) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"-\d+\.\d{4}\t4", first)
    assert second == "-inf\t4", "no tree of training had the label"


def test_attention_is_of_words_and_symbols(parser, tmp_path, capsys):
    out = tmp_path / "looks"
    target = ["--target", "(S (-LRB- -LRB-) (NN dog))", "--out", str(out)]
    assert main(["attention", str(parser), "( dog", *target]) == 0
    found = json.loads((out / "attention.json").read_text())
    assert found["tgt_out_tokens"][0] == "(S"
    capsys.readouterr()
    said = refusal(capsys, "attention", str(parser), "a dog", *target)
    assert "over other words than the sentence: word 1 is '-LRB-'; wanted 'a'" in said


def test_another_verb_names_this_one_and_this_one_another(
    parser, model, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    text = tmp_path / "text"
    text.write_text("a\n", encoding="utf-8")
    named = "is a parser"
    for arguments in (
        ["translate", str(parser)],
        ["generate", str(parser), "a"],
        ["score", str(parser), str(text), str(text)],
        ["evaluate", str(parser), "--src", str(text), "--ref", str(text)],
        ["evaluate", str(parser), "--text", str(text)],
    ):
        said = refusal(capsys, *arguments)
        assert named in said, arguments
        assert "`aiayn parse`" in said
    assert "`aiayn translate`" in refusal(capsys, "parse", str(model))
    gold = tmp_path / "gold.mrg"
    gold.write_text("(S (NN a))\n", encoding="utf-8")
    assert "is no parser" in refusal(capsys, "evaluate", str(model), "--gold", str(gold))
    assert "wanted one" in refusal(
        capsys, "evaluate", str(model), "--gold", str(gold), "--text", str(text)
    )
