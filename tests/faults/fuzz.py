"""Give every reader hostile inputs, and see that nothing crashes, hangs or is lost in silence.

python -m tests.faults.fuzz                          100,000 inputs, shared out by what each costs
python -m tests.faults.fuzz --reader tmx --seed 7    one reader, other inputs
python -m tests.faults.fuzz --replay runs/faults/tmx-812    one input again, with what it does

A reader may give back what it read or raise UserError with the name of the file. What it gives
back and what it reports as left out must add up to what went in. Each reader works in a process of
its own with a limit of memory and of processor time for each input, so that a hang, a crash of a
library and a bomb are findings too. An input that a reader fails at is kept in runs/faults.

Exit status 1 where something was lost.
"""

import argparse
import faulthandler
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from aiayn.errors import UserError
from aiayn.system.files import write_text

from .inputs import Files
from .readers import READERS, Counts, Reader, write

RECORD = Path("experiments/results/reliability/input.json")
KEPT = Path("runs/faults")
REPLAY = "python -m tests.faults.fuzz --replay"
MEMORY = 8 << 30
"""Bytes of address space of a reader's process; JAX takes two thirds for itself."""
WAITS, WAIT_SECONDS = 60, 10
"""A process that uses no processor time is waited for so often and so long. A pause of the whole
machine costs one of the waits."""


class Outcome(NamedTuple):
    """What became of one input: `lost` says what went wrong, if anything did."""

    counts: Counts = Counts()
    refused: bool = False
    lost: str = ""


def try_one(reader: Reader, folder: Path) -> Outcome:
    """Whether a reader keeps its promise on the input in a folder."""
    try:
        return Outcome(reader.check(folder))
    except UserError as error:
        # Settings have no file; the command line is named by what it holds.
        named = str(folder) in str(error) or "Standard input" in str(error)
        if named or (folder / "settings").exists():
            return Outcome(refused=True)
        return Outcome(lost=f"the refusal names no file: {str(error)[:300]}")
    except Exception as error:
        traceback.print_exc()
        return Outcome(lost=f"{type(error).__name__}: {str(error)[:300]}")


def outcomes(
    name: str, reader: Reader, seed: int, numbers: range, work: Path
) -> Iterator[tuple[int, Outcome]]:
    """Each number with what became of its input, which is then in `work/input`.

    What the reader's process wrote to standard error is in `work/stderr`.
    """
    context = multiprocessing.get_context("spawn")
    while numbers:
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, name, reader, seed, numbers, work), daemon=True
        )
        process.start()
        theirs.close()
        reason = ""
        while numbers and not reason:
            outcome = _received(ours, process)
            if isinstance(outcome, Outcome):
                yield numbers[0], outcome
                numbers = numbers[1:]
                ours.send("the next")
            else:
                reason = outcome
        process.join()
        if reason:
            yield numbers[0], Outcome(lost=reason)
            numbers = numbers[1:]


def _received(connection: Connection, process: Any) -> Outcome | str:
    """The outcome of the input that is worked on, or why there is none."""
    for _ in range(WAITS):
        if connection.poll(WAIT_SECONDS):
            break
    else:
        process.kill()
        return "waits for ever"
    try:
        return connection.recv()
    except EOFError:
        process.join()
        if process.exitcode == -signal.SIGPROF:
            return "its processor time is used up"
        return f"the process ended with status {process.exitcode}"


def _serve(
    connection: Connection, name: str, reader: Reader, seed: int, numbers: range, work: Path
) -> None:
    """In the reader's process: make each input, try it, and say what became of it."""
    errors = (work / "stderr").open("ab")
    os.dup2(errors.fileno(), 2)
    faulthandler.enable(errors)
    faulthandler.register(signal.SIGPROF, errors, chain=True)  # and then it ends the process
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in numbers:
        folder = work / "input"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        write(folder, reader.make(random.Random(f"{name} {seed} {number}")))
        errors.truncate(0)
        signal.setitimer(signal.ITIMER_PROF, reader.seconds)
        outcome = try_one(reader, folder)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send(outcome)
        connection.recv()


class Tally(NamedTuple):
    """What became of the inputs of one reader."""

    tried: int = 0
    survived: int = 0
    refused: int = 0
    given: int = 0
    returned: int = 0
    reported: int = 0

    def plus(self, outcome: Outcome) -> "Tally":
        more = (1, not outcome.lost, outcome.refused, *outcome.counts)
        return Tally(*(have + new for have, new in zip(self, more, strict=True)))


def fuzz(
    readers: Mapping[str, Reader], num_inputs: int, seed: int, kept: Path, console: Console
) -> dict[str, Tally]:
    """Share the inputs out among the readers; what one fails at is said, and kept in a folder."""
    shares = sum(reader.share for reader in readers.values())
    counts = {name: -(-num_inputs * reader.share // shares) for name, reader in readers.items()}
    tallies: dict[str, Tally] = {}
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        TemporaryDirectory() as work,
        Progress(*columns, console=console, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("", total=sum(counts.values()))
        for name, reader in readers.items():
            bar.update(task, description=name)
            tallies[name] = Tally()
            for number, outcome in outcomes(name, reader, seed, range(counts[name]), Path(work)):
                tallies[name] = tallies[name].plus(outcome)
                bar.advance(task)
                if outcome.lost:
                    folder = _keep(Path(work), kept / f"{name}-{number}", outcome.lost)
                    console.print(
                        f"{name} {number}: {outcome.lost}\n  {REPLAY} {folder}",
                        markup=False,
                        highlight=False,
                        soft_wrap=True,
                    )
    return tallies


def _keep(work: Path, folder: Path, reason: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(work / "input", folder / "input")
    errors = (work / "stderr").read_text(encoding="utf-8", errors="replace")
    (folder / "why.txt").write_text(f"{reason}\n{errors}", encoding="utf-8")
    return folder


def replay(readers: Mapping[str, Reader], kept: Path, console: Console) -> Outcome:
    """Try a kept input again."""
    name = kept.name.rpartition("-")[0]
    if name not in readers or not (kept / "input").is_dir():
        raise UserError(f"{kept} is no kept input; wanted a folder such as {KEPT / 'tmx-812'}.")
    reader = readers[name]._replace(make=partial(_kept_files, kept / "input"))
    with TemporaryDirectory() as work:
        ((_, outcome),) = outcomes(name, reader, 0, range(1), Path(work))
        console.print((Path(work) / "stderr").read_text(errors="replace"), markup=False, end="")
    return outcome


def _kept_files(folder: Path, _: random.Random) -> Files:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def table(tallies: Mapping[str, Tally]) -> Table:
    grid = Table(title="Hostile inputs", title_justify="left")
    grid.add_column("reader")
    for heading in ("tried", "lost", "refused", "given", "returned", "reported"):
        grid.add_column(heading, justify="right")
    total = Tally(*map(sum, zip(*tallies.values(), strict=True)))
    for name, tally in {**tallies, "all": total}.items():
        figures = (tally.tried, tally.tried - tally.survived, *tally[2:])
        grid.add_row(name, *(f"{figure:,}" for figure in figures))
    return grid


def record(tallies: Mapping[str, Tally], seed: int, seconds: float) -> dict[str, Any]:
    """What is kept of a run."""
    from aiayn.system.environment import environment

    tried, survived = (sum(getattr(t, f) for t in tallies.values()) for f in ("tried", "survived"))
    return {
        "name": "input",
        "title": "Hostile inputs to every reader: no crash, no hang, no pair lost in silence",
        "command": f"python -m tests.faults.fuzz --inputs {tried} --seed {seed}",
        "tried": tried,
        "survived": survived,
        "lost": tried - survived,
        "details": {name: tally._asdict() for name, tally in tallies.items()},
        "seed": seed,
        "seconds": round(seconds, 1),
        **environment(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=REPLAY.removesuffix(" --replay"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--inputs", type=int, default=100_000, metavar="N", help="how many (default: 100,000)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which (default: 0)")
    parser.add_argument(
        "--reader",
        action="append",
        choices=tuple(READERS),
        help=f"may be repeated (default: all, and the record goes to {RECORD})",
    )
    parser.add_argument("--replay", type=Path, metavar="DIR", help="try one kept input again")
    parsed = parser.parse_args(arguments)
    os.environ["JAX_PLATFORMS"] = "cpu"
    console = Console()
    if parsed.replay:
        try:
            outcome = replay(READERS, parsed.replay, console)
        except UserError as error:
            parser.error(str(error))
        console.print(outcome, markup=False)
        return int(bool(outcome.lost))
    begin = time.perf_counter()
    readers = {name: READERS[name] for name in parsed.reader or READERS}
    tallies = fuzz(readers, parsed.inputs, parsed.seed, KEPT, console)
    console.print(table(tallies))
    if not parsed.reader:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        made = record(tallies, parsed.seed, time.perf_counter() - begin)
        write_text(RECORD, json.dumps(made, indent=1) + "\n")
        console.print(f"Written to {RECORD}.")
    return int(any(tally.tried > tally.survived for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
