"""Other toolkits, each by its own training loop, on the text and the recipe of a translator's run.

They are given the pieces that ours is trained on, and all else by their own settings: sizes, rate,
updates, smoothing, how many tokens an update has, averaging and search. What they put out is joined
and scored as ours is. A training that is killed goes on from its last epoch.
"""

import json
import math
import os
import subprocess
from collections.abc import Generator, Iterable, Mapping, Sequence
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
from aiayn.data.updates import Updates
from aiayn.decoding.outputs import one_line
from aiayn.errors import UserError
from aiayn.evaluation.evaluate import scored_or_not, write_outputs
from aiayn.evaluation.record import Data, Record, read_record
from aiayn.evaluation.scores import Scores, bleu_name
from aiayn.render.markdown import hardware_text, number
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.files import locked, read_json, user_os_errors, write_text
from aiayn.system.memory import LARGE_PAGES
from aiayn.system.records import Environment, Hardware
from aiayn.tasks import Translation, translation_of
from aiayn.training.log import read_metrics
from aiayn.training.run_folder import RECORD as OF_RUN
from aiayn.training.run_folder import data_of_run, read_run

RECORD, ABOUT = "toolkit.json", "about.json"
WANTED = 35.0
"""BLEU on dev, the time to which is told: what a model of captions has that has learnt to
translate."""
_PYTHONS = {"hf": ".venv-parity", "fairseq": ".venv-fairseq"}
_MORE_SLOTS = 1.2
"""For padding: a batch of fairseq's is limited by its slots, of which a sixth is empty."""
_DEFINITIONS = {
    "recipe": "as ours, but that both take the rate of eq. 3 an update later, fairseq spreads the "
    "smoothing over the other words, and each draws its first weights as it does",
    "updates": "as many as ours, of as many tokens, of two batches each, as on two devices. hf "
    "takes batches of so many pairs of like length, in the order of its sampler for that: from "
    "long to short, some times an epoch; fairseq batches of so many slots, in any order",
    "pieces": "those of ours; pairs of train that ours left out as too long are left out",
    "course": "after each epoch: seconds of updates so far with reading, without validating and "
    "saving (ours with compiling and saving); nats per token of dev, unsmoothed; BLEU of greedy "
    "outputs for the first sentences of dev, as many as ours validates by",
    "speed": "source and target tokens with EOS, without padding, over those seconds; all with "
    "large pages of memory, one training after another, not in turns; what else the machine did "
    "meanwhile is not measured",
    "scores": "of its own beam search, with the last weights and with the mean of the last epochs; "
    "fairseq keeps whole epochs alone, so that its mean may be up to one older",
    "memory": "the most that the training process had resident",
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
    """Commit, versions and hardware are those of the last."""
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
        with locked(folder / "lock", wait=False) as lock, progress(console) as bar:
            recipe = _write_recipe(folder, experiment, prepared)
            step = bar.add_task(f"Training {toolkit}", total=experiment.train.num_steps)
            _train(_Worker([*worker, "train"], folder, lock), task, prepared, bar, step)
            bar.update(step, description=f"Translating by {toolkit}")
            paths = [output_path(folder, w, name) for w in WEIGHTS for name in recipe.tests]
            if not all(path.is_file() for path in paths):
                list(_Worker([*worker, "translate"], folder, lock).rows())
            record = _record(folder, toolkit, recipe, prepared, task)
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
        "model.scale_embedding": (model.scale_embedding, True),
        "model.logits_bias": (model.logits_bias, False),
        "model.target_space_embedding": (model.target_space_embedding, False),
        "train.initial": (experiment.train.initial, ""),
        "decode.length_penalty_form": (experiment.decode.length_penalty_form, "length"),
    }
    for name, (found, value) in wanted.items():
        if found != value:
            times = " times num_heads" if name.endswith(("d_k", "d_v")) else ""
            raise UserError(f"{name}{times} is {found!r}; toolkits are set to {value!r} alone.")
    if not experiment.train.validate_sentences:
        raise UserError("train.validate_sentences is 0; wanted some, of which BLEU is taken.")


# --- What it is given ---------------------------------------------------------------------------


def _write_recipe(folder: Path, experiment: Experiment, prepared: Prepared) -> Recipe:
    """The recipe and the text; a folder that has another recipe, or another text, is refused."""
    pairs = sum(c.num_pairs for c in prepared.train.classes)
    about = experiment.train.seed, experiment.data.tokens_per_update, prepared.tokenizer.bos
    per_epoch = Updates(prepared.train, *about).per_epoch
    recipe = Recipe(
        experiment=experiment,
        fingerprint=prepared.fingerprint,
        pairs_per_batch=math.ceil(pairs / (BATCHES * per_epoch)),
        slots_per_batch=_slots(experiment),
        tests=list(prepared.test_sets),
    )
    if (folder / "recipe.json").is_file():
        if Recipe.read(folder) != recipe:
            raise UserError(
                f"{folder} holds a training by another recipe or on other text; delete it, or give "
                "another folder by --out."
            )
        return recipe
    tokenizer = prepared.tokenizer
    special = tokenizer.pad, tokenizer.unknown, tokenizer.bos, tokenizer.eos
    if type(tokenizer) is not Tokenizer or special != tuple(range(4)):
        raise UserError("The run has a tokenizer of its own; toolkits are given one of `aiayn`.")
    text = prepared.folder / "text"
    _write_text(folder, "train", read_split(text, "train", "src"), tokenizer, experiment)
    dev = list(zip(*(prepared.lines("dev", side) for side in ("src", "tgt")), strict=True))
    _write_text(folder, "valid", dev, tokenizer)
    _write_text(folder, "first", dev[: experiment.train.validate_sentences], tokenizer)
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


class _Worker:
    """A toolkit's process, which holds the lock of its folder as well, should we be killed."""

    def __init__(self, command: Sequence[str], folder: Path, lock: int):
        self.command, self.folder, self.lock = [*command, str(folder)], folder, lock

    def rows(self) -> Generator[dict[str, Any]]:
        """What it tells; what its libraries print goes to `log`.

        Raises:
            UserError: it failed.
        """
        path = self.folder / "log"
        with path.open("ab") as log:
            process = subprocess.Popen(
                self.command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **LARGE_PAGES},
                pass_fds=[self.lock],
            )
            assert process.stdout
            try:
                yield from map(json.loads, process.stdout)
                status = process.wait()
            finally:
                process.kill()
                process.wait()
        if status:
            last = path.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
            raise UserError(
                f"{' '.join(self.command)} ended with status {status}: {''.join(last)} (all of it "
                f"is in {path}). The same command goes on where it was."
            )


def _train(
    worker: _Worker, task: Translation, prepared: Prepared, bar: Progress, step: TaskID
) -> None:
    """Have it train up to the last update. Each row is kept as it comes, with the BLEU of its
    outputs; in `about.json` what it says of itself, and what it trains on."""
    folder = worker.folder
    recipe, rows = Recipe.read(folder), _course(folder)
    references = prepared.lines("dev", "tgt")[: recipe.experiment.train.validate_sentences]
    known = read_json(folder / ABOUT) if (folder / ABOUT).is_file() else {}
    if known.get("done"):
        return
    write_text(folder / COURSE, "".join(json.dumps(row) + "\n" for row in rows))
    bar.update(step, completed=rows[-1]["updates"] if rows else 0)
    for told in worker.rows():
        if "outputs" not in told:
            known = {**told, **environment(), "sessions": known.get("sessions", 0) + 1}
            known["versions"] |= told["versions"]
            write_text(folder / ABOUT, json.dumps(known))
            continue
        lines = _joined(told.pop("outputs"), prepared.tokenizer)
        bleu = task.headline(lines, references, recipe.experiment.data.tgt).value
        with (folder / COURSE).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**told, "dev_bleu": bleu}) + "\n")
        bar.update(step, completed=told["updates"])
    write_text(folder / ABOUT, json.dumps({**known, "done": True}))


def _course(folder: Path) -> list[dict[str, Any]]:
    """The rows of a training, each epoch once."""
    found = {row["updates"]: row for row in read_metrics(folder / COURSE)}
    return [found[updates] for updates in sorted(found)]


def _joined(sentences: Iterable[Sequence[str]], tokenizer: Tokenizer) -> list[str]:
    """Pieces as text, each sentence on one line."""
    return list(map(one_line, tokenizer.decode([tokenizer.ids(p) for p in sentences])))


# --- What it came to ----------------------------------------------------------------------------


def _record(
    folder: Path,
    toolkit: str,
    recipe: Recipe,
    prepared: Prepared,
    task: Translation,
) -> ToolkitRun:
    experiment, rows, about = recipe.experiment, _course(folder), read_json(folder / ABOUT)
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
            scores[name][label] = scored_or_not(task.score, lines, references, sources, experiment)
    splits = prepared.manifest.splits
    tokens = sum(c.src_tokens + c.tgt_tokens for c in prepared.train.classes) * rows[-1]["epochs"]
    values = {
        **about,
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
    dev_sentences: int
    """Of dev, those whose BLEU is in the course."""
    is_ours: bool = False


def of_toolkit(run: ToolkitRun) -> Trained:
    """A toolkit's, from its record."""
    found = run.scores, run.course, run.tokens_per_second, run.peak_bytes, run.hardware
    train = run.config["train"]
    return Trained(run.toolkit, train["seed"], *found, train["validate_sentences"])


def of_ours(record: Record, rows: Sequence[Mapping[str, Any]]) -> Trained:
    """A run of ours, with the rows of its metrics."""
    peak = max((row.get("peak_bytes", 0) for row in rows), default=0)
    course = course_of(rows)
    tokens = max((row.get("tokens", 0) for row in rows), default=0)
    speed = tokens / course[-1].seconds if course else record.tokens_per_second
    found = record.scores, course, speed, peak, record.hardware
    train, drawn = record.config["train"], record.config["model"].get("initializer", "glorot")
    name = "aiayn" if drawn == "glorot" else f"aiayn, initializer {drawn}"
    return Trained(name, train["seed"], *found, train["validate_sentences"], is_ours=True)


def figures(every: Sequence[Trained]) -> list[list[str]]:
    """The figures as text: a head, then a row for each training."""
    tests = list(dict.fromkeys(name for each in every for name in each.scores))
    reached = f"s to {WANTED:g} BLEU on {every[0].dev_sentences:,} sentences of dev"
    last = "updates", "s of updates", reached, "tokens/s", "memory", "on"
    first = f"{tests[0]}, last weights"
    rows = [["trained by", "seed", *tests, first, "dev perplexity", *last]]
    for each in every:
        of = [list(each.scores.get(name, {}).values()) for name in tests]
        means = [_bleu(scores[-1]) if scores else "–" for scores in of]
        single = _bleu(of[0][0]) if of[0] else "–"
        end, reached = each.course[-1], seconds_to(each.course)
        rows.append(
            [
                *(each.name, str(each.seed), *means, single),
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
    """What the figures are of."""
    return f"{experiment} by other toolkits, of the same pieces and recipe"


def scored_by(every: Sequence[Trained]) -> str:
    """What the scores of the test sets are."""
    names = {
        bleu_name(scores["sacrebleu"].how)
        for each in every
        for by_weights in each.scores.values()
        for scores in by_weights.values()
    }
    return f"{' or '.join(sorted(names))}, by the mean of the last weights unless said otherwise"


def table(run: ToolkitRun, run_dir: Path) -> Table:
    """The figures, beside those of the run of ours where that is finished, for a terminal."""
    every = [of_toolkit(run)]
    rows = read_metrics(run_dir / "metrics.jsonl")
    if (run_dir / OF_RUN).is_file() and course_of(rows):
        every.insert(0, of_ours(read_record(run_dir), rows))
    return grid(f"{title(run.experiment)}; {scored_by(every)}", figures(every))
