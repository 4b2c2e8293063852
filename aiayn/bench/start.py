"""The seconds until the program answers: its help, one sentence, the first update of a model.

Compiled programs are kept between processes, so a start is cold once and warm from then on. A
sentence is translated in turns with the peers that are installed, from the same weights.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aiayn.bench.contest import Worker
from aiayn.bench.grid import grid
from aiayn.errors import UserError
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.files import user_os_errors
from aiayn.system.memory import LARGE_PAGES

SENTENCE = "We meet on Monday."
_TIMES = 5
_PEERS = {"hf": "transformers", "ctranslate2": "ctranslate2"}
"""The package that each peer needs."""
_DEFINITIONS = {
    "help": f"wall time of `aiayn --help`, {_TIMES} times",
    "cold": "wall time from the start of a process to the end of its first update, with rows that "
    "need no reading, in the environment that `aiayn train` makes for itself, and no program "
    "compiled before; once. Python keeps its byte code, as it does by default",
    "warm": f"the same once more, with the compiled programs in the cache; {_TIMES} times",
    "translate_cold": "wall time of `aiayn translate MODEL` for one short sentence on standard "
    "input, the whole process, with no program compiled before; once",
    "translate": f"the same with the compiled programs in the cache; {_TIMES} times, in turns with "
    "the peers",
    "translate_hf": "one process that loads Hugging Face's MarianMTModel of the same sizes with a "
    "MarianTokenizer and translates the sentence: the beam as ours, random weights, ten tokens",
    "translate_ctranslate2": "one process that loads the exported model in CTranslate2 and "
    "translates the sentence",
}
_NAMES = {
    "help": "aiayn --help",
    "translate_cold": "one sentence, nothing compiled",
    "translate": "one sentence, compiled before",
    "translate_hf": "one sentence, Hugging Face",
    "translate_ctranslate2": "one sentence, CTranslate2",
    "cold": "first update, nothing compiled",
    "warm": "first update, compiled before",
}


def bench_start(
    name: str, folder: Path, console: Console, model: Path | None = None
) -> dict[str, Any]:
    """Time the starts; the record, also in `folder/start-WORKLOAD.json`.

    The first update is of training with workload `name`. A sentence is translated where `model`
    names the directory of a run or of a model.

    Raises:
        UserError: a process failed.
    """
    seconds: dict[str, list[float]] = {}
    with (
        user_os_errors(folder),
        tempfile.TemporaryDirectory() as made,
        progress(console) as bar,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        cache = {"JAX_COMPILATION_CACHE_DIR": str(Path(made) / "programs")}
        environment = {**os.environ, **LARGE_PAGES, **cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        sentence = _translating(model, Path(made), environment) if model else {}
        jobs = ["help"] * _TIMES
        jobs += [*(["translate_cold"] if sentence else []), *list(sentence) * _TIMES]
        jobs += ["cold", *["warm"] * _TIMES]
        about: Mapping[str, Any] = {}
        for job in bar.track(jobs, description="Starting"):
            began = time.perf_counter()
            if job in ("cold", "warm"):
                update = [sys.executable, "-m", "aiayn.bench.ours", "train", name]
                with Worker(update, environment) as worker:
                    about = worker.about
                    ended = time.perf_counter()
            else:
                commands = {"help": ["-m", "aiayn", "--help"], **sentence}
                _run(commands["translate" if job == "translate_cold" else job], environment)
                ended = time.perf_counter()
            seconds.setdefault(job, []).append(ended - began)
        record = {
            "bench": "start",
            "workload": name,
            **{key: about[key] for key in ("commit", "versions", "hardware")},
            "definitions": {key: _DEFINITIONS[key] for key in seconds},
            **({"model": model.name, "sentence": SENTENCE} if model else {}),
            "seconds": seconds,
        }
    records.write(folder / f"start-{name}.json", record)
    return record


def _translating(
    model: Path, made: Path, environment: Mapping[str, str]
) -> dict[str, Sequence[str]]:
    """Python's arguments to translate the sentence: by ours and by each peer that is installed."""
    commands: dict[str, Sequence[str]] = {"translate": ["-m", "aiayn", "translate", str(model)]}
    for peer, package in _PEERS.items():
        if find_spec(package):
            module = "aiayn.bench.ctranslate2" if peer == "ctranslate2" else "aiayn.bench.peers"
            own = ["-m", module, *([] if peer == "ctranslate2" else [peer])]
            _run([*own, "export", str(model), str(made / peer)], environment)
            commands[f"translate_{peer}"] = [*own, "sentence", str(made / peer)]
    return commands


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        input=f"{SENTENCE}\n".encode(),
        stdout=subprocess.DEVNULL,
    )
    if done.returncode:
        raise UserError(f"python {' '.join(command)} failed; its own message is above.")


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each start."""
    return [["", "median", "range"]] + [
        [
            _NAMES[what],
            f"{statistics.median(found):.2f} s",
            f"{min(found):.2f}–{max(found):.2f}" if len(found) > 1 else "once",
        ]
        for what, found in record["seconds"].items()
    ]


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(f"Start, workload {record['workload']}", figures(record))
