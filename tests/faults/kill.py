"""Kill training at any moment, start it again, and ask whether anything is lost.

python -m tests.faults.kill --kills 200
python -m tests.faults.kill --kills 50 --text  # of a language model

One run is left alone. Every other is struck some times: by SIGKILL at a random moment of a phase,
by SIGTERM, and by SIGKILL at a chosen one of all its calls that change a file (tests/faults/watch),
before the call or with half of a write done. Then it is left to finish, and must end with the same
bits. The phase that a strike hit is read off the disk. What is lost keeps its directory, and the
command is printed that tries the case again.
"""

import argparse
import itertools
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from aiayn.system.environment import configure_jax, environment
from aiayn.system.files import write_text
from tests.faults import runs, watch
from tests.faults.runs import EVERY, Disk
from tests.faults.strikes import MOMENTS, Moment, Strike, Write, moments, parse, part, writes

GRACE = 120.0
"""Seconds after SIGTERM until the process must have ended."""
END = 1_800.0
"""Seconds until a process that is left alone counts as hanging."""
RESULTS = runs.ROOT / "experiments" / "results" / "reliability"


class LostError(Exception):
    """What a case lost."""


@dataclass(frozen=True)
class Straight:
    """The run that is left alone: what it ends with, how long it is on its way, what it writes."""

    ending: dict[str, Any]
    seconds: dict[str, float]
    """From each moment to the next."""
    calls: list[tuple[str, str]]
    """Names and files."""


class Harness:
    """Tries cases in a folder of its own; `program` is the module that trains, a translator or on
    `text` a language model."""

    def __init__(self, folder: Path, program: Sequence[str] = ("aiayn",), text: bool = False):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder.resolve()
        self.program = program
        self.experiment = runs.write_experiment(self.folder, text=text)
        self.longest = 0.0
        """Seconds from a SIGTERM to the end."""

    @contextmanager
    def _process(self, folder: Path) -> Generator[subprocess.Popen[bytes]]:
        with folder.with_suffix(".txt").open("ab") as output:
            process = subprocess.Popen(
                runs.command(self.experiment, folder, self.program),
                env=runs.environment(),
                stdout=output,
                stderr=output,
            )
            try:
                yield process
            finally:
                process.kill()
                process.wait()

    @contextmanager
    def _watched(self, folder: Path) -> Generator[watch.Watched]:
        with folder.with_suffix(".txt").open("ab") as output:
            process = watch.Watched(
                runs.command(self.experiment, folder, self.program),
                folder,
                env=runs.environment(),
                stdout=output,
                stderr=output,
            )
            try:
                yield process
            finally:
                process.close()

    def straight(self) -> Straight:
        """A run that is watched and left alone."""
        folder = self._new("straight")
        before = Disk.read(folder / "run")
        steps = {"updating": 1, "validating": EVERY, "writing": EVERY, "written": EVERY}
        began: dict[str, float] = {}
        calls: list[tuple[str, str]] = []

        def look() -> None:
            now = Disk.read(folder / "run")
            for phase, reached in MOMENTS.items():
                if phase not in began and reached(before, now, steps.get(phase, 0)):
                    began[phase] = time.monotonic()

        with self._watched(folder) as watched:
            for call in watched.calls():
                calls.append((call.name, _file(call, folder)))
                look()
            look()
            status = watched.process.wait()
        times = [*began.values(), time.monotonic()]
        if status or len(began) < len(MOMENTS):
            raise RuntimeError(f"No run ends well, see {folder.with_suffix('.txt')}.")
        seconds = dict(zip(began, (b - a for a, b in pairwise(times)), strict=True))
        seconds["updating"] /= EVERY
        return Straight(runs.ending(folder / "run"), seconds, calls)

    def _new(self, name: str) -> Path:
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        folder.with_suffix(".txt").unlink(missing_ok=True)  # what its processes say
        return folder

    def case(self, name: str, strikes: Sequence[Strike], straight: Straight) -> list[str]:
        """What each of the strikes hit that came before the run's end.

        Raises:
            LostError: it does not go on, or ends otherwise; `args` are why and what was hit.
        """
        folder = self._new(name)
        hit: list[str] = []
        try:
            for strike in strikes:
                before = Disk.read(folder / "run")
                if before.record > (0, 0):
                    break
                found = (
                    self._at_write(folder, strike)
                    if isinstance(strike, Write)
                    else self._at_moment(folder, strike, straight.seconds, before)
                )
                hit += [found] if found else []
                _check_went_on(before, Disk.read(folder / "run"))
            before = Disk.read(folder / "run")
            with self._process(folder) as process:
                try:
                    status = process.wait(END)
                except subprocess.TimeoutExpired:
                    raise LostError(f"It did not end within {END:.0f} seconds.") from None
            if status:
                raise LostError(f"Started again, it ended with status {status}.")
            _check_went_on(before, Disk.read(folder / "run"))
            if different := runs.differences(runs.ending(folder / "run"), straight.ending):
                raise LostError(f"Different at the end: {', '.join(different)}.")
        except LostError as lost:
            raise LostError(str(lost), hit or ["nothing"]) from None
        shutil.rmtree(folder)
        return hit

    def _at_write(self, folder: Path, strike: Write) -> str:
        seen = 0
        with self._watched(folder) as process, _at_most(process.process):
            for call in process.calls():
                if (call.name, _file(call, folder)) == (strike.call, strike.file):
                    seen += 1
                    if seen == strike.number:
                        half = process.kill(strike.half)
                        done = "half a write" if half else "before a call"
                        return f"{done}: {part(strike.call, strike.file)}"
            status = process.process.wait()
        return _ended(status)

    def _at_moment(
        self, folder: Path, strike: Moment, seconds: dict[str, float], before: Disk
    ) -> str:
        reached, step = MOMENTS[strike.phase], before.newest + strike.step
        with self._process(folder) as process, _at_most(process):
            while not reached(before, Disk.read(folder / "run"), step):
                if process.poll() is not None:
                    break
                time.sleep(0.002)
            time.sleep(strike.fraction * seconds[strike.phase])
            if strike.signal == "SIGTERM":
                return self._terminated(folder, process, before)
            process.kill()
            status = process.wait()
        if status != -signal.SIGKILL:
            return _ended(status)
        return f"SIGKILL: {Disk.read(folder / 'run').phase(before)}"

    def _terminated(self, folder: Path, process: subprocess.Popen[bytes], before: Disk) -> str:
        if process.poll() is not None:
            return _ended(process.returncode)
        at = Disk.read(folder / "run")
        began = time.monotonic()
        process.terminate()
        try:
            status = process.wait(GRACE)
        except subprocess.TimeoutExpired:
            raise LostError(f"SIGTERM did not end it within {GRACE:.0f} seconds.") from None
        self.longest = max(self.longest, time.monotonic() - began)
        phase = at.phase(before)
        # Before Python runs our code, the system ends it.
        if status and (status, phase) != (-signal.SIGTERM, "start-up"):
            raise LostError(f"After SIGTERM ({phase}) it ended with status {status}.")
        after = Disk.read(folder / "run")
        saved = max(after.newest, after.interrupted)
        if after.inode != before.inode and saved < after.trained:
            raise LostError(f"SIGTERM saved step {saved} only; {after.trained} were done.")
        return f"SIGTERM: {phase}"


@contextmanager
def _at_most(process: subprocess.Popen[bytes]) -> Generator[None]:
    """End a process that hangs.

    Raises:
        LostError: it had to be.
    """
    hung: list[None] = []

    def end() -> None:
        hung.append(None)
        process.kill()

    timer = threading.Timer(END, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if hung:
            raise LostError(f"It did not get on within {END:.0f} seconds.")


def _ended(status: int) -> str:
    """Nothing was hit: the run had ended by itself."""
    if status:
        raise LostError(f"It ended with status {status}.")
    return ""


def _check_went_on(before: Disk, after: Disk) -> None:
    """Raises LostError unless the process began where it had to, and no checkpoint went away."""
    saved = max(before.newest, before.interrupted)
    for step in after.sessions[len(before.sessions) :]:
        if step != saved:
            raise LostError(f"It went on from step {step}; {saved} was saved.")
    if after.newest < before.newest:
        raise LostError(f"The checkpoint of step {before.newest} is gone.")


def _file(call: watch.Call, folder: Path) -> str:
    """The file of a call, without what is different in each run."""
    name = str(call.path.relative_to(folder))
    name = re.sub(r"events\.out.*", "events", re.sub(r"[0-9a-f]{32}", "#", name))
    return re.sub(r"\s", "_", name)


def table(record: dict[str, Any]) -> Table:
    grid = Table(title=record["title"], title_justify="left")
    grid.add_column("struck")
    for name in ("tried", "survived"):
        grid.add_column(name, justify="right")
    for kind, counts in record["details"].items():
        grid.add_row(kind, *(f"{counts[name]:,}" for name in ("tried", "survived")))
    grid.add_section()
    grid.add_row("all", f"{record['tried']:,}", f"{record['survived']:,}")
    return grid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200, help="SIGKILLs at random moments")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--text", action="store_true", help="train a language model")
    parser.add_argument("--folder", type=Path, help="default: runs/faults/kill, or .../kill_text")
    parser.add_argument("--out", type=Path, help=f"default: a record in {RESULTS}")
    parser.add_argument("--repeat", metavar="STRIKES", help="one case, as a loss was printed")
    arguments = parser.parse_args()
    configure_jax()
    console = Console()
    name, of_text = ("kill_text", " of a language model") if arguments.text else ("kill", "")
    out = arguments.out or RESULTS / f"{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    harness = Harness(arguments.folder or Path("runs/faults") / name, text=arguments.text)
    began = time.monotonic()
    about = {"seed": arguments.seed, **environment()}
    console.print("A run that is left alone ...")
    straight = harness.straight()
    if arguments.repeat:
        hit, why = _try(harness, 0, parse(arguments.repeat), straight)
        console.print("\n".join([*hit, why or "Nothing is lost."]), markup=False)
        return int(bool(why))
    tried: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    record: dict[str, Any] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        task = bar.add_task("SIGKILLs at random moments", total=arguments.kills)
        kills = 0
        cases = _side_by_side(harness, straight, arguments.seed, lambda: kills >= arguments.kills)
        for count, (number, strikes, hit, why) in enumerate(cases, 1):
            tried.update(hit)
            if why:
                lost.update(hit)
                again = shlex.quote("; ".join(map(str, strikes)))
                console.print(
                    f"Case {number} of seed {arguments.seed} is lost: {why}",
                    f"It is kept in {harness.folder / f'case-{number}'}; try it again:",
                    f"python -m tests.faults.kill{' --text' * arguments.text} --repeat {again}",
                    sep="\n",
                    soft_wrap=True,
                    highlight=False,
                    markup=False,
                )
            kills = sum(tried[kind] for kind in tried if kind.startswith("SIGKILL"))
            bar.update(task, completed=kills)
            record = {
                "name": name,
                "title": f"Training{of_text} killed anywhere and started again ends with the same "
                "bits",
                "command": "make faults",
                "tried": tried.total(),
                "survived": tried.total() - lost.total(),
                "lost": lost.total(),
                "details": {
                    kind: {"tried": tried[kind], "survived": tried[kind] - lost[kind]}
                    for kind in sorted(tried)
                },
                "runs": count,
                "write_calls_of_a_run": len(straight.calls),
                "longest_seconds_after_sigterm": round(harness.longest, 2),
                "seconds": round(time.monotonic() - began),
                **about,
            }
            write_text(out, json.dumps(record, indent=1) + "\n")
    console.print(table(record))
    console.print(f"Written to {out}.")
    return int(lost.total() > 0)


def _side_by_side(
    harness: Harness, straight: Straight, seed: int, enough: Callable[[], bool]
) -> Generator[tuple[int, list[Strike], list[str], str]]:
    """Cases, one for each processor at a time: number, strikes, what they hit, what is lost."""
    points = writes(straight.calls)
    numbers = itertools.count()
    running: dict[Future[tuple[list[str], str]], tuple[int, list[Strike]]] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def begin() -> None:
            number = next(numbers)
            rng = random.Random(f"{seed} {number}")
            strikes: list[Strike] = [next(points), *moments(number, rng)]
            running[pool.submit(_try, harness, number, strikes, straight)] = number, strikes

        for _ in range(os.cpu_count() or 1):
            begin()
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                number, strikes = running.pop(done)
                yield number, strikes, *done.result()
                if not enough():
                    begin()


def _try(
    harness: Harness, number: int, strikes: Sequence[Strike], straight: Straight
) -> tuple[list[str], str]:
    """What was hit, and what is lost, if anything."""
    try:
        return harness.case(f"case-{number}", strikes, straight), ""
    except LostError as lost:
        why, hit = lost.args
        return hit, why


if __name__ == "__main__":
    sys.exit(main())
