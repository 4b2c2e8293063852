"""When a run is struck: at a moment of a phase, or at one of its calls that change a file."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from tests.faults.runs import EVERY, NUM_STEPS, Disk

# When to strike: this is so on disk, then a fraction of the time until the next would be.
MOMENTS: dict[str, Callable[[Disk, Disk, int], bool]] = {
    "start-up": lambda before, now, step: True,
    "restoring": lambda before, now, step: len(now.sessions) > len(before.sessions),
    "updating": lambda before, now, step: now.inode != before.inode and now.trained >= step,
    "validating": lambda before, now, step: now.inode != before.inode and now.trained >= step,
    "writing": lambda before, now, step: now.inode != before.inode and now.validated >= step,
    "written": lambda before, now, step: now.newest >= step,
    "averaging": lambda before, now, step: (
        now.config != before.config and now.newest == NUM_STEPS and not now.training
    ),
    "evaluating": lambda before, now, step: now.model != before.model and now.model > (0, 0),
    "exiting": lambda before, now, step: now.record != before.record,
}


@dataclass(frozen=True)
class Moment:
    """SIGKILL or SIGTERM at a moment; steps count from the newest checkpoint."""

    signal: str
    phase: str
    step: int
    fraction: float

    def __str__(self) -> str:
        return f"{self.signal} {self.phase} {self.step} {self.fraction}"


@dataclass(frozen=True)
class Write:
    """SIGKILL at the n-th call of this name on this file; `half` of it done, or nothing."""

    call: str
    file: str
    number: int
    half: bool

    def __str__(self) -> str:
        return f"write {self.call} {self.file} {self.number} {'half' if self.half else 'nothing'}"


Strike = Moment | Write


def parse(text: str) -> list[Strike]:
    """The strikes of a case, as `--repeat` takes them."""
    strikes: list[Strike] = []
    for words in map(str.split, text.split(";")):
        if words[0] == "write":
            strikes.append(Write(words[1], words[2], int(words[3]), words[4] == "half"))
        else:
            strikes.append(Moment(words[0], words[1], int(words[2]), float(words[3])))
    return strikes


def part(call: str, file: str) -> str:
    """What a file is for."""
    kinds = {
        "prepared data": r"data\b",
        "checkpoint being deleted": r"run/checkpoints/(\d+/|deleted)",
        "checkpoint": r"run/(checkpoints|interrupted)",
        "averaged model": r"run/model",
        "hypotheses": r"run/(outputs|samples)",
        "metrics": r"run/(metrics|tensorboard)",
        "sessions": r"run/sessions",
        "pictures": r"run/.*png",
        "scores and record": r"run/(scores|result)",
        "about the run": r"run\b",
    }
    if call in ("rmdir", "unlinkat") and re.match(r"run/checkpoints/\d+$", file):
        return "checkpoint being deleted"
    return next((name for name, pattern in kinds.items() if re.match(pattern, file)), "other")


def writes(calls: Sequence[tuple[str, str]]) -> Generator[Write]:
    """Strikes at calls, without end: every kind of call on every kind of file takes its turn."""
    seen: Counter[tuple[str, str]] = Counter()
    groups: defaultdict[tuple[str, str], list[tuple[str, str, int]]] = defaultdict(list)
    for call in calls:
        seen[call] += 1
        groups[call[0], part(*call)].append((*call, seen[call]))
    turn = 0
    while True:
        for group in groups.values():
            # Steps of the golden ratio lie evenly, however many are taken.
            chosen = group[int(len(group) * (turn * 0.6180339887 + 0.5) % len(group))]
            halved = chosen[0] in ("write", "writev") and turn % 2 == 0
            yield Write(*chosen, halved)
        turn += 1


def moments(number: int, rng: random.Random) -> list[Moment]:
    """Two SIGKILLs of one case, and in each third a SIGTERM, in the order of a run's course."""
    signals = ["SIGKILL", "SIGKILL"] + ["SIGTERM"] * (number % 3 == 0)
    rng.shuffle(signals)
    order = list(MOMENTS)
    phases = sorted((rng.choice(order) for _ in signals), key=order.index)
    chosen: list[Moment] = []
    for name, phase in zip(signals, phases, strict=True):
        step = EVERY - rng.randrange(EVERY) if phase == "updating" else EVERY
        chosen.append(Moment(name, phase, step, round(rng.random(), 3)))
    return chosen
