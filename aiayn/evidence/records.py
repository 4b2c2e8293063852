"""The records behind the tables and claims: of runs, ablations, sweeps, benchmarks and faults."""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aiayn.bench.toolkits import ToolkitRun
from aiayn.config import Experiment
from aiayn.errors import UserError
from aiayn.evaluation.record import Record
from aiayn.experiments import load_experiment
from aiayn.system import records
from aiayn.system.files import read_json
from aiayn.system.records import Environment, Hardware
from aiayn.training.log import read_metrics

TOOLKITS = "peers"
"""The folder of other toolkits' trainings."""
Kind = TypeVar("Kind")


class RunRecord(Record, kw_only=True):
    """The record of a run, with BLEU on dev where its metrics lie beside it."""

    dev_scores: tuple[tuple[float, float], ...] = ()
    """Seconds since training began, and BLEU."""
    metrics: tuple[dict[str, Any], ...] = ()
    """The rows that these are of."""
    file: str = ""
    """Its name in the folder of results."""


class AblatedRun(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One run of an ablation, scored on dev."""

    seed: int
    perplexity: float
    bleu: float
    updates: int
    """Of what was scored."""
    seconds: float
    """Of all its training."""
    commits: list[str]
    """Of all sessions that trained it."""
    hardware: Hardware
    jobs: int
    """Runs that shared the machine."""
    averaged: int = 1
    """Checkpoints whose mean was scored, the last ones."""


class Included(Environment, kw_only=True):
    """A model that comes along, beside what it was made from."""

    experiment: str
    trained_at: str
    """The commit of the run."""
    params_sha256: str
    """Of the run's parameters in float32."""
    parameters: int
    bytes: int
    """Of all its files."""
    ruler: str
    scores: dict[str, tuple[float | None, float | None]]
    """By test set: in float32, and as stored."""


class Row(msgspec.Struct):
    """All runs of a row of Table 3."""

    changes: dict[str, Any]
    parameters: int
    runs: list[AblatedRun]


class TextModel(msgspec.Struct):
    """The language model whose decoder the translators of a seed started from."""

    seed: int
    perplexity: float
    """On dev, with the last checkpoint."""
    seconds: float
    params_sha256: str
    """Of the averaged weights, which were moved."""


class Ablation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The record of `aiayn ablate`."""

    experiment: str
    preset: str
    config: dict[str, Any]
    config_hash: str
    split: str
    sentences: int
    signature: str
    data_fingerprint: str
    versions: dict[str, str]
    rows: dict[str, Row]
    text_models: list[TextModel] = []
    """Of `aiayn ablate pretraining`."""
    file: str = ""
    """Its name in the folder of results."""


class Point(msgspec.Struct, omit_defaults=True):
    """What one setting of a sweep is worth."""

    bleu: float
    """The figure that the sweep names."""
    length_ratio: float
    free: float | None = None
    """The figure where the search knows no grammar, and what is no tree is mended; of a parser's
    beams."""


class Sweep(Environment, kw_only=True, omit_defaults=True):
    """The record of `aiayn sweep`."""

    experiment: str
    config: dict[str, Any]
    split: str
    sentences: int
    signature: str
    kept_steps: list[int]
    around: dict[str, int | float]
    """The experiment's own settings."""
    series: dict[str, dict[str, Point]]
    """By the name of a setting, then by its value."""
    measure: str = "BLEU"
    """Or F1, of a parser."""
    file: str = ""
    """Its name in the folder of results."""

    @property
    def has_free(self) -> bool:
        """Whether beams were tried without a grammar, too."""
        return any(p.free is not None for points in self.series.values() for p in points.values())


class HeadLinks(msgspec.Struct):
    """Slot words that some weights link right."""

    layer: int
    """From 1; 0 is the mean of those that `aiayn translate --align` goes by."""
    head: int
    """From 1; 0 is the mean of all."""
    right: int
    """By the weights from which a word is predicted."""
    right_after: int
    """By those of the step after, which has read it."""


class Links(Environment, kw_only=True):
    """The record of `python -m aiayn.evidence.alignment`."""

    experiment: str
    params_sha256: str
    test_set: str
    pairs: int
    known: int
    """Of these, those whose template is known."""
    words: int
    """Words in slots, of the outputs."""
    heads: list[HeadLinks]
    file: str = ""
    """Its name in the folder of results."""


class Counts(msgspec.Struct):
    """What was tried, and how much of it was survived."""

    tried: int
    survived: int


class Faults(Environment, kw_only=True):
    """The record of a part of `make faults`."""

    name: str
    title: str
    command: str
    tried: int
    survived: int
    lost: int
    details: dict[str, Counts]
    rule: str = ""


class Benchmark(Environment, kw_only=True):
    """The head that the records of all kinds of `aiayn bench` share."""

    bench: str
    definitions: dict[str, str]


def load_records(folder: Path) -> list[RunRecord]:
    """The records of runs in a folder, by name.

    Raises:
        UserError: a file that is no such record.
    """
    found = load(folder, RunRecord, "a run")
    for path, record in zip(sorted(folder.glob("*.json")), found, strict=True):
        metrics = path.with_suffix(".metrics.jsonl")
        if metrics.is_file():
            record.metrics = tuple(read_metrics(metrics))
            pairs = ((r["seconds"], r["dev_bleu"]) for r in record.metrics if "dev_bleu" in r)
            record.dev_scores = tuple(pairs)
    return found


def load(folder: Path, kind: type[Kind], of: str) -> list[Kind]:
    """As `load_records`, of any kind."""
    found: list[Kind] = []
    for path in sorted(folder.glob("*.json")):
        record = records.read(path, kind, of)
        if isinstance(record, RunRecord | Ablation | Sweep):
            record.file = path.name
        found.append(record)
    return found


def load_ablations(folder: Path) -> list[Ablation]:
    """The records of `aiayn ablate`, where `folder` holds those of runs."""
    return load(folder / "ablations", Ablation, "an ablation")


def load_pretraining(folder: Path) -> list[Ablation]:
    """The records of `aiayn ablate pretraining`, where `folder` holds those of runs."""
    return load(folder / "pretraining", Ablation, "an ablation")


def load_parsed_text(folder: Path) -> list[Ablation]:
    """The records of `aiayn ablate parsed_text`, where `folder` holds those of runs."""
    return load(folder / "parsed_text", Ablation, "an ablation")


def load_toolkits(folder: Path) -> list[ToolkitRun]:
    """The records of `make peers`, where `folder` holds those of runs."""
    return load(folder / TOOLKITS, ToolkitRun, "a toolkit's training")


def load_benchmarks(folder: Path) -> list[dict[str, Any]]:
    """The records of `aiayn bench`, whose heads are checked, where `folder` holds those of runs;
    `file` in each is its own name there."""
    found = {path: read_json(path) for path in sorted((folder / "bench").glob("*.json"))}
    for path, values in found.items():
        records.typed(values, Benchmark, "a benchmark", path)
        values["file"] = f"bench/{path.name}"
    return list(found.values())


def is_repeat(record: Record | ToolkitRun) -> bool:
    """Whether a run is of the experiment of that name as it is now, except for the seed."""
    try:
        there = Experiment.from_dict(record.config)
    except UserError:  # a setting that is gone
        return False
    now = load_experiment(record.experiment)
    own_seed = replace(there, train=replace(there.train, seed=now.train.seed))
    return own_seed.hash() == now.hash()


def is_stale(record: Record | Ablation) -> bool:
    """Whether the experiment of that name is no longer the one that was run."""
    return not load_experiment(record.experiment).is_same(record.config)
