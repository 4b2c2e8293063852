"""The paper's claims and tables beside ours: `report`, `sweep`, `ablate`."""

import os
import sys
from argparse import ArgumentParser
from pathlib import Path

from aiayn.commands.verb import (
    Verb,
    existing,
    experiment_arguments,
    positive,
    run_folder,
    trained_data_argument,
)
from aiayn.config import Experiment
from aiayn.system.checkout import shipped
from aiayn.system.files import place


def report(out: Path, as_json: bool) -> int:
    """Every claim of the paper, checked now or beside its record.

    Writes one page as claims.md, claims.html and claims.json. Each claim holds or fails by what the
    program's code computes now, is arithmetic (the paper's own sums done again), was measured (the
    record of a run), differs (the reason), or was not run here (the command and its cost). Exit
    status 1 if a claim fails.
    """
    from aiayn.evidence.page import show, write_report
    from aiayn.render.terminal import Terminal

    console = Terminal(stderr=as_json)
    claims = write_report(shipped("experiments/results"), out, console)
    if as_json:
        sys.stdout.write((out / "claims.json").read_text(encoding="utf-8"))
    else:
        show(claims, console)
        console.print(f"Written to {out}: claims.html, claims.md, claims.json.")
    return int(any(claim.status == "fails" for claim in claims))


def _report_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=place, default=Path("runs/report"), help="where (default: runs/report)"
    )
    parser.add_argument(
        "--json", action="store_true", dest="as_json", help="print the list as JSON instead"
    )


def sweep(run: Path, data_dir: Path | None) -> None:
    """Measure what averaging, beam and length penalty are worth on a run.

    Translates dev with 1 to 20 checkpoints averaged (of those that the run kept), beams of 1 to 16
    and α of 0 to 1.2, each varied alone around the experiment's own setting; a parser parses it,
    with beams of 1 to 21, each also without its grammar, and α of 0 to 0.6. Writes sweep.json and
    sweep.png into the run.
    """
    from aiayn.evidence.sweep import sweep, table
    from aiayn.render.terminal import Terminal
    from aiayn.tasks import task_of
    from aiayn.training.run_folder import data_of_run, read_run

    console = Terminal()
    experiment, _ = read_run(run)
    open_source = task_of(experiment).open_source
    prepared = data_of_run(experiment, run, data_dir, console, open_source)
    console.print(table(sweep(run, prepared, console)))
    console.print(f"Written to {run}: sweep.json, sweep.png.")


def _sweep_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=run_folder, help="a run directory")
    trained_data_argument(parser)


def ablate(
    experiment: Experiment, data_dir: Path, seeds: int, jobs: int, record: Path | None
) -> None:
    """Table 3 in miniature; what pre-training or parsed text is worth.

    The experiment is the base; each row changes it as the paper's row changes the paper's base, and
    four rows more show what our deviations from the paper's text cost. Every run lives in
    runs/EXPERIMENT/ROW-SEED; stopped, the same command resumes. Ends with the paper's differences
    beside ours, and ablation.json and ablation.png in runs/EXPERIMENT. --record adds seeds to a
    record from elsewhere.
      aiayn ablate table3_miniature

    The experiment pretraining, or one whose name begins so, is another: translators from 2,000,
    10,000 and 50,000 pairs, whose decoder is drawn at random or was trained on the target side of
    all pairs before; from the fewest pairs also with fewer of its layers.
      aiayn ablate pretraining --set data.folder=DIR

    That of a parser, such as parsed_text, is a third: parsers of a small treebank alone, and with
    more text that another parser has parsed, or the parser of the treebank alone.
      aiayn ablate parsed_text --set data.folder=DIR
    """
    from aiayn.evidence import ablation, parsed_text, pretraining, self_training, table3, transfer
    from aiayn.render.terminal import Terminal

    console = Terminal()
    folder = Path("runs") / experiment.name
    study, shown = ablation.ablate, table3
    if experiment.task == "parsing":
        study, shown = self_training.self_train, parsed_text
    elif experiment.name.startswith(transfer.NAME):
        study, shown = pretraining.pretrain, transfer
    made = study(
        experiment, folder, data_dir, console, num_seeds=seeds, num_jobs=jobs, earlier=record
    )
    console.print(shown.table(made))
    console.print(shown.summary(made))
    pictures = [path.name for path in folder.glob("*.png")]
    console.print(f"Written to {folder}: {', '.join(['ablation.json', *pictures])}.")


def _ablate_arguments(parser: ArgumentParser) -> None:
    experiment_arguments(parser)
    parser.add_argument(
        "--seeds", type=positive, default=3, metavar="N", help="runs of each row (default: 3)"
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        default=min(os.cpu_count() or 1, 8),
        metavar="N",
        help="runs at once, which share processors and accelerator (default: %(default)s)",
    )
    parser.add_argument(
        "--record",
        type=existing,
        metavar="FILE",
        help="an ablation.json whose runs need no repeating",
    )


REPORT = Verb("report", report, _report_arguments)
SWEEP = Verb("sweep", sweep, _sweep_arguments, large_pages=True)
ABLATE = Verb("ablate", ablate, _ablate_arguments, large_pages=True, trains=True)
