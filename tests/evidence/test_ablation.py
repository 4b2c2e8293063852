"""Table 3 in miniature: the rows are the paper's, each is run once, the comparison is by hand."""

import io
import json
import os
import shutil
import signal
import threading
from pathlib import Path

import jax
import msgspec
import pytest
from msgspec.structs import replace
from rich.console import Console

import aiayn.evidence.ablation
import aiayn.training.loop
from aiayn.__main__ import main
from aiayn.config import Experiment
from aiayn.data.prepare import prepare
from aiayn.errors import Preempted, UserError
from aiayn.evaluation.scores import Headline
from aiayn.evidence.ablation import Run, ablate, changes, scored_model, variant
from aiayn.evidence.claims import MINIATURES
from aiayn.evidence.paper import TABLE_3
from aiayn.evidence.table3 import DEVIATIONS, ROWS
from aiayn.experiments import load_experiment
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.log import read_metrics
from aiayn.training.mesh import data_mesh
from aiayn.training.run_folder import read_sessions
from tests.support.runs import environment, reverse_experiment, straight_experiment

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


@pytest.mark.parametrize("row", TABLE_3)
def test_at_the_papers_size_the_rows_are_the_papers(row):
    assert changes(Experiment("paper"), row) == TABLE_3[row].changes


def test_rows_scale_with_the_base():
    base = load_experiment("table3_miniature")
    assert (base.model.num_layers, base.model.d_model, base.model.d_ff) == (3, 64, 256)
    assert (base.model.num_heads, base.model.d_k, base.model.d_v) == (8, 8, 8)
    assert changes(base, "base") == {}
    assert changes(base, "A1") == {"model.num_heads": 1, "model.d_k": 64, "model.d_v": 64}
    assert changes(base, "A4") == {"model.num_heads": 32, "model.d_k": 2, "model.d_v": 2}
    assert changes(base, "B1") == {"model.d_k": 2}
    assert changes(base, "C3") == {"model.num_layers": 4}
    assert changes(base, "C4") == {"model.d_model": 32, "model.d_k": 4, "model.d_v": 4}
    assert changes(base, "D1") == {"model.dropout_rate": 0.0}
    assert changes(base, "D4") == {"train.label_smoothing": 0.2}
    assert changes(base, "E") == {"model.positions": "learned"}
    assert changes(base, "big") == {
        "model.d_model": 128,
        "model.d_ff": 512,
        "model.num_heads": 16,
        "model.dropout_rate": 0.3,
        "train.num_steps": 3 * base.train.num_steps,
    }


@pytest.mark.parametrize("name", MINIATURES)
def test_a_miniature_differs_from_its_base_by_the_row_and_the_seed_alone(name):
    base = load_experiment(name)
    for row in ROWS:
        made = variant(base, row, seed=7)
        settings = {**changes(base, row), "name": made.name, "train.seed": 7}
        assert made == base.with_overrides([f"{key}={value}" for key, value in settings.items()])


def test_a_base_of_no_preset_has_rows_of_none():
    base = load_experiment("table3_miniature_long")
    assert base.preset == "custom"
    for row in DEVIATIONS:
        found = changes(base, row)
        assert found.get("preset", "custom") == "custom"
        assert {**found, "preset": ""} == {**DEVIATIONS[row], "preset": ""}
        assert variant(base, row, seed=1).model.initializer == "normal"


def test_a_size_that_a_row_cannot_scale_is_refused():
    base = Experiment("odd").with_overrides(["model.num_layers=2"])
    with pytest.raises(UserError, match=r"model.num_layers of odd is 2; .* row C1 .* times 2/6"):
        changes(base, "C1")


# --- Running ------------------------------------------------------------------------------------


@pytest.fixture
def run_ablation(corpus, data_dir, tmp_path, monkeypatch):
    """Two rows of a tiny base with two seeds, in this process; what was trained is listed."""
    monkeypatch.setattr(aiayn.training.loop, "data_mesh", lambda: data_mesh(jax.devices()[:1]))
    for name in ("NPROC", "XLA_CLIENT_MEM_FRACTION"):
        monkeypatch.setenv(name, "1")
    trained: list[str] = []

    def counting(experiment, *rest):
        trained.append(experiment.name)
        aiayn.training.loop.train(experiment, *rest)

    monkeypatch.setattr(aiayn.evidence.ablation, "train", counting)
    headline = Headline(12.5, "nrefs:1|tok:13a", 1.0)
    monkeypatch.setattr(aiayn.evidence.ablation, "figure_on_dev", lambda *_: lambda *_: headline)

    def run(folder="runs", earlier=None, num_seeds=2, text=corpus, **settings: int):
        trained.clear()
        base = reverse_experiment(text, **{"num_steps": 2, "keep_last": 3, **settings})
        output = io.StringIO()
        record = ablate(
            base,
            tmp_path / folder,
            data_dir,
            Console(file=output),
            num_seeds=num_seeds,
            num_jobs=1,
            rows=("base", "halves"),
            earlier=earlier,
        )
        return record, list(trained), output.getvalue()

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("takes_best", "step"), [(False, 12), (True, 8)])
def test_the_last_checkpoint_is_scored_or_the_best_with_its_own_figures(
    corpus, data_dir, straight, monkeypatch, takes_best, step
):
    losses = {4: 1.0, 8: 0.5, 12: 0.7}
    monkeypatch.setattr(
        Checkpoints,
        "totals",
        lambda _, at: {"seconds": at, "dev": {"step": at, "dev_loss": losses[at]}},
    )
    experiment = straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    run = Run("base", experiment, straight, prepared.folder, 1, takes_best)
    model, totals = scored_model(run, prepared)
    assert totals == {"seconds": 12, "dev": {"step": step, "dev_loss": losses[step]}}
    checkpoints = Checkpoints.open(straight)
    wanted = checkpoints.params(step)
    checkpoints.close()
    assert (model.params["embedding"] == wanted["embedding"]).all()


def test_an_ablation_trains_every_row_with_every_seed_once(run_ablation, corpus, tmp_path):
    record, trained, output = run_ablation()
    assert sorted(trained) == [
        "reverse_base_1",
        "reverse_base_2",
        "reverse_halves_1",
        "reverse_halves_2",
    ]
    assert output.count("dev perplexity") == 4
    assert "(4 of 4 runs)" in output
    assert [run.seed for run in record.rows["halves"].runs] == [1, 2]
    perplexities = {run.perplexity for row in record.rows.values() for run in row.runs}
    assert len(perplexities) == 4, "each row and each seed trains another model"
    assert {run.bleu for row in record.rows.values() for run in row.runs} == {12.5}
    *_, dev = (r for r in read_metrics(tmp_path / "runs/base-2/metrics.jsonl") if "dev_loss" in r)
    assert record.rows["base"].runs[1].perplexity == dev["dev_perplexity"]
    written = json.loads((tmp_path / "runs/ablation.json").read_text())
    assert written == json.loads(json.dumps(msgspec.to_builtins(record)))
    assert (tmp_path / "runs/ablation.png").stat().st_size > 0

    again, trained, _ = run_ablation()
    assert (again, trained) == (record, [])

    (tmp_path / "runs/halves-1/dev.json").write_text('{"half a fi')
    again, trained, _ = run_ablation()
    assert trained == ["reverse_halves_1"]
    assert replace(again, rows={}) == replace(record, rows={})
    (anew, _), (before, _) = (r.rows["halves"].runs for r in (again, record))
    assert replace(anew, seconds=0) == replace(before, seconds=0), "the checkpoint was there still"

    with pytest.raises(UserError, match="warmup_steps"):
        run_ablation(warmup_steps=50)
    edited = Path(shutil.copytree(corpus, tmp_path / "edited"))
    for path in edited.glob("train.*"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match="other data"):
        run_ablation(text=edited)

    earlier = tmp_path / "earlier.json"
    del written["rows"]["halves"]["runs"][1]
    earlier.write_text(json.dumps(written))
    added, trained, output = run_ablation("elsewhere", earlier)
    assert trained == ["reverse_halves_2"]
    assert "(4 of 4 runs)" in output
    (_, anew), (_, before) = (r.rows["halves"].runs for r in (added, record))
    assert replace(anew, seconds=0) == replace(before, seconds=0)
    assert replace(added, rows={}) == replace(record, rows={})
    written["rows"]["halves"]["changes"] = {"model.positions": "interleaved"}
    earlier.write_text(json.dumps(written))
    _, trained, _ = run_ablation("elsewhere", earlier)
    assert trained == ["reverse_halves_1"], "what a row changed then is not what it changes now"
    with pytest.raises(UserError, match=r"earlier.json: it is of reverse, or of other settings"):
        run_ablation("third", earlier, warmup_steps=50)
    with pytest.raises(UserError, match=r"it has seeds 1, 2, of which 2 would be left out; wanted"):
        run_ablation("third", tmp_path / "runs/ablation.json", num_seeds=1)
    # A row that there is no longer; runs of two days, with other versions.
    written["rows"]["gone"] = {**written["rows"]["base"], "runs": []}
    written["versions"]["jax"] = "0.9.1, 0.9.0"
    earlier.write_text(json.dumps(written))
    added, trained, _ = run_ablation("elsewhere", earlier)
    assert ([*added.rows], trained) == (["base", "halves"], [])
    assert added.versions["jax"].split(", ") == sorted({"0.9.0", "0.9.1", jax.__version__})
    for damage in ({**written, "rows": [1]}, {"config": written["config"]}):
        earlier.write_text(json.dumps(damage))
        with pytest.raises(UserError, match=r"earlier.json is no record of an ablation: "):
            run_ablation("third", earlier)


def _perform_until_stopped(run):
    """In a worker: `_perform`, whose second step does not end before SIGTERM comes."""
    advance = aiayn.training.loop.TrainingProgress.advance
    steps, came = [], []

    def waiting(self):
        advance(self)
        steps.append(None)
        if len(steps) == 2:
            answer = signal.getsignal(signal.SIGTERM)
            assert callable(answer)
            signal.signal(
                signal.SIGTERM, lambda *arguments: (answer(*arguments), came.append(None))
            )
            (run.run_dir / "ready").touch()
            while not came:
                threading.Event().wait(0.05)

    aiayn.training.loop.TrainingProgress.advance = waiting
    return aiayn.evidence.ablation._perform(run)


@pytest.mark.slow
def test_an_ablation_that_is_stopped_saves_what_was_training(
    corpus, data_dir, tmp_path, monkeypatch
):
    of_workers = environment(num_devices=1) | {"NPROC": "1", "XLA_CLIENT_MEM_FRACTION": "1"}
    for name, value in of_workers.items():
        monkeypatch.setenv(name, value)
    rows = ("base", "D2")

    def run(num_jobs):
        return ablate(
            reverse_experiment(corpus, num_steps=4, keep_last=3),
            tmp_path / "runs",
            data_dir,
            Console(quiet=True),
            num_seeds=1,
            num_jobs=num_jobs,
            rows=rows,
        )

    def stop(*_):
        raise Preempted

    over = threading.Event()

    def stop_when_ready():
        while not all((tmp_path / f"runs/{row}-1/ready").exists() for row in rows):
            if over.wait(0.05):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with monkeypatch.context() as while_stopped:
            while_stopped.setattr(aiayn.evidence.ablation, "_perform", _perform_until_stopped)
            threading.Thread(target=stop_when_ready, daemon=True).start()
            with pytest.raises(Preempted):
                run(num_jobs=2)
    finally:
        over.set()
        signal.signal(signal.SIGTERM, before)
    monkeypatch.setattr(aiayn.training.loop, "data_mesh", lambda: data_mesh(jax.devices()[:1]))
    record = run(num_jobs=1)
    assert [len(row.runs) for row in record.rows.values()] == [1, 1]
    for row in rows:
        sessions = read_sessions(tmp_path / f"runs/{row}-1")
        assert [session["from_step"] for session in sessions] == [0, 2]


@pytest.mark.parametrize("option", ["--seeds", "--jobs"])
def test_no_seeds_and_no_jobs_are_refused(option, capsys):
    assert main(["ablate", "table3_miniature", option, "0"]) == 2
    assert f"{option} is 0; wanted 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("treebook", "treebook reads no treebank"),
        ("phrasebook_lm", "phrasebook_lm is a language model"),
        ("pretraining --set name=pretraining_small --set train.initial=m", "train.initial is 'm'"),
        ("pretraining --set data.holdout_pairs=100", "data.holdout_pairs is 100; wanted 0"),
    ],
)
def test_what_no_study_is_made_of_is_refused(name, reason, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["ablate", *name.split()]) == 2
    assert reason in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
