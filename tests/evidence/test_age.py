"""A figure is as old as the commits since that changed what it rests on."""

import re
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

import aiayn
from aiayn.evidence import age
from aiayn.evidence.age import UNKNOWN, Age, ages, commits_of, rests_on
from aiayn.evidence.records import Ablation, Faults, Links, RunRecord, Sweep
from aiayn.system.records import read, write
from tests.support.checkouts import git
from tests.support.records import contest_record

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"


def _run():
    return read(RESULTS / "phrasebook.json", RunRecord, "a run")


def _ablation():
    return read(RESULTS / "ablations/table3_miniature.json", Ablation, "an ablation")


def test_all_that_any_record_rests_on_is_there():
    # A module that was renamed would never make a figure old.
    records = [_run(), _ablation(), read(RESULTS / "sweeps/multi30k_ende.json", Sweep, "a sweep")]
    records.append(read(RESULTS / "alignment/phrasebook.json", Links, "links"))
    records += [{"bench": kind} for kind in age._BENCH]
    for name in ("kill", "memory", "input", "serving", "lines"):
        records.append(read(RESULTS / f"reliability/{name}.json", Faults, "faults"))
    for record in records:
        paths = [path for path in rests_on(record) if not path.startswith("experiments/")]
        assert paths
        assert all((ROOT / path).exists() for path in paths)
    assert "experiments/phrasebook.py" in rests_on(_run())
    assert "experiments/table3/table3_miniature.py" in rests_on(_ablation())


def test_every_kind_of_benchmark_has_its_files():
    kinds = {read_bench["bench"] for read_bench in age.load_benchmarks(RESULTS)}
    assert kinds <= age._BENCH.keys()


def test_a_benchmark_rests_on_what_its_module_imports():
    for kind in ("serve", "ngrams", "nano", "pcfg", "grammar"):
        text = (ROOT / f"aiayn/bench/{kind}.py").read_text()
        named = re.findall(r"^from aiayn\.(\w+)(?:\.(\w+))? import", text, re.MULTILINE)
        used = {part for part, _ in named} & {"decoding", "model", "training", "serve"}
        assert used <= {*age._BENCH[kind]}, kind
        own = {f"bench/{name}.py" for part, name in named if part == "bench"}
        shown = {"bench/grid.py", "bench/definitions.py"}
        assert own - shown <= {*age._BENCH[kind]}, kind


def test_a_run_rests_on_what_trained_and_scored_it_and_a_search_on_no_training():
    assert {"aiayn/training", "aiayn/data", "aiayn/evaluation"} <= set(rests_on(_run()))
    assert not any("bench" in path for path in rests_on(_run()))
    decoding = rests_on({**contest_record(), "bench": "decode"})
    assert "aiayn/decoding" in decoding
    assert "aiayn/training" not in decoding


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A checkout of one commit that this program takes for its own, and its folder of results."""
    (tmp_path / "aiayn" / "model").mkdir(parents=True)
    (tmp_path / "aiayn" / "__init__.py").write_text("")
    monkeypatch.setattr(aiayn, "__file__", str(tmp_path / "aiayn" / "__init__.py"))
    git(tmp_path, "init", "--quiet")
    _commit(tmp_path, "aiayn/model/x.py")
    return tmp_path / "experiments" / "results"


def _commit(root, name):
    path = root / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text((path.read_text() if path.exists() else "") + "x\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", name)
    return git(root, "rev-parse", "HEAD")


def test_each_record_is_as_old_as_its_own_files(results):
    root = results.parents[1]
    first = git(root, "rev-parse", "HEAD")
    write(results / "phrasebook.json", replace(_run(), commit=first))
    write(results / "bench" / "x.json", {**contest_record(), "definitions": {}, "commit": first})
    second = _commit(root, "aiayn/model/x.py")  # which both rest on
    _commit(root, "aiayn/data/y.py")
    _commit(root, "experiments/phrasebook.py")
    _commit(root, "README.md")
    runs = {"base": replace(_ablation().rows["base"])}
    runs["base"] = replace(
        runs["base"],
        runs=[
            replace(run, commits=[commit])
            for run, commit in zip(
                _ablation().rows["base"].runs, (second, first, second), strict=True
            )
        ],
    )
    write(results / "ablations" / "z.json", replace(_ablation(), rows=runs))
    assert list(ages(results)) == [
        Age("phrasebook.json", first, 3),
        Age("ablations/z.json", first, 2),  # by its oldest run
        Age("bench/x.json", first, 1),
    ]
    assert commits_of(replace(_ablation(), rows=runs)) == sorted([first, second])


def test_a_commit_that_is_not_there_is_no_young_one(results):
    first = git(results.parents[1], "rev-parse", "HEAD")
    base = _ablation().rows["base"]
    runs = [replace(base.runs[0], commits=[commit]) for commit in (first, "0" * 40)]
    write(
        results / "ablations" / "z.json",
        replace(_ablation(), rows={"base": replace(base, runs=runs)}),
    )
    (found,) = ages(results)
    assert (found.commit, found.commits, found.text) == ("0" * 40, None, UNKNOWN)
    shutil.rmtree(results.parents[1] / ".git")
    assert {found.commits for found in ages(results)} == {None}
