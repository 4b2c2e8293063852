"""How soon the program is there: its help, and the first update of a model.

Compiled programs are kept between processes; what that is worth shows in a folder that is empty at
first.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from aiayn.bench.contest import Worker
from aiayn.bench.grid import grid
from aiayn.errors import UserError
from aiayn.system.files import user_os_errors, write_text
from aiayn.system.memory import LARGE_PAGES

_TIMES = 5
_DEFINITIONS = {
    "help": f"wall time of `aiayn --help`, {_TIMES} times",
    "cold": "wall time from the start of a process to the end of its first update, with rows that "
    "need no reading, in the environment that `aiayn train` makes for itself, and no program "
    "compiled before; once. Python keeps its byte code, as it does by default",
    "warm": f"the same once more, with the compiled programs in the cache; {_TIMES} times",
}


def bench_start(name: str, folder: Path, console: Console) -> dict[str, Any]:
    """Time the start, of training with workload `name`; the record, also in
    `folder/start-WORKLOAD.json`.

    Raises:
        UserError: a process failed.
    """
    path = folder / f"start-{name}.json"
    seconds: dict[str, list[float]] = {"help": [], "cold": [], "warm": []}
    with user_os_errors(folder), tempfile.TemporaryDirectory() as cache:
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **LARGE_PAGES, "JAX_COMPILATION_CACHE_DIR": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", "aiayn.bench.ours", "train", name]
        about: Mapping[str, Any] = {}
        jobs = [
            what
            for what, times in (("help", _TIMES), ("cold", 1), ("warm", _TIMES))
            for _ in range(times)
        ]
        for what in track(jobs, "Starting", console=console, transient=True):
            began = time.perf_counter()
            if what == "help":
                done = subprocess.run(
                    [sys.executable, "-m", "aiayn", "--help"],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                )
                if done.returncode:
                    raise UserError("aiayn --help failed; its own words stand above.")
                ended = time.perf_counter()
            else:
                with Worker(command, environment) as worker:
                    about = worker.about
                    ended = time.perf_counter()
            seconds[what].append(ended - began)
        record = {
            "bench": "start",
            "workload": name,
            **{key: about[key] for key in ("commit", "versions", "hardware")},
            "definitions": _DEFINITIONS,
            "seconds": seconds,
        }
        write_text(path, json.dumps(record, indent=1) + "\n")
    return record


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each start."""
    names = {
        "help": "aiayn --help",
        "cold": "first update, nothing compiled",
        "warm": "first update, compiled before",
    }
    return [["", "median", "range"]] + [
        [
            names[what],
            f"{statistics.median(found):.2f} s",
            f"{min(found):.2f}–{max(found):.2f}" if len(found) > 1 else "once",
        ]
        for what, found in record["seconds"].items()
    ]


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(f"Start, workload {record['workload']}", figures(record))
