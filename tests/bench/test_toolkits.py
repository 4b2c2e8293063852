"""A toolkit is given our text and our recipe, goes on where it was killed, and is scored as ours.

tests.support.toolkit stands for it; tests/parity has the true ones.
"""

import io
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from aiayn.bench import toolkits
from aiayn.bench.recipe import COURSE, Recipe, read_dictionary, read_pieces, text_path
from aiayn.bench.toolkits import (
    Point,
    ToolkitRun,
    bench_toolkits,
    course_of,
    figures,
    of_ours,
    seconds_to,
    table,
)
from aiayn.config import Experiment
from aiayn.data.prepare import prepare
from aiayn.data.tokenizer import Tokenizer
from aiayn.data.updates import Updates
from aiayn.errors import UserError
from aiayn.evaluation.systems import read_aligned
from aiayn.experiments import load_experiment
from aiayn.system import records
from aiayn.system.files import locked
from aiayn.training.run_folder import read_run
from tests.support.records import run_record
from tests.support.runs import copied

QUIET = Console(file=io.StringIO())


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    worker = [sys.executable, "-m", "tests.support.toolkit"]
    monkeypatch.setattr(toolkits, "_worker", lambda toolkit: worker)


@pytest.fixture
def run(straight, tmp_path):
    """A run whose model toolkits have a setting for, whatever it was trained by."""
    run = _changed(copied(straight, tmp_path / "run"), positions="halves")
    return _with(run, "decode", length_penalty_form="length")


def _changed(run, **model):
    return _with(run, "model", **model)


def _with(run, section, **settings):
    path = run / "config.json"
    values = json.loads(path.read_text())
    values["experiment"][section].update(settings)
    values["experiment"]["preset"] = "custom"
    path.write_text(json.dumps(values))
    return run


def _folder(run):
    return run.parent / "out" / "reverse-hf-1"


def _bench(run):
    return bench_toolkits(run, "hf", run.parent / "out", QUIET)


def _prepared(run, data_dir):
    return prepare(read_run(run)[0].data, data_dir, progress=False)


def test_its_outputs_are_joined_and_scored_as_ours_are(run, data_dir):
    record = _bench(run)
    kept = records.read(_folder(run) / "toolkit.json", ToolkitRun, "a toolkit's training")
    assert (kept.scores, kept.course) == (record.scores, record.course)
    last, averaged = record.scores["test"].values()
    assert list(record.scores["test"]) == ["last checkpoint (12)", "average of 3"]
    assert averaged["sacrebleu"].value == pytest.approx(100.0)  # it said the references
    assert (last["sacrebleu"].value or 0.0) < 100.0
    written = _folder(run) / "outputs" / "averaged" / "test"
    hyp, ref = read_aligned(written.with_suffix(".hyp"), written.with_suffix(".ref"))
    assert hyp == ref == _prepared(run, data_dir).lines("test.test", "tgt")


def test_each_epoch_has_the_bleu_of_what_it_said_of_the_first_sentences_of_dev(run):
    record = _bench(run)
    assert [point.updates for point in record.course] == [4, 8, 12]
    assert [point.dev_loss for point in record.course] == [1.5, 0.75, 0.5]
    wrong, still_wrong, right = (point.dev_bleu for point in record.course)
    assert wrong == still_wrong < right == pytest.approx(100.0)
    assert (record.updates, record.parameters, record.versions["torch"]) == (
        *(12, 77),
        "glibc.malloc.hugetlb=1",  # as ours has
    )


def test_tokens_a_second_are_those_of_all_epochs(run, data_dir):
    record = _bench(run)
    (rows,) = _prepared(run, data_dir).train.classes
    tokens = 3 * (rows.src_tokens + rows.tgt_tokens)
    assert record.tokens_per_second == pytest.approx(tokens / record.seconds)


def test_it_is_given_the_pieces_that_ours_is_trained_on(run, data_dir):
    _bench(run)
    prepared, folder = _prepared(run, data_dir), _folder(run)
    tokenizer = prepared.tokenizer
    assert read_dictionary(folder) == tokenizer.pieces(range(4, tokenizer.num_words))
    for side in ("src", "tgt"):
        given = read_pieces(text_path(folder, "train", side))
        tokens = sum(len(pieces) + 1 for pieces in given)
        assert tokens == sum(getattr(c, f"{side}_tokens") for c in prepared.train.classes)
        dev = read_pieces(text_path(folder, "valid", side))
        assert tokenizer.decode([*map(tokenizer.ids, dev)]) == prepared.lines("dev", side)
        assert read_pieces(text_path(folder, "first", side)) == dev[:5]


def test_an_update_has_as_many_pairs_as_ours_and_captions_as_many_slots_as_published(run, data_dir):
    _bench(run)
    prepared = _prepared(run, data_dir)
    recipe = Recipe.read(_folder(run))
    (rows,) = prepared.train.classes
    batches = math.ceil(rows.num_pairs / recipe.pairs_per_batch)
    per_epoch = Updates(prepared.train, 1, 1_200, prepared.tokenizer.bos).per_epoch
    assert math.ceil(batches / 2) == per_epoch
    slots = toolkits._slots(load_experiment("multi30k_ende_wu2021"))
    assert slots == 4_096


@pytest.mark.parametrize("updates", ["4", "8", "12"])
def test_a_training_that_failed_is_said_and_gone_on_with(run, updates):
    folder = _folder(run)
    folder.mkdir(parents=True)
    (folder / "stop").write_text(updates)
    with pytest.raises(UserError, match=r"status 3: out of luck.* goes on where it was"):
        _bench(run)
    assert not (folder / "toolkit.json").exists()
    record = _bench(run)
    assert [point.updates for point in record.course] == [4, 8, 12]
    assert record.sessions == 2
    assert (folder / "done").read_text() == "12", "the last row is told before the last is saved"


def test_a_row_that_was_cut_off_is_told_again(run):
    folder = _folder(run)
    folder.mkdir(parents=True)
    (folder / "stop").write_text("8")
    with pytest.raises(UserError):
        _bench(run)
    with (folder / COURSE).open("a") as file:
        file.write('{"updates": 12, "seco')
    assert [point.updates for point in _bench(run).course] == [4, 8, 12]


def test_a_training_that_is_done_is_not_begun_again(run):
    first = _bench(run)
    (_folder(run) / "done").write_text("8")
    (_folder(run) / "stop").write_text("12")  # it would fail
    again = _bench(run)
    assert (again.course, again.scores, again.sessions) == (first.course, first.scores, 1)


def test_another_recipe_in_its_folder_is_refused(run):
    _bench(run)
    with pytest.raises(UserError, match="another recipe"):
        _bench(_changed(run, dropout_rate=0.2))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"positions": "learned"}, "model.positions is 'learned'; .* 'halves' alone"),
        ({"d_k": 8}, "model.d_k times num_heads is 32; .* 64 alone"),
        ({"activation": "gelu"}, "model.activation is 'gelu'"),
        ({"target_space_embedding": True}, "model.target_space_embedding is True"),
    ],
)
def test_what_toolkits_have_no_setting_for_is_refused(run, setting, said):
    with pytest.raises(UserError, match=said):
        _bench(_changed(run, **setting))
    assert not _folder(run).exists()


@pytest.mark.parametrize(
    ("section", "setting", "said"),
    [
        ("decode", {"length_penalty_form": "gnmt"}, "length_penalty_form is 'gnmt'; .*'length'"),
        ("train", {"validate_sentences": 0}, "validate_sentences is 0; wanted some"),
    ],
)
def test_what_toolkits_cannot_be_asked_for_is_refused(run, section, setting, said):
    with pytest.raises(UserError, match=said):
        _bench(_with(run, section, **setting))


def test_pairs_of_more_tokens_than_ours_takes_are_left_out(run, data_dir, tmp_path):
    prepared, (experiment, _) = _prepared(run, data_dir), read_run(run)
    lengths = [len(ids) for ids in prepared.tokenizer.encode(prepared.lines("dev", "src"))]
    longest = sorted(lengths)[len(lengths) // 2]
    shorter = replace(experiment, data=replace(experiment.data, max_tokens=longest))
    pairs = zip(*(prepared.lines("dev", side) for side in ("src", "tgt")), strict=True)
    toolkits._write_text(tmp_path, "some", pairs, prepared.tokenizer, shorter)
    kept = read_pieces(text_path(tmp_path, "some", "src"))
    assert 0 < len(kept) < len(lengths)
    assert max(map(len, kept)) < longest  # EOS comes behind


def test_our_course_counts_the_seconds_of_updates_without_validations():
    # 600 tokens at 100 a second, then 100 s of validating and saving, then 300 at 150.
    rows = [
        {"step": 4, "tokens": 600, "tokens_per_second": 100.0, "seconds": 6.0},
        {"step": 4, "dev_loss": 3.0, "dev_bleu": 20.0, "seconds": 106.0},
        {"step": 6, "tokens": 900, "tokens_per_second": 150.0, "seconds": 108.0},
        {"step": 6, "dev_loss": 2.0, "dev_bleu": 36.0, "seconds": 109.0},
    ]
    course = course_of(rows)
    assert course == [Point(4, 6.0, 3.0, 20.0), Point(6, 8.0, 2.0, 36.0)]
    assert seconds_to(course) == 8.0
    assert seconds_to(course, 20.0) == 6.0
    assert seconds_to(course, 37.0) is None


def test_the_figures_are_shown_with_how_long_and_how_large(run):
    record = replace_course(_bench(run))
    shown = io.StringIO()
    Console(width=200, file=shown).print(table(record, Path("nowhere")))
    for cell in ("hf", "100.00", "7.39", "1,234", "never", "3.0 GB"):
        assert cell in shown.getvalue()


def replace_course(record):
    """The same with figures that are easy to recognise; e² is 7.39."""
    record.course = [Point(12, 1_234.0, 2.0, 34.0)]
    record.peak_bytes = 3_000_000_000
    return record


def test_the_experiment_in_a_record_is_the_one_of_the_run(run):
    record = _bench(run)
    assert Experiment.from_dict(record.config).hash() == record.config_hash
    assert read_run(run)[0].hash() == record.config_hash


def test_who_trains_holds_the_folder_after_its_parent_let_go(run):
    """Else a second training would write the same checkpoints."""
    folder = _folder(run)
    folder.mkdir(parents=True)
    waits = "import signal; print('{}', flush=True); signal.pause()"
    with locked(folder / "lock") as lock:
        rows = toolkits._Worker([sys.executable, "-c", waits], folder, lock).rows()
        assert next(rows) == {}
    with pytest.raises(UserError, match="is in use by"):
        _bench(run)
    rows.close()
    _bench(run)


def test_our_speed_is_of_the_same_seconds_as_theirs():
    rows = [
        {"step": 4, "tokens": 600, "tokens_per_second": 100.0},
        {"step": 4, "dev_loss": 3.0, "dev_bleu": 20.0},
        {"step": 6, "tokens": 900, "tokens_per_second": 150.0},
        {"step": 6, "dev_loss": 2.0, "dev_bleu": 36.0},
    ]
    assert of_ours(run_record(), rows).tokens_per_second == 900 / 8.0


def test_a_test_set_that_one_was_not_scored_on_is_a_dash():
    ours = of_ours(run_record(), ())._replace(course=[Point(1, 1.0, 1.0, 1.0)])
    other = ours._replace(scores={"dev": ours.scores["seen"]})
    head, first, second = figures([ours, other])
    assert head[2:5] == ["seen", "dev", "seen, last weights"]
    assert first[2:5] == ["31.00", "–", "30.13"]
    assert second[2:5] == ["–", "31.00", "–"]


def test_pieces_that_are_not_of_one_tokenizer_of_ours_are_refused(run, data_dir, tmp_path):
    class Other(Tokenizer):
        """As that of an imported model, whose sides have pieces of their own."""

    prepared, (experiment, _) = _prepared(run, data_dir), read_run(run)
    others = replace(prepared, tokenizer=Other(prepared.tokenizer.model))
    with pytest.raises(UserError, match="a tokenizer of its own"):
        toolkits._write_recipe(tmp_path, experiment, others)
    assert list(tmp_path.glob("recipe.json")) == []
