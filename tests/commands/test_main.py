import io
import json
import subprocess
import sys

import pytest

import aiayn.evidence.page
from aiayn.__main__ import main
from aiayn.config import DataConfig, DecodeConfig, Experiment
from aiayn.evidence.claims import Claim
from aiayn.evidence.table1 import LayerCost
from aiayn.model.saved import Model, save_model
from aiayn.model.structure import flatten
from tests.support.models import MODEL, TOKENIZER, copy_corpus, transformer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    _, params = transformer(num_words=TOKENIZER.num_words)
    experiment = Experiment(
        "small",
        data=DataConfig(max_tokens=64),
        model=MODEL,
        decode=DecodeConfig(max_extra_tokens=4, slots_per_batch=400),
    )
    folder = tmp_path_factory.mktemp("exported") / "model"
    save_model(folder, Model(experiment, TOKENIZER, flatten(params)))
    return folder


def _filter(monkeypatch, capfdbinary, model, text: bytes, *options):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["translate", str(model), *options]) == 0
    captured = capfdbinary.readouterr()
    return captured.out.decode(), captured.err.decode()


def test_translate_gives_one_line_for_each(model, monkeypatch, capfdbinary):
    out, err = _filter(monkeypatch, capfdbinary, model, b"one two\n\nthree\r\nfour\xe2\x80\xa8five")
    lines = out.split("\n")
    assert len(lines) == 5
    assert lines[1] == lines[4] == ""
    assert err == ""


def test_translate_says_what_is_wrong_with_a_line(model, monkeypatch, capfdbinary):
    text = b"one \xff two\n" + b"three " * 200
    out, err = _filter(monkeypatch, capfdbinary, model, text)
    assert out.count("\n") == 2
    assert "line 1 is not UTF-8" in err
    assert "line 2" in err
    assert "pieces" in err


def test_translate_survives_a_line_of_100_000_characters(model, monkeypatch, capfdbinary):
    out, err = _filter(monkeypatch, capfdbinary, model, b"one " * 25_000, "--beam-size", "1")
    assert out.count("\n") == 1
    assert "100,000" not in out
    assert "pieces" in err


def test_n_best_output_is_numbered_and_scored(model, monkeypatch, capfdbinary):
    out, _ = _filter(monkeypatch, capfdbinary, model, b"one\ntwo\n", "--num-best", "2")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "2", "2"]
    assert float(rows[0][1]) >= float(rows[1][1])


def test_the_length_penalty_changes_scores(model, monkeypatch, capfdbinary):
    scores = []
    for alpha in ("0", "1"):
        options = ("--num-best", "2", "--length-penalty", alpha)
        out, _ = _filter(monkeypatch, capfdbinary, model, b"one two\n", *options)
        scores.append(float(out.split("\t")[1]))
    assert scores[0] < scores[1], "log-probabilities, and such over a length"


def test_attention_is_drawn_for_a_translation_of_ones_own(model, tmp_path, capsys):
    options = ["--target", "three four", "--kind", "encoder", "--layer", "2", "--heads", "1"]
    out = tmp_path / "pictures"
    arguments = ["attention", str(model), "one two", *options, "--word", "two", "--out", str(out)]
    assert main(arguments) == 0
    assert (out / "links.png").stat().st_size > 0
    assert main([*arguments[:-3], "nothing", "--out", str(out)]) == 2
    assert "wanted one of one, two" in capsys.readouterr().err


def test_score_and_evaluate_read_files(model, tmp_path, capsys):
    for name, text in (("src", "one two\nthree\n"), ("tgt", "four\nfive six\n"), ("bad", "one\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = [str(tmp_path / "src"), str(tmp_path / "tgt")]
    assert main(["score", str(model), *files]) == 0
    scored = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert all(float(log_prob) < 0 for log_prob, _ in scored)
    assert main(["evaluate", str(model), "--src", files[0], "--ref", files[1]]) == 0
    assert "BLEU" in capsys.readouterr().out
    assert main(["score", str(model), files[0], str(tmp_path / "bad")]) == 2
    assert "2 lines" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "frasebook"], "Did you mean 'phrasebook'"),
        (["train", "phrasebook", "--set", "train.num_step=1"], "train.num_steps"),
        (["translate", "nowhere"], "nowhere does not exist"),
        (["info", "nowhere"], "no config.json"),
        (["average", "nowhere"], "no run directory"),
        (["evaluate", "nowhere"], "no run directory"),
        (["train", "tatoeba_ende"], "data.folder"),
        (["train", "multi30k_ende", "--set", "data.folder=nowhere"], "nowhere"),
    ],
)
def test_a_users_mistake_gives_one_message_and_status_2(arguments, message, capsys, tmp_path):
    options = ["--data-dir", str(tmp_path)] if arguments[0] == "train" else []
    assert main([*arguments, *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("aiayn: ")
    assert message in error
    assert "Traceback" not in error


def test_files_and_folders_in_each_others_place_are_named(model, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("one\n")
    for arguments in (
        ["score", str(model), str(tmp_path), str(file)],
        ["evaluate", str(model), "--src", str(tmp_path), "--ref", str(file)],
        ["prepare", "phrasebook", "--data-dir", str(file)],
    ):
        assert main(arguments) == 2
        assert str(tmp_path) in capsys.readouterr().err
    assert main(["evaluate", str(model)]) == 2
    assert "--src and --ref" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config = ModelConfig(num_layer=2)", "Did you mean 'num_layers'"),
        ("config = DataConfig(vocab_size=3)", "data.vocab_size is 3"),
        ("this is no Python", "SyntaxError"),
    ],
)
def test_a_mistake_in_an_experiment_file_names_the_file(text, message, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(f"from aiayn.config import DataConfig, ModelConfig\n{text}\n")
    assert main(["train", str(path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert message in error


def test_report_writes_the_ledger_and_fails_with_it(monkeypatch, tmp_path, capsys):
    def ledger(folder, on_claim):
        return [Claim("id", "§1", "text", "1", "2", status, "how") for status in statuses]

    monkeypatch.setattr(aiayn.evidence.page, "ledger", ledger)
    cost = LayerCost({8: 64, 16: 256}, {}, {}, {})
    monkeypatch.setattr(aiayn.evidence.page, "layer_costs", lambda: {"self-attention": cost})
    for statuses, code in ((["holds"], 0), (["holds", "fails"], 1)):
        assert main(["report", "--json", "--out", str(tmp_path)]) == code
        printed = json.loads(capsys.readouterr().out)
        assert [claim["status"] for claim in printed["claims"]] == statuses
    assert {path.name for path in tmp_path.iterdir()} == {
        "claims.html",
        "claims.json",
        "claims.md",
        "table1.png",
    }


def test_bad_corpora_are_refused_before_anything_is_trained(tmp_path, capsys):
    copy_corpus(tmp_path / "good", 200)
    settings = [
        "--set", "data.corpus=mine",
        "--set", "data.train_files=train.{lang}",
        "--set", "data.dev_files=dev.{lang}",
        "--set", "data.test_files=test=test.{lang}",
        "--set", "data.src=aa",
        "--set", "data.tgt=bb",
        "--data-dir", str(tmp_path / "data"),
    ]  # fmt: skip

    def prepare(folder):
        return main(["prepare", "phrasebook", "--set", f"data.folder={folder}", *settings])

    uneven = tmp_path / "good" / "dev.bb"
    uneven.write_text(uneven.read_text() + "one more\n")
    assert prepare(tmp_path / "good") == 2
    error = capsys.readouterr().err
    assert "101" in error
    assert "100" in error
    assert not list((tmp_path / "data").rglob("manifest.json"))


def test_help_answers_without_jax():
    code = (
        "import sys\n"
        "from aiayn.__main__ import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"--set" in done.stdout
