"""Where the time of a step goes: a trace, the most expensive kernels, their parts of the model.

The trace opens in Perfetto (ui.perfetto.dev) and in TensorBoard. A kernel's time is its own, less
that of kernels inside it, summed over the threads or streams that ran it.
"""

import gzip
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console
from rich.table import Table

from aiayn.bench.ours import trainer, translator
from aiayn.bench.workloads import BEAM_SIZES, DECODING, TRAINING
from aiayn.errors import UserError
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.files import user_os_errors

_DEAREST = 10
PARTS = (
    *("attention", "feed_forward", "norm", "dropout"),
    *("embedding", "logits", "loss", "optimizer"),
)
"""The scopes that model, loss and step name."""
_INSTRUCTION = re.compile(
    r'^\s*(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<shape>\(.*?\)|\S+) .*op_name="(?P<path>[^"]*)"', re.M
)


class Kernel(NamedTuple):
    """An operation of the compiled program."""

    name: str
    part: str
    """The innermost scope it is of, `other` without one; a fusion is of its last operation's."""
    shape: str
    """Its operation, as XLA writes it."""
    seconds: float
    calls: int


def profile(what: str, name: str, folder: Path, console: Console) -> dict[str, Any]:
    """Trace a round of `train` or of `decode` with the widest beam, in this process.

    The record, also in `folder/profile-WHAT-WORKLOAD.json`; the trace lies in a folder beside it.

    Raises:
        UserError: the profiler of this platform names no kernels.
    """
    # A program from the cache names its operations as the code did that compiled it; kernels that a
    # GPU launches as one graph are not told apart.
    jax.config.update("jax_enable_compilation_cache", False)
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_enable_command_buffer="
    workload = TRAINING[name] if what == "train" else DECODING[name]
    made = (
        trainer(TRAINING[name]) if what == "train" else translator(DECODING[name], max(BEAM_SIZES))
    )
    path = folder / f"profile-{what}-{name}.json"
    steps = workload.steps_per_round
    with console.status("Compiling and warming up"):
        made.run(workload.warm_up)
        program = made.program()
    with user_os_errors(folder):
        with jax.profiler.trace(str(path.with_suffix(""))):
            made.run(steps)
        newest = max(path.with_suffix("").rglob("*.trace.json.gz"), key=lambda p: p.stat().st_mtime)
        events: list[dict[str, Any]] = json.loads(gzip.decompress(newest.read_bytes()))[
            "traceEvents"
        ]
        found = kernels(events, program)
        if not found:
            raise UserError(f"The trace in {newest.parent} names no kernel of the program.")
        record = {
            "profile": what,
            "workload": name,
            **environment(),
            "steps": steps,
            "kernels": [kernel._asdict() for kernel in found],
        }
    records.write(path, record)
    return record


def kernels(events: Sequence[Mapping[str, Any]], program: str) -> list[Kernel]:
    """The kernels of a trace, most expensive first; `program` is the compiled text."""
    known = {m["name"]: (m["shape"], m["path"]) for m in _INSTRUCTION.finditer(program)}
    seconds: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    module = program.lstrip().split(",", 1)[0].removeprefix("HloModule ")
    for name, own in _own_times([e for e in events if _module(e) == module]):
        seconds[name] += own
        calls[name] += 1
    made: list[Kernel] = []
    for name in sorted(seconds, key=lambda name: -seconds[name]):
        shape, path = known.get(name, ("", ""))
        scopes = [word for word in re.findall(r"\w+", path) if word in PARTS]
        part = scopes[-1] if scopes else "other"
        made.append(Kernel(name, part, re.sub(r"\{[^}]*\}", "", shape), seconds[name], calls[name]))
    return made


def _module(event: Mapping[str, Any]) -> str | None:
    """The program that the event ran an operation of."""
    about = event.get("args", {})
    return about.get("hlo_module") if event.get("ph") == "X" and "hlo_op" in about else None


def _own_times(events: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """Each run of a kernel: its name, and its seconds less those of kernels inside it."""
    threads: dict[tuple[int, int], list[Mapping[str, Any]]] = defaultdict(list)
    for event in events:
        threads[event["pid"], event["tid"]].append(event)
    for thread in threads.values():
        thread.sort(key=lambda event: (event["ts"], -event["dur"]))
        own = [event["dur"] for event in thread]
        around: list[int] = []
        for number, event in enumerate(thread):
            while around and event["ts"] >= thread[around[-1]]["ts"] + thread[around[-1]]["dur"]:
                around.pop()
            if around:
                own[around[-1]] -= event["dur"]
            around.append(number)
        for event, microseconds in zip(thread, own, strict=True):
            yield event["args"]["hlo_op"], microseconds / 1e6


def tables(record: Mapping[str, Any]) -> Iterator[Table]:
    """Time by part, and the most expensive kernels, for a terminal."""
    total = sum(kernel["seconds"] for kernel in record["kernels"])
    by_part: dict[str, float] = defaultdict(float)
    for kernel in record["kernels"]:
        by_part[kernel["part"]] += kernel["seconds"]

    # The devices run each step side by side.
    runs = record["steps"] * record["hardware"]["num_devices"]

    def cost(seconds: float) -> tuple[str, str]:
        return f"{seconds / runs * 1e3:,.2f}", f"{seconds / total:.1%}"

    grid = Table(title=f"{record['profile']} {record['workload']}", title_justify="left")
    for heading in ("part", "ms/step", "share"):
        grid.add_column(heading, justify="left" if heading == "part" else "right")
    for part, seconds in sorted(by_part.items(), key=lambda item: -item[1]):
        grid.add_row(part, *cost(seconds))
    yield grid
    grid = Table(title=f"The {_DEAREST} most expensive kernels", title_justify="left")
    for heading in ("kernel", "part", "result"):  # a result may be hundreds of arrays
        grid.add_column(heading, no_wrap=True, overflow="ellipsis", max_width=32)
    for heading in ("calls", "ms/step", "share"):
        grid.add_column(heading, justify="right")
    for kernel in record["kernels"][:_DEAREST]:
        about = (kernel[key] for key in ("name", "part", "shape"))
        calls = f"{kernel['calls'] / runs:g}"
        grid.add_row(*about, calls, *cost(kernel["seconds"]))
    yield grid
