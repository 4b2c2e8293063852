"""`aiayn translate` as a filter, one line in, one line out, whenever a line comes; `score`."""

import gzip
import io
import itertools
import json
import os
import subprocess
import sys
import threading

import pytest

import aiayn.commands.translate
import aiayn.decoding.translator
import aiayn.evaluation.systems
from aiayn.__main__ import main
from aiayn.commands.translate import in_parts, windows
from aiayn.decoding.alignment import word_numbers
from aiayn.decoding.outputs import Detailed
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


def test_a_model_given_twice_is_an_ensemble_that_says_the_same(model, monkeypatch, capfdbinary):
    alone, _ = _filter(monkeypatch, capfdbinary, model, b"one two\nthree\n", "--num-best", "2")
    twice, _ = _filter(
        monkeypatch, capfdbinary, model, b"one two\nthree\n", str(model), "--num-best", "2"
    )
    rows = [[line.split("\t") for line in out.splitlines()] for out in (alone, twice)]
    assert [row[2] for row in rows[0]] == [row[2] for row in rows[1]]
    for one, other in zip(*rows, strict=True):
        assert float(one[1]) == pytest.approx(float(other[1]), abs=2e-4)


def test_a_mark_at_the_start_of_standard_input_is_no_text():
    data = inputs.BOM + b"one\n" + inputs.BOM + b"two"
    assert list(windows(io.BytesIO(data), 10)) == [["one", "\ufefftwo"]]
    for text in ("", "\n", "\r\n"):
        for encoding in ("utf-8-sig", "utf-16", "utf-32"):
            found = list(windows(io.BytesIO(text.encode(encoding)), 10))
            assert found == ([[""]] if text else []), "a mark alone is no line"


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
    found = windows(endless, 10)
    assert next(found) == ["one"], "which is before it"
    with pytest.raises(UserError, match="Standard input, line 2, is too long; wanted at most 100"):
        next(found)
    assert endless.tell() < 300_000


def test_what_nobody_sees_changes_no_translation(model, monkeypatch, capfdbinary):
    plain, _ = _filter(monkeypatch, capfdbinary, model, b"one two\n")
    hidden = "\ufeffone\u200b tw\u00ado\u202c\n".encode()
    assert _filter(monkeypatch, capfdbinary, model, b"\n" + hidden)[0] == f"\n{plain}"


def test_score_reads_files_with_as_many_lines(model, tmp_path, capsys, monkeypatch):
    for name, text in (("src", "one two\nthree\n"), ("tgt", "four\nfive six\n"), ("bad", "one\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    src, tgt, bad = (str(tmp_path / name) for name in ("src", "tgt", "bad"))
    assert main(["score", str(model), src, tgt]) == 0
    scored = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert all(float(log_prob) < 0 for log_prob, _ in scored)
    targets = folders.tokenizer().encode_target(["four", "five six"])
    assert [int(tokens) for _, tokens in scored] == [len(ids) + 1 for ids in targets], "and EOS"
    assert str(tmp_path) in refusal(capsys, "score", model, tmp_path, tgt)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one two\nthree\n")))
    assert main(["score", str(model), "-", tgt]) == 0
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == scored
    assert "is one text" in refusal(capsys, "score", model, "-", "-")
    # What the files share is scored all the same.
    assert main(["score", str(model), src, bad]) == 2
    out, err = capsys.readouterr()
    assert err == f"aiayn: {src} has 2 lines and {bad} 1; wanted as many.\n"
    assert out.count("\n") == 1


def test_lines_before_one_that_cannot_be_scored_are(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(aiayn.commands.translate, "_WINDOW", 3)
    src, tgt = tmp_path / "src", tmp_path / "tgt"
    src.write_bytes(b"one\n" * 5)
    tgt.write_bytes(b"one\n" * 4 + b"\xff\n")
    assert main(["score", str(model), str(src), str(tgt)]) == 2
    out, err = capsys.readouterr()
    assert f"{tgt}, line 5, is not UTF-8" in err
    assert out.count("\n") == 4
    tgt.write_bytes(b"one\n" * 4 + b"one " * 3 + b"\n")
    monkeypatch.setattr(aiayn.decoding.translator, "_LONGEST_SCORED", 3)
    assert main(["score", str(model), str(src), str(tgt)]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("aiayn: Line 5 has ")
    assert out.count("\n") == 4


def test_parts_of_a_list_are_the_list_and_an_error_comes_after_the_rest():
    def broken(count):
        yield from range(count)
        raise UserError("no more")

    for count, parts in ((0, []), (6, [[0, 1, 2], [3, 4, 5]]), (7, [[0, 1, 2], [3, 4, 5], [6]])):
        assert list(in_parts(range(count), 3)) == parts
        found = in_parts(broken(count), 3)
        assert [next(found) for _ in parts] == parts
        with pytest.raises(UserError, match="no more"):
            next(found)


# --- More than the best translation


def _file(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_json_has_a_line_for_each_output(model, monkeypatch, capfdbinary):
    text = b"one two\n\nthree\n"
    out, _ = _filter(monkeypatch, capfdbinary, model, text, "--num-best", "2", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    plain, _ = _filter(monkeypatch, capfdbinary, model, text, "--num-best", "2")
    for each, line in zip(found, plain.splitlines(), strict=True):
        assert f"{each['line']}\t{each['score']:.4f}\t{each['text']}" == line
    assert [each["line"] for each in found] == [1, 1, 2, 3, 3]
    assert [each["ended"] == "empty" for each in found] == [False, False, True, False, False]
    for each in found:
        assert [*each] == ["line", "text", "score", "tokens", "log_probs", "ended"]
        assert len(each["tokens"]) == len(each["log_probs"])


def test_links_follow_a_tab_or_are_pairs_in_json(model, monkeypatch, capfdbinary):
    text = b"one two\n\nthree\n"
    out, _ = _filter(monkeypatch, capfdbinary, model, text, "--align")
    plain, _ = _filter(monkeypatch, capfdbinary, model, text)
    lines = [line.rsplit("\t", 1) for line in out.split("\n")[:-1]]
    assert [line for line, _ in lines] == plain.split("\n")[:-1]
    assert lines[1] == ["", ""]
    for (translation, links), source in zip(lines, text.decode().split("\n"), strict=False):
        pairs = [[int(number) for number in link.split("-")] for link in links.split()]
        assert sorted(target for _, target in pairs) == sorted(set(word_numbers(translation)))
        assert {found for found, _ in pairs} <= set(range(len(source.split())))
    out, _ = _filter(monkeypatch, capfdbinary, model, text, "--align", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert [" ".join(f"{s}-{t}" for s, t in each["alignment"]) for each in found] == [
        links for _, links in lines
    ]
    out, _ = _filter(monkeypatch, capfdbinary, model, text, "--align", "--num-best", "2")
    plain, _ = _filter(monkeypatch, capfdbinary, model, text, "--num-best", "2")
    without = [line.rsplit("\t", 1)[0] for line in out.split("\n")[:-1]]
    assert without == plain.split("\n")[:-1]


def test_each_line_begins_as_its_line_of_the_prefixes(model, monkeypatch, capfdbinary, tmp_path):
    monkeypatch.setattr(aiayn.commands.translate, "_WINDOW", 2)  # but all lines are read at once
    prefix = _file(tmp_path, "begun", "\n\ufeffthree four\n\nten\n")
    lines = b"one two\nfive six\n\none two\n"
    out, _ = _filter(monkeypatch, capfdbinary, model, lines, "--prefix", prefix)
    free, _ = _filter(monkeypatch, capfdbinary, model, lines)
    found, free = out.split("\n"), free.split("\n")
    assert (found[0], found[2]) == (free[0], free[2])
    assert found[1].startswith("three four")
    assert found[3].startswith("ten")


def test_samples_are_all_printed_unless_fewer_are_wanted(model, monkeypatch, capfdbinary):
    options = ("--sample", "3", "--seed", "7", "--temperature", "2", "--top-k", "40")
    out, _ = _filter(monkeypatch, capfdbinary, model, b"one two\nthree\n", *options)
    assert [line.split("\t")[0] for line in out.splitlines()] == ["1"] * 3 + ["2"] * 3
    best, _ = _filter(monkeypatch, capfdbinary, model, b"one two\n", *options, "--num-best", "1")
    assert best == out.splitlines()[0].split("\t")[2] + "\n"
    again, _ = _filter(monkeypatch, capfdbinary, model, b"three\n", *options)
    texts = [line.split("\t")[2] for line in out.splitlines()]
    assert [line.split("\t")[2] for line in again.splitlines()] == texts[3:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--no-repeat 0", "--no-repeat is 0; wanted 1 or more."),
        ("--no-repeat -1", "--no-repeat is -1; wanted 1 or more."),
        ("--min-length x", "--min-length is 'x'; wanted a whole number."),
        ("--sample 2 --seed x", "--seed is 'x'; wanted a whole number."),
        ("--sample 2 --temperature nan", "--temperature is nan; wanted a number of 0 or more"),
        ("--sample 2 --temperature -1", "--temperature is -1.0; wanted a number of 0 or more"),
        ("--sample 2 --temperature inf", "--temperature is inf; wanted a number of 0 or more"),
        ("--sample 2 --top-p 0", "--top-p is 0.0; wanted a number above 0, at most 1."),
        ("--sample 2 --top-p 1.1", "--top-p is 1.1; wanted a number above 0, at most 1."),
        ("--sample 2 --min-p 2", "--min-p is 2.0; wanted a number of 0 or more, at most 1."),
        ("--sample 2 --num-best 3", "--num-best is 3, and --sample is 2; wanted at most as many"),
        ("--num-best 1001", "--num-best is 1,001; wanted 1 to 1,000."),
        ("--num-best 3 --beam-size 2", "--num-best is 3, and --beam-size is 2; wanted at most"),
        ("--sample 2 --beam-size 3", "--beam-size is of a search; wanted it without --sample"),
        ("--top-p 0.5", "--top-p is of samples; wanted --sample, their number, as well."),
        ("--prefix nothing", "nothing does not exist."),
    ],
)
def test_wishes_that_cannot_be_are_refused_at_once(model, capsys, options, message):
    assert message in refusal(capsys, "translate", model, *options.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prefix", "two"), "two has 2 lines; wanted 3, one for each of standard input."),
        (("--prefix", "long"), "The prefix of line 2 has 60 tokens; wanted at most 10,"),
        (("--prefix", "fits", "--ban", "two"), "wanted one without 'ten one', a banned word."),
        (("--prefix", "latin"), "latin, line 1, is not UTF-8."),
    ],
)
def test_files_that_cannot_be_obeyed_are_refused_before_a_line_is_translated(
    model, capsys, monkeypatch, tmp_path, options, message
):
    _file(tmp_path, "two", "one\nten one\n")
    _file(tmp_path, "long", f"\n{'one ' * 60}\n\n")
    _file(tmp_path, "fits", "\n\nten one two\n")
    (tmp_path / "latin").write_bytes("größer\n".encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\nthree\n")))
    assert message in refusal(capsys, "translate", model, *options)


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


class _Text(str):
    """A string that is counted as long as somebody holds it."""

    alive = 0

    def __init__(self, _):
        type(self).alive += 1

    def __del__(self):
        type(self).alive -= 1


def _given_back(self, sentences, num_best, forced, details, least):
    """In place of a search: each sentence is its own translation, the last one first."""
    for number in reversed(range(len(sentences))):
        (text,) = self.tokenizer.decode(sentences[number : number + 1])
        yield [(number, [Detailed(_Text(text), 0.0, (), (), "eos")])]


class _Made(io.RawIOBase):
    """A file of so many short lines, now and then a long one; a few more at each call."""

    def __init__(self, count, look):
        self.lines, self.taken, self._look = (_short_or_long(n) for n in range(count)), 0, look

    def readable(self):
        return True

    def read(self, size=-1, /):
        self._look(self)
        some = list(itertools.islice(self.lines, 50))
        self.taken += len(some)
        return "".join(some).encode()


def _short_or_long(number):
    return f"{number}\n" if number % 500 else f"{'one two, ' * 40}{number}\n"


class _Written(io.RawIOBase):
    def __init__(self):
        self.lines, self.right = 0, 0

    def writable(self):
        return True

    def write(self, text, /):
        if self.lines < 4_000:
            self.right += bytes(text).decode() == _short_or_long(self.lines)
        self.lines += 1
        return len(text)


def test_of_a_stream_of_any_length_only_a_window_is_held(model, monkeypatch, capsys):
    # Counted each time that more is asked for: lines that were taken and not yet answered, and
    # translations that anybody still holds.
    ahead, alive = [], []

    def look(file):
        ahead.append(file.taken - written.lines)
        alive.append(_Text.alive)

    written = _Written()
    monkeypatch.setattr(Translator, "_search", _given_back)
    monkeypatch.setattr(aiayn.commands.translate, "_WINDOW", 100)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(_Made(4_000, look))))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, write_through=True))
    assert main(["translate", str(model)]) == 0
    assert (written.lines, written.right) == (4_000, 4_000)
    assert len(ahead) > 80
    assert max(ahead) <= 150, "a window, and what is read at once"
    assert max(alive) <= 110, "those of a window, in which a line may have several pieces"
    assert capsys.readouterr().err.count("pieces") == 8


def test_of_files_of_any_length_score_holds_only_a_window(model, tmp_path, monkeypatch):
    taken, ahead = [], []

    class Counted(io.StringIO):
        def write(self, text, /):
            if "\t" in text:
                ahead.append(len(taken) - 2 * len(ahead))
            return len(text)

    def lines(path):
        for number in range(4_000 if path.name == "src" else 3_999):
            taken.append(path)
            yield f"{number}"

    for name in ("src", "tgt"):
        (tmp_path / name).touch()
    monkeypatch.setattr(aiayn.evaluation.systems, "read_text", lines)
    monkeypatch.setattr(Translator, "score", lambda _, pairs, first: [(0.0, 1)] * len(pairs))
    monkeypatch.setattr(aiayn.commands.translate, "_WINDOW", 100)
    monkeypatch.setattr(sys, "stdout", Counted())
    assert main(["score", str(model), str(tmp_path / "src"), str(tmp_path / "tgt")]) == 2
    assert len(ahead) == 3_999
    assert max(ahead) <= 200 + 1


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
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["translate", str(model), "--no-repeat", "3"]) == 0
    assert capsys.readouterr().err.endswith(" pieces, with --no-repeat in each alone\n")


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
