"""Training speed on this machine, alone or in turns with a peer on the same work.

Each contender is a process of its own that waits while another runs. A ratio is taken within a
round, so that what else the machine does in the meantime hits both; the load of others is noted.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from aiayn.complexity import training_flops
from aiayn.errors import UserError
from aiayn.files import user_os_errors, write_text
from aiayn.pages import LARGE_PAGES
from aiayn.workloads import WORKLOADS

_WARM_UP = 10
_ROUNDS = 6
_DEFINITIONS = {
    "seconds_per_step": f"wall time by steps, of {_ROUNDS} rounds after {_WARM_UP} steps; the "
    "workers take turns, round by round",
    "processor_seconds_per_step": "of all threads of the worker",
    "others": "processors that were busy with anything but the worker, in the mean of the round",
    "target_tokens_per_second": "real target tokens, no padding, by the median step",
    "flops_per_step": "of the matrix products of a step: 2 for each multiply-add, three passes, no "
    "causal saving (aiayn.complexity.training_flops)",
    "contenders": "ours starts as `aiayn train` starts itself, with large pages of memory on CPU "
    "(aiayn.pages), a peer as it comes; both in float32 on CPU with as many threads as they take",
    "ceilings": "FLOP/s of a large matrix product and bytes/s read and written by a large copy, on "
    "all devices, the best of ten just before; FLOP/s by the maker's data sheet",
    "share_of_ceiling": "flops_per_step by the median step, by the ceiling of the matrix product",
    "ratio": "the peer's seconds_per_step by ours in the same round: above 1, ours is faster",
    "peak_rss_bytes": "the highest resident memory of the worker",
    "first_step_seconds": "compilation and the first step",
}


class _Worker:
    """A contender's process."""

    def __init__(self, command: list[str], environment: Mapping[str, str]):
        self.command = " ".join(command)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.about = self._answer()

    def run(self, steps: int) -> dict[str, Any]:
        """So many steps, now."""
        assert self.process.stdin
        with suppress(BrokenPipeError):  # it has ended; the answer that is missing says so
            print(steps, file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            raise UserError(f"{self.command} ended with status {status}; its words stand above.")
        return json.loads(line)

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def bench_train(name: str, peer: str | None, folder: Path, console: Console) -> dict[str, Any]:
    """Measure a workload; the record, also in `folder/train-WORKLOAD[-PEER].json`.

    Raises:
        UserError: a worker failed, or the peer's environment is not there.
    """
    workload = WORKLOADS[name]
    if peer and workload.sentences_per_row > 1:
        raise UserError(f"{peer} has no packed rows, which {name} is; wanted T1 or T2.")
    environment = {**LARGE_PAGES, **os.environ}
    if peer:
        environment["JAX_PLATFORMS"] = "cpu"  # where peers run
    ours = [sys.executable, "-m", "aiayn.bench_ours"]
    commands = {"aiayn": ([*ours, name], environment)}
    if peer:
        python = Path(".venv-parity/bin/python")
        if not python.is_file():
            raise UserError(f"{python} is not there; `make parity` installs the peers.")
        commands[peer] = ([str(python), "-m", "aiayn.bench_peers", name, peer], dict(os.environ))
    measured = subprocess.run([*ours, "ceilings"], env=environment, stdout=subprocess.PIPE)
    if measured.returncode:
        raise UserError("The ceilings of the machine could not be measured; see above.")
    ceilings = json.loads(measured.stdout)
    rounds: dict[str, list[dict[str, Any]]] = {contender: [] for contender in commands}
    with ExitStack() as stack, Progress(console=console, transient=True) as bar:
        total = len(commands) * (_ROUNDS + 1)
        task = bar.add_task("", total=total)
        workers: dict[str, _Worker] = {}
        for contender, (command, variables) in commands.items():
            bar.update(task, description=f"Warming up {contender}")
            workers[contender] = stack.enter_context(_Worker(command, variables))
            workers[contender].run(_WARM_UP)
            bar.advance(task)
        for number in range(_ROUNDS):
            for contender, worker in workers.items():
                bar.update(task, description=f"Round {number + 1}, {contender}")
                rounds[contender].append(_round(worker, workload.steps_per_round))
                bar.advance(task)
    about = {contender: worker.about for contender, worker in workers.items()}
    flops = workload.num_sentences * training_flops(
        workload.model, workload.num_words, workload.length, workload.length
    )
    record: dict[str, Any] = {
        "bench": "train",
        "workload": name,
        **{key: about["aiayn"].pop(key) for key in ("commit", "versions", "hardware")},
        "definitions": _DEFINITIONS,
        "ceilings": ceilings,
        "flops_per_step": flops,
        "target_tokens_per_step": workload.tokens,
        "padding": 1 - workload.tokens / (workload.num_rows * workload.width),
        "contenders": {},
    }
    for contender, found in rounds.items():
        median = statistics.median(r["seconds_per_step"] for r in found)
        record["contenders"][contender] = {
            **about[contender],
            "rounds": found,
            "median_seconds_per_step": median,
            "target_tokens_per_second": workload.tokens / median,
            "share_of_ceiling": flops / median / ceilings["matmul_flops_per_second"],
        }
    if peer:
        pairs = zip(rounds[peer], rounds["aiayn"], strict=True)
        record["ratios"] = [p["seconds_per_step"] / a["seconds_per_step"] for p, a in pairs]
    path = folder / f"train-{name}{f'-{peer}' if peer else ''}.json"
    with user_os_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(record, indent=1) + "\n")
    return record


def _round(worker: _Worker, steps: int) -> dict[str, Any]:
    busy, began = _busy_seconds(), time.perf_counter()
    found = worker.run(steps)
    busy, seconds = _busy_seconds() - busy, time.perf_counter() - began
    return {
        "seconds_per_step": found["seconds"] / steps,
        "processor_seconds_per_step": found["processor_seconds"] / steps,
        "others": max(0.0, (busy - found["processor_seconds"]) / seconds),
        "loss": found["loss"],
        "peak_rss_bytes": found["peak_rss_bytes"],
        "peak_device_bytes": found["peak_device_bytes"],
    }


def _busy_seconds() -> float:
    """Processor seconds of the whole machine since its start; 0 where /proc is not there."""
    try:
        user, nice, system, _, _, irq, soft_irq, stolen, *_ = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        )
    except OSError:
        return 0.0
    return (user + nice + system + irq + soft_irq + stolen) / os.sysconf("SC_CLK_TCK")


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each contender."""
    rows = [["", "s/step", "range", "target tokens/s", "of the ceiling", "memory", "first step"]]
    for name, found in record["contenders"].items():
        seconds = [r["seconds_per_step"] for r in found["rounds"]]
        rows.append(
            [
                name,
                f"{found['median_seconds_per_step']:.3f}",
                f"{min(seconds):.3f}–{max(seconds):.3f}",
                f"{found['target_tokens_per_second']:,.0f}",
                f"{found['share_of_ceiling']:.1%}",
                f"{found['rounds'][-1]['peak_rss_bytes'] / 1e9:.2f} GB",
                f"{found['first_step_seconds']:.1f} s",
            ]
        )
    return rows


def summary(record: Mapping[str, Any]) -> str:
    """The ratio, and whether the machine was quiet."""
    others = max(r["others"] for c in record["contenders"].values() for r in c["rounds"])
    quiet = f"At most {others:.2f} processors were busy with other work in any round."
    if "ratios" not in record:
        return quiet
    ratios = record["ratios"]
    return (
        f"Ratio {statistics.median(ratios):.2f}, in pairs "
        f"{', '.join(f'{ratio:.2f}' for ratio in ratios)}: above 1, ours is faster. {quiet}"
    )


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    head, *body = figures(record)
    grid = Table(title=f"Training, workload {record['workload']}", title_justify="left")
    for heading in head:
        grid.add_column(heading, justify="right" if heading else "left")
    for row in body:
        grid.add_row(*row)
    return grid
