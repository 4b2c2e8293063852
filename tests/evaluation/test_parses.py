"""Trees are scored as anybody's are, and the end of a run shows and keeps what `aiayn f1` finds."""

import io
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from rich.console import Console

import aiayn.evaluation.parses
from aiayn.data.prepare import Prepared, prepare
from aiayn.data.trees import restore, write
from aiayn.decoding.parser import Parser
from aiayn.evaluation import brackets
from aiayn.evaluation.brackets import score_files
from aiayn.evaluation.parses import (
    drawing,
    evaluate_gold,
    gold_trees,
    headline,
    parse_validator,
    score_parses,
    scores_of,
)
from aiayn.evaluation.scores import show
from aiayn.experiments import load_experiment
from aiayn.model.saved import Model, save_model
from aiayn.tasks import task_of
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.loop import train
from aiayn.training.mesh import data_mesh
from aiayn.training.step import TrainState
from tests.support.models import TOKENIZER
from tests.support.trees import parsing_experiment, random_parser, tree, write_treebank

GOLD = tree("(TOP (S (NP (DT the) (NN dog)) (VP (VB sees) (NP (NN tea))) (. .)))")


def test_the_figures_of_trees_by_hand():
    # Four constituents, of which one is missed; of the five tags, four count and one is wrong.
    found = tree("(TOP (S (NP (DT the) (NN dog)) (VP (VB sees) (NN tea)) (. .)))")
    tags = tree(write(found).replace("(DT the)", "(NN the)"))
    values = scores_of(brackets.score([GOLD], [tags]), None, "en").values()
    assert values["recall"] == 75.0
    assert values["precision"] == 100.0
    assert values["f1"] == values["f1_short"] == pytest.approx(2 * 75 / 1.75)
    assert (values["exact"], values["tags"]) == (0.0, 75.0)
    assert "f1_free" not in values


def test_a_sentence_without_a_parse_or_a_word_is_counted_once():
    dot = tree("(TOP (NP (. .)))")
    found = scores_of(brackets.score([GOLD, GOLD, dot], [GOLD, None, dot]), None, "en")
    assert found.num_sentences == 3
    alone = scores_of(brackets.score([dot], [dot]), None, "en")
    assert (alone["tags"].value, alone["tags"].how) == (None, "no word but punctuation")


def test_a_free_search_has_its_own_figure_and_says_how_many_were_mended():
    found = brackets.score([GOLD], [GOLD])
    mended = brackets.score([GOLD], [restore(["(S"], GOLD.words)])
    scores = scores_of(found, (mended, 1), "en")
    assert scores["f1"].value == 100.0
    assert scores["f1_free"].value == pytest.approx(2 * 25 / 1.25)
    assert "1 outputs were no trees" in scores["f1_free"].compare
    file = io.StringIO()
    show({"test": {"": scores}}, Console(file=file, width=200))
    assert "F1" in file.getvalue()
    assert "free" in file.getvalue()
    assert file.getvalue().count("EVALB") == 2, "figures taken alike are explained once"


class _Writer(Parser):
    """A parser that writes what it is to, with its grammar or without."""

    def __init__(self, symbols):
        self.source = "en"
        self.symbols = symbols
        self.given: list[str] = []

    def best(self, lines, on_done=None) -> list[str]:
        self.given += lines
        return [self.symbols] * len(lines)

    def free(self):
        return self

    def unlike_training(self, trees):
        return iter(())


def test_marks_of_words_have_not_to_be_mended():
    gold = tree("(TOP (S (NP (NN dog)) (VP (VB sees)) (. .)))")
    for symbols, mended in (
        ("(S (NP NN~3 )NP (VP VB~1 )VP . )S", 0),
        ("(S (NP NN~3 )NP (VP VB~1 )VP . )S (NP", 1),
    ):
        console = Console(quiet=True)
        _, scores = score_parses(_Writer(symbols), [gold], console, "", free=True)
        assert scores["f1_free"].value == 100.0
        assert f"{mended} outputs were no trees" in scores["f1_free"].compare


def test_a_parser_is_given_words_as_training_spells_them():
    writer = _Writer("NN")
    score_parses(writer, [tree("(S (NN co\u00adop) (NN a\u2581b))")], Console(quiet=True), "")
    assert writer.given == ["coop a_b"]


@pytest.mark.parametrize(("trees", "beam_size"), [("tags", 1), ("xx", 1), ("marked", 4)])
def test_validation_goes_back_where_a_mark_can_say_that_it_should(trees, beam_size, monkeypatch):
    experiment = load_experiment("treebook").with_overrides([f"data.trees={trees}"])
    asked = []

    def parser(model, decode, params):
        asked.append(decode)
        return _Writer("(S (NP DT NN )NP (VP VB (NP NN )NP )VP . )S")

    class Stub(Prepared):
        tokenizer = TOKENIZER

    stubs = {
        "Parser": parser,
        "symbols_of": lambda *_: None,
        "validator": lambda *_, headline: lambda *_: {"dev_loss": 1.0},
        "gold_trees": lambda *_: [GOLD],
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(aiayn.evaluation.parses, name, stub)
    graphdef, mesh = nnx.graphdef(nnx.Dict()), data_mesh(jax.devices()[:1])
    validate = parse_validator(experiment, object.__new__(Stub), graphdef, mesh)
    found = validate(TrainState({}, (), jnp.zeros((), jnp.int32)), lambda: None)
    assert found == {"dev_loss": 1.0, "dev_f1": 100.0}
    assert asked == [replace(experiment.decode, beam_size=beam_size)]


def test_outputs_have_one_figure_to_compare_settings_by():
    symbols = "(S (NP DT NN )NP VB NN . )S"
    found = headline([symbols, ""], [GOLD, GOLD])
    # Two of eight constituents are found, and no others.
    assert found.value == pytest.approx(2 * 2 / (8 + 2) * 100)
    assert found.length_ratio == 2 / 8


def test_a_tree_is_drawn_line_by_line():
    file = io.StringIO()
    Console(file=file, width=40).print(drawing(GOLD))
    lines = [
        line.lstrip("\u2502\u251c\u2514\u2500 ").rstrip() for line in file.getvalue().split("\n")
    ]
    expected = ["TOP", "S", "NP", "DT the", "NN dog", "VP", "VB sees", "NP", "NN tea", ". .", ""]
    assert lines == expected


def test_a_treebank_is_scored_by_its_words_alone(tmp_path, monkeypatch):
    save_model(tmp_path / "model", random_parser())
    gold = tmp_path / "gold.mrg"
    trace = write(GOLD).replace("(NN tea)", "(NN tea) (-NONE- *)").replace("NP ", "NP-SBJ ", 1)
    gold.write_text(f"{trace}\n{write(GOLD)}\n", encoding="utf-8")
    asked = []

    def best(self, lines, on_done=None):
        asked.append((self._is_free, *lines))
        return ["(S (NP DT NN )NP VB NN . )S (NP"] * len(lines)

    monkeypatch.setattr(Parser, "best", best)
    scores = evaluate_gold(tmp_path / "model", gold, Console(file=io.StringIO()))
    # Two of four constituents; what opens after the last word had to be mended in the free search.
    assert scores["f1"].value == scores["f1_free"].value == pytest.approx(2 * 50 / 1.5)
    assert "2 outputs were no trees" in scores["f1_free"].compare
    assert asked == [(free, *["the dog sees tea ."] * 2) for free in (False, True)]
    assert scores.num_sentences == 2
    assert scores.warnings == ()


def test_what_is_unlike_training_in_a_treebank_is_said_below_its_figures(tmp_path, monkeypatch):
    save_model(tmp_path / "model", random_parser())
    gold = tmp_path / "gold.mrg"
    gold.write_text("(TOP (NX (NN dog)))\n(TOP (NX (NN tea)))\n", encoding="utf-8")
    monkeypatch.setattr(Parser, "best", lambda self, lines, _: ["(S NN )S"] * len(lines))
    shown = io.StringIO()
    scores = evaluate_gold(tmp_path / "model", gold, Console(file=shown, width=200))
    (said,) = scores.warnings
    assert said.endswith("no output can have: NX (2).")
    assert f"gold.mrg: {said}" in shown.getvalue()


@pytest.mark.slow
def test_a_run_ends_with_figures_that_its_trees_give_again(tmp_path, one_device):
    data = write_treebank(tmp_path / "trees", train=60, dev=6, news=7)
    experiment, run_dir = parsing_experiment(data), tmp_path / "run"
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    task, prepared = task_of(experiment), prepare(data, tmp_path / "data", progress=False)
    train(experiment, run_dir, prepared, console, task.make_validator)
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= row["dev_f1"] <= 100 for row in rows if "dev_loss" in row)
    assert any("dev_f1" in row for row in rows)
    task.evaluate(run_dir, prepared, console)
    record = json.loads((run_dir / "result.json").read_text())
    last, averaged = record["scores"]["news"].values()
    for folder, scores in (("last", last), ("averaged", averaged)):
        outputs = run_dir / "outputs" / folder
        found = score_files(outputs / "news.gold.trees", outputs / "news.trees")
        (f1,) = (each["value"] for each in scores["entries"] if each["name"] == "f1")
        assert f1 == pytest.approx(found.all.f1)
    checkpoints = Checkpoints.open(run_dir)
    params = checkpoints.params(checkpoints.newest())
    checkpoints.close()
    parser = Parser(Model(experiment, prepared.tokenizer, params))
    words = [tree.words for tree in gold_trees(prepared, "test.news")]
    trees = [best.text for (best,) in parser.parse(words)]
    assert (run_dir / "outputs/last/news.trees").read_text().splitlines() == trees
    assert [each["name"] for each in averaged["entries"]][-1] == "f1_free"
    gold = score_files(tmp_path / "trees" / "news.mrg", outputs / "news.gold.trees")
    assert gold.all.exact == 100.0
    assert shown.getvalue().count("TOP\n") == 5, "some trees are drawn"
    assert (run_dir / "tree.png").stat().st_size > 0
