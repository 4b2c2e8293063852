"""How old a figure is: the commits since its record that changed what it rests on.

That the settings of an experiment are the same says nothing of the code. The count changes with
every commit, so that no committed table holds it.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aiayn.bench.toolkits import ToolkitRun
from aiayn.evaluation.record import Record
from aiayn.evidence.records import (
    TOOLKITS,
    Ablation,
    Faults,
    Included,
    Links,
    Sweep,
    load,
    load_ablations,
    load_benchmarks,
    load_parsed_text,
    load_pretraining,
    load_records,
    load_toolkits,
)
from aiayn.experiments import FOLDERS
from aiayn.system.checkout import commits_since

UNKNOWN = "not known here"
"""Of wheels, source archives and shallow clones."""
Kept = Record | Included | Ablation | Sweep | Links | Faults | ToolkitRun | Mapping[str, Any]
"""A record of any kind; that of a benchmark is a table."""

_RUN = ("model", "training", "data", "decoding", "evaluation", "tasks.py")
_CONTEST = tuple(f"bench/{name}.py" for name in ("contest", "worker", "workloads", "ours", "peers"))
_ENGINE = ("interop", "bench/ctranslate2.py", "bench/pieces.py")
"""How CTranslate2 gets the same work."""
_BENCH = {
    "train": ("model", "training", *_CONTEST),
    "decode": ("model", "decoding", *_CONTEST, *_ENGINE),
    "generate": ("model", "decoding", *_CONTEST, *_ENGINE),
    "prompt": ("model", "decoding", *_CONTEST),
    "choices": ("model", "training", "bench/choices.py", *_CONTEST),
    "data": ("data", "bench/data.py"),
    "start": (
        *("commands", "data", "decoding", "model", "system", "training", "bench/start.py"),
        *(*_CONTEST, *_ENGINE),
    ),
    "serving": ("decoding", "interop", "model", "bench/serving.py"),
    "serve": ("decoding", "model", "serve", "bench/serve.py", *_CONTEST, *_ENGINE),
    "ngrams": ("data", "decoding", "evaluation", "model", "training", "bench/ngrams.py"),
    "nano": (
        *("data", "decoding", "evaluation", "model", "training"),
        *("bench/nano.py", "bench/nano_torch.py"),
    ),
    "pcfg": ("data", "decoding", "evaluation", "model", "training", "bench/pcfg.py"),
    "grammar": ("decoding", "model", "bench/grammar.py"),
    "growth": ("model", "training", "bench/growth.py"),
    "scaling": ("model", "training", "bench/scaling.py"),
    "compile": ("decoding", "model", "training", "bench/scaling.py", "bench/targets.py"),
}
"""What each benchmark times, and with what."""
_STUDIES = (
    *("ablation", "pretraining", "table3", "transfer"),
    *("parsed_text", "self_training", "sweep"),
)
"""Modules that say what the rows of an ablation are, and score them."""
_FAULTS = {
    "kill": ("training", "system", "data"),
    "kill_text": ("training", "system", "data"),
    "memory": ("training", "system", "data"),
    "serving": ("serve", "decoding", "system"),
    "lines": ("commands/translate.py", "data/sources/opening.py", "decoding"),
}


class Age(NamedTuple):
    """A record, and how many commits changed what it rests on since."""

    file: str
    commit: str
    commits: int | None

    @property
    def text(self) -> str:
        """The count, or that it is not known."""
        return UNKNOWN if self.commits is None else f"{self.commits:,}"


def rests_on(record: Kept) -> list[str]:
    """The files and folders of the checkout whose change may change the figures of a record."""
    if isinstance(record, Mapping):
        return _in_package(_BENCH.get(record["bench"], ("",)))
    if isinstance(record, Faults):
        return [*_in_package(_FAULTS.get(record.name, ("",))), "tests/faults"]
    own = [f"experiments/{folder}/{record.experiment}.py".replace("//", "/") for folder in FOLDERS]
    if isinstance(record, Included):
        return [*_in_package(_RUN), *own]
    if isinstance(record, ToolkitRun):
        by = ("peers", "recipe", "toolkits", f"toolkit_{record.toolkit}")
        return [*_in_package(("data", "evaluation", *(f"bench/{n}.py" for n in by))), *own]
    if isinstance(record, Sweep):
        return [*_in_package(("model", "decoding", "evaluation", "evidence/sweep.py")), *own]
    if isinstance(record, Links):
        return [*_in_package(("model", "decoding", "data", "evidence/alignment.py")), *own]
    of_rows = [f"evidence/{name}.py" for name in _STUDIES] if isinstance(record, Ablation) else []
    return [*_in_package((*_RUN, *of_rows)), *own]


def commits_of(record: Kept) -> list[str]:
    """The commits that a record's figures are of."""
    if isinstance(record, Mapping):
        return [record["commit"]]
    if isinstance(record, Ablation):
        runs = (run for row in record.rows.values() for run in row.runs)
        return sorted({commit for run in runs for commit in run.commits})
    return [record.commit]


def ages(folder: Path) -> Iterator[Age]:
    """Every record in a folder of results, with the age of its oldest figure.

    Raises:
        UserError: a file that is no record.
    """
    known: dict[tuple[str, ...], int | None] = {}

    def since(commit: str, paths: Sequence[str]) -> int | None:
        key = commit, *paths
        if key not in known:
            known[key] = commits_since(commit, paths)
        return known[key]

    for name, records in (
        ("", load_records(folder)),
        ("ablations", load_ablations(folder)),
        ("pretraining", load_pretraining(folder)),
        ("parsed_text", load_parsed_text(folder)),
        (TOOLKITS, load_toolkits(folder)),
        ("sweeps", load(folder / "sweeps", Sweep, "a sweep")),
        ("alignment", load(folder / "alignment", Links, "links")),
        ("bench", load_benchmarks(folder)),
        ("reliability", load(folder / "reliability", Faults, "faults")),
        ("models", load(folder / "models", Included, "a model")),
    ):
        files = sorted((folder / name).glob("*.json"))
        for path, record in zip(files, records, strict=True):
            paths = rests_on(record)
            found = {commit: since(commit, paths) for commit in commits_of(record)}
            oldest = max(found, key=lambda commit: _order(found[commit]))
            yield Age(str(path.relative_to(folder)), oldest, found[oldest])


def _order(count: int | None) -> tuple[bool, int]:
    """What is not known may be any age."""
    return (True, 0) if count is None else (False, count)


def _in_package(names: Sequence[str]) -> list[str]:
    return [f"aiayn/{name}".rstrip("/") for name in names]
