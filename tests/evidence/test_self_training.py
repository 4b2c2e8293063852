"""Self-training: what each run learns from, and all runs once in miniature."""

import gzip
import io
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from rich.console import Console

import aiayn.evidence.ablation
import aiayn.training.loop
from aiayn.data.sources import treebank
from aiayn.data.sources.treebank import Malformed
from aiayn.errors import UserError
from aiayn.evidence.parsed_text import OWN, PARSED
from aiayn.evidence.self_training import self_train, variant
from aiayn.experiments import load_experiment
from aiayn.training.mesh import data_mesh
from aiayn.training.run_folder import read_run
from tests.support.trees import parsing_experiment, write_treebank


def test_a_row_differs_from_the_base_by_its_seed_and_its_text_alone():
    base = load_experiment("parsed_text").with_overrides(["data.folder=trees"])
    made = {row: variant(base, row, 7, Path("text-7")) for row in ("base", "other", "own")}
    files = base.data.train_files
    assert made["other"].data.train_files == (*files, PARSED)
    assert made["own"].data == replace(base.data, train_files=(*files, OWN), folder="text-7")
    for row, experiment in made.items():
        assert experiment.name == f"parsed_text_{row}_7"
        assert experiment.train == replace(base.train, seed=7)
        assert experiment.model == base.model
        data = replace(experiment.data, train_files=files, folder="trees")
        assert data == base.data


def _base(tmp_path):
    """The smallest parser, with a treebank and parsed text that share no sentence."""
    folder = tmp_path / "trees"
    write_treebank(folder, train=60, dev=6, news=7, parsed=20)
    (folder / PARSED).write_bytes(gzip.compress((folder / "parsed.mrg").read_bytes()))
    data = write_treebank(tmp_path / "again", train=60, dev=6, news=7)
    experiment = parsing_experiment(replace(data, folder=str(folder)))
    return replace(experiment, name="parsed_text")


def test_a_limit_that_leaves_the_text_out_is_refused(tmp_path):
    base = _base(tmp_path)
    limited = replace(base, data=replace(base.data, limit=50))
    settings = {"num_seeds": 1, "num_jobs": 1}
    with pytest.raises(UserError, match=r"data.limit is 50; wanted 0: the parsed text comes after"):
        self_train(limited, tmp_path, tmp_path, Console(quiet=True), **settings)


def test_text_that_is_not_there_is_refused(tmp_path):
    base = _base(tmp_path)
    (tmp_path / "trees" / PARSED).unlink()
    with pytest.raises(UserError, match=PARSED):
        self_train(
            base, tmp_path / "runs", tmp_path / "data", Console(quiet=True), num_seeds=1, num_jobs=1
        )


def test_a_parser_without_a_treebank_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"treebook reads no treebank: .*parsed.mrg.gz beside"):
        self_train(
            load_experiment("treebook"), *(tmp_path, tmp_path), Console(), num_seeds=1, num_jobs=1
        )


@pytest.mark.slow
def test_every_run_is_trained_once_and_the_first_parses_the_text_for_the_third(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(aiayn.training.loop, "data_mesh", lambda: data_mesh(jax.devices()[:1]))
    for name in ("NPROC", "XLA_CLIENT_MEM_FRACTION"):
        monkeypatch.setenv(name, "1")
    trained: list[str] = []

    def counting(experiment, *rest):
        trained.append(experiment.name)
        aiayn.training.loop.train(experiment, *rest)

    monkeypatch.setattr(aiayn.evidence.ablation, "train", counting)
    base, trees = _base(tmp_path), tmp_path / "trees"
    # What train counts and leaves out, training on the text leaves out too; files may be a pattern.
    more = gzip.decompress((trees / PARSED).read_bytes()) + b"(TOP (S (NN word\n"
    (trees / PARSED).write_bytes(gzip.compress(more))
    base = replace(base, data=replace(base.data, train_files=("tra*.mrg",)))

    def run(folder, earlier=None):
        trained.clear()
        settings = {"num_seeds": 1, "num_jobs": 1, "earlier": earlier}
        console = Console(file=io.StringIO())
        made = self_train(base, tmp_path / folder, tmp_path / "data", console, **settings)
        return made, [name.removeprefix("parsed_text_") for name in trained]

    record, once = run("runs")
    assert list(record.rows) == ["base", "other", "own"]
    assert sorted(once) == ["base_1", "other_1", "own_1"]
    assert once[-1] == "own_1", "after the parser that makes its text"
    assert "evalb" in record.signature
    # The same words, in the same order, under trees of its own.
    (text,) = (tmp_path / "runs").glob("text-1-*")
    own, other = ([*treebank.trees(path, Malformed())] for path in (text / OWN, trees / PARSED))
    assert [tree.words for tree in own] == [tree.words for tree in other]
    assert [tree.brackets for tree in own] != [tree.brackets for tree in other]
    assert {path.name for path in text.iterdir()} == {"train.mrg", "dev.mrg", "news.mrg", OWN}

    # All have the tokenizer of the treebank and the text: they differ in the trees alone.
    (tokenizer,) = {read_run(tmp_path / f"runs/{row}-1")[0].data.tokenizer for row in record.rows}
    assert Path(tokenizer) == tmp_path / "runs/tokenizer.model"

    assert run("runs") == (record, []), "all is there"
    (tmp_path / "runs/own-1/dev.json").unlink()
    assert run("runs")[1] == ["own_1"]
    assert run("elsewhere", tmp_path / "runs/ablation.json")[1] == [], "all is recorded"

    base = replace(base, train=replace(base.train, num_steps=base.train.num_steps + 1))
    with pytest.raises(UserError, match=r"own-1 learns from .*; remove it to begin anew"):
        run("runs")
    assert trained == [], "before the first two rows, which take hours"
    base = replace(base, train=replace(base.train, num_steps=base.train.num_steps - 1))

    (trees / PARSED).write_bytes(gzip.compress(more.replace(b"(NN ", b"(JJ ")))
    with pytest.raises(UserError, match=r"ablation.json: it is of other text"):
        run("elsewhere", tmp_path / "runs/ablation.json")
    with pytest.raises(UserError, match=r"own-1 learns from"):
        run("runs")
