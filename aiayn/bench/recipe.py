"""What another toolkit trains by, and what it says of its training.

A folder holds the recipe and the text, as pieces with blanks between them; the loop of the toolkit
runs in a process and an environment of its own, and tells a row after each epoch. Nothing but the
standard library is wanted here.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aiayn.config import Experiment
from aiayn.system.files import write_text
from aiayn.system.memory import peak_bytes

PAD, UNKNOWN, BOS, EOS = range(4)
"""The ids of the special pieces; all others follow in the order of the dictionary."""
BATCHES = 2
"""Of an update, as Wu et al. had two devices."""
COURSE = "course.jsonl"
WEIGHTS = ("last", "averaged")


@dataclass(frozen=True)
class Recipe:
    """The recipe of an experiment as other toolkits need it."""

    experiment: Experiment
    fingerprint: str
    """Of the prepared data that its text comes from."""
    pairs_per_batch: int
    """As many as ours has in an update on average, shared out to the batches."""
    slots_per_batch: int
    """The most on one side, padding included."""
    tests: list[str]
    """The names of the test sets."""

    @property
    def peak_rate(self) -> float:
        """The learning rate at the end of its warm-up (eq. 3)."""
        model, train = self.experiment.model, self.experiment.train
        return train.learning_rate_constant * (model.d_model * train.warmup_steps) ** -0.5

    def write(self, folder: Path) -> None:
        values = {**asdict(self), "experiment": self.experiment.to_dict()}
        write_text(folder / "recipe.json", json.dumps(values, indent=1))

    @staticmethod
    def read(folder: Path) -> "Recipe":
        values: dict[str, Any] = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        values["experiment"] = Experiment.from_dict(values["experiment"])
        return Recipe(**values)


def text_path(folder: Path, split: str, side: str) -> Path:
    """Where the pieces of a split are, by fairseq's rule; `side` is `src` or `tgt`."""
    return folder / "text" / f"{split}.src-tgt.{side}"


def read_pieces(path: Path) -> list[list[str]]:
    """Sentences, one a line."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [line.split(" ") if line else [] for line in lines]


def write_pieces(path: Path, sentences: Iterable[Sequence[str]]) -> None:
    """Sentences, one a line; all of them or no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(" ".join(pieces) + "\n" for pieces in sentences))


def dictionary_path(folder: Path, side: str) -> Path:
    return folder / "text" / f"dict.{side}.txt"


def read_dictionary(folder: Path) -> list[str]:
    """The pieces in the order of their ids, behind the special ones."""
    lines = dictionary_path(folder, "src").read_text(encoding="utf-8").split("\n")[:-1]
    return [line.rsplit(" ", 1)[0] for line in lines]


def output_path(folder: Path, weights: str, test_set: str) -> Path:
    return folder / "outputs" / weights / f"{test_set}.pieces"


class Course:
    """Tells how a training goes: a row of JSON after each epoch, on standard output.

    Its clock counts the seconds of updates, with reading but without validating and saving; over
    all sessions, as the rows before tell.
    """

    def __init__(self, folder: Path):
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what libraries print is no row
        path = folder / COURSE
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self._seconds_at = {row["updates"]: row["seconds"] for row in map(json.loads, lines)}
        self._seconds = 0.0
        self._began: float | None = None

    def introduce(self, versions: Mapping[str, str], parameters: int) -> None:
        """The first row: the packages that decide what is computed, and the size of the model."""
        self._tell({"versions": versions, "parameters": parameters})

    def resume(self, updates: int) -> None:
        """Go on behind so many updates; where no row tells of them, by the last that does."""
        before = (s for at, s in self._seconds_at.items() if at <= updates)
        self._seconds = max(before, default=0.0)

    def start(self) -> None:
        """Let the clock run."""
        self._began = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock, if it runs."""
        if self._began is not None:
            self._seconds += time.perf_counter() - self._began
            self._began = None

    def tell(
        self, updates: int, epochs: float, dev_loss: float, outputs: Sequence[Sequence[str]]
    ) -> None:
        """A row: how far it is, the loss on dev in nats per token, and greedy outputs of its first
        sentences."""
        row = {"updates": updates, "epochs": epochs, "dev_loss": dev_loss}
        measured = {"seconds": self._seconds, "peak_bytes": peak_bytes()}
        self._tell({**row, **measured, "outputs": outputs})

    def _tell(self, row: Mapping[str, Any]) -> None:
        print(json.dumps(row), file=self._answers, flush=True)
