"""`aiayn generate`, and the other verbs on a language model."""

import io
import json
import sys

import pytest

import aiayn.commands.generate
from aiayn.__main__ import main
from aiayn.decoding.writer import Writer
from aiayn.model.saved import load_model, save_model
from tests.commands.test_verb import refusal
from tests.support.models import language_model


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("writer") / "model"
    save_model(folder, language_model())
    return folder


def _run(monkeypatch, capfdbinary, arguments, text=b""):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main([*map(str, arguments)]) == 0
    return capfdbinary.readouterr().out.decode()


def test_a_filter_writes_a_line_for_each_line_and_as_the_json_says(
    writer, monkeypatch, capfdbinary
):
    options = ["generate", writer, "--seed", 3, "--max-tokens", 8]
    prompts = b"one two\n\nthree\n"
    lines = _run(monkeypatch, capfdbinary, options, prompts).split("\n")
    assert len(lines) == 4
    rows = _run(monkeypatch, capfdbinary, [*options, "--json"], prompts).splitlines()
    for number, (line, row) in enumerate(zip(lines[:3], map(json.loads, rows), strict=True), 1):
        assert row["line"] == number
        assert row["prompt"] == prompts.decode().split("\n")[number - 1]
        assert line.split() == (row["prompt"] + row["text"]).split()
        assert row["log_prob"] == pytest.approx(sum(row["log_probs"]), abs=1e-4)
        assert len(row["tokens"]) == len(row["log_probs"]) <= 8


def test_a_prompt_in_a_terminal_is_gone_on_with_as_it_grows(writer, monkeypatch, capfdbinary):
    options = ["generate", writer, "one two", "--seed", 3, "--max-tokens", 8]
    wanted = _run(monkeypatch, capfdbinary, options)
    assert wanted.startswith("one two")
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", shown)
    assert main([*map(str, options)]) == 0
    assert shown.getvalue() == wanted
    assert main(["generate", str(writer), "one " * 40]) == 2
    assert b"The prompt has" in capfdbinary.readouterr().err
    assert shown.getvalue() == wanted, "what is refused is not begun"


def test_several_samples_are_several_lines(writer, monkeypatch, capfdbinary):
    options = ["generate", writer, "one", "--num-samples", 3, "--max-tokens", 8]
    out = _run(monkeypatch, capfdbinary, options)
    assert out.count("one") >= 3
    assert len({*out.split("one")}) > 2


@pytest.mark.parametrize("window", [1, 256])
def test_a_prompt_that_is_too_long_is_named_by_its_line(writer, monkeypatch, capfdbinary, window):
    monkeypatch.setattr(aiayn.commands.generate, "_WINDOW", window)
    prompts = io.TextIOWrapper(io.BytesIO(b"one two\n" + b"one " * 40))
    monkeypatch.setattr(sys, "stdin", prompts)
    arguments = ["generate", writer, "--seed", 3, "--max-tokens", 8]
    assert main([*map(str, arguments)]) == 2
    found = capfdbinary.readouterr()
    assert b"Prompt 2 has" in found.err
    assert found.out.startswith(b"one two"), "those before are there"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--temperature", "nan"], "--temperature is nan; wanted a number of 0 or more"),
        (["--temperature", "0", "--num-samples", "2"], "--temperature is 0 and 2 samples"),
        (["--top-p", "0"], "--top-p is 0.0; wanted a number above 0"),
        (["--max-tokens", "0"], "--max-tokens is 0; wanted 1 or more"),
        (["--stop", ""], "--stop has an empty string"),
        (["--num-samples", "2000"], "--num-samples is 2000; wanted a whole number"),
    ],
)
def test_what_cannot_be_asked_is_refused(writer, options, message, capfd):
    assert message in refusal(capfd, "generate", writer, "one", *options)


def test_texts_are_scored_each_by_itself(writer, monkeypatch, capfdbinary, tmp_path):
    (tmp_path / "texts").write_text("one two\nthree\n")
    out = _run(monkeypatch, capfdbinary, ["score", writer, tmp_path / "texts"])
    wanted = Writer(load_model(writer)).score(["one two", "three"])
    found = [line.split("\t") for line in out.splitlines()]
    assert [(float(value), int(count)) for value, count in found] == [
        (pytest.approx(value, abs=1e-4), count) for value, count in wanted
    ]


def test_a_text_is_evaluated_as_its_training_text_was_read(
    writer, monkeypatch, capfdbinary, tmp_path
):
    (tmp_path / "texts").write_text("one two three\nfour\n")
    out = _run(monkeypatch, capfdbinary, ["evaluate", writer, "--text", tmp_path / "texts"])
    assert "per byte" in out
    assert "window:32|stride:16|bos:yes|eos:no" in out


def test_a_text_in_a_table_is_that_in_its_cells(writer, monkeypatch, capfdbinary, tmp_path):
    texts = ["one two three", "four \u00e4"]
    (tmp_path / "lines").write_text("".join(f"{text}\n" for text in texts))
    (tmp_path / "x.jsonl").write_text("".join(f"{json.dumps({'text': t})}\n" for t in texts))
    plain, table = (
        _run(monkeypatch, capfdbinary, ["evaluate", writer, "--text", tmp_path / name])
        for name in ("lines", "x.jsonl")
    )
    assert table.replace("x.jsonl", "lines").split() == plain.split()
    (tmp_path / "x.jsonl").write_text('{"text": "one"}\n{"other": 1}\n')
    found = main(["evaluate", str(writer), "--text", str(tmp_path / "x.jsonl")])
    assert found == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["translate", "{writer}"], "`aiayn generate`"),
        (["generate", "{model}", "one"], "which `aiayn translate` does"),
        (["score", "{writer}", "{text}", "{text}"], "wanted one file, the texts"),
        (["score", "{model}", "{text}"], "wanted the translations in a second file"),
        (["evaluate", "{model}", "--text", "{text}"], "which `aiayn translate` does"),
        (["evaluate", "{writer}", "--src", "{text}", "--ref", "{text}"], "`aiayn generate`"),
        (["evaluate", "{writer}", "--text", "{empty}"], "holds no text"),
        (["attention", "{writer}", "one", "--kind", "cross"], "--kind cross is for a model that"),
        (["attention", "{writer}", ""], "The text has 0 tokens; wanted 1 to 31"),
    ],
)
def test_a_verb_of_the_other_kind_names_the_right_one(
    writer, model, tmp_path, capfd, monkeypatch, arguments, message
):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one")))
    (tmp_path / "text").write_text("one\n")
    (tmp_path / "empty").write_text("\n \n")
    places = {"writer": writer, "model": model}
    places |= {name: tmp_path / name for name in ("text", "empty")}
    assert message in refusal(capfd, *(each.format(**places) for each in arguments))


def test_attention_of_a_text_is_that_of_the_decoder(writer, tmp_path, capfd):
    assert main(["attention", str(writer), "one two", "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "attention.json").read_text())
    assert {"decoder"} == found.keys() & {"encoder", "decoder", "cross"}
    size = len(found["tgt_in_tokens"])
    for head in found["decoder"][0]:
        assert [len(row) for row in head] == [size] * size
        assert [sum(row) for row in head] == pytest.approx([1.0] * size, abs=1e-4)
        assert all(not any(row[place + 1 :]) for place, row in enumerate(head))
