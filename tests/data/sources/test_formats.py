import gzip
import json
import random
import tracemalloc
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiayn.config import DataConfig
from aiayn.data.sources import formats
from aiayn.data.sources.formats import Pair, Skipped, find_files, open_files, read_pairs
from aiayn.errors import UserError

TMX = '<?xml version="1.0"?>{doctype}<tmx version="1.4"><header/><body>{units}</body></tmx>'


def read(
    *files: Path, src: str = "en", tgt: str = "de", columns: Sequence[str] = ()
) -> tuple[list[Pair], dict[str, int]]:
    skipped = Skipped()
    return list(read_pairs(files, src, tgt, skipped, columns)), dict(skipped.counts)


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def unit(en: str, de: str, en_tag: str = "en", de_tag: str = "de") -> str:
    return (
        f'<tu><tuv xml:lang="{en_tag}"><seg>{en}</seg></tuv>'
        f'<tuv xml:lang="{de_tag}"><seg>{de}</seg></tuv></tu>'
    )


# --- Parallel text ------------------------------------------------------------------------------


def test_only_newlines_end_a_line(tmp_path: Path):
    en = write(tmp_path / "a.en", "one\u2028still one\ntwo\x85\x0b\x0cstill two\r\n\nfour")
    de = write(tmp_path / "a.de", "eins\nzwei\n\nvier\n")
    assert read(en, de) == (
        [
            ("one\u2028still one", "eins"),
            ("two\x85\x0b\x0cstill two", "zwei"),
            ("", ""),
            ("four", "vier"),
        ],
        {},
    )


def test_gzipped_text_reads_like_plain_text(tmp_path: Path):
    text = "".join(f"sentence {i}\n" for i in range(1_000))
    plain = write(tmp_path / "a.en", text)
    packed = write(tmp_path / "b.en.gz", gzip.compress(text.encode()))
    pairs, skipped = read(plain, packed)
    assert len(pairs) == 1_000
    assert all(a == b for a, b in pairs)
    assert skipped == {}


def test_byte_order_mark_and_very_long_line(tmp_path: Path):
    en = write(tmp_path / "a.en", b"\xef\xbb\xbfhello\n" + b"x" * 100_000 + b"\n")
    de = write(tmp_path / "a.de", "hallo\nlang\n")
    assert read(en, de) == ([("hello", "hallo"), ("x" * 100_000, "lang")], {})


def test_lines_that_are_no_text_cost_their_pair_and_are_counted(tmp_path: Path):
    en = write(tmp_path / "a.en", b"good\n\xff\xfe broken\nnul\0l\nlast\n")
    de = write(tmp_path / "a.de", "gut\nganz\nnull\nletzte\n")
    skipped = Skipped()
    pairs = list(read_pairs((en, de), "en", "de", skipped))
    assert pairs == [("good", "gut"), ("last", "letzte")]
    assert skipped.counts == {"invalid_utf8": 1, "control": 1}
    assert "line 2: invalid utf8" in skipped.first


def test_unequal_line_counts_name_both_files_and_counts(tmp_path: Path):
    en = write(tmp_path / "a.en", "1\n2\n3\n")
    de = write(tmp_path / "a.de", "1\n2\n3\n4\n5")
    with pytest.raises(UserError, match=r"a\.en has 3 lines and .*a\.de has 5"):
        read(en, de)


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"word " * 10_000, mtime=0)[:-20], b"not gzip at all\n"],
    ids=["cut", "text"],
)
def test_gzip_that_is_not_whole_is_named(tmp_path: Path, data: bytes):
    en = write(tmp_path / "a.en.gz", data)
    de = write(tmp_path / "a.de", "x\n")
    with pytest.raises(UserError, match=r"a\.en\.gz is not a whole gzip file"):
        read(en, de)


def test_memory_does_not_grow_with_the_file(tmp_path: Path):
    text = (b"a sentence of forty-two bytes, ten times.. " * 10 + b"\n") * 10_000  # 4.2 MB
    en = write(tmp_path / "a.en.gz", gzip.compress(text, 1))
    de = write(tmp_path / "a.de", text)
    tracemalloc.start()
    assert sum(1 for _ in read_pairs((en, de), "en", "de", Skipped())) == 10_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


# --- One file with both sides -------------------------------------------------------------------


def test_tsv_takes_the_first_two_columns(tmp_path: Path):
    path = write(tmp_path / "a.tsv", "cat\tKatze\tCC-BY\nalone\n\ndog\tHund\n")
    assert read(path) == ([("cat", "Katze"), ("dog", "Hund")], {"missing_side": 2})


def test_tsv_header_selects_columns(tmp_path: Path):
    text = "id\tde\ten\n1\tKatze\tcat\n2\tHund\n"
    path = write(tmp_path / "a.tsv.gz", gzip.compress(text.encode()))
    assert read(path) == ([("cat", "Katze")], {"missing_side": 1})


def test_codes_of_languages_are_compared_without_case_and_hyphen(tmp_path: Path):
    tsv = write(tmp_path / "a.tsv", "pt-BR\tEN\nfrase\tsentence\n")
    jsonl = write(tmp_path / "a.jsonl", '{"EN": "sentence", "pt-br": "frase"}\n')
    for path in (tsv, jsonl):
        assert read(path, tgt="pt_BR") == ([("sentence", "frase")], {})


def test_jsonl_reads_both_shapes_and_counts_the_rest(tmp_path: Path):
    lines = [
        json.dumps({"en": "line\u2028one", "de": "eins"}, ensure_ascii=False),
        json.dumps({"translation": {"de": "zwei", "en": "two", "fr": "deux"}}),
        "{broken",
        "[1, 2]",
        json.dumps({"en": "no other side"}),
        json.dumps({"en": "number", "de": 4}),
        '{"en": "half a \\ud83d character", "de": "x"}',
        "",
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    assert read(path) == (
        [("line\u2028one", "eins"), ("two", "zwei")],
        {"malformed": 2, "missing_side": 2, "invalid_utf8": 1},
    )


@pytest.mark.parametrize("nested", [True, False])
def test_parquet_reads_language_and_translation_columns(tmp_path: Path, nested: bool):
    sides: list[dict[str, Any]] = [
        {"en": "cat", "de": "Katze"},
        {"en": "dog", "de": None},
        {"en": "bird", "de": "Vogel"},
    ]
    rows = [{"id": str(i), "translation": side} if nested else side for i, side in enumerate(sides)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=2)
    found = read(tmp_path / "a.parquet")
    assert found == ([("cat", "Katze"), ("bird", "Vogel")], {"missing_side": 1})


def test_parquet_with_invalid_utf8_loses_only_that_pair(tmp_path: Path):
    data = pa.array([b"cat", b"\xff\xfe", b"bird"], pa.binary()).view(pa.string())
    table = pa.table({"en": data, "de": ["Katze", "Hund", "Vogel"]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert found == ([("cat", "Katze"), ("bird", "Vogel")], {"invalid_utf8": 1})


def test_parquet_whose_columns_have_no_readable_names_is_refused(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"en": ["cat"], "de": ["Katze"], "note": ["x"]}), path)
    path.write_bytes(path.read_bytes().replace(b"note", b"n\xe5te"))
    with pytest.raises(UserError, match=r"a\.parquet cannot be read as Parquet: .*0xe5"):
        list(read_pairs((path,), "en", "de", Skipped()))


def test_parquet_columns_win_over_a_translation_that_is_none(tmp_path: Path):
    table = pa.table({"translation": ["note"], "en": ["cat"], "de": ["Katze"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == ([("cat", "Katze")], {})
    pq.write_table(table.select(["translation"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="has the columns translation; wanted 'en' and 'de'"):
        read(tmp_path / "a.parquet")


def test_equal_cells_of_parquet_take_memory_once(tmp_path: Path):
    # One cell of 100 kB that stands for a thousand of them.
    table = pa.table({"en": ["x" * 100_000] * 1_000, "de": ["lang"] * 1_000})
    pq.write_table(table, tmp_path / "a.parquet", compression="gzip")
    del table
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    assert sum(1 for _ in read_pairs((tmp_path / "a.parquet",), "en", "de", Skipped())) == 1_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000
    assert pa.total_allocated_bytes() - before < 5_000_000


@pytest.mark.parametrize("nested", [True, False])
def test_a_large_cell_of_parquet_costs_its_pair(tmp_path: Path, monkeypatch, nested: bool):
    monkeypatch.setattr(formats, "LONGEST_LINE", 1_000)
    sides = [{"en": "cat", "de": "Katze"}, {"en": "x" * 1_001, "de": "lang"}]
    rows = [{"translation": side} for side in sides] if nested else sides
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == ([("cat", "Katze")], {"too_long": 1})


def test_parquet_whose_cells_are_no_sentences_is_refused_before_it_is_read(tmp_path: Path):
    books = [f"{n} " * 40_000 for n in range(100)]
    pq.write_table(pa.table({"en": books, "de": books}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"bytes in 100 cells of column en; wanted sentences"):
        read(tmp_path / "a.parquet")


def test_parquet_with_pictures_beside_the_sentences_is_read(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(formats, "LONGEST_LINE", 100)
    pictures = [random.Random(n).randbytes(200_000) for n in range(2)]
    sides = {"en": ["cat", "dog"], "de": ["Katze", "Hund"]}
    pq.write_table(pa.table({**sides, "image": pictures}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == ([("cat", "Katze"), ("dog", "Hund")], {})


def test_parquet_of_bytes_is_read_as_the_text_that_it_is(tmp_path: Path):
    table = pa.table({"en": [b"cat", b"\xff"], "de": [b"Katze", b"x"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == ([("cat", "Katze")], {"invalid_utf8": 1})


def test_parquet_without_the_languages_lists_its_columns(tmp_path: Path):
    pq.write_table(pa.table({"en": ["a"], "fr": ["b"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="columns en, fr; wanted 'en' and 'de'"):
        read(tmp_path / "a.parquet")
    write(tmp_path / "b.parquet", "no such thing")
    with pytest.raises(UserError, match=r"b\.parquet cannot be read as Parquet"):
        read(tmp_path / "b.parquet")


def test_tmx_matches_primary_subtags_and_drops_native_codes(tmp_path: Path):
    units = (
        unit("cat", "Katze", "en-US", "DE")
        + unit("a <bpt i='1'>&lt;b&gt;</bpt>bold<ept i='1'>x</ept> <hi>word</hi>!", "fett")
        + unit("only English", "seulement", "en", "fr")
    )
    doctype = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">'
    path = write(tmp_path / "a.tmx", TMX.format(doctype=doctype, units=units))
    pairs = [("cat", "Katze"), ("a bold word!", "fett")]
    assert read(path) == (pairs, {"missing_side": 1})
    assert read(path, tgt="de_AT") == ([], {"missing_side": 3})


def test_tmx_entity_bomb_is_refused(tmp_path: Path):
    doctype = '<!DOCTYPE tmx [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    path = write(tmp_path / "a.tmx", TMX.format(doctype=doctype, units=unit("&b;", "x")))
    with pytest.raises(UserError, match=r"a\.tmx declares XML entities"):
        read(path)


def test_tmx_external_entity_is_refused(tmp_path: Path):
    secret = write(tmp_path / "secret.txt", "secret")
    doctype = f'<!DOCTYPE tmx [<!ENTITY a SYSTEM "{secret.as_uri()}">]>'
    path = write(tmp_path / "a.tmx", TMX.format(doctype=doctype, units=unit("&a;", "x")))
    with pytest.raises(UserError, match="declares XML entities"):
        read(path)


def test_tmx_that_breaks_off_is_named(tmp_path: Path):
    path = write(tmp_path / "a.tmx", TMX.format(doctype="", units=unit("a", "b"))[:-20])
    with pytest.raises(UserError, match=r"a\.tmx cannot be read as TMX"):
        read(path)


def test_tmx_in_a_namespace_is_read_alike(tmp_path: Path):
    text = TMX.format(doctype="", units=unit("a <hi>b</hi>", "c"))
    path = write(tmp_path / "a.tmx", text.replace("<tmx", '<tmx xmlns="http://www.lisa.org/tmx14"'))
    assert read(path) == ([("a b", "c")], {})


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0" encoding="gb2312"?><tmx/>',
        '<?xml version="1.0" encoding="nonsense"?><tmx/>',
        TMX.format(doctype="", units=unit("<hi>" * 3_000 + "a" + "</hi>" * 3_000, "b")),
    ],
)
def test_tmx_that_the_parser_cannot_take_is_named(tmp_path: Path, text: str):
    with pytest.raises(UserError, match=r"a\.tmx cannot be read as TMX"):
        read(write(tmp_path / "a.tmx", text))


def test_tmx_elements_are_let_go_of(tmp_path: Path):
    text = TMX.format(doctype="", units=unit("a sentence", "ein Satz") * 3_000)
    path = write(tmp_path / "a.tmx.gz", gzip.compress(text.encode(), 1))
    tracemalloc.start()
    assert sum(1 for _ in read_pairs((path,), "en", "de", Skipped())) == 3_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_500_000  # The whole tree takes more than twice that.


# --- Patterns -----------------------------------------------------------------------------------


def test_wildcards_pair_files_by_what_they_stand_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    # "de" occurs in names on both sides, and the two sides sort differently: a-en < a.en.
    for name in ["a.en", "a.de", "a-den.en", "a-den.de", "z.de.en", "z.de.de"]:
        write(tmp_path / name, name)
    found = find_files("*.{lang}", str(tmp_path), "en", "de", "data.train_files")
    for whole in (f"{tmp_path}/*.{{lang}}", "~/*.{lang}"):
        assert find_files(whole, "elsewhere", "en", "de", "data.train_files") == found
    assert [(a.name, b.name) for a, b in found] == [
        ("a.en", "a.de"),
        ("a-den.en", "a-den.de"),
        ("z.de.en", "z.de.de"),
    ]


def test_wildcard_partner_that_is_missing_is_named(tmp_path: Path):
    for name in ["part1.en", "part1.de", "part2.en"]:
        write(tmp_path / name, "x\n")
    with pytest.raises(UserError, match=r"part2\.en has no parallel file in 'de'"):
        find_files("part?.{lang}", str(tmp_path), "en", "de", "data.train_files")


def test_single_files_are_sorted(tmp_path: Path):
    for name in ["b.tsv", "c.tsv", "a.tsv"]:
        write(tmp_path / name, f"{name}\tx\n")
    data = DataConfig(corpus="c", folder=str(tmp_path), train_files=("*.tsv",))
    source = open_files(data)
    assert [src for src, _ in source.train.pairs(Skipped())] == ["a.tsv", "b.tsv", "c.tsv"]
    assert str(tmp_path) not in json.dumps(source.details)


def test_missing_file_names_itself_and_its_setting(tmp_path: Path):
    write(tmp_path / "train.en", "x\n")
    data = DataConfig(corpus="c", folder=str(tmp_path), train_files=("train.{lang}",))
    with pytest.raises(UserError, match=r"train\.de does not exist; data\.train_files names it"):
        open_files(data)
    with pytest.raises(UserError, match=r"data\.dev_files"):
        find_files("none*.tsv", str(tmp_path), "en", "de", "data.dev_files")


def test_unknown_format_lists_the_known_ones(tmp_path: Path):
    with pytest.raises(UserError, match=r"train\.docx.*\.tsv, \.jsonl, \.parquet, \.tmx"):
        find_files("train.docx", str(tmp_path), "en", "de", "data.train_files")
    with pytest.raises(UserError, match=r"without \{lang\}"):
        find_files("train.{lang}.tsv", str(tmp_path), "en", "de", "data.train_files")


@pytest.mark.parametrize("tests", [("../up=t.tsv",), ("a=t.tsv", "a=t.tsv"), ("=t.tsv",)])
def test_names_of_test_sets_can_be_file_names(tmp_path: Path, tests: tuple[str, ...]):
    write(tmp_path / "t.tsv", "a\tb\n")
    data = DataConfig(corpus="c", folder=str(tmp_path), train_files=("t.tsv",), test_files=tests)
    with pytest.raises(UserError, match="names a test set"):
        open_files(data)


def test_readers_are_lazy(tmp_path: Path):
    en = write(tmp_path / "a.en", "1\n2\n3\n")
    de = write(tmp_path / "a.de", "1\n2\n")
    pairs = islice(read_pairs((en, de), "en", "de", Skipped()), 2)
    assert list(pairs) == [("1", "1"), ("2", "2")]


@pytest.mark.parametrize("setting", ["train_files", "dev_files", "test_files"])
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("a.tsv", {"tgt": "trees", "trees": "tags"}, "but data.trees is 'tags'; wanted a treebank"),
        ("a.mrg.tsv", {"tgt": "trees", "trees": "xx"}, "which ends in .mrg, .ptb, .trees, or pack"),
        ("a.mrg.gz", {}, "a treebank, whose trees are no translations; wanted task=parsing"),
    ],
)
def test_text_given_for_trees_and_trees_given_for_text_are_refused_by_name(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str, setting: str
):
    fine = write(tmp_path / ("b.trees" if changes else "b.tsv"), "")
    write(tmp_path / name, "")
    named = {"train_files": (fine.name,)} | {
        setting: (f"news={name}" if setting == "test_files" else name,)
    }
    with pytest.raises(UserError, match=rf"data\.{setting} names \S+/{name}.*{message}"):
        open_files(DataConfig("c", folder=str(tmp_path), **named, **changes))


# --- Text without a source ----------------------------------------------------------------------


def read_text(path: Path, **changes: Any) -> tuple[list[str], dict[str, int]]:
    """The documents of one file, and what was skipped."""
    values: dict[str, Any] = {"corpus": "c", "src": "", "folder": str(path.parent)}
    data = DataConfig(**(values | {"train_files": (path.name,)} | changes))
    skipped = Skipped()
    pairs = list(open_files(data).train.pairs(skipped))
    assert {src for src, _ in pairs} <= {""}
    return [text.replace("\u2028", "\n") for _, text in pairs], dict(skipped.counts)


TWO = "Ein Haus.\n  Der Hund.\n\nEin Tag."


@pytest.mark.parametrize("name", ["a.txt", "a", "a.md", "a.txt.gz", "a.en-de.de"])
def test_text_is_read_from_files_of_any_name(tmp_path: Path, name: str):
    content = TWO.encode()
    path = write(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    assert read_text(path) == (["Ein Haus.", "  Der Hund.", "", "Ein Tag."], {})
    assert read_text(path, documents="blank_line") == (TWO.split("\n\n"), {})
    assert read_text(path, documents="file") == ([TWO], {})


def test_text_may_be_one_side_of_a_corpus_of_pairs(tmp_path: Path):
    write(tmp_path / "a.en", "a house\n")
    write(tmp_path / "a.de", "ein Haus\n")
    assert read_text(tmp_path / "a.{lang}") == (["ein Haus"], {})
    assert read_text(tmp_path / "a.{lang}", tgt="en") == (["a house"], {})
    tmx = TMX.format(doctype="", units=unit("a house", "ein Haus") + unit("no", "nein"))
    assert read_text(write(tmp_path / "a.tmx", tmx))[0] == ["ein Haus", "nein"]
    assert read_text(tmp_path / "a.tmx", tgt="fr") == ([], {"missing_side": 2})


@pytest.mark.parametrize(
    ("lines", "changes"),
    [
        (["id\ten\tde", "1\ta\tb"], {}),
        (["a\tb", "a\tb"], {"columns": ("2",)}),
        (["x\ty", "a\tb"], {"columns": ("y",)}),
        (["text\turl", "b\tu"], {}),
        (["b"], {}),
        (["target", "b"], {"columns": ("1",)}),
    ],
)
def test_the_column_of_text_in_a_tsv(tmp_path: Path, lines: list[str], changes: dict[str, Any]):
    path = write(tmp_path / "a.tsv", "\n".join(lines))
    wanted = ["b", "b"] if lines[0] == "a\tb" else ["b"]
    assert read_text(path, **changes) == (wanted, {})


def test_a_tsv_whose_column_of_text_nobody_names_is_refused(tmp_path: Path):
    path = write(tmp_path / "a.tsv", "a\tb\nc\td\n")
    with pytest.raises(UserError, match=r"2 columns and no header that names 'de' or text: a \| b"):
        read_text(path)
    with pytest.raises(UserError, match=r"has 2 columns, and data\.columns is 3"):
        read_text(path, columns=("3",))
    with pytest.raises(UserError, match=r"begins with 'a', 'b', and data\.columns is body; wanted"):
        read_text(path, columns=("body",))


ROWS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"de": TWO, "en": "x"}, {}),
    ({"text": TWO, "id": "x"}, {}),
    ({"body": TWO}, {}),
    ({"body": TWO, "title": "x"}, {"columns": ("body",)}),
    ({"id": "x", "translation": {"de": TWO, "en": "y"}}, {}),
]


@pytest.mark.parametrize(("row", "changes"), ROWS)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_cells_of_tables_are_as_files_are(tmp_path: Path, kind: str, row: Any, changes: Any):
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        write(path, f"{json.dumps(row)}\n" * 2)
    else:
        pq.write_table(pa.Table.from_pylist([row] * 2), path)
    for how, wanted in (
        ("line", TWO.split("\n")),
        ("blank_line", TWO.split("\n\n")),
        ("file", [TWO]),
    ):
        assert read_text(path, documents=how, **changes) == (wanted * 2, {})


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_column_of_text_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, kind):
    path = tmp_path / f"a.{kind}"
    row = {"title": "x", "body": "y"}
    if kind == "jsonl":
        write(path, json.dumps(row))
    else:
        pq.write_table(pa.Table.from_pylist([row]), path)
    with pytest.raises(UserError, match=r"columns title, body; wanted 'de' or 'text'\. Say which "
                       r"holds the text, for example --set data\.columns=title\."):  # fmt: skip
        read_text(path)
    with pytest.raises(UserError, match=r"columns title, body; wanted 'abstract'\."):
        read_text(path, columns=("abstract",))
    with pytest.raises(UserError, match=r"no file has columns to choose from"):
        read_text(write(tmp_path / "a.txt", "x"), columns=("body",))


def test_what_cannot_be_text_is_counted_by_document(tmp_path: Path):
    path = write(tmp_path / "a", b"one\n\ntwo\0\ntwo\n\nthree \xff\n\nfour")
    assert read_text(path) == (
        ["one", "", "two", "", "", "four"],
        {"control": 1, "invalid_utf8": 1},
    )
    assert read_text(path, documents="blank_line") == (
        ["one", "four"],
        {"control": 1, "invalid_utf8": 1},
    )
    assert read_text(path, documents="file") == ([], {"control": 1})
    write(path, "grün\n".encode("latin-1") * 3)
    with pytest.raises(UserError, match=r"3 of 3 lines are not UTF-8.*iconv -f ISO-8859-1"):
        read_text(path, documents="file")


def test_an_endless_line_is_left_out_of_train_without_taking_memory(tmp_path: Path):
    path = write(tmp_path / "a", b"one\n" + b"x" * (formats.LONGEST_LINE + 1) + b"\n\ntwo\n")
    for how, wanted in (("line", ["one", "", "two"]), ("blank_line", ["two"]), ("file", [])):
        assert read_text(path, documents=how) == (wanted, {"too_long": 1})


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("b*.txt", r"b\*\.txt does not exist; data\.train_files names it"),
        ("b.{lang}", r"b\.de does not exist"),
        ("b.csv", "save it as TSV"),
        ("b.json", "jq -c"),
        ("b.zip", "unzip"),
    ],
)
def test_text_that_is_not_there_or_not_read_is_refused(tmp_path: Path, pattern: str, message: str):
    with pytest.raises(UserError, match=message):
        read_text(tmp_path / pattern)


def test_a_pattern_names_many_files_of_one_document_each(tmp_path: Path):
    for number in (2, 1):
        write(tmp_path / f"{number}.txt", f"file {number}\nends\n")
    assert read_text(tmp_path / "*.txt", documents="file")[0] == ["file 1\nends", "file 2\nends"]


def test_a_file_that_is_one_document_too_large_is_refused_before_any_is_read(tmp_path: Path):
    write(tmp_path / "1.txt", "one")
    with (tmp_path / "2.txt").open("wb") as file:
        file.truncate(10**10)  # a hole, which takes no room
    for how in ("line", "blank_line", "file"):
        data = DataConfig("c", "", documents=how, folder=str(tmp_path), train_files=("*.txt",))
        if how != "file":
            assert open_files(data)
            continue
        wanted = r"2\.txt has 10,000,000,000 bytes, and data\.documents is 'file'.*67,108,864\."
        with pytest.raises(UserError, match=wanted):
            open_files(data)


def test_a_blank_line_before_the_header_makes_it_no_pair(tmp_path):
    path = write(tmp_path / "a.tsv", "\nen\tde\nthe cat\tdie Katze\n")
    assert read(path) == ([("the cat", "die Katze")], {"missing_side": 1})


def test_a_pattern_over_folders_of_any_depth_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"\*\*/train.*wanted \* for the characters of one folder"):
        find_files("**/train.{lang}", str(tmp_path), "en", "de", "data.train_files")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_objects_named_source_and_target_are_listed_by_their_keys(tmp_path, kind):
    rows = [{"source": {"text": "a"}, "target": {"text": "b"}}] * 2
    path = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        write(path, "".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(UserError, match=r"source\.text, .*target\.text"):
        read(path)
    assert read(path, columns=("source.text", "target.text"))[0] == [("a", "b")] * 2


def test_large_cells_are_refused_whatever_dots_are_in_the_columns_name(tmp_path, monkeypatch):
    monkeypatch.setattr("aiayn.data.sources.formats.LONGEST_LINE", 1_000)
    monkeypatch.setattr("aiayn.data.sources.formats._MOST_A_CELL", 100)
    for name in ("en", "text.en"):
        cells = [f"{number} " * 2_000 for number in range(10)]
        pq.write_table(pa.table({name: cells, "de": ["b"] * 10}), tmp_path / "a.parquet")
        with pytest.raises(UserError, match=r"bytes in 10 cells of column"):
            read(tmp_path / "a.parquet", columns=(name, "de"))
