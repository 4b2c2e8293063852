"""The line of a corpus that somebody has edited since it was prepared."""

from dataclasses import replace
from pathlib import Path

import pytest

from aiayn.data.changes import first_change
from aiayn.errors import UserError
from tests.support.corpora import config, pair, prepare, write_pairs, write_texts


@pytest.fixture
def prepared(source: Path, tmp_path: Path):
    """A corpus of 40 pairs in two files, of which cleaning drops some, and its text."""
    pairs = [pair(number) for number in range(40)]
    pairs[7] = ("", pairs[7][1])
    pairs[8] = pairs[3]  # a duplicate
    pairs[9] = pair(201)  # a sentence of the test set
    write_pairs(source, "train", pairs[:20])
    write_pairs(source, "more", pairs[20:])
    data = config(source, train_files=("train.{lang}", "more.{lang}"))
    assert prepare(data, tmp_path / "text").splits["train"].kept == 37
    return data, tmp_path / "text"


def change(path: Path, number: int, line: str | None) -> None:
    """Write another line in the place of one, or none."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[number - 1 : number] = [] if line is None else [line]
    path.write_text("".join(f"{each}\n" for each in lines), encoding="utf-8")


def test_files_that_nobody_has_touched_have_no_such_line(prepared):
    assert first_change(*prepared) == ""


@pytest.mark.parametrize("name", ["train.en", "train.de", "more.de", "dev.en"])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_edited_line_is_named_with_its_file(prepared, source: Path, name, number):
    change(source / name, number, "another text")
    assert first_change(*prepared) == f"line {number} of {source / name}"


def test_a_line_that_was_left_out_is_as_before_or_is_named(prepared, source: Path):
    # Edited, an empty side, a duplicate and a test sentence may stay what they are; or not.
    for number in (8, 9, 10):
        change(source / "train.de", number, pair(3)[1] if number == 9 else pair(201)[1])
    assert first_change(*prepared) == ""
    change(source / "train.de", 9, "not any more")
    assert f"one of lines 8 to 9 of {source / 'train.en'} and" in first_change(*prepared)


def test_a_line_that_is_dropped_now_lies_before_the_next_that_is_kept(prepared, source: Path):
    change(source / "train.en", 5, " ")
    files = f"{source / 'train.en'} and {source / 'train.de'}"
    assert first_change(*prepared) == f"one of lines 5 to 6 of {files}"


def test_lines_that_are_gone_or_new_at_the_end_are_found(prepared, source: Path):
    files = f"{source / 'more.en'} and {source / 'more.de'}"
    for side, text in zip(("en", "de"), pair(77), strict=True):
        with (source / f"more.{side}").open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    assert first_change(*prepared) == f"line 21 of {files}"
    for side in ("en", "de"):
        change(source / f"more.{side}", 21, None)
        change(source / f"more.{side}", 20, None)
    assert first_change(*prepared) == f"what followed line 19 of {files}"


def test_a_held_out_corpus_is_compared_by_the_rules_it_was_cleaned_by(source: Path, tmp_path: Path):
    lines = [(f"the {word} house", f"das {word} Haus") for word in ("old", "new", "red", "far")]
    write_pairs(source, "train", [*lines, *lines])
    data = config(source, dev_files=(), test_files=(), holdout_pairs=1)
    prepare(data, tmp_path / "text")
    assert first_change(data, tmp_path / "text") == ""


def test_a_table_names_the_pair_and_a_limit_is_heeded(source: Path, tmp_path: Path):
    rows = ["en\tde", *("\t".join(pair(number)) for number in range(9))]
    path = source / "train.tsv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = config(source, train_files=("train.tsv",), limit=6)
    prepare(data, tmp_path / "text")
    change(path, 9, "past\tit")
    assert first_change(data, tmp_path / "text") == ""
    change(path, 4, "other\ttext")
    assert first_change(data, tmp_path / "text") == f"pair 3 of {path}"


def test_lines_that_no_reader_gives_are_counted(prepared, source: Path):
    change(source / "train.en", 4, "\0")
    files = f"{source / 'train.en'} and {source / 'train.de'}"
    assert first_change(*prepared) == f"one of lines 4 to 5 of {files}"


def test_what_cannot_be_read_any_more_says_so(prepared, source: Path):
    change(source / "train.en", 20, None)
    with pytest.raises(UserError, match="19 lines"):
        first_change(replace(prepared[0], dev_files=()), prepared[1])


def test_an_edited_document_is_named_by_its_number(tmp_path: Path):
    text = "eins\n zwei\n\n\ndrei\n\nvier\n"
    data = write_texts(tmp_path / "source", train=text, dev="a\n\nb\n")
    data = replace(data, documents="blank_line")
    prepare(data, tmp_path / "text")
    assert first_change(data, tmp_path / "text") == ""
    path = tmp_path / "source" / "train.txt"
    path.write_text(text.replace(" zwei", "zwei"))
    assert first_change(data, tmp_path / "text") == f"document 1 of {path}"
    path.write_text(text.replace("drei", "fünf"))
    assert first_change(data, tmp_path / "text") == f"document 2 of {path}"
    path.write_text(text)
    (tmp_path / "source" / "dev.txt").write_text("a\n\nc\n")
    assert first_change(data, tmp_path / "text").startswith("document 2 of")
