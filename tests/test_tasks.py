"""The two ends of an experiment are asked for, and nothing between them names translation."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from aiayn.config import Experiment
from aiayn.data.prepare import prepare
from aiayn.data.sources.formats import Source, Split
from aiayn.errors import UserError
from aiayn.evaluation.bleu import headline, score
from aiayn.evaluation.scores import Scores
from aiayn.experiments import list_experiments, load_experiment
from aiayn.model.saved import Model
from aiayn.tasks import TASKS, LanguageModelling, task_of, translation_of
from tests.support.corpora import config, pair

RESULTS = Path(__file__).parents[1] / "experiments" / "results"


def test_every_experiment_has_a_task():
    for name in list_experiments():
        assert task_of(load_experiment(name)) in TASKS.values()


def test_an_unknown_task_is_refused_by_name():
    with pytest.raises(UserError, match="task is 'painting'; wanted one of translation"):
        load_experiment("phrasebook").with_overrides(["task=painting"])


def test_the_task_that_all_recorded_runs_had_changes_no_hash():
    # Hashes in records were taken when no experiment could have another task.
    for path in (RESULTS / "tatoeba_ende-first.json", RESULTS / "multi30k_ende-h100.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert "task" not in record["config"]
        assert Experiment.from_dict(record["config"]).task == "translation"


def _translation(name):
    return translation_of(Experiment("x", task=name))


def test_what_translates_is_not_asked_of_a_language_model():
    experiment = load_experiment("phrasebook_lm")
    assert isinstance(task_of(experiment), LanguageModelling)
    with pytest.raises(UserError, match="phrasebook_lm is a language model, which does not trans"):
        translation_of(experiment)


def test_the_headline_is_the_same_figure_as_among_all_scores():
    hypotheses, references = ["the old man saw the river", "a b c d"], ["the old man", "a b c d"]
    every = score(hypotheses, references, src="en", tgt="de")["sacrebleu"]
    found = headline(hypotheses, references, "de")
    assert (found.value, found.signature) == (every.value, every.how)
    assert found.length_ratio == 10 / 7
    assert _translation("translation").headline(hypotheses, references, "de") == found
    of_tokens = _translation("translation_of_tokens")
    every = of_tokens.score(hypotheses, references, src="en", tgt="de")["sacrebleu"]
    found = of_tokens.headline(hypotheses, references, "de")
    assert (found.value, found.signature) == (every.value, every.how)


def test_text_comes_from_the_source_that_the_task_opens(tmp_path):
    def open_source(data):
        def split(first, count):
            pairs = [pair(number) for number in range(first, first + count)]
            return Split(lambda _: iter(pairs), count)

        return Source({"kind": "made here"}, split(0, 40), split(100, 3), {"own": split(200, 2)})

    data = config(tmp_path, vocab_size=300)
    prepared = prepare(data, tmp_path / "data", progress=False, open_source=open_source)
    assert prepared.manifest.source == {"kind": "made here"}
    assert list(prepared.test_sets) == ["own"]
    assert prepared.lines("dev", "src") == [pair(number)[0] for number in (100, 101, 102)]


def test_any_model_is_scored_as_the_task_of_its_experiment_says(source, tmp_path, monkeypatch):
    experiment = Experiment("x", data=config(source, vocab_size=300))
    prepared = prepare(experiment.data, tmp_path, progress=False)
    model, given, figures = Model(experiment, prepared.tokenizer, {}), [], Scores("", "", 2, ())

    def taken(name, result):
        monkeypatch.setattr(
            f"aiayn.tasks.{name}", lambda _, lines, *__: given.append(lines) or result
        )

    split = next(iter(prepared.test_sets.values()))
    sources, references = (prepared.lines(split, side) for side in ("src", "tgt"))
    taken("translate_file", sources)
    taken("score_texts", figures)
    taken("score_parses", ([], figures))
    monkeypatch.setattr("aiayn.tasks.Writer", lambda model: model)
    monkeypatch.setattr("aiayn.tasks.Parser", lambda model: model)
    monkeypatch.setattr("aiayn.tasks.gold_trees", lambda prepared, split: [split])

    def found(task):
        return TASKS[task].score_model(model, prepared, split, Console(quiet=True))

    assert found("translation") == score(sources, references, sources, src="en", tgt="de")
    assert found("language_model") == found("parsing") == figures
    assert given == [sources, references, [split]]
