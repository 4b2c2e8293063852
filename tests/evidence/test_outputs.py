"""What a run translated is kept beside its record, and has the scores that the record says."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiayn.data.prepare import sha256_of_lines
from aiayn.errors import UserError
from aiayn.evaluation.record import Data, Record
from aiayn.evaluation.record import TestSet as Scored
from aiayn.evidence.outputs import NO_OUTPUTS, NOT_KEPT, Checked, check, keep, main
from aiayn.experiments import load_experiment
from aiayn.system import checkout
from aiayn.system.records import read, write
from aiayn.tasks import TASKS, translation_of
from tests.support.records import toolkit_run

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
SRC = ["one house", "two rivers"]
REF = ["ein altes Haus am See", "zwei Flüsse sind lang ."]
HYP = {"last": ["ein Haus am See", "zwei Flüsse"], "averaged": [REF[0], "zwei Flüsse waren lang ."]}


def _run(folder, experiment="tatoeba_ende", tests=("test",)):
    """A finished run as far as its record and outputs go."""
    config = load_experiment(experiment)
    score = translation_of(config).score
    labels = dict(zip(HYP, ("last checkpoint (9)", "average of 2"), strict=True))
    scores = {
        labels[weights]: score(lines, REF, SRC, src="en", tgt="de")
        for weights, lines in HYP.items()
    }
    about = Scored(2, sha256_of_lines(SRC), sha256_of_lines(REF))
    record = replace(
        read(RESULTS / "phrasebook.json", Record, "a run"),
        experiment=experiment,
        config=config.to_dict(),
        data=Data(fingerprint="", source={}, pairs={}, tests=dict.fromkeys(tests, about)),
        scores=dict.fromkeys(tests, scores),
    )
    write(folder / "result.json", record)
    (folder / "metrics.jsonl").write_text('{"step": 1, "seconds": 1.0, "dev_bleu": 3.0}\n')
    for weights, lines in HYP.items():
        (folder / "outputs" / weights).mkdir(parents=True)
        for name in tests:
            for side, text in (("src", SRC), ("ref", REF), ("hyp", lines)):
                path = folder / "outputs" / weights / f"{name}.{side}"
                path.write_text("".join(f"{line}\n" for line in text))
    return folder


@pytest.fixture
def kept(tmp_path):
    """A folder of results with one record and its outputs."""
    results = tmp_path / "results"
    results.mkdir()
    keep(_run(tmp_path / "run"), results)
    return results


@pytest.fixture
def data(tmp_path):
    """Prepared data with the references."""
    text = tmp_path / "data" / "tatoeba-en-de-0" / "text"
    text.mkdir(parents=True)
    for side, lines in (("src", SRC), ("tgt", REF)):
        (text / f"test.test.{side}").write_text("".join(f"{line}\n" for line in lines))
    return tmp_path / "data"


def _found(results, data_dir, *folders):
    return dict(check(results, data_dir, folders))["tatoeba_ende.json"]


def test_what_is_kept_is_what_the_run_wrote_and_scores_the_same(kept, data):
    folder = kept / "outputs" / "tatoeba_ende"
    assert {path.name for path in folder.iterdir()} == {
        "test.last.txt.gz",
        "test.averaged.txt.gz",
    }
    assert (
        gzip.decompress((folder / "test.last.txt.gz").read_bytes()).decode().splitlines()
        == (HYP["last"])
    )
    found = _found(kept, data)
    assert (found.said, found.wrong) == ("2 outputs scored again", ())
    assert not (kept / "tatoeba_ende.metrics.jsonl").exists()


def test_the_same_run_is_kept_as_the_same_bytes(kept, tmp_path):
    before = {path: path.read_bytes() for path in sorted(kept.rglob("*.gz"))}
    (kept / "outputs" / "tatoeba_ende" / "old.last.txt.gz").write_bytes(b"of an earlier run")
    path = keep(tmp_path / "run", kept, metrics=True)
    assert {path: path.read_bytes() for path in sorted(kept.rglob("*.gz"))} == before
    assert path.with_suffix(".metrics.jsonl").read_bytes() == (
        (tmp_path / "run" / "metrics.jsonl").read_bytes()
    )
    keep(tmp_path / "run", kept)
    assert path.with_suffix(".metrics.jsonl").exists(), "it is the same run"
    path.write_bytes(path.read_bytes().replace(b'"commit"', b' "commit"', 1))
    keep(tmp_path / "run", kept)
    assert not path.with_suffix(".metrics.jsonl").exists(), "the course was of the run before"


def _changed_score(kept):
    path = kept / "tatoeba_ende.json"
    record = json.loads(path.read_text())
    (entry,) = (
        entry
        for entry in record["scores"]["test"]["average of 2"]["entries"]
        if entry["name"] == "tokenised-lc"
    )
    entry["value"] += 0.01
    path.write_text(json.dumps(record))


def _changed_line(kept):
    path = kept / "outputs" / "tatoeba_ende" / "test.averaged.txt.gz"
    path.write_bytes(gzip.compress("\n".join([*HYP["averaged"][:1], "ganz anders", ""]).encode()))


def _lost_line(kept):
    path = kept / "outputs" / "tatoeba_ende" / "test.last.txt.gz"
    path.write_bytes(gzip.compress(f"{HYP['last'][0]}\n".encode()))


def _lost_file(kept):
    (kept / "outputs" / "tatoeba_ende" / "test.last.txt.gz").unlink()


def _damaged(kept):
    path = kept / "outputs" / "tatoeba_ende" / "test.last.txt.gz"
    path.write_bytes(path.read_bytes()[:-9])


def _other_file(kept):
    (kept / "outputs" / "tatoeba_ende" / "news.last.txt.gz").write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_changed_score, "average of 2: tokenised-lc is"),
        (_changed_line, "average of 2: sacrebleu is"),
        (_lost_line, "There are 1 hypotheses but 2 references"),
        (_lost_file, "test.last.txt.gz is missing"),
        (_damaged, "test.last.txt.gz cannot be used"),
        (_other_file, "news.last.txt.gz is of no test set"),
    ],
)
def test_any_difference_is_found(change, said, kept, data):
    change(kept)
    assert said in " ".join(_found(kept, data).wrong)


def test_outputs_without_a_record_are_a_difference(kept, data):
    (kept / "tatoeba_ende.json").rename(kept / "other.json")
    found = dict(check(kept, data))
    assert "tatoeba_ende belongs to no record" in found["outputs/tatoeba_ende"].wrong[0]
    assert (found["other.json"].said, found["other.json"].wrong) == (NOT_KEPT, ())


def test_references_count_only_where_they_are_those_of_the_record(kept, data, tmp_path):
    nothing = "0 outputs scored again; the references of test are not at hand"
    assert _found(kept, tmp_path / "nowhere").said == nothing
    (path,) = data.glob("*/text/test.test.tgt")
    text = path.read_text()
    path.write_text(text.replace("lang", "kurz"))
    found = _found(kept, data)
    assert (found.said, found.wrong) == (nothing, ())
    # A folder with the files that the experiment names.
    folder = tmp_path / "mine"
    folder.mkdir()
    for side, lines in (("en", SRC), ("de", REF)):
        packed = gzip.compress("".join(f"{line}\n" for line in lines).encode())
        (folder / f"test.en-de.{side}.gz").write_bytes(packed)
    assert _found(kept, data, tmp_path / "other", folder).said == "2 outputs scored again"
    assert _found(kept, data, tmp_path / "other").said == nothing


@pytest.mark.slow  # the phrasebook is made for it
def test_every_committed_output_has_the_scores_of_its_record(tmp_path):
    # In a process of its own, where no call is checked against its annotations.
    code = """
import json, sys
from pathlib import Path
from aiayn.evidence.outputs import check
found = check(*map(Path, sys.argv[1:]))
print(json.dumps([[name, each.said, each.wrong] for name, each in found]))
"""
    command = [sys.executable, "-c", code, str(RESULTS), str(tmp_path)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert [wrong for _, _, each in found for wrong in each] == []
    said = {name: said for name, said, _ in found}
    assert said["phrasebook.json"] == "4 outputs scored again"


def test_a_record_of_old_learns_what_text_it_was_scored_on(tmp_path, data):
    run, results = _run(tmp_path / "run"), tmp_path / "results"
    record = read(run / "result.json", Record, "a run")
    assert record.data.tests
    write(run / "result.json", replace(record, data=replace(record.data, tests={})))
    results.mkdir()
    keep(run, results)
    assert read(results / "tatoeba_ende.json", Record, "a run") == record
    assert _found(results, data).said == "2 outputs scored again"


def test_a_run_that_is_not_what_it_recorded_is_not_kept(tmp_path):
    run = _run(tmp_path / "run")
    results = tmp_path / "results"
    (run / "outputs" / "averaged" / "test.hyp").write_text("ein Haus\nein Haus\n")
    with pytest.raises(UserError, match=r"averaged are not those of result.json: test, average of"):
        keep(run, results)
    (run / "outputs" / "averaged" / "test.hyp").unlink()
    with pytest.raises(UserError, match=r"test\.hyp"):
        keep(run, results)
    shutil.rmtree(run)
    with pytest.raises(UserError, match=r"result\.json"):
        keep(run, results)
    assert not results.exists(), "nothing was written"


def test_runs_of_one_experiment_have_names_of_their_own(tmp_path, monkeypatch, capsys):
    results = tmp_path / "experiments" / "results"
    results.mkdir(parents=True)
    monkeypatch.setattr(checkout, "root", lambda: tmp_path)
    run = str(_run(tmp_path / "run"))
    assert main([run]) == 0
    assert main([run, "--name", "tatoeba_ende-seed2", "--metrics"]) == 0
    assert sorted(path.name for path in results.iterdir()) == [
        *("outputs", "tatoeba_ende-seed2.json", "tatoeba_ende-seed2.metrics.jsonl"),
        "tatoeba_ende.json",
    ]
    assert f"{results}/tatoeba_ende.json, with its outputs in" in capsys.readouterr().out
    assert main([str(tmp_path)]) == 2
    assert "result.json" in capsys.readouterr().err
    for name in ("", "../x", "a/b", ".hidden"):
        assert main([run, "--name", name]) == (0 if not name else 2)


# --- Other tasks ----------------------------------------------------------------------------------


def test_a_language_models_record_is_kept_alone_since_it_has_no_outputs(tmp_path):
    results = tmp_path / "results"
    run = _run(tmp_path / "run")
    record = read(run / "result.json", Record, "a run")
    config = load_experiment("phrasebook_lm").to_dict()
    write(run / "result.json", replace(record, experiment="phrasebook_lm", config=config))
    shutil.rmtree(run / "outputs")
    assert keep(run, results) == results / "phrasebook_lm.json"
    assert [path.name for path in results.iterdir()] == ["phrasebook_lm.json"]
    assert dict(check(results, tmp_path, ())) == {"phrasebook_lm.json": Checked(NO_OUTPUTS)}


GOLD = [
    "(TOP (S (NP (DT The) (NN cat)) (VP (VBD sat)) (. .)))",
    "(TOP (S (NP (PRP I)) (VP (VBP run) (ADVP (RB home)))))",
]
FOUND = [
    "(TOP (S (NP (DT The)) (VP (NN cat) (VBD sat)) (. .)))",
    "(TOP (S (NP (PRP I)) (VP (VBP run) (ADVP (RB home)))))",
]


def test_trees_are_kept_by_their_symbols_and_scored_again(tmp_path):
    # Right are S and nothing else of 3 brackets of the first, and all 4 of the second.
    config, folder = load_experiment("craft_parsing"), tmp_path / "run"
    for weights in HYP:
        place = folder / "outputs" / weights
        place.mkdir(parents=True)
        for suffix, trees in (("trees", FOUND), ("gold.trees", GOLD)):
            (place / f"test.{suffix}").write_text("".join(f"{tree}\n" for tree in trees))
    rescoring = TASKS["parsing"].rescoring
    assert rescoring
    outputs = rescoring.read(folder / "outputs" / "last", "test")
    scores = rescoring.score(config, outputs)
    assert scores["f1"].value == pytest.approx(100 * 5 / 7)
    sums = map(sha256_of_lines, (outputs.sources, outputs.references))
    record = replace(
        read(RESULTS / "phrasebook.json", Record, "a run"),
        experiment="craft_parsing",
        config=config.to_dict(),
        data=Data(fingerprint="", source={}, pairs={}, tests={"test": Scored(2, *sums)}),
        scores={"test": {"last checkpoint (9)": scores, "average of 2": scores}},
    )
    write(folder / "result.json", record)
    results, text = tmp_path / "results", tmp_path / "data" / "craft-0" / "text"
    keep(folder, results)
    lines = gzip.decompress((results / "outputs/craft_parsing/test.last.txt.gz").read_bytes())
    assert lines.decode().split("\n")[1].split() == [
        "(S",
        "(NP",
        "PRP",
        ")NP",
        "(VP",
        "VBP",
        "(ADVP",
        "RB",
        ")ADVP",
        ")VP",
        ")S",
    ]
    assert b"cat" not in lines, "the words are the treebank's"

    text.mkdir(parents=True)
    (text / "test.test.src").write_text("".join(f"{line}\n" for line in outputs.sources))
    (text / "test.test.tgt").write_text("".join(f"{line}\n" for line in outputs.references))
    checked = dict(check(results, tmp_path / "data", ()))["craft_parsing.json"]
    assert checked == Checked("2 outputs scored again")
    path = results / "outputs/craft_parsing/test.averaged.txt.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in outputs.references).encode()))
    checked = dict(check(results, tmp_path / "data", ()))["craft_parsing.json"]
    assert any("f1 is 71.43 in the record" in line for line in checked.wrong)


def _toolkit_folder(tmp_path):
    """What `make peers` leaves, as far as its record and outputs go."""
    run = _run(tmp_path / "tatoeba_ende-hf-1")
    record = read(run / "result.json", Record, "a run")
    (run / "result.json").unlink()
    about = {"experiment": "tatoeba_ende", "config": record.config, "data": record.data}
    write(run / "toolkit.json", toolkit_run(**about, toolkit="hf", scores=record.scores))
    return run


def test_what_a_toolkit_put_out_is_kept_by_its_name_and_scored_again(tmp_path, data):
    results = tmp_path / "results"
    path = keep(_toolkit_folder(tmp_path), results)
    assert path == results / "peers" / "tatoeba_ende-hf-1.json"
    found = dict(check(results, data))
    assert found == {"peers/tatoeba_ende-hf-1.json": Checked("2 outputs scored again")}
    (results / "peers" / "outputs" / "gone").mkdir()
    (line,) = dict(check(results, data))["peers/outputs/gone"].wrong
    assert line.endswith("belongs to no record.")


def test_a_changed_output_of_a_toolkit_is_found(tmp_path, data):
    results = tmp_path / "results"
    path = keep(_toolkit_folder(tmp_path), results)
    outputs = path.parent / "outputs" / path.stem / "test.last.txt.gz"
    outputs.write_bytes(gzip.compress(b"other\nlines\n"))
    wrong = dict(check(results, data))["peers/tatoeba_ende-hf-1.json"].wrong
    assert wrong
    assert all("test.last.txt.gz" in line for line in wrong)
