"""What a server does in a second: for many clients, for one alone, and with a whole file.

Each server is a process of its own, which waits while another one is asked. Clients are threads of
this process, each with a connection that it keeps.
"""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aiayn.bench.contest import Worker, python_of
from aiayn.bench.grid import grid
from aiayn.data import languages
from aiayn.errors import UserError
from aiayn.evaluation.systems import read_aligned
from aiayn.model.saved import Model, check_kind, model_of, save_model
from aiayn.render.markdown import spread
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.memory import LARGE_PAGES

_ROUNDS = 5
_CLIENTS, _EACH = 16, 20
_ALONE = 40
_BEAM = 4
"""Of LibreTranslate."""
_MOST_TEXTS, _MOST_CHARACTERS = 500, 50_000
"""Of one request with a part of the file; more characters our server does not take."""
_START_SECONDS = 300
OURS, ONE_SLOT, FILE, PEER = "aiayn", "aiayn, one slot", "aiayn translate", "libretranslate"
_DEFINITIONS = {
    "contenders": f"{OURS}: `aiayn serve`; {ONE_SLOT}: the same, but each lane has one slot; "
    f"{FILE}: the search of that command in a process that has compiled it; {PEER}: its server as "
    "it comes, with our model exported by CTranslate2 in float32 as an Argos package, a beam "
    f"of {_BEAM}, and sentences cut by a rule (spaCy's sentencizer), since its own models for that "
    "are downloaded. Large pages of memory for ours and for the peer",
    "rounds": f"{_ROUNDS}, in which contenders take turns; before them each does all once",
    "clients_seconds": f"wall time of {_CLIENTS} clients that ask for {_CLIENTS * _EACH} sentences "
    "in all, one a request, each as soon as the one before is answered; other sentences in each "
    "round. The clients are threads of one process on the same machine",
    "lone_seconds": f"the median of {_ALONE} such requests by one client, who keeps its connection",
    "file_seconds": f"wall time of all lines of the text, in requests of at most {_MOST_TEXTS} "
    "that are sent at once",
    "ratios": "seconds by those of ours in the same round: above 1, ours is faster",
    "same": "share of the sentences of all rounds whose translation is ours, word by word",
}
_HOST = "127.0.0.1"


def bench_serve(
    path: Path, src: Path, peer: str | None, folder: Path, console: Console
) -> dict[str, Any]:
    """Ask the servers of a model in turns; the record, also in `folder/serve-EXPERIMENT.json`.

    Raises:
        UserError: no model or text is there, a server does not start, or the peer's environment is
            not there.
    """
    model, (lines,) = model_of(path), read_aligned(src)
    check_kind(model, "encoder_decoder")
    if not lines:
        raise UserError(f"{src} is empty; wanted a sentence a line.")
    beam = model.experiment.decode.beam_size
    if peer and beam != _BEAM:
        raise UserError(
            f"{path} searches with a beam of {beam}; wanted {_BEAM}, which is what {PEER} has."
        )
    pair = model.experiment.data.src, model.experiment.data.tgt
    with ExitStack() as stack, progress(console) as bar:
        task = bar.add_task("", total=2 + _ROUNDS)
        made = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bar.update(task, description="Starting the servers")
        servers = {
            name: stack.enter_context(_Server(command, pair))
            for name, command in _commands(path, model, peer, made).items()
        }
        worker = stack.enter_context(_translating(path, src))
        found = _Rounds(servers, worker, lines)
        bar.advance(task)
        for number in range(1 + _ROUNDS):
            bar.update(task, description=f"Round {number}" if number else "Warming up")
            found.take(number)
            bar.advance(task)
    about = environment()
    versions = {**about["versions"], **_versions_of(peer)}
    record = {
        "bench": "serve",
        "experiment": model.experiment.name,
        **about,
        "versions": versions,
        "definitions": _DEFINITIONS,
        "text": src.name,
        "lines": len(lines),
        "clients": _CLIENTS,
        "sentences": _CLIENTS * _EACH,
        "beam_size": model.experiment.decode.beam_size,
        **found.summary(),
    }
    records.write(folder / f"serve-{model.experiment.name}.json", record)
    return record


class _Rounds:
    """What was measured of all contenders, round by round."""

    def __init__(self, servers: Mapping[str, "_Server"], worker: Worker, lines: Sequence[str]):
        self._servers, self._worker, self._lines = servers, worker, lines
        self._seconds: dict[str, dict[str, list[float]]] = {}
        self._said: dict[str, list[str]] = {name: [] for name in servers}

    def take(self, number: int) -> None:
        """Measure all once; the round of number 0 only warms up."""
        count = _CLIENTS * _EACH
        some = [self._lines[(number * count + n) % len(self._lines)] for n in range(count)]
        for name, server in self._servers.items():
            seconds, said = server.translate(some, _CLIENTS)
            alone = server.one_by_one(some[:_ALONE])
            if number:
                self._said[name] += said
                self._add(name, "clients_seconds", seconds)
                self._add(name, "lone_seconds", statistics.median(alone))
        seconds = self._servers[OURS].translate_file(self._lines)
        if number:
            self._add(OURS, "file_seconds", seconds)
            self._add(FILE, "file_seconds", self._worker.run(1)["seconds"])

    def _add(self, name: str, measure: str, seconds: float) -> None:
        self._seconds.setdefault(name, {}).setdefault(measure, []).append(seconds)

    def summary(self) -> dict[str, Any]:
        """The rounds of each contender, the ratios to ours, and the share of equal translations."""
        ours = self._seconds[OURS]
        ratios = {
            name: {
                measure: [theirs / own for theirs, own in zip(found, ours[measure], strict=True)]
                for measure, found in measures.items()
            }
            for name, measures in self._seconds.items()
            if name != OURS
        }
        own = self._said[OURS]
        same = {
            name: sum(a == b for a, b in zip(said, own, strict=True)) / len(own)
            for name, said in self._said.items()
            if name != OURS
        }
        return {"contenders": self._seconds, "ratios": ratios, "same": same}


_Command = tuple[list[str], Mapping[str, str]]


def _commands(path: Path, model: Model, peer: str | None, made: Path) -> dict[str, _Command]:
    """How to start each server, but for its port, and its environment."""
    ours = {**os.environ, **LARGE_PAGES}
    decode = replace(model.experiment.decode, slots_per_batch=1)
    save_model(made / "one", replace(model, experiment=replace(model.experiment, decode=decode)))
    serve = [sys.executable, "-m", "aiayn", "serve"]
    found: dict[str, _Command] = {
        OURS: ([*serve, f"model={path}"], ours),
        ONE_SLOT: ([*serve, f"model={made / 'one'}"], ours),
    }
    if peer:
        python = python_of(".venv-libretranslate")
        export = [python_of(".venv-parity"), "-m", "aiayn.bench.ctranslate2", "export", path]
        _run([*export, made / "exported"])
        # With one package alone it would look for others on the network.
        pair = model.experiment.data.src, model.experiment.data.tgt
        for src, tgt in (pair, pair[::-1]):
            _package(made / "packages" / f"{src}_{tgt}", src, tgt, made / "exported", python)
        (made / "argos-translate" / "spacy" / "senter").mkdir(parents=True)
        (made / "argos-translate" / "spacy" / "senter" / "model").touch()  # or it is downloaded
        folders = dict.fromkeys(("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(made))
        settings = {"ARGOS_PACKAGES_DIR": str(made / "packages"), "ARGOS_CHUNK_TYPE": "SPACY"}
        command = [str(python.with_name("libretranslate")), "--disable-web-ui"]
        found[PEER] = command, {**ours, **folders, **settings}
    return found


def _package(folder: Path, src: str, tgt: str, exported: Path, python: Path) -> None:
    """A model that was exported for CTranslate2 as Argos Translate installs it."""
    shutil.copytree(exported, folder / "model")
    shutil.copy(exported / "tokenizer.model", folder / "sentencepiece.model")
    about = {"package_version": "1.0", "argos_version": "1.5", "from_code": src, "to_code": tgt}
    about |= {"from_name": languages.english_name(src), "to_name": languages.english_name(tgt)}
    (folder / "metadata.json").write_text(json.dumps(about), encoding="utf-8")
    make = "import spacy, sys; spacy.blank(sys.argv[1]).to_disk(sys.argv[2])"
    _run([python, "-c", make, src, folder / "spacy"])


def _run(command: Sequence[object]) -> None:
    words = [str(each) for each in command]
    if subprocess.run(words).returncode:
        raise UserError(f"{' '.join(words)} failed; its own message is above.")


def _versions_of(peer: str | None) -> dict[str, str]:
    if not peer:
        return {}
    names = (PEER, "ctranslate2")
    code = f"from importlib.metadata import version as v; print(*map(v, {names}))"
    command = [str(python_of(".venv-libretranslate")), "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(names, done.stdout.split(), strict=True))


def _translating(path: Path, src: Path) -> Worker:
    """The process of `aiayn translate`, which translates the text each time that it is told to."""
    command = [sys.executable, "-m", "aiayn.bench.ours", "file", str(path), str(src)]
    return Worker(command, {**os.environ, **LARGE_PAGES})


class _Server:
    """A server in a process of its own, and its clients."""

    def __init__(self, command: _Command, pair: tuple[str, str]):
        self._command, self._pair = command, pair
        self._connections = threading.local()

    def __enter__(self) -> "_Server":
        words, environment = self._command
        with socket.socket() as free:
            free.bind((_HOST, 0))
            self._port = free.getsockname()[1]
        where = ["--host", _HOST, "--port", str(self._port)]
        self._process = subprocess.Popen(
            [*words, *where], env=environment, stdout=subprocess.DEVNULL
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _wait(self) -> None:
        """Until it translates."""
        until = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < until:
            with suppress(OSError, HTTPException, UserError):
                self._ask("one")
                return
            time.sleep(0.2)
        raise UserError(f"{' '.join(self._command[0])} does not serve; its own message is above.")

    def translate(self, lines: Sequence[str], clients: int) -> tuple[float, list[str]]:
        """Have some clients ask for a line each, again and again; the seconds that all took."""
        began = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            said = list(pool.map(self._ask, lines))
        return time.perf_counter() - began, said

    def one_by_one(self, lines: Sequence[str]) -> list[float]:
        """The seconds of each line for one client, who keeps the connection."""

        def timed(line: str) -> float:
            began = time.perf_counter()
            self._ask(line)
            return time.perf_counter() - began

        with ThreadPoolExecutor(1) as pool:
            return list(pool.map(timed, lines))

    def translate_file(self, lines: Sequence[str]) -> float:
        """The seconds in which all lines are translated, in a few requests at once."""
        parts = _parts(lines)
        began = time.perf_counter()
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(self._ask, parts))
        return time.perf_counter() - began

    def _ask(self, text: Any) -> Any:
        if not hasattr(self._connections, "own"):
            self._connections.own = HTTPConnection(_HOST, self._port, timeout=_START_SECONDS)
        connection: HTTPConnection = self._connections.own
        src, tgt = self._pair
        body = json.dumps({"q": text, "source": src, "target": tgt}).encode()
        try:
            connection.request("POST", "/translate", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException):
            connection.close()  # else it would take no other request
            raise
        if answer.status != 200:
            raise UserError(f"The server answered with {answer.status}: {content[:200]!r}")
        return json.loads(content)["translatedText"]


def _parts(lines: Sequence[str]) -> list[list[str]]:
    """The lines in requests that a server takes."""
    parts, size = [list[str]()], 0
    for line in lines:
        if len(parts[-1]) == _MOST_TEXTS or size + len(line) > _MOST_CHARACTERS:
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += len(line)
    return parts


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each contender."""
    clients = f"{record['clients']} clients, sentences/s"
    rows = [["", clients, "by ours", "one alone, ms", "by ours", "a file, lines/s", "by ours"]]
    units: Mapping[str, Callable[[float], str]] = {
        "clients_seconds": lambda seconds: f"{record['sentences'] / seconds:,.0f}",
        "lone_seconds": lambda seconds: f"{1_000 * seconds:,.1f}",
        "file_seconds": lambda seconds: f"{record['lines'] / seconds:,.0f}",
    }
    for name, found in record["contenders"].items():
        row = [name]
        for measure, told in units.items():
            row.append(told(statistics.median(found[measure])) if measure in found else "–")
            ratios = record["ratios"].get(name, {}).get(measure)
            row.append(spread(ratios) if ratios else "")
        rows.append(row)
    return rows


def title(record: Mapping[str, Any]) -> str:
    """What the figures are of."""
    lines = f"{record['text']}, {record['lines']:,} lines"
    return f"{record['experiment']}, {lines}, beam {record['beam_size']}"


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(f"Requests to a server: {title(record)}", figures(record))
