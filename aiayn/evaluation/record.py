"""The record of a finished run, `result.json`: written, read, shown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console

from aiayn.config import Experiment
from aiayn.data.prepare import Prepared, TestText
from aiayn.errors import UserError
from aiayn.evaluation.scores import Scores, show, tokeniser
from aiayn.model.saved import MODEL, load_model
from aiayn.model.structure import count_parameters, params_sha256
from aiayn.render.markdown import number
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.files import read_json
from aiayn.system.records import Environment, Hardware
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.initial import read_initial
from aiayn.training.log import read_metrics, totals_of, what_is_lost
from aiayn.training.run_folder import RECORD, read_sessions


class Session(Environment, kw_only=True, omit_defaults=True):
    """One start of training: from which step, with which code, on which machine."""

    from_step: int
    matmul_dtype: str = ""


class TestSet(msgspec.Struct):
    """The text that a model was scored on."""

    sentences: int
    src: str
    """SHA-256 of the source sentences, one a line, as `outputs/*/NAME.src` has them."""
    ref: str
    """Likewise of the references."""


class Data(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The prepared data of a run."""

    fingerprint: str
    source: dict[str, Any]
    pairs: dict[str, int]
    """Sentence pairs by split."""
    tests: dict[str, TestSet] = {}
    """By the name of each set that was scored; earlier versions did not record them."""


class Record(msgspec.Struct, kw_only=True, omit_defaults=True):
    """All that a finished run says of itself: what ran, on which machine, and the scores."""

    experiment: str
    preset: str
    config_hash: str
    config: dict[str, Any]
    """The experiment as the version that ran it wrote it."""
    commit: str
    versions: dict[str, str]
    hardware: Hardware
    """Commit, versions and hardware are those of the last session."""
    sessions: list[Session]
    evaluated: Environment
    data: Data
    initial: dict[str, Any] | None = None
    """The model that training started from (`training/initial.py`), if any."""
    parameters: int
    seconds: float
    updates: int
    tokens: int
    """Source and target tokens seen in training, without padding."""
    src_tokens_per_update: float
    tgt_tokens_per_update: float
    tokens_per_second: float
    waiting_for_rows: float | None = None
    """Median share of the time for which the devices may have waited for rows; None where the
    version that ran did not measure it."""
    dev: dict[str, int | float]
    """The last validation, as a row of `metrics.jsonl`."""
    averaged_steps: list[int]
    params_sha256: str
    scores: dict[str, dict[str, Scores]]
    """By test set, then by weights: first the last checkpoint, then the average."""
    lost: str = ""
    """What is wrong with `metrics.jsonl`, which medians are taken of; and totals too, where the
    checkpoints are an earlier version's."""


def read_record(run_dir: Path) -> Record:
    """The record of a finished run.

    Raises:
        UserError: the run has none, or it is damaged.
    """
    return records.read(run_dir / RECORD, Record, "a run")


def finished_record(experiment: Experiment, run_dir: Path, prepared: Prepared) -> Record | None:
    """The record of a run that has nothing left to do: of this experiment and of this data."""
    if not (run_dir / RECORD).is_file():
        return None
    try:
        record = read_record(run_dir)
        if record.updates != experiment.train.num_steps:  # it was scored on its way
            return None
        if not prepared.is_of(record.data.fingerprint) or not experiment.is_same(record.config):
            return None
        known = {name: msgspec.structs.astuple(test) for name, test in record.data.tests.items()}
        # An earlier version's fingerprint has the test sets in it.
        same_tests = known == _texts(experiment, prepared) if known else prepared.tests is None
        return record if same_tests else None
    except (UserError, LookupError, TypeError):  # damaged: the evaluation writes it anew
        return None


def show_record(run_dir: Path, record: Record, console: Console) -> None:
    """The scores of a finished run, as its end showed them."""
    console.print(f"{run_dir} is finished: {record.updates:,} updates.")
    show(record.scores, console, record.experiment)


def scored_sets(experiment: Experiment, prepared: Prepared) -> dict[str, str]:
    """The splits that the end of a run scores, by the names they are reported under."""
    return prepared.test_sets | ({"dev": "dev"} if experiment.decode.score_dev else {})


def _texts(experiment: Experiment, prepared: Prepared) -> dict[str, TestText]:
    sets = scored_sets(experiment, prepared)
    return {name: prepared.test_text(split) for name, split in sets.items()}


def make_record(
    experiment: Experiment,
    run_dir: Path,
    prepared: Prepared,
    averaged_steps: Sequence[int],
    scores: Mapping[str, Mapping[str, Scores]],
    totals: Mapping[str, Any] | None,
) -> Record:
    """The record of a run whose checkpoints, the last of them at `averaged_steps`, are scored.

    `totals` are those of the last checkpoint.

    Raises:
        UserError: it has none, and the log has lost what they would be taken of.
    """
    newest = averaged_steps[-1]
    # A run that was killed says more in its metrics than its newest checkpoint knows.
    rows = [row for row in read_metrics(run_dir / "metrics.jsonl") if row["step"] <= newest]
    lost = what_is_lost(rows, newest, totals)
    totals = totals or totals_of(rows)
    if totals["dev"] is None or not totals["tgt_tokens"]:
        raise UserError(f"{run_dir / 'metrics.jsonl'} lacks the rows up to step {newest:,}.")
    sessions = read_sessions(run_dir)
    tokens = totals["src_tokens"] + totals["tgt_tokens"]
    speeds = [row["tokens_per_second"] for row in rows if "tokens" in row]
    # Rows of an older version do not have it.
    waiting = [row["waiting_for_rows"] for row in rows if "waiting_for_rows" in row]
    texts, sets = _texts(experiment, prepared), scored_sets(experiment, prepared)
    pairs = {name: counts.kept for name, counts in prepared.manifest.splits.items()}
    pairs = {name: count for name, count in pairs.items() if not name.startswith("test.")}
    values = {
        "experiment": experiment.name,
        "preset": experiment.preset,
        "config_hash": experiment.hash(),
        "config": experiment.portable(),
        **{key: sessions[-1][key] for key in ("commit", "versions", "hardware")},
        "sessions": sessions,
        "evaluated": environment(),
        "data": {
            "fingerprint": prepared.fingerprint,
            "source": dict(prepared.manifest.source),
            "pairs": pairs | {sets[name]: text.sentences for name, text in texts.items()},
            "tests": {name: text._asdict() for name, text in texts.items()},
        },
        "initial": read_initial(run_dir),
        "parameters": count_parameters(experiment.model, prepared.tokenizer.num_words),
        "seconds": totals["seconds"],
        "updates": newest,
        "tokens": tokens,
        "src_tokens_per_update": totals["src_tokens"] / newest,
        "tgt_tokens_per_update": totals["tgt_tokens"] / newest,
        "tokens_per_second": float(np.median(speeds)) if speeds else tokens / totals["seconds"],
        "waiting_for_rows": float(np.median(waiting)) if waiting else None,
        "dev": totals["dev"],
        "averaged_steps": list(averaged_steps),
        "params_sha256": params_sha256(load_model(run_dir / MODEL).params),
        "scores": scores,
        "lost": f"metrics.jsonl {lost}" if lost else "",
    }
    return records.typed(values, Record, "a run", run_dir / RECORD)


def run_info(path: Path) -> dict[str, Any]:
    """The record of a run with the parameter count and hash of every checkpoint it keeps."""
    record_path = path / RECORD
    if not (path / "config.json").is_file():
        raise UserError(f"{path} is no run or model directory: it holds no config.json.")
    info: dict[str, Any] = {"record": None, "checkpoints": {}}
    if record_path.is_file():
        info["record"] = read_json(record_path)
    if (path / "checkpoints").is_dir():
        checkpoints = Checkpoints(path / "checkpoints", read_only=True)
        for step in checkpoints.steps():
            try:
                info["checkpoints"][str(step)] = _describe(checkpoints.params(step))
            except UserError:
                if (checkpoints.folder / str(step)).exists():
                    raise  # a run that goes on may have removed it
        checkpoints.close()
    folder = path / MODEL if (path / MODEL).is_dir() else path
    if (folder / "weights.safetensors").is_file():
        model = load_model(folder)
        experiment, data = model.experiment, model.experiment.data
        info["model"] = {
            "experiment": experiment.name,
            "task": experiment.task,
            "languages": [name for name in (data.src, data.tgt) if name],
            "pieces": model.tokenizer.num_words,
            **_describe(model.params),
        }
    is_empty = not info["record"] and not info["checkpoints"] and "model" not in info
    if is_empty and "data_fingerprint" not in read_json(path / "config.json"):
        raise UserError(
            f"{path} is no run or model directory, though it holds a config.json; wanted "
            "weights.safetensors, checkpoints or result.json beside it. `aiayn import` reads the "
            "models of other toolkits."
        )
    return info


def record_lines(values: dict[str, Any], where: Path) -> list[str]:
    """The record of a run in some lines that are safe to show, whoever wrote it.

    Raises:
        UserError: it is of something else.
    """
    record = records.typed(values, Record, "a run", where / RECORD)
    lines = [
        f"{record.experiment} ({record.preset}), {record.updates:,} updates",
        f"commit {record.commit}, {record.seconds / 60:.1f} minutes",
    ]
    for test, labels in record.scores.items():
        for label, scores in labels.items():
            lines.append(f"  {test}, {label}: {_first_figure(scores)}")
    return ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines]


def _first_figure(scores: Scores) -> str:
    """BLEU, or what a language model has instead."""
    if not scores.entries:
        return "no figures"
    first = next((e for e in scores.entries if e.name == "sacrebleu"), scores.entries[0])
    if first.name != "sacrebleu":
        name = "F1" if first.name == "f1" else first.name.replace("_", " ")
        return f"{name} {number(first.value)}"
    usual = tokeniser(first.how) in ("", "13a")
    figure = "BLEU" if usual else f"BLEU {tokeniser(first.how)}"
    return f"{figure} {number(first.value)}"


def _describe(params: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {
        "parameters": sum(value.size for value in params.values()),
        "params_sha256": params_sha256(params),
    }
