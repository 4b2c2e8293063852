"""Damage in a TMX costs the unit it is in."""

import gzip
import tracemalloc

import pytest

from aiayn.data.sources import tmx
from aiayn.data.sources.formats import Skipped, read_pairs
from aiayn.errors import UserError
from tests.data.sources.test_formats import TMX, read, unit, write


def document(*units):
    return TMX.format(doctype="", units="\n".join(units))


GOOD = [unit(f"cat {n}", f"Katze {n}") for n in range(6)]
DAMAGE = {
    "a bare ampersand": unit("AT&T", "AT&T"),
    "an entity that is not declared": unit("a&nbsp;b", "c"),
    "a reference to a control": unit("a&#1;b", "c"),
    "a bare bracket": unit("a < b", "c"),
    "a tag that does not end": "<tu><tuv xml:lang='en'><seg>a</seg><tuv",
    "elements that do not nest": "<tu><tuv xml:lang='en'><seg>a</tuv></seg></tu>",
    "an end too many": unit("a", "b").replace("</seg>", "</seg></seg>", 1),
    "an end too few": unit("a", "b").replace("</seg>", "", 1),
    "no end": unit("a", "b").removesuffix("</tu>"),
    "an attribute without quotes": unit("a", "b").replace('"en"', "en"),
    "an attribute twice": unit("a", "b").replace("<seg>", "<seg x='1' x='2'>", 1),
    "a comment that does not end": unit("a <!-- b", "c"),
    "a section that does not end": unit("a <![CDATA[ b", "c"),
    "a unit within a unit": "<tu>" + unit("a", "b"),
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("size", [7, 1 << 14])
def test_a_damaged_unit_costs_itself(tmp_path, monkeypatch, what, size):
    monkeypatch.setattr(tmx, "_PIECE", size)
    found, skipped = read(write(tmp_path / "a.tmx", document(*GOOD[:3], DAMAGE[what], *GOOD[3:])))
    assert [src for src, _ in found if src != "a"] == [f"cat {n}" for n in range(6)]
    assert skipped == {"malformed": 1}


def test_text_within_marks_is_text_and_native_code_is_none(tmp_path):
    marked = "a <mrk>term</mrk> <g id='1'>within <hi>it</hi></g> <bpt i='1'>&lt;b></bpt>bold"
    coded = "<it pos='begin'>{\\b <sub>footnote</sub></it>c"
    path = write(tmp_path / "a.tmx", document(unit(marked, coded)))
    assert read(path) == ([("a term within it bold", "c")], {})


def test_two_damaged_units_side_by_side_and_at_the_ends(tmp_path):
    bad = DAMAGE["a bare ampersand"]
    path = write(tmp_path / "a.tmx", document(bad, GOOD[0], bad, bad, GOOD[1], bad))
    assert read(path) == ([("cat 0", "Katze 0"), ("cat 1", "Katze 1")], {"malformed": 4})


@pytest.mark.parametrize("control", ["\x01", "\x0b", "\x1f", "\0", "\ufffe"])
def test_what_xml_forbids_costs_its_unit_as_it_does_in_other_formats(tmp_path, control):
    path = write(tmp_path / "a.tmx", document(GOOD[0], unit(f"a{control}", "b"), GOOD[1]))
    assert read(path) == ([("cat 0", "Katze 0"), ("cat 1", "Katze 1")], {"control": 1})


def test_bytes_that_are_no_text_cost_their_unit_and_many_are_another_encoding(tmp_path):
    text = document(*GOOD, unit("big", "gr\u00f6\u00dfer"), *GOOD).encode("latin-1")
    found, skipped = read(write(tmp_path / "a.tmx", text))
    assert (len(found), skipped) == (12, {"invalid_utf8": 1})
    text = document(*GOOD, *[unit("big", "gr\u00f6\u00dfer")] * 3).encode("latin-1")
    with pytest.raises(UserError, match=r"3 of 9 units are not UTF-8.*ISO-8859-1"):
        read(write(tmp_path / "b.tmx", text))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "windows-1252"])
def test_the_encoding_is_that_of_the_mark_or_of_the_declaration(tmp_path, encoding):
    declared = encoding.removesuffix("-sig")
    text = document(unit("big", "größer")).replace("?>", f" encoding='{declared}'?>", 1)
    path = write(tmp_path / "a.tmx", text.encode(encoding))
    assert read(path) == ([("big", "größer")], {})


def test_prefixes_of_the_root_hold_after_damage(tmp_path):
    text = document(DAMAGE["a bare ampersand"], unit("a", "b").replace("<tu>", "<x:tu x:n='1'>"))
    text = text.replace("</tu></body>", "</x:tu></body>").replace(
        "<tmx", "<tmx xmlns:x='urn:&quot;'"
    )
    assert read(write(tmp_path / "a.tmx", text)) == ([("a", "b")], {"malformed": 1})


def test_units_in_comments_are_none_and_files_that_were_joined_are_one(tmp_path):
    commented = f"<!-- {GOOD[5]} -->"
    text = document(GOOD[0], commented, GOOD[1])
    assert len(read(write(tmp_path / "a.tmx", text))[0]) == 2
    found, skipped = read(write(tmp_path / "b.tmx", text + text))
    assert (len(found), skipped) == (4, {})


@pytest.mark.parametrize("cut", [3, 10, 20, 30, 60])
def test_a_file_that_breaks_off_after_damage_is_refused(tmp_path, cut):
    text = document(GOOD[0], DAMAGE["a bare ampersand"], GOOD[1])[:-cut]
    with pytest.raises(UserError, match=r"a\.tmx cannot be read as TMX: it breaks off"):
        read(write(tmp_path / "a.tmx", text))


def test_a_unit_of_any_length_takes_little_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tmx, "LONGEST_LINE", 100_000)
    long = gzip.compress(b"x" * 5_000_000, 1)
    unit_of_one = "<tu><tuv xml:lang='en'><seg>@</seg></tuv></tu>"
    before, after = document(GOOD[0], unit_of_one, GOOD[1]).split("@")
    data = gzip.compress(before.encode()) + long + gzip.compress(after.encode())
    path = write(tmp_path / "a.tmx.gz", data)
    skipped = Skipped()
    tracemalloc.start()
    found = list(read_pairs((path,), "en", "de", skipped))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [("cat 0", "Katze 0"), ("cat 1", "Katze 1")]
    assert skipped.counts == {"too_long": 1}
    assert peak < 3_000_000


def test_a_tag_of_any_length_outside_of_units_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tmx, "LONGEST_LINE", 100_000)
    text = document(GOOD[0], f"<!-- {'x' * 1_000_000} -->", GOOD[1])
    with pytest.raises(UserError, match="outside its units has more than 100,000 bytes"):
        read(write(tmp_path / "a.tmx", text))


def test_the_region_that_is_asked_for_is_taken(tmp_path):
    both = (
        '<tu><tuv xml:lang="en-GB"><seg>colour</seg></tuv><tuv xml:lang="en-US"><seg>color</seg>'
        '</tuv><tuv xml:lang="deu"><seg>Farbe</seg></tuv></tu>'
    )
    path = write(tmp_path / "a.tmx", document(both))
    assert read(path, src="en-GB")[0] == [("colour", "Farbe")]
    assert read(path, src="en")[0] == [("color", "Farbe")]
    assert read(path, src="en-GB", tgt="en-US")[0] == [("colour", "color")]
