"""Table 3 in miniature: all its rows at a small size, over several seeds (§6.2).

A row changes the small base as the paper's row changes the paper's: sizes and updates by the same
factor, rates and kinds to the same value. Like Table 3, every row is scored on dev, with the last
checkpoint. Further rows show what our deviations cost (experiments/DEVIATIONS.md). Each run lies in
a folder of its own; what is finished there is not run again.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from aiayn.config import Experiment
from aiayn.data.prepare import Prepared, open_prepared, prepare
from aiayn.errors import UserError, naming
from aiayn.evaluation.average import average
from aiayn.evidence.paper import TABLE_3
from aiayn.evidence.records import AblatedRun, Ablation, Row, TextModel
from aiayn.evidence.sweep import figure_on_dev, measure_of
from aiayn.evidence.table3 import DEVIATIONS, ROWS, panels
from aiayn.model.flops import matmul_flops
from aiayn.model.saved import Model
from aiayn.model.structure import count_parameters
from aiayn.render.terminal import Terminal
from aiayn.system import records
from aiayn.system.environment import configure_jax
from aiayn.system.files import locked, user_os_errors, write_bytes
from aiayn.system.workers import as_finished
from aiayn.tasks import task_of, translation_of
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.log import read_metrics
from aiayn.training.loop import train
from aiayn.training.run_folder import begun_run, in_use, read_sessions

_SCORES = "dev.json"
"""What a finished run of an ablation holds; written last of all."""


def folder_key(experiment: Experiment) -> str:
    """What tells apart runs that make something else: of all settings but those of memory, of logs
    and of test sets, with which a run goes on as it was."""
    values = experiment.portable()
    for section, name in _ASIDE:
        values[section].pop(name)
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


_ASIDE = (
    *(("data", "folder"), ("data", "test_files")),
    *(("train", name) for name in ("log_every", "validate_sentences", "slots_per_device")),
    *(("decode", name) for name in ("slots_per_batch", "score_dev")),
)


def changes(base: Experiment, row: str) -> dict[str, Any]:
    """What a row sets at the size of `base`, by the names of settings; a base of no preset keeps to
    none.

    Raises:
        UserError: a factor of the paper's that leaves no whole number here.
    """
    if row in DEVIATIONS:
        found = dict(DEVIATIONS[row])
        if base.preset == "custom" and "preset" in found:
            found["preset"] = base.preset
        return found
    paper = asdict(Experiment(name="paper"))
    own = asdict(base)
    found: dict[str, Any] = {}
    for key, value in TABLE_3[row].changes.items():
        section, name = key.split(".")
        if isinstance(value, int):
            scaled = own[section][name] * Fraction(value, paper[section][name])
            if scaled.denominator != 1:
                raise UserError(
                    f"{key} of {base.name} is {own[section][name]}; wanted a number that row {row} "
                    f"of Table 3 can take times {value}/{paper[section][name]}."
                )
            value = int(scaled)
        found[key] = value
    return found


def variant(base: Experiment, row: str, seed: int) -> Experiment:
    """The experiment of a row and a seed."""
    assignments = [f"{key}={value}" for key, value in changes(base, row).items()]
    made = base.with_overrides([*assignments, f"train.seed={seed}"])
    return replace(made, name=f"{base.name}_{row.lower()}_{seed}")


class FinishedRun(AblatedRun, kw_only=True):
    """A run of an ablation with all that says whether it need be run again."""

    row: str
    config: dict[str, Any]
    data_fingerprint: str
    signature: str
    parameters: int
    versions: dict[str, str]


@dataclass(frozen=True)
class Run:
    """One row with one seed, and where it lives."""

    row: str
    experiment: Experiment
    run_dir: Path
    data: Path
    """The folder of the prepared data."""
    num_jobs: int
    """Runs that share the machine."""
    takes_best: bool = False
    """Whether the checkpoint with the lowest loss on dev is scored instead of the last."""

    @property
    def cost(self) -> float:
        """FLOPs of its training, up to a factor that all runs share."""
        experiment = self.experiment
        return experiment.train.num_steps * matmul_flops(
            experiment.model, experiment.data.vocab_size, 1, 1
        )

    def share_done(self) -> float:
        """How much of its training is on disk, 0 to 1."""
        rows = read_metrics(self.run_dir / "metrics.jsonl")
        return rows[-1]["step"] / self.experiment.train.num_steps if rows else 0.0


def ablate(
    base: Experiment,
    folder: Path,
    data_dir: Path,
    console: Console,
    *,
    num_seeds: int,
    num_jobs: int,
    rows: Sequence[str] = ROWS,
    earlier: Path | None = None,
) -> Ablation:
    """Train and score what is not finished in `folder`; the record, also in `ablation.json`.

    `num_jobs` runs are under way at once, each in a process with its share of the processors, and
    of an accelerator's memory. `ablation.png` beside the record shows it. The runs of `earlier`, a
    record as this writes it, count as finished: seeds can be added to it, on another machine too.

    Raises:
        UserError: `base` does not translate, or is of a size that some row cannot scale; a folder
            holds another run; the earlier record is of another experiment or text; or another
            process is at work in `folder`.
    """
    from aiayn.evidence.plots import plot_ablation

    open_source = translation_of(base).open_source
    seeds = range(base.train.seed, base.train.seed + num_seeds)
    variants = {(row, seed): variant(base, row, seed) for seed in seeds for row in rows}
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with user_os_errors(folder), locked(folder / "lock", wait=False):
        prepared = prepare(base.data, data_dir, open_source=open_source)
        runs = {
            (row, seed): Run(row, made, folder / f"{row}-{seed}", prepared.folder, num_jobs)
            for (row, seed), made in variants.items()
        }
        set_by = {row: changes(base, row) for row in rows}
        recorded = read_record(earlier, base, prepared, set_by, seeds) if earlier else {}
        share_machine(num_jobs)
        finished = finish(base.name, runs, recorded, num_jobs, console)
        record = record_of(base, prepared, finished, set_by)
        records.write(folder / "ablation.json", record)
        plot_ablation(f"{base.name}: Table 3 in miniature", panels(record), folder / "ablation.png")
    return record


def finish(
    name: str,
    runs: Mapping[tuple[str, int], Run],
    recorded: Mapping[tuple[str, int], FinishedRun],
    num_jobs: int,
    console: Console,
) -> list[FinishedRun]:
    """Train and score the runs that are neither finished in their folders nor recorded; all of
    them, in their order."""
    data = {folder: open_prepared(folder) for folder in {run.data for run in runs.values()}}
    finished = {
        run.run_dir: found
        for key, run in runs.items()
        if (found := _read_scores(run, data[run.data]) or recorded.get(key))
    }
    # Seed by seed, so that a whole table is there early; long runs first, so that none lags behind.
    waiting = sorted(
        (run for run in runs.values() if run.run_dir not in finished),
        key=lambda run: (run.experiment.train.seed, -run.cost),
    )
    with _View(name, list(runs.values()), finished, console) as view:
        for run, found in as_finished(_perform, waiting, num_jobs):
            finished[run.run_dir] = found
            view.say_finished(found)
    return [finished[run.run_dir] for run in runs.values()]


def record_of(
    base: Experiment,
    prepared: Prepared,
    finished: Sequence[FinishedRun],
    set_by: Mapping[str, Mapping[str, Any]],
    text_models: Sequence[TextModel] = (),
) -> Ablation:
    """The record of all rows and seeds; `set_by` has what each row sets."""
    rows: dict[str, Row] = {}
    for found in finished:
        row = rows.setdefault(found.row, Row({**set_by[found.row]}, found.parameters, []))
        row.runs.append(msgspec.convert(found, AblatedRun, from_attributes=True))
    return Ablation(
        experiment=base.name,
        preset=base.preset,
        config=base.portable(),
        config_hash=base.hash(),
        split="dev",
        sentences=len(prepared.lines("dev", "src")),
        # A recorded run has those of its whole record.
        signature="; ".join(
            dict.fromkeys(s for run in finished for s in run.signature.split("; "))
        ),
        data_fingerprint=prepared.fingerprint,
        versions={
            name: ", ".join(sorted({v for run in finished for v in run.versions[name].split(", ")}))
            for name in finished[0].versions
        },
        rows=rows,
        text_models=list(text_models),
    )


def read_record(
    path: Path,
    base: Experiment,
    prepared: Prepared,
    set_by: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
) -> dict[tuple[str, int], FinishedRun]:
    """The runs of an earlier record, by row and seed, of the rows that are as they were.

    Raises:
        UserError: it is no such record, of another experiment or text, or has a seed that is not
            among those wanted, and would be lost.
    """
    record = records.read(path, Ablation, "an ablation")
    with naming(path):
        if not base.is_same(record.config):
            raise UserError(f"it is of {record.experiment}, or of other settings of it.")
        if not prepared.is_of(record.data_fingerprint):
            raise UserError("it is of other text than what is prepared here.")
        known = {run.seed for found in record.rows.values() for run in found.runs}
        if lost := sorted(known.difference(seeds)):
            found, left = (", ".join(map(str, each)) for each in (sorted(known), lost))
            raise UserError(
                f"it has seeds {found}, of which {left} would be left out; wanted --seeds "
                f"{len(known)} or more."
            )
    return {
        (row, run.seed): FinishedRun(
            row=row,
            config=record.config,
            data_fingerprint=record.data_fingerprint,
            parameters=found.parameters,
            signature=record.signature,
            versions=record.versions,
            **msgspec.structs.asdict(run),
        )
        for row, found in record.rows.items()
        for run in found.runs
        if set_by.get(row) == found.changes and run.averaged == _averaged(base)
    }


def with_tokenizer(base: Experiment, prepared: Prepared, folder: Path) -> Experiment:
    """The base with the tokenizer of all the text, whatever part of it a row trains on; it lies
    beside the runs, which name it, wherever the prepared data are."""
    path = folder / "tokenizer.model"
    write_bytes(path, (prepared.folder / path.name).read_bytes())
    words = prepared.tokenizer.num_words
    return replace(base, data=replace(base.data, tokenizer=str(path), vocab_size=words))


def share_machine(num_jobs: int) -> None:
    """Give each process that is started from now on its part of the machine."""
    cores = (os.cpu_count() or 1) // num_jobs
    os.environ.setdefault("NPROC", str(max(1, cores)))  # the threads of XLA on CPU
    if "XLA_PYTHON_CLIENT_MEM_FRACTION" not in os.environ:  # the older name of the same setting
        os.environ.setdefault("XLA_CLIENT_MEM_FRACTION", f"{0.75 / num_jobs:.3f}")


def _read_scores(run: Run, prepared: Prepared) -> FinishedRun | None:
    """The scores of a run that is finished, of this experiment and of this data."""
    try:
        found = records.read(run.run_dir / _SCORES, FinishedRun, "a run of an ablation")
        begun_run(run.experiment, run.run_dir)
        same_data = prepared.is_of(found.data_fingerprint)
        same_figure = found.averaged == _averaged(run.experiment)
        same_run = same_data and run.experiment.is_same(found.config)
        return found if same_run and same_figure else None
    # Missing, damaged, or of another run, by paths that records do not have: training decides.
    except (OSError, UserError, LookupError, TypeError):
        return None


def _averaged(experiment: Experiment) -> int:
    """How many checkpoints are averaged before a run is scored."""
    return experiment.decode.average_last if experiment.task == "parsing" else 1


def scored_model(run: Run, prepared: Prepared) -> tuple[Model, dict[str, Any]]:
    """Of a run that is trained to its end, the model that is scored, and the totals of its log: the
    last checkpoint, as in Table 3, or the best one, with its figures on dev; but of a parser the
    mean of those that its experiment averages, since single ones scatter by more than what rows are
    to tell."""
    experiment, checkpoints = run.experiment, Checkpoints.open(run.run_dir)
    assert checkpoints.newest() == experiment.train.num_steps
    steps = checkpoints.last(_averaged(experiment))
    totals = {step: checkpoints.totals(step) or {} for step in checkpoints.steps()}
    if run.takes_best:
        steps = [min(totals, key=lambda step: totals[step]["dev"]["dev_loss"])]
    model = Model(experiment, prepared.tokenizer, average(checkpoints, steps))
    checkpoints.close()
    return model, {**totals[experiment.train.num_steps], "dev": totals[steps[-1]]["dev"]}


def _perform(run: Run) -> FinishedRun:
    """Train a run to its end, score dev, and write the scores; in a process of its own."""
    configure_jax()
    experiment, prepared = run.experiment, open_prepared(run.data)
    task = task_of(experiment)
    try:
        with in_use(run.run_dir):
            validate = task.make_validator
            train(experiment, run.run_dir, prepared, Terminal(quiet=True), validate)
    except UserError as error:
        raise UserError(f"Row {run.row}, seed {experiment.train.seed}: {error}") from None
    began = time.perf_counter()
    figure = figure_on_dev(experiment, prepared)
    model, totals = scored_model(run, prepared)
    headline = figure(model, experiment.decode)
    sessions = read_sessions(run.run_dir)
    values = {
        "row": run.row,
        "seed": experiment.train.seed,
        "config": experiment.portable(),
        "data_fingerprint": prepared.fingerprint,
        "perplexity": totals["dev"]["dev_perplexity"],
        "bleu": headline.value,
        "signature": headline.signature,
        "parameters": count_parameters(experiment.model, prepared.tokenizer.num_words),
        "averaged": _averaged(experiment),
        "updates": totals["dev"]["step"],
        "seconds": totals["seconds"] + time.perf_counter() - began,
        "commits": sorted({session["commit"] for session in sessions}),
        "jobs": run.num_jobs,
        **{key: sessions[-1][key] for key in ("versions", "hardware")},
    }
    found = msgspec.convert(values, FinishedRun)
    records.write(run.run_dir / _SCORES, found)
    return found


# --- What is shown meanwhile --------------------------------------------------------------------


class _View:
    """All runs as one: a bar over the whole, which rows train, what has come out."""

    def __init__(
        self,
        name: str,
        runs: Sequence[Run],
        finished: Mapping[Path, FinishedRun],
        console: Console,
    ):
        self._name, self._runs, self._finished, self._console = name, runs, finished, console
        self._measure = measure_of(runs[0].experiment)
        self._bar = Progress(
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:.1f}%"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=600,
        )
        self._task = self._bar.add_task("ablate", total=sum(run.cost for run in runs))
        self._live = Live(console=console, get_renderable=self._renderable, refresh_per_second=1)

    def _renderable(self) -> Group:
        grid = Table(title=f"{self._name}: {self._counted()}", title_justify="left")
        for heading in ("row", "dev perplexity", f"dev {self._measure}", "training"):
            grid.add_column(heading)
        done = 0.0
        for row in dict.fromkeys(run.row for run in self._runs):
            perplexities, scores, training = list[str](), list[str](), list[str]()
            for run in (run for run in self._runs if run.row == row):
                found = self._finished.get(run.run_dir)
                share = 1.0 if found else run.share_done()
                done += share * run.cost
                if found:
                    perplexities.append(f"{found.perplexity:.2f}")
                    scores.append(f"{found.bleu:.1f}")
                elif share:
                    training.append(f"seed {run.experiment.train.seed}: {share:.0%}")
            grid.add_row(row, *(", ".join(texts) for texts in (perplexities, scores, training)))
        self._bar.update(self._task, completed=done)
        return Group(self._bar, Text("Ctrl-C stops; the same command continues."), grid)

    def _counted(self) -> str:
        return f"{len(self._finished)} of {len(self._runs)} runs"

    def say_finished(self, found: FinishedRun) -> None:
        """A line for a log; a terminal has the table."""
        if not self._console.is_terminal:
            text = (
                f"{found.row}, seed {found.seed}: dev perplexity {found.perplexity:.2f}, "
                f"{self._measure} {found.bleu:.2f}, {found.seconds / 60:.1f} min "
                f"({self._counted()})"
            )
            self._console.print(text)

    def __enter__(self) -> "_View":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
