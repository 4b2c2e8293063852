"""From a trained run to its scores: average, translate, score, picture, record (§6.1)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from aiayn.config import Experiment
from aiayn.data.corpus import read_plain
from aiayn.data.plain import check_plain
from aiayn.data.prepare import Prepared
from aiayn.data.text import visible
from aiayn.decoding.heads import look
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.evaluation.average import average_run
from aiayn.evaluation.bleu import score
from aiayn.evaluation.record import make_record, scored_sets
from aiayn.evaluation.scores import Score, Scores, show
from aiayn.evaluation.so_far import ScoresSoFar
from aiayn.evaluation.systems import read_aligned
from aiayn.model.saved import Model, model_of
from aiayn.render.terminal import progress
from aiayn.system import hosts, records
from aiayn.system.files import user_os_errors, write_text
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.log import read_metrics
from aiayn.training.run_folder import RECORD, read_run


def evaluate_run(
    run_dir: Path, prepared: Prepared, console: Console, score: Callable[..., Scores] = score
) -> None:
    """Score every test set with the last checkpoint and with the average; show and record it all.

    With `decode.score_dev`, dev is scored like a test set. What a killed session had scored is not
    translated again.

    Writes hypotheses and references, `scores.json`, `curves.png`, `attention.png` and, last of
    all, `result.json`. All processes translate, the first alone does the rest.

    Raises:
        UserError: the run was trained on other data than this.
    """
    trained = trained_models(run_dir, prepared)
    experiment, averaged = trained.experiment, trained.by_label[AVERAGED][1]
    test_sets = scored_sets(experiment, prepared)
    so_far = ScoresSoFar(run_dir, prepared, dict(trained.by_label.values()), test_sets)
    outputs: dict[str, Sequence[str]] = {}
    seen = {name: [*seen_in_train(prepared, split)] for name, split in test_sets.items()}
    for folder, (label, model) in trained.by_label.items():
        of_model = run_dir / "outputs" / folder
        for name, split in test_sets.items():
            if so_far.has(name, label):
                outputs[name] = read_outputs(of_model, name).lines if hosts.first() else []
                continue
            text = sources, references = prepared.lines(split, "src"), prepared.lines(split, "tgt")
            outputs[name] = translate_file(model, sources, console, f"{name}, {label}")
            if hosts.first():
                write_outputs(of_model, name, outputs[name], *text)
                found = scored_or_not(score, outputs[name], references, sources, experiment)
                warnings = (*found.warnings, *seen[name])
                so_far.add(name, label, replace(found, warnings=warnings))
    if not hosts.first():
        return
    results = so_far.results
    records.write(run_dir / "scores.json", results)
    show(results, console, f"{experiment.name}: BLEU and chrF2")
    _show_samples(prepared, outputs, console)
    _pictures(run_dir, averaged, prepared, outputs)
    write_record(run_dir, prepared, console, trained, results)
    so_far.end()
    console.print(f"Record {run_dir / RECORD}, pictures curves.png and attention.png there.")


LAST, AVERAGED = "last", "averaged"
"""The two models of a run that are scored."""


class Trained(NamedTuple):
    """What a run has come to."""

    experiment: Experiment
    by_label: Mapping[str, tuple[str, Model]]
    """`LAST` and `AVERAGED`, each with its name for a reader."""
    steps: Sequence[int]
    """Of the checkpoints that are averaged."""
    totals: Mapping[str, Any] | None


def trained_models(run_dir: Path, prepared: Prepared) -> Trained:
    """The last checkpoint of a run and the average of its last few, which is written.

    Raises:
        UserError: the run was trained on other data than this.
    """
    check_data(run_dir, prepared)
    experiment, _ = read_run(run_dir)
    averaged, steps = average_run(run_dir)
    checkpoints = Checkpoints.open(run_dir)
    last = Model(experiment, averaged.tokenizer, checkpoints.params(steps[-1]))
    totals = checkpoints.totals(steps[-1])
    checkpoints.close()
    by_label = {
        LAST: (f"last checkpoint ({steps[-1]:,})", last),
        AVERAGED: (f"average of {len(steps)}", averaged),
    }
    return Trained(experiment, by_label, steps, totals)


def write_record(
    run_dir: Path,
    prepared: Prepared,
    console: Console,
    trained: Trained,
    results: Mapping[str, Mapping[str, Scores]],
) -> None:
    """Write the record of a run, last of all that is written, and say what was lost."""
    made = make_record(
        trained.experiment, run_dir, prepared, trained.steps, results, trained.totals
    )
    records.write(run_dir / RECORD, made)
    if made.lost:
        console.print(f"{run_dir}: {made.lost}.")


def scored_or_not(
    score: Callable[..., Scores],
    outputs: Sequence[str],
    references: Sequence[str],
    sources: Sequence[str],
    experiment: Experiment,
) -> Scores:
    """The scores of one set; none, and a warning, where it cannot be scored: others can."""
    languages = {"src": experiment.data.src, "tgt": experiment.data.tgt}
    try:
        return score(outputs, references, sources, **languages)
    except UserError as error:
        reason = f"not scored: {error}"
        none = Score("sacrebleu", None, "see the warning", "nothing")
        return Scores(**languages, num_sentences=len(outputs), entries=(none,), warnings=(reason,))


def seen_in_train(prepared: Prepared, split: str) -> Iterator[str]:
    """What a reader should know of a test set that came after train had been cleaned of others."""
    seen = prepared.seen_in_train(split)
    if seen is not None:
        count = prepared.test_text(split).sentences
        yield (
            "train was cleaned of the sentences of the test sets that it began with, not of this "
            f"one, of which train holds {seen:,} of {count:,}, word for word."
        )


def unfit_tests(prepared: Prepared) -> Iterator[str]:
    """A line for each test set that the end of a run cannot score, said at its beginning. Any text
    can be predicted."""
    for name, split in prepared.test_sets.items() if prepared.manifest.src else ():
        try:
            check_plain("references", prepared.lines(split, "tgt"))
        except UserError as error:
            yield f"Test set {name} will not be scored: {error} It may be mended at any time."


def check_data(run_dir: Path, prepared: Prepared) -> None:
    """Raises UserError if the run was trained on other data than this."""
    if not prepared.is_of(read_run(run_dir)[1]):
        raise UserError(
            f"{run_dir} was trained on other data than {prepared.folder} holds now, so its "
            "tokenizer is not the run's. Bring the old text back, or name the folder of the run's "
            "data with --data-dir."
        )


class Outputs(NamedTuple):
    """What a model made of a test set, the text it had, and the text that is held against it, a
    line for each sentence."""

    lines: Sequence[str]
    sources: Sequence[str]
    references: Sequence[str]


def read_outputs(folder: Path, name: str) -> Outputs:
    """What a run wrote of a test set.

    Raises:
        UserError: a file is missing, or is no text.
    """
    return Outputs(*(read_plain(folder / f"{name}.{side}") for side in ("hyp", "src", "ref")))


def write_outputs(
    folder: Path,
    name: str,
    hypotheses: Sequence[str],
    sources: Sequence[str],
    references: Sequence[str],
) -> None:
    """The text of a test set, and what a model made of it, as a file each."""
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        sides = {"src": sources, "hyp": hypotheses, "ref": references}
        for side, lines in sides.items():
            write_text(folder / f"{name}.{side}", "".join(f"{line}\n" for line in lines))


def _show_samples(
    prepared: Prepared, outputs: Mapping[str, Sequence[str]], console: Console
) -> None:
    test_sets = list(prepared.test_sets.items())
    places: dict[tuple[str, int], tuple[str, str]] = {}
    for number in range(5):
        name, split = test_sets[number % len(test_sets)]
        sources, references = (prepared.lines(split, side) for side in ("src", "tgt"))
        place = number * len(sources) // 5
        places[name, place] = sources[place], references[place]
    title = "Some translations of unseen sentences:"
    console.print(title if len(places) > 1 else "The translation of an unseen sentence:")
    for (name, place), (source, reference) in places.items():
        for mark, text in (
            ("source   ", source),
            ("output   ", outputs[name][place]),
            ("reference", reference),
        ):
            console.print(f"  {mark}  {text}")
        console.print()


def plot_run(run_dir: Path) -> None:
    """The curves of a run, where its log is there."""
    from aiayn.training.curves import plot_curves

    if rows := read_metrics(run_dir / "metrics.jsonl"):
        plot_curves(rows, run_dir / "curves.png")


def _pictures(
    run_dir: Path, model: Model, prepared: Prepared, outputs: Mapping[str, Sequence[str]]
) -> None:
    from aiayn.render.heads import plot_attention

    plot_run(run_dir)
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


def translate_file(
    model: Model, sources: Sequence[str], console: Console, description: str
) -> list[str]:
    """The best translation of every line, shared out to all processes, with a progress bar."""
    with progress(console) as bar:
        translator = Translator(model)

        def translate(share: Sequence[str]) -> list[str]:
            task = bar.add_task(f"Translating {description}", total=len(share))
            return translator.best(share, lambda count: bar.update(task, completed=count))

        return hosts.shared_out(translate, sources)


def evaluate_files(
    path: Path,
    src: Path,
    refs: Sequence[Path],
    console: Console,
    score_of: Callable[[Experiment], Callable[..., Scores]] = lambda _: score,
) -> Scores:
    """Translate the lines of `src` with a model and score them against all of `refs`, as the
    model's experiment has it.
    """
    sources, *references = read_aligned(src, *refs)
    if not sources:
        raise UserError(f"{src} holds no lines; wanted sentences, and a reference for each.")
    for ref, lines in zip(refs, references, strict=True):  # before hours of translating
        check_plain(f"lines of {ref}", lines)
    model = model_of(path)
    data = model.experiment.data
    hypotheses = translate_file(model, [visible(line) for line in sources], console, src.name)
    scored = score_of(model.experiment)
    found = scored(hypotheses, references, sources, src=data.src, tgt=data.tgt)
    show({src.name: {"": found}}, console)
    return found
