"""The models that come along: made from a run with matrices in bytes, and scored in both forms.

python -m aiayn.evidence.included RUN   write experiments/models/NAME, and its record in
                                        experiments/results/models
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from aiayn.errors import UserError
from aiayn.evaluation.record import read_record, scored_sets
from aiayn.evidence.records import Included
from aiayn.evidence.run_tables import kind_of, ruler_of
from aiayn.model.saved import load_model, model_of, save_model
from aiayn.render.markdown import markdown_table, number
from aiayn.render.terminal import Terminal
from aiayn.system import checkout, records
from aiayn.system.environment import environment
from aiayn.system.files import place
from aiayn.system.records import typed
from aiayn.tasks import task_of
from aiayn.training.run_folder import data_of_run, read_run


def include(run_dir: Path, root: Path, console: Console) -> Included:
    """Store the averaged model of a finished run in a checkout, score the test sets of the run with
    it and with what it was made from, and keep the record.

    Raises:
        UserError: it is no finished run, or its data is gone.
    """
    experiment, _ = read_run(run_dir)
    run, model, task = read_record(run_dir), model_of(run_dir), task_of(experiment)
    prepared = data_of_run(experiment, run_dir, None, console, task.open_source)
    folder = root / checkout.MODELS / experiment.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_model(folder, model, small=True)
    stored, ruler = load_model(folder), ruler_of(run)
    scores = {
        name: [
            task.score_model(each, prepared, split, console)[ruler].value
            for each in (model, stored)
        ]
        for name, split in scored_sets(experiment, prepared).items()
    }
    about = {
        "experiment": experiment.name,
        **environment(),
        "trained_at": run.commit,
        "params_sha256": run.params_sha256,
        "parameters": run.parameters,
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "ruler": kind_of(run).named(ruler),
        "scores": scores,
    }
    path = root / "experiments" / "results" / "models" / f"{experiment.name}.json"
    record = typed(about, Included, "a model", path)
    records.write(path, record)
    return record


def render(found: Sequence[Included]) -> str:
    """What the models are worth, as they are and as they were."""
    rows = [["model", "parameters", "size", "test set", "by", "in float32", "as stored"]]
    for each in found:
        size = f"{each.bytes / 1e6:.1f} MB"
        for name, (before, after) in each.scores.items():
            own = [each.experiment, f"{each.parameters:,}", size]
            rows.append([*own, name, each.ruler, number(before), number(after)])
    return markdown_table(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Include a run."""
    parser = argparse.ArgumentParser(prog="python -m aiayn.evidence.included", description=__doc__)
    parser.add_argument("run", type=place, help="the directory of a finished run")
    given = parser.parse_args(arguments)
    console = Terminal()
    try:
        record = include(given.run, checkout.root(), console)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    console.print(f"{checkout.MODELS}/{record.experiment}: {record.bytes / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
