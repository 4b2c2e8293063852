"""The columns that hold a pair are named, or refused with what was found."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiayn.config import DataConfig
from aiayn.data.sources.columns import _NUMBER, of_table, sides
from aiayn.data.sources.formats import Skipped, open_files
from aiayn.errors import UserError
from tests.data.sources.test_formats import read, write

PAIRS = [("the cat", "die Katze"), ("the dog", "der Hund"), ("the bird", "der Vogel")]
ROWS = [f"{en}\t{de}" for en, de in PAIRS]


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["en", "de"], (0, 1)),
        (["DE", "score", "EN"], (2, 0)),
        (["eng", "deu"], (0, 1)),
        (["eng_Latn", "deu_Latn"], (0, 1)),
        (["en-US", "de_AT"], (0, 1)),
        (["English", "German"], (0, 1)),
        (["Deutsch", "Englisch"], None),  # names are looked up in English and in the language
        (["Deutsch", "English"], (1, 0)),
        (["sentence_de", "sentence_en"], (1, 0)),
        (["text en", "text de"], (0, 1)),
        (["source", "target"], (0, 1)),
        (["tgt", "src"], (1, 0)),
        (["id", "source_text", "target_text"], (1, 2)),
        (["source", "en", "de"], (1, 2)),  # languages before parts
        (["en", "fr"], None),
        (["source", "source"], None),
        (["en"], None),
        ([], None),
        (["input", "output"], None),
        # What is about a text is none.
        (["url_en", "text_en", "url_de", "text_de"], (1, 3)),
        (["id_en", "en", "id_de", "de"], (1, 3)),
        (["lang_en", "sentence_en", "lang_de", "sentence_de"], (1, 3)),
        (["en_score", "de_score", "en_text", "de_text"], (2, 3)),
        (["source_id", "source", "target_id", "target"], (1, 3)),
        (["source_url", "target_url"], None),
        # The code itself before other names of the language; of two others none.
        (["text_en", "en", "de"], (1, 2)),
        (["text_en", "sentence_en", "de"], None),
    ],
)
def test_columns_are_named_after_languages_or_their_part(names, places):
    assert sides(names, "en", "de") == places


def test_a_code_that_also_heads_numbers_is_not_taken_where_the_language_has_another_column():
    assert sides(["id", "english", "indonesian"], "en", "id") is None
    assert sides(["no", "english", "norwegian"], "en", "no") is None
    assert sides(["en", "id"], "en", "id") == (0, 1)
    assert sides(["text_en", "text_id"], "en", "id") == (0, 1)
    assert sides(["url_de", "text_de"], "", "de") == (1, 1)


@pytest.mark.parametrize(
    "lines",
    [
        ['"en"\t"de"', '"He said ""no"""\t"Er sagte ""nein"""'],
        ['"one"\t"eins"'] * 3 + ["two\tzwei"],
    ],
)
def test_quoted_cells_are_refused(lines):
    with pytest.raises(UserError, match=r"a.tsv has quotes around its cells: .*QUOTE_NONE"):
        of_table("a.tsv", lines, "en", "de", ())


def test_what_people_say_in_quotes_is_text():
    lines = ['"No!"\t"Nein!"', '"Yes!"\t"Ja!"', *["He left.\tEr ging."] * 9]
    assert of_table("a.tsv", lines, "en", "de", ()) == (0, 1, False)
    assert of_table("a.tsv", lines[:2] * 5, "en", "de", ("1", "2")) == (0, 1, False), "as asked"


def test_a_region_that_is_asked_for_is_honoured():
    assert sides(["en", "pt-PT", "pt-BR"], "en", "pt-BR") == (0, 2)
    assert sides(["en-GB", "en-US"], "en-GB", "en-US") == (0, 1)
    assert sides(["en", "pt-PT"], "en", "pt-BR") is None


@pytest.mark.parametrize(
    "header", ["source\ttarget", "English\tGerman", "sentence_en\tsentence_de"]
)
def test_a_header_in_other_words_is_no_pair(tmp_path, header):
    assert read(write(tmp_path / "a.tsv", "\n".join([header, *ROWS]))) == (PAIRS, {})


@pytest.mark.parametrize(
    "header", ["input\toutput", "id\tscore", "en\tfr", "French\tItalian", "text\ttranslation"]
)
def test_a_header_that_does_not_tell_is_refused(tmp_path, header):
    path = write(tmp_path / "a.tsv", "\n".join([header, *ROWS]))
    with pytest.raises(UserError, match=r"begins with the header .*--set data\.columns="):
        read(path)


def test_a_pair_of_short_words_is_a_pair(tmp_path):
    path = write(tmp_path / "a.tsv", "cat\tKatze\nName\tName\nText\ttext\n")
    assert read(path)[0] == [("cat", "Katze"), ("Name", "Name"), ("Text", "text")]


def table(**columns):
    return list(map("\t".join, zip(*columns.values(), strict=True)))


SCORES, ENGLISH, GERMAN = ["1.19", "1.18", "0.9"], *map(list, zip(*PAIRS, strict=True))


@pytest.mark.parametrize(
    ("lines", "message", "columns"),
    [
        (table(s=SCORES, e=ENGLISH, d=GERMAN), "has 3 columns and no header", "2,3"),
        (table(e=ENGLISH, s=SCORES, d=GERMAN), "has 3 columns and no header", "1,3"),
        (table(e=ENGLISH, d=GERMAN, x=GERMAN), "has 3 columns and no header", "1,2"),
        (table(s=SCORES, d=GERMAN), "nearly nothing but numbers in column 1", "1,2"),
        (table(e=ENGLISH, s=["1", "2e-05", "-3,5"]), "numbers in column 2", "1,2"),
    ],
)
def test_what_would_be_guessed_is_refused_with_three_examples(lines, message, columns):
    with pytest.raises(UserError) as caught:
        of_table("a.tsv", lines, "en", "de", ())
    said = str(caught.value)
    assert said.startswith("a.tsv has ")
    assert message in said
    assert f"--set data.columns={columns}" in said
    assert all(line.split("\t")[0] in said for line in lines[:3])


def test_a_cell_of_many_digits_is_looked_at_once():
    many = "1" * 100_000
    for cell, is_number in ((many, True), (f"{many}x", False), (f" -{many}.5% ", True)):
        assert bool(_NUMBER.fullmatch(cell)) == is_number
    for sign in ("", ".", "-", "+-", "x1", "1 1"):
        assert not _NUMBER.fullmatch(sign)


def test_a_file_without_tabs_is_no_tsv():
    with pytest.raises(UserError, match=r"has no tab in its lines: the cat, die Katze"):
        of_table("a.tsv", ["the cat, die Katze"] * 3, "en", "de", ())


def test_columns_are_chosen_by_number_or_by_name(tmp_path):
    lines = table(s=SCORES, e=ENGLISH, d=GERMAN)
    path = write(tmp_path / "a.tsv", "\n".join(lines))
    assert read(path, columns=("2", "3")) == (PAIRS, {})
    assert read(path, columns=("3", "2")) == ([(de, en) for en, de in PAIRS], {})
    assert read(path, columns=("1", "2"))[0][0] == ("1.19", "the cat")
    path = write(tmp_path / "b.tsv", "\n".join(["score\tin\tout", *lines]))
    assert read(path, columns=("in", "out")) == (PAIRS, {})
    path = write(tmp_path / "c.tsv", "\n".join(["score\tinput\toutput", *lines]))
    assert read(path, columns=("2", "3")) == (PAIRS, {}), "the header is no pair"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("in", "out"), "begins with 'the cat', 'die Katze', and data.columns is in,out"),
        (("1", "3"), "has 2 columns, and data.columns is 1,3"),
        (("0", "1"), "wanted names from there, or numbers of columns"),
        (("1", "out"), "wanted names from there, or numbers of columns"),
    ],
)
def test_columns_that_are_not_there_are_refused(tmp_path, columns, message):
    with pytest.raises(UserError, match=message):
        read(write(tmp_path / "a.tsv", "\n".join(ROWS)), columns=columns)


@pytest.mark.parametrize("nested", [False, True])
def test_keys_of_objects_are_chosen_or_listed(tmp_path, nested):
    rows = [{"input": en, "output": de, "id": n} for n, (en, de) in enumerate(PAIRS)]
    found = [{"translation": row} for row in rows] if nested else rows
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, found)))
    prefix = "translation." if nested else ""
    with pytest.raises(UserError) as caught:
        read(path)
    assert f"{prefix}input, {prefix}output, {prefix}id; wanted 'en' and 'de'" in str(caught.value)
    assert f"--set data.columns={prefix}input,{prefix}output" in str(caught.value)
    assert read(path, columns=("input", "output")) == (PAIRS, {})
    whole = (f"{prefix}input", f"{prefix}output")
    assert read(path, columns=whole) == (PAIRS, {})
    with pytest.raises(UserError, match="wanted 'a' and 'output'"):
        read(path, columns=("a", "output"))
    pq.write_table(pa.Table.from_pylist(found), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", columns=("input", "output")) == (PAIRS, {})
    with pytest.raises(UserError, match=f"{prefix}input.*wanted 'en' and 'de'. Say which"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("en", "de"),
    [("EN", "De"), ("eng", "deu"), ("en-US", "de_AT"), ("source", "target"), ("English", "German")],
)
def test_every_format_compares_codes_as_languages(tmp_path, en, de):
    rows = [{en: src, de: tgt} for src, tgt in PAIRS]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert read(path) == (PAIRS, {})
    for made in (rows, [{"id": 1, "translation": row} for row in rows]):
        pq.write_table(pa.Table.from_pylist(made), tmp_path / "a.parquet")
        assert read(tmp_path / "a.parquet") == (PAIRS, {})
    assert read(write(tmp_path / "a.tsv", "\n".join([f"{en}\t{de}", *ROWS]))) == (PAIRS, {})


def test_an_object_without_a_side_costs_itself_where_others_have_both(tmp_path):
    lines = ['{"en": "a"}', '{"en": "b", "de": "c"}', '{"x": 1}']
    assert read(write(tmp_path / "a.jsonl", "\n".join(lines))) == (
        [("b", "c")],
        {"missing_side": 2},
    )


def test_the_setting_needs_a_file_with_columns(tmp_path):
    for name in ("a.en", "a.de", "a.tsv"):
        write(tmp_path / name, "one\ttwo\n")
    data = DataConfig(
        corpus="c", folder=str(tmp_path), train_files=("a.{lang}",), columns=("1", "2")
    )
    with pytest.raises(UserError, match=r"data\.columns is 1,2, but no file has columns"):
        open_files(data)
    data = DataConfig(corpus="c", folder=str(tmp_path), train_files=("a.tsv",), columns=("1", "2"))
    assert list(open_files(data).train.pairs(Skipped())) == [("one", "two")]
