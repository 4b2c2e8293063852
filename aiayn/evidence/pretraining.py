"""Translators whose decoder was a language model before, beside translators from random weights.

From few pairs and from many, with a decoder drawn at random and with one that was trained on the
target side of all pairs; from the fewest pairs also with fewer of its layers. All have the
tokenizer of all pairs, the same dev, and as many updates, of which the best on dev counts: few
pairs are learnt by heart before many are read once. Attention to the encoder, which a
language model has not, is always drawn. Each seed has a language model of its own. `transfer` says
what came out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from aiayn.config import DataConfig, Experiment
from aiayn.data.prepare import open_prepared, prepare
from aiayn.errors import UserError
from aiayn.evaluation.average import average_run
from aiayn.evidence.ablation import (
    Run,
    finish,
    folder_key,
    read_record,
    record_of,
    share_machine,
    with_tokenizer,
)
from aiayn.evidence.records import Ablation, TextModel
from aiayn.evidence.transfer import LAYERS, SIZES, rows_of
from aiayn.model.saved import MODEL, load_model
from aiayn.model.structure import params_sha256
from aiayn.render.terminal import Terminal
from aiayn.system import records
from aiayn.system.environment import configure_jax
from aiayn.system.files import locked, user_os_errors
from aiayn.system.workers import as_finished
from aiayn.tasks import task_of, translation_of
from aiayn.training.log import read_metrics
from aiayn.training.loop import train
from aiayn.training.run_folder import check_run, in_use


def text_model(base: Experiment, seed: int) -> Experiment:
    """The language model of the target side, of the sizes of the base, with as many updates of as
    many tokens as a translator has on both sides."""
    defaults = DataConfig()
    data = replace(
        base.data,
        src="",
        columns=base.data.columns[1:],
        max_ratio=defaults.max_ratio,
        src_tokens_per_update=defaults.src_tokens_per_update,
        tgt_tokens_per_update=base.data.src_tokens_per_update + base.data.tgt_tokens_per_update,
    )
    model = replace(base.model, kind="decoder")
    name, seeded = f"{base.name}_text_{seed}", replace(base.train, seed=seed)
    return replace(base, name=name, task="language_model", data=data, model=model, train=seeded)


def variant(base: Experiment, row: str, changes: Mapping[str, Any], text: Path) -> Experiment:
    """The translator of a row; `text` is the run of the language model, of the same seed."""
    assignments = [f"{key}={value}" for key, value in changes.items()]
    initial = [f"train.initial={text}"] if LAYERS in changes else []
    made = base.with_overrides([*initial, *assignments])
    return replace(made, name=f"{base.name}_{row}_{base.train.seed}")


def pretrain(
    base: Experiment,
    folder: Path,
    data_dir: Path,
    console: Console,
    *,
    num_seeds: int,
    num_jobs: int,
    earlier: Path | None = None,
    sizes: Sequence[int] = SIZES,
) -> Ablation:
    """As `aiayn.evidence.ablation.ablate`: train and score what is not finished in `folder`.

    Raises:
        UserError: as there; train has fewer pairs than the largest size, or loses some to dev,
            which the language model would read; or the base starts from a model itself.
    """
    from aiayn.evidence.plots import plot_pretraining

    if base.train.initial:
        raise UserError(
            f"train.initial is {base.train.initial!r}; wanted none, since the rows say what they "
            "start from."
        )
    if base.data.holdout_pairs:
        raise UserError(
            f"data.holdout_pairs is {base.data.holdout_pairs:,}; wanted 0 and sets of their own, "
            "since the language model would read what is held out from the translators."
        )
    rows = rows_of(base, sizes)
    seeds = range(base.train.seed, base.train.seed + num_seeds)
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with user_os_errors(folder), locked(folder / "lock", wait=False):
        open_source = translation_of(base).open_source
        prepared = prepare(base.data, data_dir, open_source=open_source)
        found = prepared.manifest.splits["train"]
        if found.read < max(sizes):
            raise UserError(
                f"{base.name} has {found.read:,} pairs of train; wanted {max(sizes):,} or more, "
                "the largest part of them that is read."
            )
        recorded = read_record(earlier, base, prepared, rows, seeds) if earlier else {}
        known = records.read(earlier, Ablation, "an ablation").text_models if earlier else []
        share_machine(num_jobs)
        given = with_tokenizer(base, prepared, folder)
        texts: dict[int, Run] = {}
        runs: dict[tuple[str, int], Run] = {}
        for seed in seeds:
            texts[seed] = text = _text_run(text_model(given, seed), folder, data_dir, num_jobs)
            seeded = replace(given, train=replace(given.train, seed=seed))
            for row, changes in rows.items():
                made = variant(seeded, row, changes, text.run_dir)
                data = prepare(made.data, data_dir, open_source=open_source).folder
                where = folder / f"{row}-{seed}"
                runs[row, seed] = Run(row, made, where, data, num_jobs, takes_best=True)
        # A recorded language model is not here to start from: its seed is trained anew as a whole.
        here = [seed for seed in seeds if any((row, seed) not in recorded for row in rows)]
        recorded = {key: run for key, run in recorded.items() if key[1] not in here}
        _write_text_models([texts[seed] for seed in here], base.data.tgt, num_jobs, console)
        text_models = {each.seed: each for each in known}
        text_models |= {seed: _text_model_of(texts[seed]) for seed in here}
        finished = finish(base.name, runs, recorded, num_jobs, console)
        record = record_of(base, prepared, finished, rows, list(text_models.values()))
        records.write(folder / "ablation.json", record)
        plot_pretraining(record, folder / "ablation.png")
    return record


def _text_run(made: Experiment, folder: Path, data_dir: Path, num_jobs: int) -> Run:
    """A language model's run, in a folder of its settings: translators that started from another
    than theirs are refused."""
    prepared = prepare(made.data, data_dir, open_source=task_of(made).open_source)
    run_dir = folder / f"text-{made.train.seed}-{folder_key(made)}"
    check_run(made, run_dir, prepared)
    return Run("text", made, run_dir, prepared.folder, num_jobs)


def _write_text_models(runs: Sequence[Run], side: str, num_jobs: int, console: Console) -> None:
    """Train and average the language models that are not there."""
    missing = [run for run in runs if not (run.run_dir / MODEL).is_dir()]
    if not missing:
        return
    console.print(f"Training {len(missing)} language models on the {side} side of all pairs first.")
    for run, minutes in as_finished(_write_text_model, missing, num_jobs):
        console.print(f"Language model of seed {run.experiment.train.seed}: {minutes:.1f} min")


def _text_model_of(run: Run) -> TextModel:
    """What the record keeps of a language model."""
    dev = [row for row in read_metrics(run.run_dir / "metrics.jsonl") if "dev_perplexity" in row]
    return TextModel(
        seed=run.experiment.train.seed,
        perplexity=dev[-1]["dev_perplexity"],
        seconds=dev[-1]["seconds"],
        params_sha256=params_sha256(load_model(run.run_dir / MODEL).params),
    )


def _write_text_model(run: Run) -> float:
    """Train one to its end and average it, in a process of its own; its minutes."""
    configure_jax()
    validate = task_of(run.experiment).make_validator
    with in_use(run.run_dir):
        quiet = Terminal(quiet=True)
        train(run.experiment, run.run_dir, open_prepared(run.data), quiet, validate)
        average_run(run.run_dir)
    return read_metrics(run.run_dir / "metrics.jsonl")[-1]["seconds"] / 60
