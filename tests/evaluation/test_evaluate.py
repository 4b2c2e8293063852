import gzip
import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import aiayn.evaluation.evaluate
import aiayn.evaluation.record
import aiayn.evaluation.so_far
import aiayn.training.run_folder
from aiayn.data.prepare import prepare
from aiayn.data.text import visible
from aiayn.errors import UserError
from aiayn.evaluation.bleu import score
from aiayn.evaluation.evaluate import AVERAGED, evaluate_files, evaluate_run, trained_models
from aiayn.evaluation.record import read_record, run_info
from aiayn.evaluation.scores import Score, Scores
from aiayn.evaluation.systems import read_aligned
from aiayn.model.saved import load_model
from aiayn.model.structure import params_sha256
from aiayn.render.terminal import Terminal
from aiayn.system.environment import hardware
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.log import read_metrics, totals_of
from aiayn.training.run_folder import read_sessions
from tests.support.runs import copied, evaluate_here, straight_experiment, train_here


def test_the_record_holds_what_it_promises_and_nothing_of_this_machines_folders(
    corpus, data_dir, straight, tmp_path
):
    experiment = straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    run_dir = copied(straight, tmp_path / "run")
    about = {"path": str(tmp_path), "params_sha256": "abc", "taken": ["embedding"], "drawn": []}
    (run_dir / "initial.json").write_text(json.dumps(about))
    written = evaluate_here(run_dir, prepared)
    assert written["initial"] == {"params_sha256": "abc", "drawn": []}
    assert written["updates"] == experiment.train.num_steps
    assert written["data"]["pairs"]["train"] == len(prepared.lines("train", "src"))
    assert written["config_hash"] == experiment.hash()
    assert 0.0 <= written["waiting_for_rows"] <= 1.0
    for folder in (corpus, data_dir, tmp_path):
        assert str(folder) not in json.dumps(written)
    for label in written["scores"]["test"].values():
        assert {entry["name"] for entry in label["entries"]} >= {"sacrebleu", "chrf2"}
    for name in ("curves.png", "scores.json", "manifest.json", "sessions.jsonl"):
        assert (run_dir / name).stat().st_size > 0
    info = run_info(run_dir)
    assert info["record"] == written
    assert info["model"]["params_sha256"] == written["params_sha256"]
    assert info["checkpoints"].keys() == {"4", "8", "12"}


def test_a_checkpoint_that_a_run_removes_meanwhile_is_not_told_of(straight, tmp_path, monkeypatch):
    run_dir, steps = copied(straight, tmp_path / "run"), Checkpoints.steps
    monkeypatch.setattr(Checkpoints, "steps", lambda kept: [2, *steps(kept)])
    assert run_info(run_dir)["checkpoints"].keys() == {"4", "8", "12"}
    (run_dir / "checkpoints/2").mkdir()
    with pytest.raises(UserError, match="checkpoints/2"):
        run_info(run_dir)


def test_a_run_is_not_scored_on_other_data_than_its_own(
    corpus, data_dir, straight, tmp_path, decoded
):
    data = replace(straight_experiment(corpus).data, limit=500)
    other = prepare(data, data_dir, progress=False)
    with pytest.raises(UserError, match="trained on other data"):
        evaluate_here(copied(straight, tmp_path / "run"), other)
    assert not decoded


def test_a_run_whose_outputs_cannot_be_drawn_has_a_record_all_the_same(
    corpus, data_dir, straight, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        aiayn.evaluation.evaluate, "translate_file", lambda model, lines, *_: [""] * len(lines)
    )
    prepared = prepare(straight_experiment(corpus).data, data_dir, progress=False)
    run_dir = copied(straight, tmp_path / "run")
    assert evaluate_here(run_dir, prepared)["updates"] == 12
    assert not (run_dir / "attention.png").exists()


def test_a_record_says_what_trained_the_run_and_what_scored_it(
    corpus, data_dir, straight, tmp_path, decoded, one_device, monkeypatch
):
    run_dir = copied(straight, tmp_path / "run", newest=8)
    first = read_sessions(run_dir)[0]["hardware"]["device"]
    monkeypatch.setattr(aiayn.training.run_folder, "environment", lambda: _environment("second"))
    prepared = train_here(straight_experiment(corpus), run_dir, data_dir)
    # A kill between validation and checkpoint leaves rows that no checkpoint answers for.
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 14, "dev_loss": 0.0, "seconds": 1e9}\n')
    monkeypatch.setattr(aiayn.evaluation.record, "environment", lambda: _environment("third"))
    record = evaluate_here(run_dir, prepared)
    assert [(s["from_step"], s["hardware"]["device"]) for s in record["sessions"]] == [
        (0, first),
        (8, "second"),
    ]
    machines = record["hardware"]["device"], record["evaluated"]["hardware"]["device"]
    assert machines == ("second", "third")
    assert (record["updates"], record["dev"]["step"]) == (12, 12)
    assert record["seconds"] < 1e9


def _environment(machine):
    return {"commit": "0", "versions": {}, "hardware": {**hardware(), "device": machine}}


@pytest.fixture(scope="module")
def averaged(corpus, data_dir, straight, tmp_path_factory):
    """A copy of the run with its average, and what its evaluation reads of its checkpoints."""
    run_dir = copied(straight, tmp_path_factory.mktemp("averaged") / "run")
    prepared = prepare(straight_experiment(corpus).data, data_dir, progress=False)
    return run_dir, trained_models(run_dir, prepared)


@pytest.fixture
def scored(corpus, data_dir, averaged, tmp_path, decoded, monkeypatch):
    """Score a copy of the run on other test sets: the record, and what was printed."""
    run_dir, trained = copied(averaged[0], tmp_path / "run"), averaged[1]
    monkeypatch.setattr(aiayn.evaluation.evaluate, "trained_models", lambda *_: trained)
    experiment = straight_experiment(corpus)

    def score(**tests):
        prepared = prepare(experiment.data, data_dir, progress=False)
        tests = {
            name: [(f"{line.replace('@@ ', '')} a", line) for line in lines]
            for name, lines in tests.items()
        }
        output = io.StringIO()
        console = Terminal(file=output)
        evaluate_run(run_dir, replace(prepared, tests=tests), console)
        return json.loads((run_dir / "result.json").read_text()), output.getvalue()

    return score


def test_a_set_that_cannot_be_scored_is_a_warning_and_costs_no_other(scored):
    good = ["der alte Mann sah den Fluss", "sie gingen weit nach Hause"]
    record, said = scored(bad=["der al@@ te Mann", "sie gin@@ gen"], good=good)
    assert list(record["scores"]) == ["bad", "good"]
    for label in record["scores"]["bad"].values():
        assert [entry["value"] for entry in label["entries"]] == [None]
        assert "not scored: 2 of 2 references hold subword markers" in label["warnings"][0]
    for label in record["scores"]["good"].values():
        (bleu,) = [entry["value"] for entry in label["entries"] if entry["name"] == "sacrebleu"]
        assert bleu > 50
    assert "bad: not scored: 2 of 2" in said
    # The text that was scored is known by its sums.
    lines = "".join(f"{line}\n" for line in good).encode()
    assert record["data"]["tests"]["good"]["ref"] == hashlib.sha256(lines).hexdigest()
    assert record["data"]["pairs"]["test.good"] == 2
    assert "test.test" not in record["data"]["pairs"]


def test_outputs_that_cannot_be_scored_are_a_warning_too(scored):
    # Sources come back as outputs here, and theirs is the same text.
    record, _ = scored(test=["<seg>eins</seg>", "<seg>zwei</seg>", "drei"])
    (last, _) = record["scores"]["test"].values()
    assert "not scored: 2 of 3 hypotheses hold SGML tags" in last["warnings"][0]


@pytest.mark.parametrize(("sizes", "shown"), [((1,), 1), ((3,), 3), ((1, 1), 2), ((9, 2), 5)])
def test_no_sentence_is_shown_twice(scored, sizes, shown):
    tests = {f"t{n}": [f"Wort{n} {i} hier" for i in range(size)] for n, size in enumerate(sizes)}
    said = scored(**tests)[1]
    references = re.findall(r"reference  (.*)", said)
    assert len(references) == len({*references}) == shown
    assert ("Some translations of unseen" in said) == (shown > 1)


def test_sentences_of_a_later_test_set_that_are_in_train_are_counted_and_said(
    scored, corpus, data_dir
):
    prepared = prepare(straight_experiment(corpus).data, data_dir, progress=False)
    lines = prepared.lines("train", "tgt")
    record, said = scored(test=[lines[0], "nothing like it", lines[7]])
    for label in record["scores"]["test"].values():
        assert "of which train holds 2 of 3, word for word" in label["warnings"][-1]
    assert "train holds 2 of 3" in said


def test_references_are_looked_at_before_anything_is_translated(tmp_path, monkeypatch, straight):
    monkeypatch.setattr(aiayn.evaluation.evaluate, "model_of", None)
    (tmp_path / "src").write_text("one\ntwo\n")
    for text, message in (
        ("ei@@ ns\nzwei\n", f"1 of 2 lines of {tmp_path}/ref hold subword markers"),
        ("eins\n", "wanted as many"),
        ("", "wanted as many"),
    ):
        (tmp_path / "ref").write_text(text)
        with pytest.raises(UserError, match=message):
            evaluate_files(straight, tmp_path / "src", [tmp_path / "ref"], Console(quiet=True))
    (tmp_path / "src").write_text("")
    with pytest.raises(UserError, match="src holds no lines"):
        evaluate_files(straight, tmp_path / "src", [tmp_path / "ref"], Console(quiet=True))


def test_the_weights_of_each_row_of_scores_are_those_of_its_label(
    corpus, data_dir, straight, tmp_path, monkeypatch
):
    last, mean = (_embedding(straight, steps) for steps in ([12], [4, 8, 12]))
    assert (last != mean).any()

    def translate_file(model, sources, *_):
        found = model.params["embedding"]
        name = "last" if np.array_equal(found, last) else "mean"
        np.testing.assert_allclose(found, last if name == "last" else mean, rtol=1e-6)
        return ["er kam und sah" if name == "last" else "er kam und ging"] * len(sources)

    def score(outputs, references, sources, **languages):
        value = {"er kam und sah": 1.0, "er kam und ging": 2.0}[outputs[0]]
        return Scores(**languages, num_sentences=1, entries=(Score("sacrebleu", value, "", ""),))

    monkeypatch.setattr(aiayn.evaluation.evaluate, "translate_file", translate_file)
    monkeypatch.setattr(aiayn.evaluation.evaluate, "_pictures", lambda *_: None)
    prepared = prepare(straight_experiment(corpus).data, data_dir, progress=False)
    run_dir = copied(straight, tmp_path / "run")
    evaluate_run(run_dir, prepared, Console(quiet=True), score)
    record = read_record(run_dir)
    values = {label: s["sacrebleu"].value for label, s in record.scores["test"].items()}
    assert values == {"last checkpoint (12)": 1.0, "average of 3": 2.0}
    for folder, text in (("last", "er kam und sah\n"), ("averaged", "er kam und ging\n")):
        assert (run_dir / "outputs" / folder / "test.hyp").read_text() == text * 100
    assert record.params_sha256 == params_sha256(load_model(run_dir / "model").params)
    np.testing.assert_allclose(load_model(run_dir / "model").params["embedding"], mean, rtol=1e-6)


def test_what_a_killed_end_had_scored_is_not_translated_again(
    corpus, data_dir, averaged, tmp_path, monkeypatch
):
    monkeypatch.setattr(aiayn.evaluation.evaluate, "trained_models", lambda *_: averaged[1])
    made = []

    def evaluated(tests, run_dir, killed_at):
        def translate_file(model, sources, console, description):
            if len(made) == killed_at:
                raise InterruptedError
            made.append(description)
            return list(sources)

        made.clear()
        monkeypatch.setattr(aiayn.evaluation.evaluate, "translate_file", translate_file)
        return evaluate_here(run_dir, replace(prepared, tests=tests))["scores"]

    prepared = prepare(straight_experiment(corpus).data, data_dir, progress=False)
    tests = {"one": [("eins", "ein a")], "two": [("zwei drei", "drei zwei")]}
    wanted = evaluated(tests, copied(averaged[0], tmp_path / "straight"), None)
    every = [f"{name}, {of}" for of in ("last checkpoint (12)", "average of 3") for name in tests]
    assert made == every
    run_dir = copied(averaged[0], tmp_path / "run")
    for scored in (1, 2):  # since it began again, in all
        with pytest.raises(InterruptedError):
            evaluated(tests, run_dir, 1)
        assert made == every[scored - 1 : scored]
    assert evaluated(tests, run_dir, None) == wanted
    assert made == every[2:]
    assert not (run_dir / "scored.json").exists()
    # What a stop left of other text, weights or settings, or of other code, is of no use.
    trained, (label, model) = averaged[1], averaged[1].by_label[AVERAGED]
    moved = {**model.params, "embedding": model.params["embedding"] + 1}
    greedy = replace(model.experiment, decode=replace(model.experiment.decode, beam_size=1))
    others = (replace(model, params=moved), replace(model, experiment=greedy))
    for other in ("text", *others, "code"):
        with pytest.raises(InterruptedError):
            evaluated(tests, run_dir, 3)
        with monkeypatch.context() as patch:
            if other == "code":
                patch.setattr(aiayn.evaluation.so_far, "environment", lambda: _environment("new"))
            elif other != "text":
                by_label = {**trained.by_label, AVERAGED: (label, other)}
                changed = trained._replace(by_label=by_label)
                patch.setattr(aiayn.evaluation.evaluate, "trained_models", lambda *_, c=changed: c)
            evaluated(tests | {"two": [("vier", "fier")]} if other == "text" else tests, run_dir, 9)
        assert made == every


def _embedding(run_dir, steps):
    checkpoints = Checkpoints.open(run_dir)
    found = [checkpoints.params(step)["embedding"].astype(np.float64) for step in steps]
    checkpoints.close()
    return np.mean(found, axis=0).astype(np.float32)


def test_a_lost_log_falsifies_no_total_and_is_said(corpus, data_dir, straight, tmp_path, decoded):
    prepared = prepare(straight_experiment(corpus).data, data_dir, progress=False)
    wanted = evaluate_here(copied(straight, tmp_path / "whole"), prepared)
    assert "lost" not in wanted
    totals = "seconds", "tokens", "updates", "src_tokens_per_update", "tgt_tokens_per_update", "dev"
    for name in ("deleted", "shorter"):
        run_dir = copied(straight, tmp_path / name)
        metrics = run_dir / "metrics.jsonl"
        lines = metrics.read_text().splitlines(keepends=True)
        metrics.write_text("" if name == "deleted" else "".join(lines[:2] + lines[4:]))
        found = evaluate_here(run_dir, prepared)
        assert found["lost"] == "metrics.jsonl has lost lines, or was changed"
        assert [found[key] for key in totals] == [wanted[key] for key in totals]
        assert found["tokens_per_second"] > 0


def test_a_log_that_is_deleted_between_two_starts_falsifies_no_total(
    corpus, data_dir, straight, tmp_path, decoded, one_device
):
    run_dir = copied(straight, tmp_path / "run", newest=8)
    (run_dir / "metrics.jsonl").unlink()
    output = io.StringIO()
    experiment = straight_experiment(corpus)
    prepared = train_here(experiment, run_dir, data_dir, Terminal(file=output))
    assert "metrics.jsonl has lost lines, or was changed." in output.getvalue()
    found = evaluate_here(run_dir, prepared)
    wanted = evaluate_here(copied(straight, tmp_path / "straight"), prepared)
    assert found["tokens"] == wanted["tokens"]
    rows = read_metrics(straight / "metrics.jsonl")
    assert found["seconds"] > max(row["seconds"] for row in rows if row["step"] <= 8)
    assert found["lost"]


def test_the_record_by_hand_from_four_rows(
    corpus, data_dir, averaged, tmp_path, decoded, monkeypatch
):
    run_dir = copied(averaged[0], tmp_path / "run")
    prepared = prepare(straight_experiment(corpus).data, data_dir, progress=False)

    def evaluated(totals):
        """The record where that is what the last checkpoint keeps."""
        trained = averaged[1]._replace(totals=totals)
        monkeypatch.setattr(aiayn.evaluation.evaluate, "trained_models", lambda *_: trained)
        return evaluate_here(run_dir, prepared)

    speeds, waits = (100.0, 900.0, 300.0), (0.1, 0.5, 0.4)
    rows = [
        {"step": step, "src_tokens_per_update": src, "tgt_tokens_per_update": tgt, "tokens": tokens}
        for step, src, tgt, tokens in (
            (4, 10.0, 20.0, 120),
            (8, 12.0, 20.0, 248),
            (12, 14.0, 26.0, 408),
        )
    ]
    rows = [
        {**row, "seconds": row["step"] / 2, "tokens_per_second": speed, "waiting_for_rows": wait}
        for row, speed, wait in zip(rows, speeds, waits, strict=True)
    ]
    rows.append({"step": 12, "dev_loss": 2.5, "dev_perplexity": 12.18, "seconds": 7.0})
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # As of an earlier version: the log alone says it.
    record = evaluated(None)
    assert "lost" not in record
    assert (record["updates"], record["tokens"], record["seconds"]) == (12, 408, 7.0)
    # 4 updates of 10, of 12 and of 14 source tokens; of 20, of 20 and of 26 target tokens.
    assert (record["src_tokens_per_update"], record["tgt_tokens_per_update"]) == (12.0, 22.0)
    assert (record["tokens_per_second"], record["waiting_for_rows"]) == (300.0, 0.4)
    assert record["dev"] == rows[-1]
    assert record["averaged_steps"] == [4, 8, 12]
    # The same from what the last checkpoint keeps.
    again = evaluated(totals_of(rows))
    assert again | {"evaluated": 0} == record | {"evaluated": 0}
    rows[1]["seconds"] = 5.0
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    assert evaluated(totals_of(rows))["lost"]
    assert "before step 8" in evaluated(None)["lost"]
    (run_dir / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match=r"metrics\.jsonl lacks the rows up to step 12"):
        evaluated(None)


def test_files_of_ones_own_come_in_as_all_text_does(tmp_path):
    (tmp_path / "src").write_bytes("\ufeffone\u200b\ntwo\n".encode("utf-16"))
    (tmp_path / "ref").write_bytes(gzip.compress("\ufeffeins\n\u202ezw\u00adei\n".encode()))
    sources, references = read_aligned(tmp_path / "src", tmp_path / "ref")
    assert [visible(line) for line in sources] == ["one", "two"]
    found = score(["eins", "zwei"], references, src="en", tgt="de")
    assert found["chrf2"].value == pytest.approx(100)
    (tmp_path / "ref").write_bytes("grün\nja\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"ref, line 1, is not UTF-8. It looks like ISO-8859-1"):
        read_aligned(tmp_path / "src", tmp_path / "ref")
