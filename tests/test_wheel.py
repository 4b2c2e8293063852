"""The program as a wheel: built from a source archive, in an environment and a folder of its own.

All paths have blanks. Nothing is downloaded: the packages that it needs are the tests' own.
"""

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.runs import environment
from tests.test_house import ROOT, committed

pytestmark = pytest.mark.slow

TINY = (
    *("train.num_steps=4", "train.checkpoint_every=2", "train.keep_last=2", "train.log_every=2"),
    *("train.validate_sentences=2", "decode.average_last=2", "decode.beam_size=1"),
    *("decode.max_extra_tokens=4", "data.limit=300", "data.vocab_size=400"),
    *("model.num_layers=1", "model.d_model=16", "model.d_ff=16", "model.num_heads=2"),
    *("model.d_k=8", "model.d_v=8"),
)


def run(*command, cwd, **more):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip_wheel(source, out):
    """The wheel of a folder, by setuptools as it is installed here."""
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    run(sys.executable, "-m", "pip", "wheel", source, *options, "--wheel-dir", out, cwd=source)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """This working tree, as the only commit of a checkout of its own."""
    folder = tmp_path_factory.mktemp("a check out") / "aiayn"
    for path in committed():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "--all"], ["commit", "-q", "--message", "all"]):
        run("git", *names, *arguments, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    """The wheel of the source archive of that checkout."""
    folder = tmp_path_factory.mktemp("an archive")
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, folder, cwd=checkout)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    source = folder / archive.name.removesuffix(".tar.gz")
    (source / "build/lib/aiayn").mkdir(parents=True)
    (source / "build/lib/aiayn/gone.py").write_text("x = 1\n")  # of an earlier build
    return pip_wheel(source, folder / "out")


@pytest.fixture(scope="module")
def place(wheel, tmp_path_factory):
    """An empty folder, and the command installed beside it."""
    folder = tmp_path_factory.mktemp("an empty place")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "installed", cwd=folder)
    python = folder / "installed/bin/python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    # A path alone: what makes this checkout importable for the tests is not looked at.
    Path(site.strip(), "tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    options = ["--no-deps", "--no-index", "--quiet"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    (folder / "work").mkdir()
    return folder


def aiayn(place, *arguments, stdin="", status=0):
    """What the command prints; of a refusal the only line."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [place / "installed/bin/aiayn", *map(str, arguments)],
        cwd=place / "work",
        env=kept | environment(1),
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout + done.stderr
    if status == 2:
        (line,) = done.stderr.splitlines()
        return line
    return done.stdout


def names_in(wheel):
    with zipfile.ZipFile(wheel) as file:
        return {info.filename: info.file_size for info in file.infolist()}


def test_the_wheel_holds_the_package_its_experiments_and_its_records(wheel, checkout):
    names = names_in(wheel)
    copy = {name for name in names if name.startswith("aiayn/_checkout/")}
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "aiayn").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} - copy == package
    for folder, pattern in (
        ("experiments", "*.py"),
        ("experiments/accelerator", "*.py"),
        ("experiments/table3", "*.py"),
        ("experiments/models", "*/*"),
        ("experiments/results", "*.json"),
        ("experiments/results/ablations", "*.json"),
        ("experiments/results/parsed_text", "*.json"),
        ("experiments/results/pretraining", "*.json"),
    ):
        for path in (ROOT / folder).glob(pattern):
            copy.remove(f"aiayn/_checkout/{path.relative_to(ROOT)}")
    assert copy == {"aiayn/_checkout/commit.txt"}
    models = sum(size for name, size in names.items() if "/experiments/models/" in name)
    assert models < 16_000_000
    most = 2_500_000
    assert sum(names.values()) - models < most, "bytes; records of benchmarks are no part of it"


def test_the_wheel_holds_the_page_as_it_is(wheel):
    with zipfile.ZipFile(wheel) as file:
        for path in (ROOT / "aiayn/serve/web").rglob("*"):
            if path.is_file():
                assert file.read(str(path.relative_to(ROOT))) == path.read_bytes()


def test_a_checkout_and_its_source_archive_give_the_same_wheel(wheel, checkout, tmp_path):
    direct = pip_wheel(checkout, tmp_path / "out")
    assert names_in(direct).keys() == names_in(wheel).keys()
    head = run("git", "rev-parse", "HEAD", cwd=checkout)
    for path in (direct, wheel):
        with zipfile.ZipFile(path) as file:
            assert file.read("aiayn/_checkout/commit.txt").decode() == head


def test_help_lists_the_experiments(place):
    assert "WMT14 En-De, base model" in aiayn(place, "train", "--help")
    assert "Did you mean 'phrasebook'" in aiayn(place, "train", "frasebook", status=2)


def test_a_model_that_comes_along_translates_at_once(place):
    sentence = "My wife always wanted to live in Munich.\n"
    wanted = "Meine Frau wollte schon immer in München leben.\n"
    assert aiayn(place, "translate", "phrasebook", stdin=sentence) == wanted


def test_it_trains_translates_and_scores(place, checkout):
    settings = [part for setting in TINY for part in ("--set", setting)]
    assert "BLEU" in aiayn(place, "train", "phrasebook", *settings)
    work = place / "work"
    record = json.loads((work / "runs/phrasebook/result.json").read_text())
    head = run("git", "rev-parse", "HEAD", cwd=checkout).strip()
    assert record["commit"] == record["evaluated"]["commit"] == head

    out = aiayn(place, "translate", "runs/phrasebook", stdin="Good morning.\n\n")
    assert out.count("\n") == 2
    said = ["--target", "Guten Tag.", "--out", "the pictures"]
    aiayn(place, "attention", "runs/phrasebook", "Good morning.", *said)
    assert (work / "the pictures/heatmap.png").stat().st_size > 0
    for name in ("src", "ref"):
        (work / f"a {name}").write_text("Good morning.\nThank you.\n")
    found = aiayn(place, "evaluate", "runs/phrasebook", "--src", "a src", "--ref", "a ref")
    assert "BLEU" in found
    if not importlib.util.find_spec("ctranslate2"):
        line = aiayn(place, "export", "runs/phrasebook", "out", status=2)
        assert line == "aiayn: CTranslate2 is not installed; run: pip install ctranslate2"
    assert "nowhere" in aiayn(place, "import", "nowhere", "out", status=2)


def test_it_has_the_records_of_the_checkout_and_their_experiments(place):
    code = """
from aiayn.evidence import records
from aiayn.system.checkout import shipped
folder = shipped("experiments/results")
loads = records.load_ablations, records.load_pretraining, records.load_parsed_text
for record in (*records.load_records(folder), *(each for load in loads for each in load(folder))):
    print(record.experiment, record.config_hash, records.is_stale(record))
"""
    there = run(place / "installed/bin/python", "-c", code, cwd=place / "work")
    here = run(sys.executable, "-c", code, cwd=ROOT)
    assert there == here
    tables = [place / "installed/bin/python", "-m", "aiayn.evidence.tables"]
    done = subprocess.run(tables, cwd=place / "work", capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "wanted a checkout of aiayn" in done.stderr
    assert there.count("\n") > 1


def test_missing_parts_are_named(place):
    """Last, since it takes them away."""
    python = place / "installed/bin/python"
    code = "import aiayn; print(aiayn.__path__[0])"
    copy = Path(run(python, "-c", code, cwd=place).strip(), "_checkout")
    (copy / "experiments").rename(copy / "elsewhere")
    for arguments in (["train", "phrasebook"], ["report"]):
        assert "_checkout/experiments" in aiayn(place, *arguments, status=2)
    assert "usage: " in aiayn(place, "train", "--help")
