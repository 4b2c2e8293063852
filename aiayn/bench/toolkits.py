"""Other toolkits, each by its own training loop, on the text and the recipe of a translator's run.

They are given the pieces that ours is trained on, and all else by their own settings: sizes, rate,
updates, smoothing, how many tokens an update has, averaging and search. What they put out is joined
and scored as ours is. A training that is killed goes on from its last epoch.
"""

import json
import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from aiayn.bench.contest import python_of
from aiayn.bench.grid import grid
from aiayn.bench.recipe import (
    BATCHES,
    COURSE,
    WEIGHTS,
    Recipe,
    dictionary_path,
    output_path,
    read_pieces,
    text_path,
    write_pieces,
)
from aiayn.config import Experiment
from aiayn.data.corpus import read_split
from aiayn.data.prepare import Prepared
from aiayn.data.tokenizer import Tokenizer
from aiayn.errors import UserError
from aiayn.evaluation.evaluate import Outputs, write_outputs
from aiayn.evaluation.record import Data, Record, read_record
from aiayn.evaluation.scores import Scores
from aiayn.render.markdown import hardware_text, number
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.files import locked, read_json, user_os_errors, write_text
from aiayn.system.records import Environment, Hardware
from aiayn.tasks import Translation, translation_of
from aiayn.training.log import read_metrics
from aiayn.training.run_folder import RECORD as OF_RUN
from aiayn.training.run_folder import data_of_run, read_run

RECORD = "toolkit.json"
WANTED = 35.0
"""BLEU on dev, the time to which is told: what a model of captions has that has learnt to
translate."""
_PYTHONS = {"hf": ".venv-parity", "fairseq": ".venv-fairseq"}
_MORE_SLOTS = 1.2
"""For padding: a batch of fairseq's is limited by its slots, of which a sixth is empty."""
_DEFINITIONS = {
    "updates": "as many as ours, of as many tokens: hf takes batches of so many pairs of like "
    "length, fairseq so many slots; an update has two batches, as on two devices. Both take the "
    "rate of eq. 3 an update later than ours",
    "pieces": "those of ours; pairs that ours left out as too long are left out",
    "course": "after each epoch: seconds of updates so far with reading, without validating and "
    "saving; nats per token of dev, unsmoothed; BLEU of greedy outputs for the first sentences of "
    "dev, as many as ours validates by",
    "tokens_per_second": "source and target tokens with EOS, without padding, over those seconds",
    "scores": "of its own beam search, with the last weights and with the mean of the last epochs",
    "peak_bytes": "the most resident memory of the training process",
}


class Point(msgspec.Struct):
    """What a training had come to after an epoch."""

    updates: int
    seconds: float
    dev_loss: float
    dev_bleu: float


class ToolkitRun(Environment, kw_only=True):
    """The record of another toolkit's training."""

    toolkit: str
    experiment: str
    config_hash: str
    config: dict[str, Any]
    definitions: dict[str, str]
    data: Data
    parameters: int
    sessions: int
    updates: int
    seconds: float
    tokens_per_second: float
    peak_bytes: int
    course: list[Point]
    scores: dict[str, dict[str, Scores]]
    """By test set, then by weights: first the last, then their mean."""


def bench_toolkits(run_dir: Path, toolkit: str, out: Path, console: Console) -> ToolkitRun:
    """Train a toolkit as the run was, or go on; the record, also in
    `out/EXPERIMENT-TOOLKIT-SEED/toolkit.json`.

    Raises:
        UserError: the run is of no such translator, its data or the toolkit's environment is not
            there, the toolkit failed, or the folder holds a training by another recipe.
    """
    worker = _worker(toolkit)
    experiment, _ = read_run(run_dir)
    task = translation_of(experiment)
    _check(experiment)
    prepared = data_of_run(experiment, run_dir, None, console, task.open_source)
    folder = out / f"{experiment.name}-{toolkit}-{experiment.train.seed}"
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock", wait=False), progress(console) as bar:
            recipe = _write_recipe(folder, experiment, prepared)
            step = bar.add_task(f"Training {toolkit}", total=experiment.train.num_steps)
            about = _train([*worker, "train", str(folder)], folder, task, prepared, bar, step)
            bar.update(step, description=f"Translating by {toolkit}")
            paths = [output_path(folder, w, name) for w in WEIGHTS for name in recipe.tests]
            if not all(path.is_file() for path in paths):
                _run([*worker, "translate", str(folder)], folder)
            record = _record(folder, toolkit, recipe, prepared, task, about)
            records.write(folder / RECORD, record)
    return record


def _worker(toolkit: str) -> list[str]:
    """The command that trains and translates.

    Raises:
        UserError: its environment is not installed.
    """
    return [str(python_of(_PYTHONS[toolkit])), "-m", f"aiayn.bench.toolkit_{toolkit}"]


def _check(experiment: Experiment) -> None:
    """Refuse what toolkits have no setting for."""
    model = experiment.model
    wanted = {
        "model.d_k": (model.d_k * model.num_heads, model.d_model),
        "model.d_v": (model.d_v * model.num_heads, model.d_model),
        "model.positions": (model.positions, "halves"),
        "model.activation": (model.activation, "relu"),
        "model.attention_dropout_rate": (model.attention_dropout_rate, 0.0),
        "model.relu_dropout_rate": (model.relu_dropout_rate, 0.0),
        "train.initial": (experiment.train.initial, ""),
    }
    for name, (found, value) in wanted.items():
        if found != value:
            times = " times num_heads" if name.endswith(("d_k", "d_v")) else ""
            raise UserError(f"{name}{times} is {found!r}; toolkits are set to {value!r} alone.")


# --- What it is given ---------------------------------------------------------------------------


def _write_recipe(folder: Path, experiment: Experiment, prepared: Prepared) -> Recipe:
    """The recipe and the text; a folder that has another recipe, or another text, is refused."""
    per_update = experiment.data.tgt_tokens_per_update
    tokens = sum(c.tgt_tokens for c in prepared.train.classes)
    pairs = sum(c.num_pairs for c in prepared.train.classes)
    recipe = Recipe(
        experiment=experiment,
        fingerprint=prepared.fingerprint,
        pairs_per_batch=max(1, round(pairs * per_update / tokens / BATCHES)),
        slots_per_batch=_slots(experiment),
        tests=list(prepared.test_sets),
    )
    if (folder / "recipe.json").is_file():
        if Recipe.read(folder) != recipe:
            raise UserError(f"{folder} holds a training by another recipe; delete it, or --out.")
        return recipe
    tokenizer = prepared.tokenizer
    special = tokenizer.pad, tokenizer.unknown, tokenizer.bos, tokenizer.eos
    if type(tokenizer) is not Tokenizer or special != tuple(range(4)):
        raise UserError("The run has a tokenizer of its own; toolkits are given one of `aiayn`.")
    text = prepared.folder / "text"
    _write_text(folder, "train", read_split(text, "train", "src"), tokenizer, experiment)
    dev = list(zip(*(prepared.lines("dev", side) for side in ("src", "tgt")), strict=True))
    _write_text(folder, "valid", dev, tokenizer, experiment)
    first = dev[: experiment.train.validate_sentences]
    _write_text(folder, "first", first, tokenizer)
    for name, split in prepared.test_sets.items():
        sides = (prepared.lines(split, side) for side in ("src", "tgt"))
        _write_text(folder, f"test.{name}", zip(*sides, strict=True), tokenizer)
    for side in ("src", "tgt"):
        pieces = tokenizer.pieces(range(len(special), tokenizer.num_words))
        write_pieces(dictionary_path(folder, side), [[piece, "1"] for piece in pieces])
    recipe.write(folder)
    return recipe


def _slots(experiment: Experiment) -> int:
    """Slots of a batch, with those that stay empty."""
    slots = _MORE_SLOTS * experiment.data.tgt_tokens_per_update / BATCHES
    return max(experiment.data.max_tokens, 64 * round(slots / 64))


def _write_text(
    folder: Path,
    split: str,
    pairs: Iterable[tuple[str, str]],
    tokenizer: Tokenizer,
    within: Experiment | None = None,
) -> None:
    """The pieces of a split; pairs of more tokens than this experiment takes are left out."""
    sides = [tokenizer.encode(lines) for lines in zip(*pairs, strict=True)]
    if within:
        longest = within.data.max_tokens
        kept = [pair for pair in zip(*sides, strict=True) if max(map(len, pair)) < longest]
        sides = [list(side) for side in zip(*kept, strict=True)]
    for side, sentences in zip(("src", "tgt"), sides, strict=True):
        write_pieces(text_path(folder, split, side), map(tokenizer.pieces, sentences))


# --- What it does -------------------------------------------------------------------------------


def _train(
    command: Sequence[str],
    folder: Path,
    task: Translation,
    prepared: Prepared,
    bar: Progress,
    step: TaskID,
) -> dict[str, Any]:
    """Have it train up to the last update; what it says of itself. Each row is kept as it comes,
    with the BLEU of its outputs."""
    recipe = Recipe.read(folder)
    references = prepared.lines("dev", "tgt")[: recipe.experiment.train.validate_sentences]
    about_path, rows = folder / "about.json", _course(folder)
    write_text(folder / COURSE, "".join(json.dumps(row) + "\n" for row in rows))
    if rows and rows[-1]["updates"] >= recipe.experiment.train.num_steps:
        return read_json(about_path)
    bar.update(step, completed=rows[-1]["updates"] if rows else 0)
    for told in _rows_of(command, folder):
        if "outputs" not in told:
            known = read_json(about_path) if about_path.is_file() else {}
            sessions = {"sessions": known.get("sessions", 0) + 1}
            write_text(about_path, json.dumps({**told, **sessions}))
            continue
        lines = _joined(told.pop("outputs"), prepared.tokenizer)
        bleu = task.headline(lines, references, recipe.experiment.data.tgt).value
        with (folder / COURSE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**told, "dev_bleu": bleu}) + "\n")
        bar.update(step, completed=told["updates"])
    return read_json(about_path)


def _rows_of(command: Sequence[str], folder: Path) -> Iterable[dict[str, Any]]:
    """What a worker tells; what its libraries print goes to `log`.

    Raises:
        UserError: it failed.
    """
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout
        try:
            yield from map(json.loads, process.stdout)
            status = process.wait()
        finally:
            process.kill()
            process.wait()
    if status:
        last = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
        raise UserError(
            f"{' '.join(command)} ended with status {status}: {''.join(last)} (all of it is in "
            f"{folder / 'log'})"
        )


def _run(command: Sequence[str], folder: Path) -> None:
    """A worker that tells nothing."""
    list(_rows_of(command, folder))


def _course(folder: Path) -> list[dict[str, Any]]:
    """The rows of a training, each epoch once."""
    found = {row["updates"]: row for row in read_metrics(folder / COURSE)}
    return [found[updates] for updates in sorted(found)]


def _joined(sentences: Iterable[Sequence[str]], tokenizer: Tokenizer) -> list[str]:
    """Pieces as text."""
    return tokenizer.decode([tokenizer.ids(pieces) for pieces in sentences])


# --- What it came to ----------------------------------------------------------------------------


def _record(
    folder: Path,
    toolkit: str,
    recipe: Recipe,
    prepared: Prepared,
    task: Translation,
    about: Mapping[str, Any],
) -> ToolkitRun:
    experiment, rows = recipe.experiment, _course(folder)
    last = f"last checkpoint ({rows[-1]['updates']:,})"
    labels = last, f"average of {min(experiment.decode.average_last, len(rows))}"
    scores: dict[str, dict[str, Scores]] = {}
    tests: dict[str, dict[str, Any]] = {}
    for name, split in prepared.test_sets.items():
        sources, references = (prepared.lines(split, side) for side in ("src", "tgt"))
        tests[name] = prepared.test_text(split)._asdict()
        scores[name] = {}
        for label, weights in zip(labels, WEIGHTS, strict=True):
            pieces = read_pieces(output_path(folder, weights, name))
            lines = _joined(pieces, prepared.tokenizer)
            write_outputs(folder / "outputs" / weights, name, lines, sources, references)
            outputs = Outputs(lines, sources, references)
            scores[name][label] = task.rescoring.score(experiment, outputs)
    ours = environment()
    splits = prepared.manifest.splits
    tokens = sum(c.src_tokens + c.tgt_tokens for c in prepared.train.classes) * rows[-1]["epochs"]
    values = {
        **ours,
        "versions": {**ours["versions"], **about["versions"]},
        "toolkit": toolkit,
        "experiment": experiment.name,
        "config_hash": experiment.hash(),
        "config": experiment.portable(),
        "definitions": _DEFINITIONS,
        "data": {
            "fingerprint": prepared.fingerprint,
            "source": dict(prepared.manifest.source),
            "pairs": {name: split.kept for name, split in splits.items()},
            "tests": tests,
        },
        "parameters": about["parameters"],
        "sessions": about["sessions"],
        "updates": rows[-1]["updates"],
        "seconds": rows[-1]["seconds"],
        "tokens_per_second": tokens / rows[-1]["seconds"],
        "peak_bytes": max(row["peak_bytes"] for row in rows),
        "course": rows,
        "scores": scores,
    }
    return records.typed(values, ToolkitRun, "a toolkit's training", folder / RECORD)


def course_of(rows: Iterable[Mapping[str, Any]]) -> list[Point]:
    """The course of a run of ours, from its metrics: the same seconds as those of toolkits, with
    compiling and saving."""
    points, seconds, tokens = list[Point](), 0.0, 0
    for row in rows:
        if "tokens" in row:
            seconds += (row["tokens"] - tokens) / row["tokens_per_second"]
            tokens = row["tokens"]
        elif "dev_bleu" in row:
            found = row["dev_loss"], row["dev_bleu"]
            points.append(Point(row["step"], seconds, *found))
    return points


def seconds_to(course: Sequence[Point], bleu: float = WANTED) -> float | None:
    """Seconds of updates until dev had so much BLEU for the first time; None if it never had."""
    return next((point.seconds for point in course if point.dev_bleu >= bleu), None)


# --- What is shown ------------------------------------------------------------------------------


class Trained(NamedTuple):
    """A training of ours or of a toolkit's, as both are shown."""

    name: str
    seed: int
    scores: Mapping[str, Mapping[str, Scores]]
    course: Sequence[Point]
    tokens_per_second: float
    peak_bytes: int
    """0 where it was not measured."""
    hardware: Hardware


def of_toolkit(run: ToolkitRun) -> Trained:
    figures = run.scores, run.course, run.tokens_per_second, run.peak_bytes, run.hardware
    return Trained(run.toolkit, run.config["train"]["seed"], *figures)


def of_ours(record: Record, rows: Sequence[Mapping[str, Any]]) -> Trained:
    """A run of ours, with the rows of its metrics."""
    peak = max((row.get("peak_bytes", 0) for row in rows), default=0)
    figures = record.scores, course_of(rows), record.tokens_per_second, peak, record.hardware
    return Trained("aiayn", record.config["train"]["seed"], *figures)


def figures(every: Sequence[Trained]) -> list[list[str]]:
    """The figures as text: a head, then a row for each training."""
    tests = list(dict.fromkeys(name for each in every for name in each.scores))
    last = "updates", "s of updates", f"s to {WANTED:g} BLEU on dev", "tokens/s", "memory", "on"
    first = f"{tests[0]}, last weights"
    rows = [["trained by", "seed", *tests, first, "dev perplexity", *last]]
    for each in every:
        labels = [list(each.scores[name].values()) for name in tests if name in each.scores]
        means = [_bleu(scores[-1]) for scores in labels]
        end, reached = each.course[-1], seconds_to(each.course)
        rows.append(
            [
                *(each.name, str(each.seed), *means, _bleu(labels[0][0])),
                *(f"{math.exp(end.dev_loss):.2f}", f"{end.updates:,}", f"{end.seconds:,.0f}"),
                "never" if reached is None else f"{reached:,.0f}",
                f"{each.tokens_per_second:,.0f}",
                f"{each.peak_bytes / 1e9:.1f} GB" if each.peak_bytes else "–",
                hardware_text(each.hardware),
            ]
        )
    return rows


def _bleu(scores: Scores) -> str:
    return number(scores["sacrebleu"].value)


def title(experiment: str) -> str:
    return f"{experiment} by other toolkits, of the same pieces and recipe"


def table(run: ToolkitRun, run_dir: Path) -> Table:
    """The figures, beside those of the run of ours where that is finished, for a terminal."""
    every = [of_toolkit(run)]
    if (run_dir / OF_RUN).is_file():
        every.insert(0, of_ours(read_record(run_dir), read_metrics(run_dir / "metrics.jsonl")))
    return grid(title(run.experiment), figures(every))
