"""Text comes in as what it is, or is refused by name."""

import bz2
import codecs
import gzip
import io
import lzma
import os
import sys
import tarfile
import threading
import tracemalloc
import zipfile
from itertools import islice

import pytest

from aiayn.data.sources import opening
from aiayn.data.sources.formats import Skipped, read_pairs, read_text
from aiayn.data.sources.opening import TOO_LONG, Stream, likely_encoding, lines
from aiayn.errors import UserError
from aiayn.system.streams import STANDARD_INPUT

TEXT = "Zwölf Boxkämpfer\nja\u2028gen\r\n\nViktor 🥊"
LINES = ["Zwölf Boxkämpfer", "ja\u2028gen", "", "Viktor 🥊"]
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def lzma_alone(data):
    return lzma.compress(data, lzma.FORMAT_ALONE)


@pytest.fixture
def file(tmp_path):
    """A function that writes bytes to a file of that name."""

    def write(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["a.en", "a.en.gz", "a.en.bz2", "a.en.xz", "a.zip"])
@pytest.mark.parametrize("pack", [*PACKERS.values(), lzma_alone])
def test_a_packed_file_is_known_by_its_first_bytes_whatever_its_name(file, pack, name):
    assert list(lines(file(name, pack(TEXT.encode())))) == LINES


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_half_a_character_is_named_with_its_line(file, encoding):
    path = file("a.en", "Satz\n\ud83d.\n".encode(encoding, "surrogatepass"))
    with pytest.raises(UserError, match=r"a\.en, line 2, holds half of a character"):
        list(read_text(path))


@pytest.mark.parametrize("pack", [bytes, *PACKERS.values()])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("blocking", [True, False])
def test_standard_input_is_read_as_a_file_is(monkeypatch, pack, encoding, blocking):
    # A pipe whose first bytes come one by one, later than they are asked for.
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, blocking)
    data = pack(TEXT.encode(encoding))

    def write():
        with os.fdopen(write_end, "wb", buffering=0) as pipe:
            for place in range(len(data)):
                pipe.write(data[place : place + 1])

    writer = threading.Thread(target=write)
    with os.fdopen(read_end, encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        writer.start()
        assert list(lines(STANDARD_INPUT)) == LINES
    writer.join()


def test_packed_parts_that_were_joined_are_one_text(file):
    for pack in PACKERS.values():
        assert list(lines(file("a.en", pack(b"one\n") + pack(b"two\n")))) == ["one", "two"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_what_is_not_whole_is_named(file, suffix):
    whole = PACKERS[suffix](b"ein langer Satz, der nicht zu Ende\n" * 50)
    for data in (whole[:-9], b"plain text\n", b""):
        with pytest.raises(UserError, match=rf"a\.en\.{suffix} is not a whole \w+ file"):
            list(lines(file(f"a.en.{suffix}", data)))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be"]
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_text_with_a_mark_is_read_in_its_encoding(file, encoding, pack):
    marks = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
    marks["utf-32-be"] = codecs.BOM_UTF32_BE
    data = marks.get(encoding, b"") + TEXT.encode(encoding)
    assert list(lines(file("a.de", pack(data)))) == LINES


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train.en", "one\n")
    return buffer.getvalue()


def in_tar():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("train.en"), io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "kind", "advice"),
    [
        (zipped(), "is a zip archive", "unzip "),
        (gzip.compress(zipped()), "holds a zip archive", "unzip "),
        (in_tar(), "is a tar archive", "tar -xf "),
        (gzip.compress(in_tar()), "holds a tar archive", "tar -xf "),
        (gzip.compress(bz2.compress(b"one\n")), "is packed twice", "gzip -dc "),
        (b"\x28\xb5\x2f\xfd\x04\x00", "is packed with zstd", "zstd -d "),
        (b"\x04\x22\x4d\x18\x64\x40", "is packed with lz4", "lz4 -d "),
        (b"PAR1\x15\x04", "is a Parquet file", ".parquet"),
        (b"%PDF-1.7\n", "is a PDF", "pdftotext "),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS", "git lfs"),
        (b"\n<!DOCTYPE html><html>", "is a page of HTML", "Fetch the file again"),
        ("Grün ist".encode("utf-16-le"), "is text in UTF-16LE without a mark", "iconv -f UTF-16LE"),
        ("Grün ist".encode("utf-16-be"), "is text in UTF-16BE without a mark", "iconv -f UTF-16BE"),
        ("Grün ist".encode("utf-32-le"), "is text in UTF-32 without a mark", "iconv -f UTF-32"),
    ],
)
def test_what_is_no_text_is_refused_by_name_with_what_to_do(file, data, kind, advice):
    path = file("a b.en", data)
    with pytest.raises(UserError) as caught:
        list(lines(path))
    assert str(caught.value).startswith(f"{path} {kind}")
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


# --- Encodings without a mark -------------------------------------------------------------------

GERMAN = ["Zwölf", "ja", "Boxkämpfer", "nein", "größer", "so", "süß"] * 10
RUSSIAN = ["двенадцать", "да", "боксёров"] * 10
CHINESE = ["十二个拳击手", "是的", "我们"] * 10
JAPANESE = ["十二人のボクサー", "はい", "わたし"] * 10


@pytest.mark.parametrize(
    ("text", "encoding", "languages", "name"),
    [
        (GERMAN, "latin-1", ["de"], "ISO-8859-1"),
        (GERMAN, "latin-1", [], "ISO-8859-1"),
        ([f"„{line}“" for line in GERMAN], "cp1252", ["de"], "WINDOWS-1252"),
        (RUSSIAN, "cp1251", ["en", "ru"], "WINDOWS-1251"),
        (RUSSIAN, "cp1251", ["rus"], "WINDOWS-1251"),
        (["Łódź", "Kraków"] * 10, "cp1250", ["pl"], "WINDOWS-1250"),
        (CHINESE, "gb18030", ["zh-Hans"], "GB18030"),
        (JAPANESE, "cp932", ["ja"], "CP932"),
        (["감사합니다"] * 20, "cp949", ["ko"], "CP949"),
        (CHINESE, "utf-16-le", ["zh"], "UTF-16LE"),
    ],
)
def test_another_encoding_is_refused_by_its_name_with_the_command(
    file, text, encoding, languages, name
):
    path = file("train.xx", "".join(f"{line}\n" for line in text).encode(encoding))
    with pytest.raises(UserError) as caught:
        list(lines(path, languages))
    assert f"iconv -f {name} -t UTF-8 {path}" in str(caught.value)
    # The command makes text of it.
    assert path.read_bytes().decode(name.lower()).split("\n")[:-1] == text


def test_the_command_for_a_packed_file_unpacks_it(file):
    path = file("train.de.gz", gzip.compress("\n".join(GERMAN).encode("latin-1")))
    with pytest.raises(UserError, match=r"gzip -dc .*train\.de\.gz \| iconv -f ISO-8859-1"):
        list(lines(path))


def test_a_few_damaged_lines_stay_for_whoever_counts_them(file):
    # 3 of 100 are no more than 3 %; 4 of 100 are another encoding.
    good, bad = [b"gr\xc3\xbcn"] * 97, [b"gr\xfcn"] * 3
    found = list(lines(file("a.de", b"\n".join(good + bad))))
    assert found.count("gr\udcfcn") == 3
    with pytest.raises(
        UserError, match="4 of 100 lines are not UTF-8, the first of them number 97"
    ):
        list(lines(file("b.de", b"\n".join([*good[:-1], b"gr\xfcn", *bad]))))
    # Of three lines one may be anything.
    assert len(list(lines(file("c.de", b"a\n\xff\nb")))) == 3


def test_a_text_that_mixes_encodings_is_not_to_be_converted(file):
    data = ("größer\n" * 90).encode() + ("größer\n" * 10).encode("latin-1")
    with pytest.raises(UserError, match="others are") as caught:
        list(lines(file("a.de", data)))
    assert "iconv" not in str(caught.value)


def test_another_encoding_is_seen_long_before_the_end(file, monkeypatch):
    monkeypatch.setattr(opening.Doubts, "LINES", 10)
    rows = lines(file("a.de", b"gr\xfcn\n" * 9 + b"x\n" * 10**6))
    with pytest.raises(UserError, match="9 of 10 lines"):
        list(islice(rows, 11))


def test_single_letters_are_western_and_long_runs_are_not():
    assert likely_encoding(["Ärger".encode("latin-1")]) == "ISO-8859-1"
    assert likely_encoding([line.encode("cp932") for line in JAPANESE]) == "CP932"


# --- Limits -------------------------------------------------------------------------------------


def test_a_line_of_any_length_takes_little_memory(file, monkeypatch):
    # 200 MB in 200 KB; the limit is a thousandth of that.
    monkeypatch.setattr(opening, "LONGEST_LINE", 200_000)
    bomb = gzip.compress(b"short\n", 1) + gzip.compress(b"x" * 20_000_000, 1) * 10
    bomb += gzip.compress(b"\nlast\n")
    path = file("a.en.gz", bomb)
    tracemalloc.start()
    found = list(lines(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == ["short", TOO_LONG, "last"]
    assert peak < 3_000_000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_longest_line_is_whole_and_one_byte_more_is_too_long(file, monkeypatch, encoding):
    monkeypatch.setattr(opening, "LONGEST_LINE", 1_000)
    limit = 1_000 if encoding == "utf-8" else 499
    for end in ("", "\n", "\nnext"):
        path = file("a.en", f"{'x' * limit}{end}".encode(encoding))
        assert next(lines(path)) == "x" * limit
        path = file("b.en", f"{'x' * (limit + 2)}{end}".encode(encoding))
        assert list(lines(path)) == [TOO_LONG, *(["next"] if "next" in end else [])]


def test_a_long_line_costs_its_pair_in_train_and_is_refused_elsewhere(file, monkeypatch):
    monkeypatch.setattr(opening, "LONGEST_LINE", 1_000)
    en, de = file("a.en", b"one\n" + b"x" * 2_000 + b"\nthree\n"), file("a.de", b"1\n2\n3\n")
    skipped = Skipped()
    assert list(read_pairs((en, de), "en", "de", skipped)) == [("one", "1"), ("three", "3")]
    assert skipped.counts == {"too_long": 1}
    assert skipped.first.endswith("line 2: too long")
    with pytest.raises(UserError, match=r"a\.en, line 2, is too long"):
        list(read_text(en))


# --- Piece by piece -----------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_stream_is_decoded_however_it_is_cut(encoding, size):
    data = TEXT.encode(encoding)
    stream = Stream("Standard input")
    pieces = [stream.feed(data[at : at + size]) for at in range(0, len(data), size)]
    assert b"".join([*pieces, stream.feed(b"", last=True)]).decode() == TEXT


def test_the_first_line_of_a_stream_waits_for_nothing():
    assert Stream("x").feed(b"a\n") == b"a\n"
    assert Stream("x").feed(b"\n") == b"\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"one\n"), "is packed with gzip; wanted text. Unpack it before: gzip -dc"),
        (zipped(), "is a zip archive"),
        ("one two three".encode("utf-16-le"), "UTF-16LE without a mark"),
        ("one two three".encode("utf-16")[:-1], "is not all UTF-16"),
    ],
)
def test_a_stream_that_is_no_text_is_refused(data, message):
    with pytest.raises(UserError, match=message):
        Stream("Standard input").feed(data, last=True)
