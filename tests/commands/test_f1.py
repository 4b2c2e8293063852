import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from aiayn.__main__ import main
from tests.commands.test_verb import refusal

GOLD = [
    "((S (NP-SBJ (DT the) (NN dog)) (VP (VBZ barks)) (. .)))",
    "((S (NP-SBJ (-NONE- *)) (VP (VB go) (ADVP (RB home)))))",
]
OURS = [
    "(TOP (S (NP (DT the)) (NN dog) (VP (VBZ barks)) (. .)))",
    "(TOP (S (VP (VB go) (PRT (RB home)))))",
]


@pytest.fixture
def files(tmp_path):
    """Files of a name each."""
    texts = {
        "gold": GOLD,
        "out": OURS,
        "pretty": [OURS[0].replace(" (VP", "\n  (VP"), "", OURS[1]],
        "failed": [OURS[0], "(())"],
        "one": OURS[:1],
        "other": [OURS[0], "(S (VP (VB go) (NP (RB away))))"],
        "open": [OURS[0], "(S (VP (VB go))"],
        "empty": [],
    }
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (tmp_path / "gold.mrg.gz").write_bytes(gzip.compress((tmp_path / "gold").read_bytes()))
    return {path.name: str(path) for path in tmp_path.iterdir()}


@pytest.mark.parametrize("gold", ["gold", "gold.mrg.gz"])
@pytest.mark.parametrize("parsed", ["out", "pretty"])
def test_parses_of_anybody_are_scored(files, gold, parsed, capsys):
    assert main(["f1", files[gold], files[parsed]]) == 0
    shown = capsys.readouterr().out
    # Two of three constituents and three of three are right.
    assert "all             83.33" in shown
    assert "evalb:collins|" in shown
    assert "|n:2|" in shown


def test_json_holds_every_figure_and_count(files, capsys):
    assert main(["f1", files["gold"], files["failed"], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    counts = found["all"]["counts"]
    assert (counts["matched"], counts["gold"], counts["parsed"]) == (2, 6, 3)
    assert found["all"]["f1"] == pytest.approx(100 * 4 / 9)
    assert found["short"] == found["all"]
    assert found["failed"] == [2]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_either_file_may_be_standard_input(files, pack, capsys, monkeypatch):
    def found(gold, parsed, stdin):
        text = pack(Path(files[stdin]).read_bytes())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        assert main(["f1", files.get(gold, gold), files.get(parsed, parsed), "--json"]) == 0
        return capsys.readouterr().out

    assert found("gold", "-", "out") == found("-", "out", "gold") == found("gold", "out", "empty")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("gold", "the following arguments are required: TREES"),
        ("gold one", "{one} has 1 trees; wanted 2, as many as {gold}."),
        ("one gold", "{gold} has 2 trees; wanted 1, as many as {one}."),
        ("empty out", "{empty} holds no tree; wanted one at least."),
        ("gold other", "{other}: sentence 2 has other words than the tree: word 2 is 'away'; want"),
        ("gold open", "{open}, line 2, is not one whole tree: 1 bracket is still open at the end"),
        ("open gold", "{open}, line 2, is not one whole tree"),
        ("failed out", "{failed}, line 2, is not one whole tree: it holds no word"),
        ("- -", "- is standard input, which is one text; wanted files for the others."),
        ("gold nowhere", "nowhere does not exist."),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, said, files, capsys):
    given = [files.get(each, each) for each in arguments.split()]
    assert said.format(**files) in refusal(capsys, "f1", *given)


def test_scoring_needs_no_jax(files):
    code = (
        "import sys, aiayn.__main__\n"
        f"status = aiayn.__main__.main(['f1', {files['gold']!r}, {files['out']!r}])\n"
        "sys.exit(status or 'jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
