"""Pre-training: what each run sets, and all runs once in miniature."""

import io
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from rich.console import Console

import aiayn.evidence.ablation
import aiayn.evidence.pretraining
import aiayn.training.loop
from aiayn.errors import UserError
from aiayn.evidence.pretraining import pretrain, text_model, variant
from aiayn.evidence.transfer import rows_of
from aiayn.experiments import load_experiment
from aiayn.system import records
from aiayn.training.initial import read_initial
from aiayn.training.log import read_metrics
from aiayn.training.mesh import data_mesh
from tests.support.runs import reverse_experiment

BASE = load_experiment("pretraining").with_overrides(["data.tokenizer=own.model"])


def test_the_language_model_has_the_sizes_the_training_and_the_tokenizer_of_the_base():
    made = text_model(BASE, 7)
    assert (made.task, made.data.src, made.data.tgt) == ("language_model", "", "de")
    assert made.data.tokenizer == "own.model"
    assert made.data.train_files == BASE.data.train_files
    assert made.model == replace(BASE.model, kind="decoder")
    assert made.train == replace(BASE.train, seed=7)
    assert made.data.tgt_tokens_per_update == 2_000, "as many tokens as a translator's two sides"
    columns = BASE.with_overrides(["data.columns=one,two", "data.max_ratio=2"])
    assert text_model(columns, 7).data.columns == ("two",)


def test_a_row_differs_from_the_base_by_its_pairs_and_by_what_it_starts_from_alone():
    for row, changes in rows_of(BASE).items():
        made = variant(BASE, row, changes, Path("runs/text-1"))
        is_fresh = row.endswith("-fresh")
        assert made.train.initial == ("" if is_fresh else "runs/text-1")
        assert made.name == f"pretraining_{row}_1"
        settings = {**changes, "train.initial": made.train.initial, "name": made.name}
        assert made == BASE.with_overrides([f"{key}={value}" for key, value in settings.items()])
        assert made.data.tokenizer == "own.model", "prepared once for all rows of a size"


def test_fewer_pairs_than_the_largest_size_are_refused(corpus, data_dir, tmp_path):
    settings = {"num_seeds": 1, "num_jobs": 1, "sizes": (10, 5_000)}
    with pytest.raises(UserError, match=r"reverse has 2,000 pairs of train; wanted 5,000 or more"):
        pretrain(reverse_experiment(corpus), tmp_path, data_dir, Console(quiet=True), **settings)


@pytest.mark.slow
def test_every_run_is_trained_once_and_starts_from_the_layers_it_is_to(
    corpus, data_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(aiayn.training.loop, "data_mesh", lambda: data_mesh(jax.devices()[:1]))
    for name in ("NPROC", "XLA_CLIENT_MEM_FRACTION"):
        monkeypatch.setenv(name, "1")
    trained: list[str] = []

    def counting(experiment, *rest):
        trained.append(experiment.name)
        aiayn.training.loop.train(experiment, *rest)

    for module in (aiayn.evidence.ablation, aiayn.evidence.pretraining):
        monkeypatch.setattr(module, "train", counting)

    def finish(name, runs, *rest):
        assert all(run.takes_best for run in runs.values())
        return aiayn.evidence.ablation.finish(name, runs, *rest)

    monkeypatch.setattr(aiayn.evidence.pretraining, "finish", finish)

    def run(folder, earlier=None, num_steps=2):
        trained.clear()
        base = reverse_experiment(corpus, num_steps=num_steps, keep_last=3)
        settings = {"num_seeds": 1, "num_jobs": 1, "sizes": (300, 600), "earlier": earlier}
        console = Console(file=io.StringIO())
        return pretrain(base, tmp_path / folder, data_dir, console, **settings), sorted(trained)

    record, once = run("runs")
    rows = ["300-fresh", "300-moved0", "300-moved1", "600-fresh", "600-moved1"]
    assert list(record.rows) == rows
    all_of_it = sorted(["reverse_text_1", *(f"reverse_{row}_1" for row in rows)])
    assert once == all_of_it
    assert (tmp_path / "runs/ablation.png").stat().st_size > 0
    about = {row: read_initial(tmp_path / f"runs/{row}-1") for row in rows}
    assert about["300-fresh"] is None
    moved0, moved1 = about["300-moved0"], about["300-moved1"]
    assert moved0
    assert moved1
    assert "decoder.0.self_attention.key.kernel" in {*moved0["drawn"], *moved0["left_out"]}
    assert "embedding" not in moved0["drawn"]
    assert moved1["left_out"] == []
    assert all(n.startswith("encoder.") or ".cross_" in n for n in moved1["drawn"])

    base = reverse_experiment(corpus, num_steps=2, keep_last=3)
    assert base.is_same(record.config), "else it is stale from the beginning"
    (text,) = (tmp_path / "runs").glob("text-1-*")
    (model,) = record.text_models
    assert model.params_sha256 == moved0["params_sha256"] == moved1["params_sha256"]
    *_, dev = (row for row in read_metrics(text / "metrics.jsonl") if "dev_loss" in row)
    assert (model.seed, model.perplexity) == (1, dev["dev_perplexity"])
    assert model.seconds == dev["seconds"]

    assert run("runs") == (record, []), "all is there"
    (tmp_path / "runs/600-moved1-1/dev.json").unlink()
    assert run("runs")[1] == ["reverse_600-moved1_1"]
    again, once = run("elsewhere", tmp_path / "runs/ablation.json")
    assert (once, again.text_models) == ([], record.text_models), "all is recorded"
    # Where a row is missing, its seed is trained anew as a whole, from one language model.
    del record.rows["600-moved1"]
    records.write(tmp_path / "part.json", record)
    assert run("partly", tmp_path / "part.json")[1] == all_of_it
    # Translators that started from another language model than a longer training makes.
    with pytest.raises(UserError, match=r"Row .*-moved\d, seed 1: .*train\.initial"):
        run("runs", num_steps=3)
    assert text.is_dir()
