import pytest

from tests.commands.test_verb import refusal
from tests.support.corpora import copy_corpus


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


def test_replay_needs_a_run_that_gave_up(tmp_path, capsys):
    assert str(tmp_path / "not_finite") in refusal(capsys, "replay", tmp_path)
