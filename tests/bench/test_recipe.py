"""What another toolkit is given is read as it was written, and its clock counts updates alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aiayn.bench.recipe import (
    COURSE,
    Recipe,
    dictionary_path,
    read_dictionary,
    read_pieces,
    text_path,
    write_pieces,
)
from aiayn.experiments import load_experiment

ROOT = Path(__file__).parents[2]


def test_a_recipe_is_read_as_it_was_written(tmp_path):
    recipe = Recipe(load_experiment("multi30k_ende_wu2021"), "abc", 227, 4_096, ["test2016"])
    recipe.write(tmp_path)
    assert Recipe.read(tmp_path) == recipe


def test_the_rate_after_the_warm_up_is_the_published_one():
    recipe = Recipe(load_experiment("multi30k_ende_wu2021"), "", 1, 1, [])
    assert recipe.peak_rate == pytest.approx(0.005)
    paper = Recipe(load_experiment("wmt14_ende_base"), "", 1, 1, [])
    assert paper.peak_rate == pytest.approx(512**-0.5 * 4_000**-0.5)


def test_pieces_are_read_as_they_were_written_and_a_sentence_may_have_none(tmp_path):
    sentences = [["▁ein", "▁Haus", "\u2028"], [], ["<0x0A>"]]
    write_pieces(text_path(tmp_path, "train", "src"), sentences)
    assert read_pieces(text_path(tmp_path, "train", "src")) == sentences
    assert [path.name for path in (tmp_path / "text").iterdir()] == ["train.src-tgt.src"]
    write_pieces(dictionary_path(tmp_path, "src"), [["▁ein", "1"], ["\u2028", "1"]])
    assert read_dictionary(tmp_path) == ["▁ein", "\u2028"]


_CLOCK = """
import sys
from pathlib import Path
from unittest.mock import patch
from aiayn.bench.recipe import Course

ticks = iter([10.0, 13.0, 20.0, 24.5])
with patch("time.perf_counter", lambda: next(ticks)):
    course = Course(Path(sys.argv[1]))
    print("what a library prints")
    course.introduce({"torch": "2"}, 12)
    course.resume(40)
    course.start()
    course.stop()
    course.stop()  # it stands still
    course.tell(80, 2.0, 2.5, [["a"], []])
    course.start()
    course.stop()
    course.tell(120, 3.0, 2.0, [])
"""


@pytest.mark.parametrize(
    ("earlier", "seconds"), [("", 0.0), ("40", 100.0), ("20", 100.0), ("50", 0.0)]
)
def test_the_clock_counts_updates_of_all_sessions_and_nothing_else(tmp_path, earlier, seconds):
    if earlier:
        row = {"updates": int(earlier), "seconds": 100.0}
        (tmp_path / COURSE).write_text(json.dumps(row) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", _CLOCK, str(tmp_path)],
        **{"capture_output": True, "text": True, "check": True, "cwd": ROOT},
    )
    about, first, second = map(json.loads, done.stdout.splitlines())
    assert about == {"versions": {"torch": "2"}, "parameters": 12}
    assert (first["updates"], first["seconds"], first["dev_loss"]) == (80, seconds + 3.0, 2.5)
    assert first["epochs"] == 2.0
    assert (second["updates"], second["seconds"]) == (120, seconds + 7.5)
    assert first["outputs"] == [["a"], []]
    assert first["peak_bytes"] > 2**20
    assert "what a library prints" in done.stderr
