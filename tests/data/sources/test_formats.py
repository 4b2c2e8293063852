import gzip
import json
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


def test_wildcards_pair_files_by_what_they_stand_for(tmp_path: Path):
    # "de" occurs in names on both sides, and the two sides sort differently: a-en < a.en.
    for name in ["a.en", "a.de", "a-den.en", "a-den.de", "z.de.en", "z.de.de"]:
        write(tmp_path / name, name)
    found = find_files("*.{lang}", str(tmp_path), "en", "de", "data.train_files")
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
