"""`aiayn translate` as a filter, one line in, one line out, whenever a line comes; `score`."""

import gzip
import io
import itertools
import os
import subprocess
import sys
import threading

import pytest

import aiayn.commands.translate
from aiayn.__main__ import main
from aiayn.commands.translate import windows
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.model.saved import load_model
from tests.commands.test_verb import refusal
from tests.faults import folders, inputs

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def _filter(monkeypatch, capfdbinary, model, text: bytes, *options):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["translate", str(model), *options]) == 0
    captured = capfdbinary.readouterr()
    return captured.out.decode(), captured.err.decode()


def test_translate_gives_one_line_for_each(model, monkeypatch, capfdbinary):
    out, err = _filter(monkeypatch, capfdbinary, model, b"one two\n\nthree\r\nfour\xe2\x80\xa8five")
    lines = out.split("\n")
    assert len(lines) == 5
    assert lines[1] == lines[4] == ""
    assert err == ""


def test_translate_says_what_is_wrong_with_a_line(model, monkeypatch, capfdbinary):
    text = b"one \xff two\n" + b"three " * 200
    out, err = _filter(monkeypatch, capfdbinary, model, text)
    assert out.count("\n") == 2
    assert "line 1 is not UTF-8" in err
    assert "line 2" in err
    assert "pieces" in err


def test_translate_survives_a_line_of_100_000_characters(model, monkeypatch, capfdbinary):
    out, err = _filter(monkeypatch, capfdbinary, model, b"one " * 25_000, "--beam-size", "1")
    assert out.count("\n") == 1
    assert "100,000" not in out
    assert "pieces" in err


def test_n_best_output_is_numbered_and_scored(model, monkeypatch, capfdbinary):
    best = []
    for alpha in ("0", "1"):
        options = ("--num-best", "2", "--length-penalty", alpha)
        out, _ = _filter(monkeypatch, capfdbinary, model, b"one\ntwo\n", *options)
        rows = [line.split("\t") for line in out.splitlines()]
        assert [row[0] for row in rows] == ["1", "1", "2", "2"]
        assert float(rows[0][1]) >= float(rows[1][1])
        best.append(float(rows[0][1]))
    assert best[0] < best[1], "log-probabilities, and such over a length"


def test_a_mark_at_the_start_of_standard_input_is_no_text():
    data = inputs.BOM + b"one\n" + inputs.BOM + b"two"
    assert list(windows(io.BytesIO(data), 10)) == [["one", "\ufefftwo"]]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("chunk", [1, 3, 1 << 16])
def test_standard_input_is_read_in_the_encoding_of_its_mark(monkeypatch, encoding, chunk):
    monkeypatch.setattr(aiayn.commands.translate, "_CHUNK", chunk)
    for text in ("zwölf\n\njagen", "zwölf\n\njagen\n"):
        data = io.BytesIO(text.encode(encoding))
        assert list(windows(data, 10)) == [["zwölf", "", "jagen"]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("größer\nsüß\nja\nfünf\n".encode("latin-1"), "iconv -f ISO-8859-1 -t UTF-8"),
        (gzip.compress(b"one\n"), "Standard input is packed with gzip; wanted text"),
        ("one two\n".encode("utf-16-le"), "UTF-16LE without a mark"),
    ],
)
def test_standard_input_that_is_no_utf8_text_is_refused(model, monkeypatch, capsys, data, message):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert message in refusal(capsys, "translate", model)


def test_single_damaged_lines_of_standard_input_are_said_and_answered(capsys):
    text = "größer\n".encode() * 20 + b"gr\xf6\xdfer\n" * 3
    assert list(windows(io.BytesIO(text), 100)) == [["größer"] * 20 + ["gr\ufffd\ufffder"] * 3]
    said = capsys.readouterr().err
    assert [f"line {number} is not UTF-8" in said for number in (20, 21, 22, 23, 24)] == [
        *(False, True, True, True, False)
    ]


def test_a_line_of_standard_input_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(aiayn.commands.translate, "LONGEST_LINE", 100_000)
    endless = io.BytesIO(b"one\n" + b"x" * 10_000_000)
    with pytest.raises(UserError, match="Standard input, line 2, is too long; wanted at most 100"):
        list(windows(endless, 10))
    assert endless.tell() < 300_000


def test_what_nobody_sees_changes_no_translation(model, monkeypatch, capfdbinary):
    plain, _ = _filter(monkeypatch, capfdbinary, model, b"one two\n")
    hidden = "\ufeffone\u200b tw\u00ado\u202c\n".encode()
    assert _filter(monkeypatch, capfdbinary, model, b"\n" + hidden)[0] == f"\n{plain}"


def test_score_reads_files_with_as_many_lines(model, tmp_path, capsys):
    for name, text in (("src", "one two\nthree\n"), ("tgt", "four\nfive six\n"), ("bad", "one\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    src, tgt, bad = (str(tmp_path / name) for name in ("src", "tgt", "bad"))
    assert main(["score", str(model), src, tgt]) == 0
    scored = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert all(float(log_prob) < 0 for log_prob, _ in scored)
    targets = folders.tokenizer().encode_target(["four", "five six"])
    assert [int(tokens) for _, tokens in scored] == [len(ids) + 1 for ids in targets], "and EOS"
    assert "2 lines" in refusal(capsys, "score", model, src, bad)
    assert str(tmp_path) in refusal(capsys, "score", model, tmp_path, tgt)


# --- Lines that come and go


def _lines(count):
    """Of different lengths, not in their order."""
    return [" ".join(NUMBERS[: 1 + 7 * n % 10]) for n in range(count)]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_line_waits_for_none_that_may_follow_it(blocking):
    # The writer gives the next line only once it has the answer to the last one.
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, blocking)
    answered = threading.Semaphore(0)

    def write():
        with os.fdopen(write_end, "wb", buffering=0) as pipe:
            for number in range(3):
                pipe.write(b"line %d\n" % number)
                assert answered.acquire(timeout=60)
            pipe.write(b"no end")

    writer = threading.Thread(target=write)
    writer.start()
    found = []
    with os.fdopen(read_end, "rb") as file:
        for window in windows(file, 100):
            found.append(window)
            answered.release()
    writer.join()
    assert found == [["line 0"], ["line 1"], ["line 2"], ["no end"]]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 16])
def test_lines_are_the_same_however_they_are_cut_into_chunks(monkeypatch, chunk):
    monkeypatch.setattr(aiayn.commands.translate, "_CHUNK", chunk)
    data = "ä\r\n\n \nb\u2028c\r\nlast".encode()
    found = list(windows(io.BytesIO(data), 2))
    assert found == [["ä", ""], [" ", "b\u2028c"], ["last"]]
    assert list(windows(io.BytesIO(data + b"\n"), 9)) == [["ä", "", " ", "b\u2028c", "last"]]
    assert list(windows(io.BytesIO(b""), 2)) == []


def test_no_more_is_read_than_a_window_and_a_chunk(monkeypatch):
    monkeypatch.setattr(aiayn.commands.translate, "_CHUNK", 100)
    file = io.BytesIO(b"0123456789\n" * 1_000_000)
    furthest = [file.tell() for _ in itertools.islice(windows(file, 20), 50)]
    # The window that is under way, and at most one chunk of those behind it.
    assert all(at <= 20 * 11 * number + 100 for number, at in enumerate(furthest, 1))


def test_a_stream_of_windows_is_what_one_call_finds(model, monkeypatch, capsysbinary):
    lines = _lines(40)
    text = "".join(f"{line}\n" for line in lines).encode()
    translator = Translator(load_model(model))
    wanted = [hypotheses[0].text for hypotheses in translator.translate(lines)]
    monkeypatch.setattr(aiayn.commands.translate, "_WINDOW", 16)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["translate", str(model)]) == 0
    assert capsysbinary.readouterr().out.decode().split("\n") == [*wanted, ""]


def test_a_line_is_written_while_later_ones_are_still_to_come(model, monkeypatch):
    # Standard output is looked at each time that standard input is asked for more.
    written, seen = io.BytesIO(), []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /):
            seen.append(written.getvalue().count(b"\n"))
            return super().read(size)

    monkeypatch.setattr(aiayn.commands.translate, "_CHUNK", 8)
    monkeypatch.setattr(aiayn.commands.translate, "_WINDOW", 2)
    text = Watched(b"one two\none two\none two\none two\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(text))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, write_through=True))
    assert main(["translate", str(model)]) == 0
    assert seen == [0, 0, 2, 2, 4]


def test_the_number_of_a_long_line_counts_from_the_start_of_the_input(model, monkeypatch, capsys):
    monkeypatch.setattr(aiayn.commands.translate, "_WINDOW", 2)
    text = f"one\ntwo\none\n{' '.join(NUMBERS * 8)}\n".encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["translate", str(model)]) == 0
    assert capsys.readouterr().err.startswith("line 4: ")


def test_a_closed_pipe_ends_it_in_silence(model):
    with subprocess.Popen(
        [sys.executable, "-m", "aiayn", "translate", str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"one two\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n"), "an answer before the end of the input"
        process.stdout.close()
        process.stdin.write(b"one two\n" * 10)
        process.stdin.close()
        assert (process.wait(), process.stderr.read()) == (0, b"")
