import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU

from aiayn.__main__ import main
from tests.commands.test_verb import refusal

REF, HYP = ["a b c d e f", "g h i j"], ["a b c d e x", "g h i j"]


@pytest.fixture
def files(tmp_path):
    """Files of a name each."""
    texts = {"hyp": HYP, "ref": REF, "ref2": REF[::-1], "one": ["a"], "other": ["x", "g h i j"]}
    texts |= {"cut": ["a@@ b", "g@@ h"], "empty": [], "empty2": []}
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with gzip.open(tmp_path / "ref.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(REF))
    return {path.name: str(path) for path in tmp_path.iterdir()}


def test_files_of_anybody_are_scored(files, capsys):
    expected = BLEU().corpus_score(HYP, [REF]).score
    for reference in (files["ref"], files["ref.gz"]):
        assert main(["bleu", files["hyp"], reference, "--lang", "en-de"]) == 0
        shown = capsys.readouterr().out
        assert f"{expected:.2f}" in shown
        assert "  nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|" in shown
        assert "the paper's En-De BLEU" in shown


def test_tokenised_text_is_scored_by_its_tokens(files, capsys):
    arguments = [files["hyp"], files["ref"], "--lang", "en-de", "--tokens", "--json"]
    assert main(["bleu", *arguments, "--also", files["other"]]) == 0
    found = json.loads(capsys.readouterr().out)
    entries = {entry["name"]: entry for entry in found["scores"][files["hyp"]]["entries"]}
    expected = BLEU(tokenize="none", smooth_method="none", force=True).corpus_score(HYP, [REF])
    assert entries["tokens"]["value"] == expected.score
    assert "tok:none" in found["resampled"]["sacrebleu"]["signature"]


def test_json_holds_every_figure_and_the_comparison(files, capsys):
    arguments = [files["hyp"], files["ref"], files["ref2"], "--src", files["other"], "--json"]
    assert main(["bleu", *arguments, "--lang", "en-pt_BR", "--also", files["other"]]) == 0
    found = json.loads(capsys.readouterr().out)
    metric = BLEU(force=True)
    for name, lines in ((files["hyp"], HYP), (files["other"], ["x", "g h i j"])):
        entries = {entry["name"]: entry for entry in found["scores"][name]["entries"]}
        assert len(entries) == 8
        assert entries["sacrebleu"]["value"] == metric.corpus_score(lines, [REF, REF[::-1]]).score
        assert entries["sacrebleu"]["how"] == metric.get_signature().format()
        assert "-l pt, " in entries["tokenised"]["how"]
    chances = found["resampled"]["sacrebleu"]["systems"]
    assert chances[files["hyp"]]["p_value"] is None
    assert 0 < chances[files["other"]]["p_value"] <= 1
    assert "repeat their source" in " ".join(found["scores"][files["other"]]["warnings"])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_any_one_of_the_files_may_be_standard_input(files, pack, capsys, monkeypatch):
    def found(*arguments, stdin):
        text = pack(b"" if stdin is None else Path(files[stdin]).read_bytes())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        named = [files.get(each, each) for each in arguments]
        assert main(["bleu", *named, "--json"]) == 0
        scores = json.loads(capsys.readouterr().out)["scores"]
        return scores, list(scores.values())

    scores, wanted = found("hyp", "ref", "ref2", "--also", "other", stdin=None)
    assert found("hyp", "-", "ref2", "--also", "other", stdin="ref")[0] == scores
    for arguments, stdin, name in (
        (("-", "ref", "ref2", "--also", "other"), "hyp", 0),
        (("hyp", "ref", "ref2", "--also", "-"), "other", 1),
    ):
        scores, values = found(*arguments, stdin=stdin)
        assert values == wanted
        assert list(scores)[name] == "standard input"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("hyp", "the following arguments are required: REF"),
        ("hyp one", "one has 1 lines and {hyp} 2; wanted as many."),
        ("hyp ref one", "ref has 2 lines and {one} 1; wanted as many."),
        ("hyp ref --also one", "ref has 2 lines and {one} 1; wanted as many."),
        ("hyp ref --src one", "ref has 2 lines and {one} 1; wanted as many."),
        ("hyp ref --also other hyp", "hyp is given twice; wanted the file of each system once."),
        ("- ref - ref2", "- is standard input, which is one text; wanted files for the others."),
        ("- ref --src -", "- is standard input, which is one text"),
        ("empty empty2", "{empty2} holds no lines; wanted sentences."),
        (
            "hyp ref --also cut",
            "{cut}: 2 of 2 hypotheses hold subword markers, the first in line 1",
        ),
        ("hyp cut --tokens", "aiayn: 2 of 2 references hold subword markers"),
        ("cut ref --tokens", "cut: 2 of 2 hypotheses hold subword markers"),
        ("cut ref --tokens", "; wanted whole tokens."),
        ("hyp ref --lang de", "--lang is 'de'; wanted two codes with a hyphen between"),
        ("hyp ref --lang en-pt-BR", "--lang is 'en-pt-BR'; wanted two codes"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, said, files, capsys):
    given = [files.get(each, each) for each in arguments.split()]
    assert said.format(**files) in refusal(capsys, "bleu", *given)


def test_scoring_needs_no_jax(files):
    code = (
        "import sys, aiayn.__main__\n"
        f"status = aiayn.__main__.main(['bleu', {files['hyp']!r}, {files['ref']!r}])\n"
        "sys.exit(status or 'jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
