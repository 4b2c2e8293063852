"""The records of runs, ablations, sweeps and benchmarks, read and checked."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiayn.errors import UserError
from aiayn.experiments import load_experiment

OF_A_RUN = ("experiment", "config", "scores", "config_hash", "commit")
OF_AN_ABLATION = ("experiment", "config", "rows", "config_hash")
OF_A_BENCH = ("bench", "definitions", "commit")
OF_A_SWEEP = ("experiment", "config", "series", "around", "commit")
OF_FAULTS = ("name", "title", "command", "tried", "survived", "lost", "details", "commit")


def load_records(folder: Path, wanted: Sequence[str] = OF_A_RUN) -> list[dict[str, Any]]:
    """Every record of a folder, by name; those of runs unless said otherwise.

    Raises:
        UserError: a file that is no record.
    """
    records: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            missing = set(wanted) - set(record)
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is no record: {error}.") from None
        if missing:
            raise UserError(f"{path} is no record: it lacks {', '.join(sorted(missing))}.")
        records.append(record)
        metrics = path.with_suffix(".metrics.jsonl")
        if metrics.is_file():
            rows = map(json.loads, metrics.read_text(encoding="utf-8").splitlines())
            record["dev_scores"] = [
                (row["seconds"], row["dev_bleu"]) for row in rows if "dev_bleu" in row
            ]
    return records


def load_ablations(folder: Path) -> list[dict[str, Any]]:
    """What `aiayn ablate` wrote, where `folder` holds the records of runs."""
    return load_records(folder / "ablations", OF_AN_ABLATION)


def is_stale(record: Mapping[str, Any]) -> bool:
    """Whether the experiment of that name is no longer the one that was run."""
    return not load_experiment(record["experiment"]).is_same(record["config"])
