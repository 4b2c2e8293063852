"""From an experiment to a scored run: `train`, `prepare`, `replay`."""

from argparse import ArgumentParser
from pathlib import Path

from aiayn.commands.verb import Verb, experiment_arguments, run_folder
from aiayn.config import Experiment
from aiayn.experiments import list_experiments
from aiayn.system.files import place


def train(experiment: Experiment, data_dir: Path, run_dir: Path | None) -> None:
    """Train an experiment from raw text to a BLEU table.

    Prepares the data, trains, validates, averages, translates the test sets and writes result.json.
    The same command run again resumes from the newest checkpoint, or shows the scores of a finished
    run; SIGTERM has the present step saved first. On several hosts, start the same command on each,
    as the files in experiments/cluster do. --set changes any setting (aiayn/config.py has them all,
    with their defaults), for example
      --set train.num_steps=2000 --set model.num_layers=2 --set data.folder=../corpus
    """
    from aiayn.interface import train

    train(experiment, run_dir=run_dir, data_dir=data_dir, verbose=True)


def _train_arguments(parser: ArgumentParser) -> None:
    experiment_arguments(parser)
    parser.add_argument(
        "--run-dir", type=place, help="where the run lives (default: runs/EXPERIMENT)"
    )
    experiments = list_experiments()
    width = 2 + max(map(len, experiments), default=0)
    known = "".join(f"  {name:{width}}{about}\n" for name, about in experiments.items())
    parser.epilog = f"experiments\n{known}"


def prepare(experiment: Experiment, data_dir: Path) -> None:
    """Fetch, clean, tokenize and pack a corpus, without training.

    Writes text, tokenizer and packed rows under --data-dir with a manifest of counts and hashes.
    Training finds them there. Ends with a report on the text: some pairs, lengths, scripts, and
    warnings of what is unusual.
    """
    from aiayn.data.prepare import prepare
    from aiayn.data.report import report, show
    from aiayn.render.terminal import Terminal
    from aiayn.tasks import task_of

    prepared = prepare(experiment.data, data_dir, open_source=task_of(experiment).open_source)
    for name, split in prepared.manifest.splits.items():
        dropped = "".join(f", {count:,} {reason}" for reason, count in split.dropped.items())
        print(f"{name}: {split.kept:,} of {split.read:,} {experiment.data.noun}{dropped}")
    show(report(prepared)[0], Terminal())
    for row_class in prepared.train.classes:
        widths = f"{row_class.src_width} + " if row_class.src_width else ""
        print(
            f"rows of {widths}{row_class.tgt_width} slots: {row_class.num_rows:,}, "
            f"{row_class.fill:.1%} filled"
        )
    print(f"Prepared in {prepared.folder}")


def replay(run_dir: Path) -> None:
    """Compute again the update at which training gave up.

    Updates with a NaN or infinite loss or gradient are skipped and counted. Where the ten before a
    line of the log were all such, training gives up and keeps the first of them, rows and
    parameters, in RUN/not_finite. This computes it again and says which parameters, gradients and
    rows are not finite, and which line of code produces the first such value.
    """
    from aiayn.training.replay import replay
    from aiayn.training.run_folder import NOT_FINITE

    for line in replay(run_dir / NOT_FINITE):
        print(line)


def _replay_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run_dir", type=run_folder, help="its run directory")


TRAIN = Verb("train", train, _train_arguments, large_pages=True, trains=True)
PREPARE = Verb("prepare", prepare, experiment_arguments, jax=False)
REPLAY = Verb("replay", replay, _replay_arguments)
