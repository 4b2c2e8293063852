"""A language model from its text to its record, and the same bits after a stop."""

import io
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from aiayn.bench import nano
from aiayn.bench.nano import bench_nano
from aiayn.bench.ngrams import bench_ngrams
from aiayn.data.plain import check_plain
from aiayn.data.prepare import prepare
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError
from aiayn.evaluation.evaluate import unfit_tests
from aiayn.evaluation.perplexity import scores_of, text_losses
from aiayn.evaluation.record import read_record, record_lines, run_info
from aiayn.evaluation.texts import evaluate_texts
from aiayn.evidence.gpt_checks import GPT1
from aiayn.evidence.included import include, render
from aiayn.evidence.records import Included, load
from aiayn.model.saved import Model, load_model
from aiayn.system.files import read_json
from aiayn.tasks import task_of
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.log import read_metrics
from aiayn.training.loop import train
from tests.support.runs import assert_bit_equal, copied, of_text, straight_experiment

_WIDTHS = "d_model", "d_ff", "num_heads", "d_k", "d_v"


def _train(experiment, run_dir, data_dir):
    task, console = task_of(experiment), Console(file=io.StringIO())
    prepared = prepare(experiment.data, data_dir, progress=False, open_source=task.open_source)
    train(experiment, run_dir, prepared, console, task.make_validator)
    return prepared


@pytest.fixture(scope="module")
def finished(corpus, data_dir, tmp_path_factory):
    experiment = replace(of_text(straight_experiment(corpus)), name="text")
    run_dir = tmp_path_factory.mktemp("text") / "run"
    with pytest.MonkeyPatch.context() as patch:
        from tests.support.runs import train_on_one_device

        train_on_one_device(patch)
        prepared = _train(experiment, run_dir, data_dir)
    shown = io.StringIO()
    evaluate_texts(run_dir, prepared, Console(file=shown, width=100))
    return experiment, run_dir, prepared, shown.getvalue()


def test_any_text_can_be_predicted(finished):
    _, _, prepared, _ = finished
    marked = [("", "<p>one two")] * 9
    assert list(unfit_tests(replace(prepared, tests={"web": marked}))) == []
    with pytest.raises(UserError, match="wanted plain"):
        check_plain("references", [text for _, text in marked])


def test_the_record_has_the_figures_of_the_model_on_the_test_text(finished):
    experiment, run_dir, prepared, _ = finished
    record = read_record(run_dir)
    texts = prepared.lines("test.test", "tgt")
    writer = Writer(load_model(run_dir / "model"))
    tokenizer = prepared.tokenizer
    wanted = scores_of(text_losses(writer, texts), experiment.data.max_tokens, "bb", tokenizer)
    assert record.scores["test"]["average of 3"] == wanted
    checkpoints = Checkpoints.open(run_dir)
    last = Writer(Model(experiment, prepared.tokenizer, checkpoints.params(12)))
    checkpoints.close()
    of_last = scores_of(text_losses(last, texts), experiment.data.max_tokens, "bb", tokenizer)
    assert record.scores["test"]["last checkpoint (12)"] == of_last != wanted
    assert record.config["task"] == "language_model"
    assert record.src_tokens_per_update == 0
    assert record.tokens == round(record.tgt_tokens_per_update * record.updates)
    lines = record_lines(json.loads((run_dir / "result.json").read_text()), run_dir)
    assert lines[-1] == f"  test, average of 3: perplexity {wanted['perplexity'].value:.2f}"
    assert run_info(run_dir)["checkpoints"].keys() == {"4", "8", "12"}


def test_its_end_shows_perplexities_and_five_texts(finished):
    _, run_dir, _, shown = finished
    assert "nats per" in shown
    samples = (run_dir / "samples.txt").read_text(encoding="utf-8").split("\n\n")[:-1]
    assert len(samples) == 5
    assert shown.count(samples[0][:20]) >= 1


def test_dev_is_measured_by_its_loss_alone(finished):
    _, run_dir, _, _ = finished
    found = [row for row in read_metrics(run_dir / "metrics.jsonl") if "dev_loss" in row]
    assert [row["step"] for row in found] == [4, 8, 12]
    assert not any("dev_bleu" in row for row in found)
    assert found[-1]["dev_loss"] < found[0]["dev_loss"]
    assert found[-1]["dev_perplexity"] == pytest.approx(np.exp(found[-1]["dev_loss"]))


def test_a_model_comes_along_in_bytes_with_the_figures_of_both_forms(finished, tmp_path):
    _, run_dir, prepared, _ = finished
    record = include(run_dir, tmp_path, Console(file=io.StringIO()))
    folder = tmp_path / "experiments/models/text"
    assert record.bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert record.params_sha256 == read_record(run_dir).params_sha256
    texts, wanted = prepared.lines("test.test", "tgt"), []
    for model in (load_model(run_dir / "model"), load_model(folder)):
        losses = text_losses(Writer(model), texts)
        wanted.append(sum(x.nats for x in losses) / sum(x.characters for x in losses))
    assert record.scores["test"] == pytest.approx(wanted)
    assert wanted[0] != wanted[1]
    (kept,) = load(tmp_path / "experiments/results/models", Included, "a model")
    assert kept == record
    assert f"| {wanted[0]:.2f} | {wanted[1]:.2f} |" in render([kept])


def test_benchmarks_give_others_the_same_text_and_time(finished, tmp_path, monkeypatch):
    _, run_dir, prepared, _ = finished
    given = []

    def train_and_score(train_text, dev_text, seconds):
        given.append((train_text, dev_text, seconds))
        return {"nats": 30.0, "characters": 10, "updates": 5, "seconds": 1.0, "parameters": 7}

    recipe = SimpleNamespace(train_and_score=train_and_score)
    monkeypatch.setitem(sys.modules, "aiayn.bench.nano_torch", recipe)
    monkeypatch.setattr("aiayn.bench.nano.find_spec", lambda name: True)
    record = bench_nano(run_dir, tmp_path, Console(file=io.StringIO()))
    dev, run = prepared.lines("dev", "tgt"), read_record(run_dir)
    assert given == [("\n".join(prepared.lines("train", "tgt")), "\n".join(dev), run.seconds)]
    assert record["ours"]["characters"] == sum(map(len, dev))
    assert (record["ours"]["commit"], record["ours"]["updates"]) == (run.commit, 12)
    assert read_json(tmp_path / "nano-text.json")["nano"]["nats"] == 30.0
    assert nano.figures(record)[2] == ["nanoGPT's recipe", "3.000", "1 s", "5", "7"]

    found = bench_ngrams(run_dir, tmp_path, Console(file=io.StringIO()))["texts"]["test"]
    losses = text_losses(Writer(load_model(run_dir / "model")), prepared.lines("test.test", "tgt"))
    assert found["tokens"] == sum(loss.tokens for loss in losses)
    assert found["ours"] == pytest.approx(sum(loss.nats for loss in losses))


def test_a_killed_run_ends_with_the_same_bits(finished, data_dir, tmp_path, one_device):
    experiment, run_dir, _, _ = finished
    again = copied(run_dir, tmp_path / "run", newest=8)
    with (again / "metrics.jsonl").open("a") as file:  # of steps behind the last checkpoint
        file.write('{"step": 10, "loss": 1.0, "seconds": 1.0}\n{"step": 11, "lo')
    _train(experiment, again, data_dir)
    ends = []
    for folder in (run_dir, again):
        checkpoints = Checkpoints.open(folder)
        ends.append(checkpoints.params(12))
        checkpoints.close()
    assert_bit_equal(*ends)
    logs = (read_metrics(folder / "metrics.jsonl") for folder in (run_dir, again))
    found, wanted = (
        [[row.get(name) for name in ("step", "loss", "tokens", "dev_loss")] for row in rows]
        for rows in logs
    )
    assert found == wanted


def test_a_small_model_of_gpt_1s_recipe_learns(finished, data_dir, tmp_path, one_device):
    sizes = {name: getattr(finished[0].model, name) for name in ("num_layers", *_WIDTHS)}
    gpt_1 = replace(
        finished[0],
        preset="gpt1",
        model=replace(GPT1, **sizes, initializer="normal"),
        train=replace(finished[0].train, label_smoothing=0.0, num_steps=8),
    )
    prepared = _train(gpt_1, tmp_path / "run", data_dir)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    first, second = (row["dev_loss"] for row in rows if "dev_loss" in row)
    assert second < first < np.log(prepared.tokenizer.num_words)
