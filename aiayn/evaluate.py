"""From a trained run to its scores: average, translate, score, picture, record (§6.1)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from aiayn import bleu, hosts
from aiayn.attention import look
from aiayn.checkpoint import (
    Checkpoints,
    Model,
    average,
    load_model,
    params_sha256,
    portable,
    save_model,
)
from aiayn.config import Experiment
from aiayn.decode import Translator
from aiayn.errors import UserError
from aiayn.files import read_json, user_os_errors, write_text
from aiayn.formats import read_text
from aiayn.model import count_parameters
from aiayn.prepare import Prepared
from aiayn.report import environment, read_metrics
from aiayn.run import RECORD, read_run, read_sessions

MODEL = "model"
"""The averaged model in a run directory: what `translate` uses."""


def average_run(run_dir: Path, last: int | None = None) -> tuple[Model, list[int]]:
    """Write the mean of the newest checkpoints to `run_dir/model`; the model and its steps.

    `last` says how many; None takes the experiment's number, or all where there are fewer.

    Raises:
        UserError: there are fewer checkpoints than that.
    """
    experiment, _ = read_run(run_dir)
    checkpoints = Checkpoints.open(run_dir)
    steps = checkpoints.last(last or experiment.decode.average_last)
    if last is not None and len(steps) != last:
        raise UserError(
            f"{run_dir} holds {len(steps)} checkpoints in a row; wanted {last} to average. "
            "Train on, or ask for another number (--last)."
        )
    hosts.check_same(f"last of {len(steps)} checkpoints in {run_dir}", steps[-1])
    _, tokenizer = checkpoints.about(steps[-1])
    model = Model(experiment, tokenizer, average(checkpoints, steps))
    if hosts.first():
        save_model(run_dir / MODEL, model)
    checkpoints.close()
    return model, steps


def evaluate_run(run_dir: Path, prepared: Prepared, console: Console) -> None:
    """Score every test set with the last checkpoint and with the average; show and record it all.

    With `decode.score_dev`, dev is scored like a test set.

    Writes hypotheses and references, `scores.json`, `curves.png`, `attention.png` and, last of
    all, `result.json`. All processes translate, the first alone does the rest.

    Raises:
        UserError: the run was trained on other data than this.
    """
    check_data(run_dir, prepared)
    experiment, _ = read_run(run_dir)
    averaged, steps = average_run(run_dir)
    newest = steps[-1]
    checkpoints = Checkpoints.open(run_dir)
    last = Model(experiment, averaged.tokenizer, checkpoints.params(newest))
    checkpoints.close()
    labels = {f"last checkpoint ({newest:,})": last, f"average of {len(steps)}": averaged}

    test_sets = prepared.test_sets | ({"dev": "dev"} if experiment.decode.score_dev else {})
    results: dict[str, dict[str, bleu.Scores]] = {name: {} for name in test_sets}
    outputs: dict[str, list[str]] = {}
    for label, model in labels.items():
        folder = run_dir / "outputs" / ("averaged" if model is averaged else "last")
        for name, split in test_sets.items():
            sources, references = (prepared.lines(split, side) for side in ("src", "tgt"))
            outputs[name] = translate_file(model, sources, console, f"{name}, {label}")
            if not hosts.first():
                continue
            _write_lines(folder, name, sources, outputs[name], references)
            results[name][label] = bleu.score(
                outputs[name],
                references,
                sources,
                src=experiment.data.src,
                tgt=experiment.data.tgt,
            )
    if not hosts.first():
        return
    scores = {
        name: {label: found.to_dict() for label, found in rows.items()}
        for name, rows in results.items()
    }
    write_text(run_dir / "scores.json", json.dumps(scores, indent=1, ensure_ascii=False) + "\n")
    console.print(bleu.table(results, title=f"{experiment.name}: BLEU and chrF2"))
    _show_samples(prepared, outputs, console)
    _pictures(run_dir, averaged, prepared, outputs)

    record = _record(experiment, run_dir, prepared, newest, steps, scores)
    write_text(run_dir / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    console.print(f"Record {run_dir / RECORD}, pictures curves.png and attention.png there.")


def check_data(run_dir: Path, prepared: Prepared) -> None:
    """Raises UserError if the run was trained on other data than this."""
    if read_run(run_dir)[1] != prepared.fingerprint:
        raise UserError(
            f"{run_dir} was trained on other data than {prepared.folder} holds now, so its test "
            "sets or its tokenizer are not the run's. Bring the old text back, or train anew."
        )


def translate_file(
    model: Model, sources: Sequence[str], console: Console, description: str
) -> list[str]:
    """The best translation of every line, shared out to all processes, with a progress bar."""
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        translator = Translator(model)

        def translate(share: Sequence[str]) -> list[str]:
            task = bar.add_task(f"Translating {description}", total=len(share))
            return translator.best(share, lambda count: bar.update(task, completed=count))

        return hosts.shared_out(translate, sources)


def evaluate_files(path: Path, src: Path, ref: Path, console: Console) -> bleu.Scores:
    """Translate the lines of `src` with a model and score them against `ref`."""
    model = model_of(path)
    sources, references = read_parallel(src, ref)
    data = model.experiment.data
    hypotheses = translate_file(model, sources, console, src.name)
    found = bleu.score(hypotheses, references, sources, src=data.src, tgt=data.tgt)
    console.print(bleu.table({src.name: {"": found}}))
    return found


def show_record(run_dir: Path, record: Mapping[str, Any], console: Console) -> None:
    """The scores of a finished run, as its end showed them."""
    results = {
        name: {label: bleu.Scores.from_dict(found) for label, found in rows.items()}
        for name, rows in record["scores"].items()
    }
    console.print(f"{run_dir} is finished: {record['updates']:,} updates.")
    console.print(bleu.table(results, title=f"{record['experiment']}: BLEU and chrF2"))


def read_parallel(src: Path, tgt: Path) -> tuple[list[str], list[str]]:
    """The lines of two text files that belong together, plain or .gz.

    Raises:
        UserError: a file cannot be read or is not UTF-8, or the counts differ.
    """
    src_lines, tgt_lines = (list(read_text(path)) for path in (src, tgt))
    if len(src_lines) != len(tgt_lines):
        raise UserError(
            f"{src} has {len(src_lines):,} lines and {tgt} {len(tgt_lines):,}; wanted as many."
        )
    return src_lines, tgt_lines


def model_of(path: Path) -> Model:
    """The model in a run directory or in an exported model's own."""
    folder = path / MODEL if (path / MODEL).is_dir() else path
    if not folder.is_dir():
        raise UserError(f"{path} does not exist; wanted a run directory or a model directory.")
    if (path / "checkpoints").is_dir() and folder == path:
        raise UserError(f"{path} holds no averaged model yet; run: aiayn average {path}")
    return load_model(folder)


def _write_lines(
    folder: Path,
    name: str,
    sources: Sequence[str],
    hypotheses: Sequence[str],
    references: Sequence[str],
) -> None:
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sides = {"src": sources, "hyp": hypotheses, "ref": references}
        for side, lines in sides.items():
            write_text(folder / f"{name}.{side}", "".join(f"{line}\n" for line in lines))


def _show_samples(
    prepared: Prepared, outputs: Mapping[str, Sequence[str]], console: Console
) -> None:
    console.print("Five translations of unseen sentences:")
    test_sets = list(prepared.test_sets.items())
    for number in range(5):
        name, split = test_sets[number % len(test_sets)]
        sources, references = (prepared.lines(split, side) for side in ("src", "tgt"))
        place = number * len(sources) // 5
        for mark, text in (
            ("source   ", sources[place]),
            ("output   ", outputs[name][place]),
            ("reference", references[place]),
        ):
            console.print(f"  {mark}  {text}", markup=False, highlight=False, soft_wrap=True)
        console.print()


def _pictures(
    run_dir: Path, model: Model, prepared: Prepared, outputs: Mapping[str, Sequence[str]]
) -> None:
    from aiayn.attention_plots import plot_attention
    from aiayn.plots import plot_curves

    plot_curves(read_metrics(run_dir / "metrics.jsonl"), run_dir / "curves.png")
    name, split = next(iter(prepared.test_sets.items()))
    sources = prepared.lines(split, "src")
    # A sentence long enough to show something and short enough to read; a model that has learnt
    # little may have no output that is one.
    ids = zip(
        model.tokenizer.encode(sources), model.tokenizer.encode_target(outputs[name]), strict=True
    )
    fitting = [
        number
        for number, pair in enumerate(ids)
        if all(0 < len(side) < model.experiment.data.max_tokens for side in pair)
    ]
    if not fitting:
        return
    number = min(fitting, key=lambda n: abs(len(sources[n].split()) - 9))
    looks = look(Translator(model), sources[number], outputs[name][number])
    plot_attention(
        looks.cross[-1],
        *looks.tokens("cross"),
        run_dir / "attention.png",
        f"{model.experiment.name}: encoder-decoder attention, last layer",
    )


def _record(
    experiment: Experiment,
    run_dir: Path,
    prepared: Prepared,
    newest: int,
    averaged_steps: Sequence[int],
    scores: Mapping[str, Any],
) -> dict[str, Any]:
    # A run that was killed says more in its metrics than its newest checkpoint knows.
    rows = [row for row in read_metrics(run_dir / "metrics.jsonl") if row["step"] <= newest]
    trained = [row for row in rows if "tokens" in row]
    validated = [row for row in rows if "dev_loss" in row]
    if not trained or not validated:
        raise UserError(f"{run_dir / 'metrics.jsonl'} lacks the rows up to step {newest:,}.")
    sessions = read_sessions(run_dir)
    steps_of_row = np.diff([row["step"] for row in trained], prepend=0)

    def mean(name: str) -> float:
        return float(np.average([row[name] for row in trained], weights=steps_of_row))

    # Rows of an older version do not have it.
    waiting = [row["waiting_for_rows"] for row in trained if "waiting_for_rows" in row]
    return {
        "experiment": experiment.name,
        "preset": experiment.preset,
        "config_hash": experiment.hash(),
        "config": portable(experiment),
        **{key: sessions[-1][key] for key in ("commit", "versions", "hardware")},
        "sessions": sessions,
        "evaluated": environment(),
        "data": {
            "fingerprint": prepared.fingerprint,
            "source": dict(prepared.manifest.source),
            "pairs": {name: split.kept for name, split in prepared.manifest.splits.items()},
        },
        "parameters": count_parameters(experiment.model, prepared.tokenizer.num_words),
        "seconds": max(row["seconds"] for row in rows),
        "updates": newest,
        "tokens": trained[-1]["tokens"],
        "src_tokens_per_update": mean("src_tokens_per_update"),
        "tgt_tokens_per_update": mean("tgt_tokens_per_update"),
        "tokens_per_second": float(np.median([r["tokens_per_second"] for r in trained])),
        "waiting_for_rows": float(np.median(waiting)) if waiting else None,
        "dev": validated[-1],
        "averaged_steps": list(averaged_steps),
        "params_sha256": params_sha256(load_model(run_dir / MODEL).params),
        "scores": scores,
    }


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
            info["checkpoints"][str(step)] = _describe(checkpoints.params(step))
        checkpoints.close()
    folder = path / MODEL if (path / MODEL).is_dir() else path
    if (folder / "weights.safetensors").is_file():
        info["model"] = _describe(load_model(folder).params)
    return info


def record_lines(record: Mapping[str, Any], where: Path) -> list[str]:
    """The record of a run in some lines that are safe to show, whoever wrote it.

    Raises:
        UserError: it is of something else.
    """
    try:
        lines = [
            f"{record['experiment']} ({record['preset']}), {record['updates']:,} updates",
            f"commit {record['commit']}, {record['seconds'] / 60:.1f} minutes",
        ]
        for test, labels in record["scores"].items():
            for label, scores in labels.items():
                found = bleu.Scores.from_dict(scores)["sacrebleu"]
                lines.append(f"  {test}, {label}: BLEU {found.value:.2f}")
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{where / RECORD} is no record of a run: {error!r}.") from None
    return ["".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines]


def _describe(params: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {
        "parameters": sum(value.size for value in params.values()),
        "params_sha256": params_sha256(params),
    }
