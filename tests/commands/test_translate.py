"""`aiayn translate` as a filter: one line in, one line out, whenever a line comes."""

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
from aiayn.model.saved import Model, load_model, save_model
from aiayn.model.structure import flatten
from tests.support.models import TOKENIZER, reverse_experiment, transformer

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model, which ends soon or late as it happens."""
    experiment = reverse_experiment(tmp_path_factory.mktemp("corpus"))
    _, params = transformer(experiment.model, TOKENIZER.num_words)
    folder = tmp_path_factory.mktemp("models") / "model"
    save_model(folder, Model(experiment, TOKENIZER, flatten(params)))
    return folder


def _lines(count):
    """Of different lengths, not in their order."""
    return [" ".join(NUMBERS[: 1 + 7 * n % 10]) for n in range(count)]


def test_a_line_waits_for_none_that_may_follow_it():
    # The writer gives the next line only once it has the answer to the last one.
    read_end, write_end = os.pipe()
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
