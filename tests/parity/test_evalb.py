"""EVALB itself, Sekine and Collins' program, against our counts of brackets.

The wheel of allennlp 2.10.1 holds its source, its parameters and its licence (public domain).
"""

import random
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest

from aiayn.data.sources.treebank import trees
from aiayn.data.trees import clean, restore, write
from aiayn.evaluation.brackets import Brackets, score
from tests.support.evalb import CASES, Counted
from tests.support.trees import LABELS, MARK_TAGS, WORD_TAGS, shaken, tree

WHEEL = "allennlp==2.10.1"
DATA = Path(__file__).parents[3] / "shared" / "data"
# Past these it writes outside its arrays: words, constituents and bytes of a sentence, bytes of a
# word and of a label.
MOST_WORDS, MOST_BRACKETS, MOST_BYTES, LONGEST_WORD, LONGEST_LABEL = 199, 198, 4_990, 99, 29


@pytest.fixture(scope="module")
def evalb(tmp_path_factory):
    """A function that runs EVALB on two lists of bracketed trees: its lines, and its summaries."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("EVALB needs a C compiler, and none of cc, gcc and clang is here")
    source = _source(Path(sys.prefix) / "evalb")
    folder = tmp_path_factory.mktemp("evalb")
    program = folder / "evalb"
    command = [compiler, "-std=gnu89", "-w", "-o", str(program), str(source / "evalb.c")]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"EVALB does not compile here: {done.stderr[-300:]}")

    def run(gold, parsed):
        for name, lines in (("gold", gold), ("parsed", parsed)):
            (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        files = [str(folder / "gold"), str(folder / "parsed")]
        # -e: so many errors end it.
        command = [str(program), "-p", str(source / "COLLINS.prm"), "-e", "1000000", *files]
        out = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        _, table, _, summary = re.split("={10,}|=== Summary ===", out)
        rows = [line.split() for line in table.splitlines() if line]
        assert len(rows) == len(gold)
        figures = [
            {name.strip(): float(value) for name, value in re.findall(r"(.+)= +(\S+)", part)}
            for part in summary.split("-- len<=")
        ]
        return rows, figures

    return run


def _source(folder: Path) -> Path:
    """A folder with EVALB's files, taken from the wheel once."""
    names = ("evalb.c", "COLLINS.prm", "LICENSE")
    if not all((folder / name).is_file() for name in names):
        options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--retries", "1"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), WHEEL]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            pytest.skip(f"{WHEEL}, which holds EVALB, could not be fetched: {done.stderr[-300:]}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name in names:
                (folder / name).write_bytes(wheel.read(f"allennlp/tools/EVALB/{name}"))
        wheels[0].unlink()
    return folder


def counts_of(row):
    return Counted(*map(int, row[5:11]))


def ours(gold, parsed):
    found = asdict(score([gold], [parsed]).all.counts)
    return Counted(**{name: found[name] for name in Counted._fields})


def fits(tree):
    """Whether EVALB has room for it."""
    return (
        len(tree.words) <= MOST_WORDS
        and len(tree.brackets) <= MOST_BRACKETS
        and len(write(tree).encode()) <= MOST_BYTES
        and max(len(word.encode()) for word in tree.words) <= LONGEST_WORD
        and max(len(each[0].encode()) for each in tree.brackets or [[""]]) <= LONGEST_LABEL
    )


def check_same(evalb, gold, parsed):
    """Every count of every sentence, and every figure of all and of the short ones."""
    rows, figures = evalb(map_write(gold), map_write(parsed))
    for row, right, found in zip(rows, gold, parsed, strict=True):
        assert row[2] in "02", "EVALB says Error"
        assert counts_of(row) == ours(right, found), write(right)
    found: Brackets = score(gold, parsed)
    for theirs, part in zip(figures, (found.all, found.short), strict=True):
        assert theirs["Number of Error sentence"] == 0
        assert theirs["Number of Valid sentence"] == part.counts.sentences
        for name, value in (
            ("Bracketing Recall", part.recall),
            ("Bracketing Precision", part.precision),
            ("Bracketing FMeasure", part.f1),
            ("Complete match", part.exact),
            ("Average crossing", part.crossing),
            ("No crossing", part.uncrossed),
            ("Tagging accuracy", part.tags),
        ):
            assert value == pytest.approx(theirs[name], abs=0.0051), name
    return found


def map_write(found):
    return [write(each) for each in found]


def test_evalb_counts_each_case_as_it_is_written_down(evalb):
    rows, _ = evalb([case.gold for case in CASES.values()], [c.parsed for c in CASES.values()])
    found = {
        name: counts_of(row) if row[2] == "0" else int(row[2])
        for name, row in zip(CASES, rows, strict=True)
    }
    assert found == {name: case.evalb for name, case in CASES.items()}
    assert len(found) == 26


def random_tree(rng):
    """A tree over up to 50 words, of which many are punctuation, with constituents anywhere."""
    words = [f"w{number}" for number in range(rng.randint(1, 50))]
    symbols = ["(S"]
    for _ in words:
        symbols += [f"({rng.choice(LABELS)}-X" for _ in range(rng.randrange(3))]
        symbols.append(rng.choice(WORD_TAGS + MARK_TAGS))
        symbols += [f"){rng.choice(LABELS)}-X" for _ in range(rng.randrange(4))]
    return restore(symbols, words)


def test_a_thousand_shaken_trees_have_the_counts_of_evalb(evalb):
    rng = random.Random(0)
    gold = [each for each in (random_tree(rng) for _ in range(1_000)) if fits(each)]
    assert len(gold) == 1_000
    found = check_same(evalb, gold, [shaken(each, rng, changes=8) for each in gold])
    # Shaken enough to tell rules apart, and not so much that nothing is left to match.
    assert 40 < (found.all.f1 or 0) < 95
    assert found.all.counts.crossing > 100
    assert found.short.counts.sentences < found.all.counts.sentences - 100


def test_a_word_taken_for_punctuation_is_counted_as_evalb_does_with_the_tags_of_gold(evalb):
    right = tree("(S (NP (NN dog)) (, ,) (VP (VBZ barks)) (. .))")
    parsed = tree("(S (NP (NN dog) (NN ,)) (VP (. barks)) (. .))")
    rows, _ = evalb([write(right)] * 2, [write(parsed), write(parsed).replace("(NN ,)", "(, ,)")])
    assert [row[2] for row in rows] == ["1", "1"]
    gold_tags = type(parsed)(parsed.words, right.tags, parsed.brackets)
    rows, _ = evalb([write(right)], [write(gold_tags)])
    assert counts_of(rows[0])[:5] == ours(right, parsed)[:5]


@pytest.mark.parametrize("name", ["treebank-wsj-sample", "treebank-craft"])
def test_the_trees_of_a_treebank_shaken_have_the_counts_of_evalb(evalb, name):
    path = DATA / name / "dev.mrg.gz"
    if not path.is_file():
        pytest.skip(f"{name} is not at hand")
    rng = random.Random(0)
    every = list(trees(path))
    gold = [each for each in every if fits(each)]
    assert len(every) - len(gold) <= 3
    check_same(evalb, gold, [shaken(clean(each), rng, changes=8) for each in gold])
