"""From a run to scores: `evaluate`, `average`, `info`."""

import json
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path

from aiayn.commands.verb import (
    TRAINED,
    Verb,
    check_read_once,
    model_argument,
    positive,
    run_folder,
    text_file,
    trained,
    trained_data_argument,
)
from aiayn.errors import UserError


def evaluate(
    model: Path,
    src: Path | None,
    refs: list[Path],
    text: Path | None,
    gold: Path | None,
    data_dir: Path | None,
    changes: list[str],
) -> None:
    """Score a model on its test sets or on files.

    Without files: translates every test set of the run again, with the last checkpoint and with the
    average, made anew as the experiment says, and rewrites model, translations, scores, pictures
    and result.json. Test sets may have been mended since, and --set names others, for example
      --set data.test_files=news=news.{lang},talks=talks.{lang}
    With --src and --ref: translates and scores those files; - is standard input. With --text: how
    well a language model predicts that file, read as its training text was.
      aiayn evaluate runs/phrasebook_lm --text page.txt
    With --gold: parses the words of that treebank, and scores the trees.
    """
    from aiayn.evaluation.evaluate import check_data, evaluate_files
    from aiayn.evaluation.parses import evaluate_gold
    from aiayn.evaluation.record import scored_sets
    from aiayn.evaluation.texts import evaluate_text
    from aiayn.render.terminal import Terminal
    from aiayn.system import hosts
    from aiayn.system.files import read_json
    from aiayn.tasks import task_of, translation_of
    from aiayn.training.run_folder import data_of_run, in_use, open_run, read_run

    with hosts.joined():
        console = Terminal(quiet=not hosts.first())
        if text:
            evaluate_text(model, text, console)
            return
        if gold:
            evaluate_gold(model, gold, console)
            return
        if src:
            evaluate_files(model, src, refs, console, lambda found: translation_of(found).score)
            return
        experiment = read_run(model)[0].with_overrides(changes)
        task = task_of(experiment)
        prepared = data_of_run(experiment, model, data_dir, console, task.open_source)
        check_data(model, prepared)
        sets = ", ".join(scored_sets(experiment, prepared))
        console.print(f"Scoring {model} on {sets}.")
        with in_use(model):
            if hosts.first() and changes:
                moved = any(change.startswith("data.folder=") for change in changes)
                known = None if moved else read_json(model / "config.json").get("folder")
                open_run(experiment, model, prepared, known)
            hosts.wait_for_all()
            task.evaluate(model, prepared, console)


_CHANGES = ("data.test_files=", "data.folder=", "decode.")


def _check_evaluate(
    model: Path,
    src: Path | None,
    refs: list[Path],
    text: Path | None,
    gold: Path | None,
    data_dir: Path | None,
    changes: list[str],
) -> None:
    for change in changes:
        if not change.startswith(_CHANGES):
            raise UserError(
                f"--set {change!r}: a trained run can be scored with other values of "
                "data.test_files, data.folder and decode.* only."
            )
    if changes and (src or text or gold):
        raise UserError("--set is for the test sets of a run; for a file it has no use.")
    if data_dir and (src or text or gold):
        raise UserError("--data-dir is for the test sets of a run; for a file it has no use.")
    if sum(map(bool, (text, gold, src or refs))) > 1:
        raise UserError(
            "--text is for language models, --gold for parsers, --src and --ref for others; "
            "wanted one."
        )
    check_read_once([src, *refs])
    if bool(src) != bool(refs):
        raise UserError("--src and --ref go together: the sentences, and their translations.")
    if not (src or text or gold) and (model / "weights.safetensors").is_file():
        raise UserError(
            f"{model} is a model, which has no test sets of its own; name the files to "
            "score it on with --src and --ref, with --text for a language model, or with --gold "
            "for a parser."
        )


def _evaluate_arguments(parser: ArgumentParser) -> None:
    model_argument(parser)
    parser.add_argument("--src", type=text_file, help="source sentences, one a line")
    parser.add_argument(
        "--ref",
        type=text_file,
        nargs="+",
        default=[],
        dest="refs",
        metavar="REF",
        help="reference translations, one a line; several files count together",
    )
    parser.add_argument("--gold", type=text_file, help="trees that a parser is scored on")
    parser.add_argument("--text", type=text_file, help="text that a language model is scored on")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="changes",
        metavar="KEY=VALUE",
        help="score with another data.test_files, data.folder or decode.*; may be repeated",
    )
    trained_data_argument(parser)


def average(run: Path, last: int | None) -> None:
    """Average the last checkpoints of a run into its model."""
    from aiayn.evaluation.average import average_run
    from aiayn.evaluation.record import RECORD, read_record
    from aiayn.model.saved import MODEL
    from aiayn.training.run_folder import in_use, read_run

    read_run(run)  # nothing is written into another folder
    with in_use(run):
        _, steps = average_run(run, last)
    print(f"{run / MODEL}: average of steps {', '.join(f'{s:,}' for s in steps)}")
    with suppress(UserError):  # no record yet
        if (found := read_record(run)).averaged_steps != steps:
            print(
                f"{run / RECORD} has the scores of another average, of "
                f"{len(found.averaged_steps)} steps; `aiayn evaluate {run} --set "
                f"decode.average_last={len(steps)}` scores this one."
            )


def _average_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=run_folder, help="a run directory")
    parser.add_argument(
        "--last", type=positive, metavar="N", help="how many (default: the experiment's)"
    )


def info(path: Path, as_json: bool) -> None:
    """Show the contents of a run or a model: record, parameters, hashes."""
    from aiayn.evaluation.record import record_lines, run_info
    from aiayn.render.terminal import printable

    found = run_info(path)
    if as_json:
        print(json.dumps(found, indent=1))
        return
    if found["record"]:
        for line in record_lines(found["record"], path):
            print(line)
    for step, about in found["checkpoints"].items():
        print(f"checkpoint {int(step):,}: {about['params_sha256'][:16]}")
    if "model" in found:
        model = found["model"]
        what = f"{model['task'].replace('_', ' ')}, {' to '.join(model['languages'])}"
        print(printable(f"model: {model['experiment']}, {what}"))
        print(f"  {model['parameters']:,} parameters, {model['pieces']:,} pieces")
        print(f"  hash of the parameters: {model['params_sha256'][:16]}")
    if not found["record"] and not found["checkpoints"] and "model" not in found:
        print(printable(f"{path} was begun, and has no checkpoint yet."))


def _info_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=trained, help=TRAINED)
    parser.add_argument("--json", action="store_true", dest="as_json", help="everything, as JSON")


EVALUATE = Verb("evaluate", evaluate, _evaluate_arguments, _check_evaluate, large_pages=True)
AVERAGE = Verb("average", average, _average_arguments)
INFO = Verb("info", info, _info_arguments)
