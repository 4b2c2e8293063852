"""The interface for Python. The examples of its docstrings and docs/python.md run as they are."""

import doctest
import json
import os
import re
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import aiayn
import aiayn.interface
from aiayn.decoding.translator import Translator
from aiayn.model.saved import Model, load_model, save_model
from tests.support.models import language_model
from tests.support.runs import environment
from tests.support.trees import random_parser, tree
from tests.test_formats_of_old import FIXTURE

DOCS = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What docs/python.md speaks of: a finished run, and an experiment of its name that takes
    seconds. The model has random weights: its translations are of several words.
    """
    folder = tmp_path_factory.mktemp("place")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    for name in ("runs", "experiments"):
        (folder / name).mkdir()
    (folder / "run").rename(folder / "runs/old")
    (folder / "tiny.py").rename(folder / "experiments/phrasebook.py")
    (folder / "runs/phrasebook").mkdir()
    old, rng = load_model(folder / "runs/old/model"), np.random.default_rng(0)
    params = {
        name: rng.normal(size=value.shape).astype(np.float32) for name, value in old.params.items()
    }
    wider = old.experiment.with_overrides(["data.row_widths=64", "data.max_tokens=64"])
    save_model(folder / "runs/phrasebook/model", Model(wider, old.tokenizer, params))
    (folder / "runs/phrasebook_lm").mkdir()
    save_model(folder / "runs/phrasebook_lm/model", language_model())
    (folder / "runs/treebook").mkdir()
    save_model(folder / "runs/treebook/model", random_parser())
    record = (folder / "runs/old/result.json").read_bytes()
    (folder / "runs/phrasebook/result.json").write_bytes(record)
    return folder


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def python(code):
    """What a program of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment(1)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model(folder):
    return aiayn.load(folder / "runs/phrasebook")


def test_the_package_is_imported_without_jax_and_shows_all_its_names():
    code = """
import sys, aiayn
assert {*aiayn.__all__} <= {*dir(aiayn)}
aiayn.UserError, aiayn.Preempted, aiayn.load_experiment, aiayn.Experiment("mine")
print(sorted({"jax", "numpy", "rich", "msgspec"} & sys.modules.keys()))
for name in aiayn.__all__:
    getattr(aiayn, name)
"""
    assert python(code) == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        aiayn.lod  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_a_model_is_loaded_without_what_training_needs():
    code = """
import sys, aiayn
aiayn.load("runs/phrasebook").translate(["red"])
needless = {"orbax", "tensorboard", "matplotlib", "pyarrow", "aiayn.training"}
print(sorted(needless & sys.modules.keys()))
"""
    assert python(code) == "[]\n"


def test_the_examples_of_the_docstrings_run():
    found = doctest.testmod(aiayn.interface)
    assert found.failed == 0
    assert found.attempted >= 15


@pytest.mark.slow
def test_the_page_tells_the_truth(capsys):
    page = DOCS.read_text(encoding="utf-8")
    named = {*re.findall(r"\baiayn\.(\w+)", page)}
    assert {*aiayn.__all__} - {"__version__"} <= named, "all names are on the page"
    assert named - {"__all__", "py"} <= {*aiayn.__all__}, "and no others"
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    out = capsys.readouterr().out
    assert "test, average of 2: BLEU " in out
    assert "runs/nothing does not exist" in out
    assert f"{aiayn.read_record('runs/phrasebook-2').commit} 20 " in out
    assert len(re.findall(r"looks most at", out)) > 1


def test_translations_and_scores_are_those_of_the_commands(here):
    model = aiayn.load(str(here / "runs/old"))
    sentences = (here / "in.txt").read_text().splitlines()
    wanted = [line.split("\t") for line in (here / "best.tsv").read_text().splitlines()]
    found = model.translate(iter(sentences), num_best=4)
    assert [[h.text for h in best] for best in found] == [[text for _, _, text in wanted]]
    scores = [hypothesis.score for best in found for hypothesis in best]
    assert scores == pytest.approx([float(score) for _, score, _ in wanted], abs=2e-4)
    assert model.translate(sentences) == [best[0].text for best in found]

    targets = (here / "ref.txt").read_text().splitlines()
    log_prob, num_tokens = (here / "score.tsv").read_text().split()
    (scored,) = model.score(zip(sentences, targets, strict=True))
    assert scored.log_prob == pytest.approx(float(log_prob), abs=2e-4)
    assert scored.num_tokens == int(num_tokens)


def test_a_model_says_what_it_is(model):
    count = sum(value.size for value in load_model(Path("runs/phrasebook/model")).params.values())
    assert model.num_parameters == count
    assert repr(model) == f"<TrainedModel format1, aa to bb, {count:,} parameters>"


def test_settings_of_a_call_are_of_that_call_alone(model):
    loaded, sentence = load_model(Path("runs/phrasebook/model")), ["red blue green"]
    own = loaded.experiment.decode
    for changes in ({}, {"beam_size": 1}, {"length_penalty": 2.0}, {}):
        wanted = Translator(loaded, replace(own, **changes)).translate(sentence)
        assert model.translate(sentence, num_best=1, **changes) == [best[:1] for best in wanted]
        assert model._translator.config == own, "which attention and other threads use"
    assert [len(best) for best in model.translate(["red", "blue"], num_best=2)] == [2, 2]


def test_more_may_be_asked_of_translations(model):
    sentences = ["red blue green", "gold"]
    banned = model.translate(sentences)[1].split()[0]
    found = model.translate(sentences, prefix=["teal", ""], ban=[banned], details=True)
    assert found[0][0].text.startswith("teal")
    assert [len(best) for best in found] == [1, 1]
    assert banned not in found[1][0].text.split()
    assert len(found[0][0].tokens) == len(found[0][0].log_probs) > 1
    drawn = model.translate(sentences, num_best=2, sample=3, seed=3, top_k=50)
    assert [len(best) for best in drawn] == [2, 2]
    best = model.translate(sentences, sample=3, seed=3, top_k=50)
    assert best == [hypotheses[0].text for hypotheses in drawn]
    assert model._translator.wishes.none, "of that call alone"
    aligned = model.translate([*sentences, ""], details=True, align=True)
    for (each,) in aligned:
        assert len(each.alignment) == len(each.text.split())


def test_wishes_that_cannot_be_are_refused(model):
    for wishes, message in (
        ({"prefix": ["red"]}, "prefix has 1 texts; wanted 2, one for each sentence."),
        ({"prefix": "red"}, "prefix is the string 'red'; wanted a list of strings."),
        ({"prefix": ["", "red " * 300]}, r"The prefix of line 2 has \d+ tokens; wanted at most"),
        ({"ban": "red"}, "ban is the string 'red'; wanted a list of strings."),
        ({"ban": ["red"], "prefix": ["red", ""]}, "wanted one without 'red', a banned word"),
        ({"sample": 2, "num_best": 3}, "num_best is 3, and sample is 2; wanted at most"),
        ({"sample": 2, "beam_size": 3}, "beam_size is of a search; wanted it without sample"),
        ({"top_p": 0.5}, "top_p is of samples; wanted sample"),
        ({"align": True}, "align is of details; wanted details=True as well."),
        ({"no_repeat": 0}, "no_repeat is 0; wanted a whole number of 1 or more"),
    ):
        with pytest.raises(aiayn.UserError, match=message):
            model.translate(["blue", "gold"], **wishes)


def test_threads_may_share_a_model(model):
    sentences = [[f"{a} {b}"] for a in ("red", "blue", "green") for b in ("gold", "teal")]
    alone = [model.translate(each) for each in sentences]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(model.translate, sentences)) == alone


def test_what_nobody_sees_is_no_part_of_a_sentence(model):
    hidden = "\ufeffone\u200b tw\u00ado"
    assert model.translate([hidden]) == model.translate(["one two"])
    assert model.score([(hidden, hidden)]) == model.score([("one two", "one two")])


def test_attention_is_of_the_models_own_translation_unless_told(model):
    (own,) = model.translate(["red blue"])
    looks = model.attention("red blue")
    given = model.attention("red blue", own)
    for kind in ("encoder", "decoder", "cross"):
        np.testing.assert_array_equal(looks.of(kind), given.of(kind))
        np.testing.assert_allclose(looks.of(kind).sum(axis=-1), 1, rtol=1e-5)
        assert looks.of(kind).shape[2:] == tuple(map(len, looks.tokens(kind)))
    other = model.attention("red blue", "gold")
    assert len(other.tgt_out_tokens) < len(looks.tgt_out_tokens)


def test_a_parser_parses_scores_and_looks(here):
    parser = aiayn.load("runs/treebook")
    sentences = ["the (dog) .", "", "a\u200b man"]
    texts = parser.parse(sentences)
    found = parser.parse(sentences, num_best=2, details=True)
    assert texts == [best[0].text if best else "" for best in found]
    words = [tree(text).words for text in texts if text]
    assert words == [("the", "-LRB-dog-RRB-", "."), ("a", "man")]
    best = found[0][0]
    assert isinstance(best.tree, aiayn.Tree)
    assert best.tree.brackets[0][1:] == (0, 3)
    # What is scored is the tree in brackets; its symbols and the end are those of the details.
    (scored,) = parser.score([(sentences[0], best.text)])
    assert scored.num_tokens == len(best.log_probs) == len(best.symbols) + 1
    assert scored.log_prob == pytest.approx(sum(best.log_probs), rel=1e-4)
    looks = parser.attention(sentences[0], best.text)
    assert looks.tokens("cross")[0] == [*best.symbols, "</s>"]
    assert parser.attention(sentences[0]).cross.shape == looks.cross.shape
    assert parser.parse(["It isn't."], tokenize=True)[0].count("n't)") == 1


def test_a_parser_and_a_translator_name_each_other(model):
    parser = aiayn.load("runs/treebook")
    for call, message in (
        (lambda: parser.translate(["red"]), "parses is a parser: wanted `parse`, not `translate`"),
        (lambda: model.parse(["red"]), "translates: wanted `translate`, not `parse`"),
        (lambda: parser.parse("red"), "sentences is the string 'red'; wanted a list"),
        (lambda: parser.parse(["red"], num_best=0), "num_best is 0; wanted 1 to 1,000"),
        (lambda: parser.parse(["red"], num_best=3, beam_size=2), "beam_size is 2; wanted at most"),
        (lambda: parser.parse(["red"], beam_size=0), "decode.beam_size is 0; wanted"),
        (lambda: parser.score([("red", "blue")]), "pair 1: 'blue' is not one tree"),
        (lambda: parser.attention("red", "(S (NN blue))"), "word 1 is 'blue'; wanted 'red'"),
        (lambda: aiayn.load("runs/treebook", "runs/treebook"), "is a parser, and ensembles"),
        (lambda: aiayn.load_language_model("runs/treebook"), "is a parser, which makes trees"),
    ):
        with pytest.raises(aiayn.UserError, match=message):
            call()


def test_what_is_no_list_of_sentences_is_refused(model):
    assert len(model.translate(["grün\u2028\tblue", ""])) == 2
    for call, message in (
        (lambda: model.translate("red blue"), "sentences is the string 'red blue'; wanted a list"),
        (lambda: model.translate(["red", "\ud800"]), r"sentence 2 is '\\ud800'; wanted text"),
        (lambda: model.translate(["red"], num_best=0), "num_best is 0; wanted 1 to 1,000"),
        (lambda: model.translate(["red"], num_best=1_001), "num_best is 1,001; wanted 1 to 1,000"),
        (lambda: model.translate(["red"], num_best=2, beam_size=1), "num_best is 2, and beam_size"),
        (lambda: model.translate(["red"], beam_size=0), "decode.beam_size is 0; wanted"),
        (lambda: model.score([("red", "blue"), ("a", "\ud800")]), r"side of pair 2 is '\\ud800'"),
        (lambda: model.attention("", "blue"), "source has 0 tokens; wanted 1 to 63"),
        (lambda: model.attention("\ud800"), r"source is '\\ud800'; wanted text"),
        (lambda: aiayn.load("runs"), "runs holds no config.json"),
        (lambda: aiayn.read_record("runs"), "runs/result.json does not exist"),
    ):
        with pytest.raises(aiayn.UserError, match=message):
            call()


def test_values_of_other_types_are_refused_where_nothing_checks_signatures():
    code = """
import aiayn
model = aiayn.load("runs/phrasebook")
for call in (
    lambda: model.translate(None),
    lambda: model.translate(["red", 3]),
    lambda: model.translate([b"red"]),
    lambda: model.translate(["red" * 100, ["red" * 100]]),
    lambda: model.translate(["red"], beam_size="4"),
    lambda: model.score("ab"),
    lambda: model.score(["ab"]),
    lambda: model.score([("a", "b", "c")]),
    lambda: model.score([("a", None)]),
    lambda: model.score([3]),
    lambda: model.attention(["red"]),
    lambda: model.attention("red", 3),
):
    try:
        print(call())
    except aiayn.UserError as error:
        print(error)
"""
    assert python(code).splitlines() == [
        "sentences is None; wanted a list of strings.",
        "sentence 2 is 3; wanted a string.",
        "sentence 1 is b'red'; wanted a string.",
        f"sentence 2 is ['{'redredred' * 6}r...; wanted a string.",
        "decode.beam_size is '4'; wanted a whole number.",
        "pair 1 is 'a'; wanted (source, target).",
        "pair 1 is 'ab'; wanted (source, target).",
        "pair 1 is ('a', 'b', 'c'); wanted (source, target).",
        "a side of pair 1 is None; wanted a string.",
        "pair 1 is 3; wanted (source, target).",
        "source is ['red']; wanted a string.",
        "target is 3; wanted a string.",
    ]


@pytest.mark.slow
def test_training_is_silent_and_resumes(capfd, here):
    few = {"train.num_steps": 4, "train.checkpoint_every": 2}
    record = aiayn.train("phrasebook", few, run_dir="runs/new")
    assert capfd.readouterr() == ("", "")
    assert record == aiayn.read_record("runs/new")
    assert json.loads((here / "runs/new/result.json").read_text())["updates"] == 4
    experiment = aiayn.load_experiment("phrasebook")
    assert record.config["train"]["num_steps"] == 4
    assert record.config["train"]["warmup_steps"] == experiment.train.warmup_steps

    file = here / "experiments/phrasebook.py"
    assert aiayn.train(file, few, run_dir=here / "runs/new") == record, "nothing is left to do"
    more = aiayn.train(experiment, few | {"train.num_steps": 6}, run_dir="runs/new", verbose=True)
    assert [session.from_step for session in more.sessions] == [0, 4]
    assert "BLEU" in capfd.readouterr().out


def test_settings_and_folders_that_do_not_fit_are_refused():
    for settings, run_dir, message in (
        ({"train.num_step": 4}, None, "Did you mean 'train.num_steps'"),
        ({"model": {}}, None, "Unknown setting 'model'"),
        ({"train.num_steps": "4"}, None, "train.num_steps is '4'; wanted a whole number"),
        ({"train.seed": 7}, "runs/old", "runs/old holds another run"),
        ({}, "tiny.txt/run", "a part of the path is a file"),
    ):
        Path("tiny.txt").touch()
        with pytest.raises(aiayn.UserError, match=message):
            aiayn.train("phrasebook", settings, run_dir=run_dir)
