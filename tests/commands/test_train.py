import signal
from pathlib import Path

import pytest

import aiayn.interface
from aiayn.__main__ import main
from aiayn.experiments import load_experiment
from tests.commands.test_verb import refusal
from tests.support.corpora import copy_corpus, write_texts
from tests.support.models import TOKENIZER
from tests.support.runs import reverse_experiment


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tatoeba_ende", "data.folder"),
        ("multi30k_ende --set data.folder=nowhere", "nowhere"),
    ],
)
def test_a_corpus_that_is_not_there_is_named(arguments, message, capsys, tmp_path):
    assert message in refusal(capsys, "train", *arguments.split(), "--data-dir", tmp_path)


def test_a_file_in_place_of_the_data_folder_is_named(capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("one\n")
    assert str(file) in refusal(capsys, "prepare", "phrasebook", "--data-dir", file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config = ModelConfig(num_layer=2)", "Did you mean 'num_layers'"),
        ("config = DataConfig(vocab_size='3000')", "defines no experiment"),
        ("config = DataConfig(vocab_size=3)", "data.vocab_size is 3; wanted 300 to 65,535."),
        ("config = 3", "defines no `config = Experiment(...)`"),
        ("this is no Python", "defines no experiment: SyntaxError"),
        ("raise ValueError('two\\nlines')", "defines no experiment: ValueError: two lines."),
        ("raise SystemExit(0)", "defines no experiment: SystemExit: 0."),
        ("import nowhere", "No module named 'nowhere'"),
    ],
)
def test_a_mistake_in_an_experiment_file_names_the_file(text, message, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(f"from aiayn.config import DataConfig, ModelConfig\n{text}\n")
    error = refusal(capsys, "train", path)
    assert str(path) in error
    assert message in error


def test_bad_corpora_are_refused_before_anything_is_trained(tmp_path, capsys):
    copy_corpus(tmp_path / "good", 200)
    settings = [
        "--set", f"data.folder={tmp_path / 'good'}",
        "--set", "data.corpus=mine",
        "--set", "data.train_files=train.{lang}",
        "--set", "data.dev_files=dev.{lang}",
        "--set", "data.test_files=test=test.{lang}",
        "--set", "data.src=aa",
        "--set", "data.tgt=bb",
        "--data-dir", str(tmp_path / "data"),
    ]  # fmt: skip
    uneven = tmp_path / "good" / "dev.bb"
    uneven.write_text(uneven.read_text() + "one more\n")
    error = refusal(capsys, "prepare", "phrasebook", *settings)
    assert "101" in error
    assert "100" in error
    assert not list((tmp_path / "data").rglob("manifest.json"))


@pytest.mark.parametrize("options", [[], ["--run-dir", "elsewhere"]])
def test_train_is_the_same_as_in_python(options, monkeypatch):
    asked = []

    def train(experiment, **settings):
        asked.append((experiment, settings))

    monkeypatch.setattr(aiayn.interface, "train", train)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["train", "phrasebook", "--set", "train.seed=7", *options]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    ((experiment, settings),) = asked
    assert experiment == load_experiment("phrasebook").with_overrides(["train.seed=7"])
    run_dir = Path(options[1]) if options else None
    assert settings == {"run_dir": run_dir, "data_dir": Path("data"), "verbose": True}


def test_prepare_says_what_is_kept_and_dropped(tmp_path, capsys):
    copy_corpus(tmp_path / "corpus", 200)
    for side, line in (("aa", ""), ("bb", "gold")):
        with (tmp_path / "corpus" / f"train.{side}").open("a") as file:
            file.write(f"{line}\n")
    experiment = tmp_path / "mine.py"
    settings = reverse_experiment(tmp_path / "corpus").to_dict()
    experiment.write_text(
        f"from aiayn.config import Experiment\nconfig = Experiment.from_dict({settings!r})\n"
    )
    assert main(["prepare", str(experiment), "--data-dir", str(tmp_path / "data")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("train: 200 of 201 pairs, 1 ") for line in said)
    assert "5 pairs of train, chosen at random:" in said
    assert any(line.startswith("Shares: ") and "empty" in line for line in said)
    assert len(list((tmp_path / "data").glob("*/report.json"))) == 1
    assert said[-2].startswith("rows of 32 + 32 slots: ")
    assert said[-1].startswith(f"Prepared in {tmp_path / 'data'}")


def test_prepare_speaks_of_text_without_a_source_as_documents(tmp_path, capsys):
    write_texts(tmp_path / "corpus", train="ein Haus\n\n" * 9 + "\n".join("abcdefg"), dev="h")
    options = [
        f"data.folder={tmp_path / 'corpus'}",
        "data.corpus=mine",
        "data.train_files=train.txt",
        "data.dev_files=dev.txt",
        "data.vocab_size=300",
        "data.documents=blank_line",
        "name=mine",
    ]
    sets = [word for option in options for word in ("--set", option)]
    place = tmp_path / "data"
    assert main(["prepare", "phrasebook_lm", *sets, "--data-dir", str(place)]) == 2
    found = capsys.readouterr().err
    assert "data.vocab_size is 300; the training text allows at most" in found
    sets[sets.index("data.vocab_size=300")] = "data.tokenizer=" + str(tmp_path / "own")
    (tmp_path / "own").write_bytes(TOKENIZER.model)
    sets += ["--set", f"data.vocab_size={TOKENIZER.num_words}"]
    assert main(["prepare", "phrasebook_lm", *sets, "--data-dir", str(place)]) == 2
    assert "own has no piece for a line break" in capsys.readouterr().err
    sets += ["--set", "data.documents=line"]
    assert main(["prepare", "phrasebook_lm", *sets, "--data-dir", str(place)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train: 8 of 25 documents, 8 duplicate, 9 empty"
    assert lines[1] == "dev: 1 of 1 documents"
    assert "5 documents of train, chosen at random:" in lines
    assert lines[-2].startswith("rows of 96 slots: 1, ")
    assert lines[-1].startswith(f"Prepared in {place / 'mine-de-'}")
    assert "pairs" not in "".join(lines)


def test_replay_needs_a_run_that_gave_up(tmp_path, capsys):
    assert str(tmp_path / "not_finite") in refusal(capsys, "replay", tmp_path)
