"""A small language model beside nanoGPT's recipe, trained as long on the same text.

Both are scored on dev in nats per character, which pieces and characters share: windows of the
model's own width, each half new. Both should have had the machine to themselves.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from aiayn.bench.grid import grid
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError
from aiayn.evaluation.perplexity import text_losses
from aiayn.evaluation.record import read_record
from aiayn.model.saved import model_of
from aiayn.render.markdown import duration, hardware_text
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.records import Hardware
from aiayn.tasks import task_of
from aiayn.training.run_folder import data_of_run, read_run

_DEFINITIONS = {
    "nano": "nanoGPT's recipe for a CPU as aiayn/bench/nano_torch.py rebuilds it: characters, 4 "
    "layers of width 128, context 64, batches of 12; its cosine ends with the time",
    "ours": "the averaged model of the run; commit and hardware are those of its training",
    "nats": "the negative log-probability of dev's characters in nats",
    "seconds": "of training: those of the run, validations and checkpoints included, are given to "
    "the recipe, which has none",
}


def bench_nano(run_dir: Path, folder: Path, console: Console) -> dict[str, Any]:
    """Train the recipe on the train of a run for as long as the run took, and score both on its
    dev; the record, also in `folder/nano-EXPERIMENT.json`.

    Raises:
        UserError: PyTorch is not installed, it is no finished run of a language model, or its data
            is gone, or it was trained on another machine.
    """
    if not find_spec("torch"):
        raise UserError("The recipe is in PyTorch: .venv-parity/bin/aiayn, after make parity.")
    experiment, _ = read_run(run_dir)
    run, here = read_record(run_dir), environment()
    machine = msgspec.convert(here["hardware"], Hardware)
    if run.hardware != machine:
        raise UserError(
            f"{run_dir} was trained on {hardware_text(run.hardware)}; this is "
            f"{hardware_text(machine)}. The recipe is given as long, which is as much on the same "
            "machine alone."
        )
    from aiayn.bench.nano_torch import train_and_score

    writer = Writer(model_of(run_dir))
    open_source = task_of(experiment).open_source
    prepared = data_of_run(experiment, run_dir, None, console, open_source)
    documents = prepared.lines("dev", "tgt")
    with console.status(f"Training the recipe for {duration(run.seconds)}"):
        train_text = "\n".join(prepared.lines("train", "tgt"))
        found = train_and_score(train_text, "\n".join(documents), run.seconds)
    with console.status("Scoring dev"):
        losses = text_losses(writer, documents)
    record = {
        "bench": "nano",
        "experiment": experiment.name,
        **here,
        "definitions": _DEFINITIONS,
        "nano": found,
        "ours": {
            "nats": sum(loss.nats for loss in losses),
            "characters": sum(loss.characters for loss in losses),
            "updates": run.updates,
            "seconds": run.seconds,
            "parameters": run.parameters,
            "commit": run.commit,
            "hardware": run.hardware,
        },
    }
    records.write(folder / f"nano-{experiment.name}.json", record)
    return record


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each model."""
    rows = [["", "nats per character", "training", "updates", "parameters"]]
    for by, name in (("ours", "ours"), ("nano", "nanoGPT's recipe")):
        found = record[by]
        shown = f"{found['nats'] / found['characters']:.3f}", duration(found["seconds"])
        rows.append([name, *shown, f"{found['updates']:,}", f"{found['parameters']:,}"])
    return rows


def beside(record: Mapping[str, Any]) -> list[list[str]]:
    """What is measured on dev, ours and that of the recipe."""
    _, ours, theirs = figures(record)
    return [["dev", "nats per character", ours[1], f"{theirs[0]}, trained as long, {theirs[1]}"]]


def title(record: Mapping[str, Any]) -> str:
    return f"{record['experiment']} beside nanoGPT's recipe, trained as long"


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(title(record), figures(record))
