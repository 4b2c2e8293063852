"""From a trained language model to its figures: perplexities, samples, record."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from aiayn.config import DataConfig
from aiayn.data.prepare import Prepared
from aiayn.data.sources.documents import documents, unfolded
from aiayn.data.sources.formats import Skipped, is_table, read_files, read_text
from aiayn.data.text import visible
from aiayn.decoding.wishes import Wishes
from aiayn.decoding.writer import Writer, Writing
from aiayn.errors import UserError
from aiayn.evaluation.evaluate import AVERAGED, plot_run, trained_models, write_record
from aiayn.evaluation.perplexity import TextLoss, scores_of, text_losses
from aiayn.evaluation.record import scored_sets
from aiayn.evaluation.scores import Scores, show
from aiayn.evaluation.so_far import ScoresSoFar
from aiayn.model.saved import Model, model_of
from aiayn.render.terminal import progress
from aiayn.system import hosts, records
from aiayn.system.files import user_os_errors, write_text
from aiayn.training.run_folder import RECORD

NUM_SAMPLES, SAMPLE_TOKENS = 5, 100


def evaluate_texts(run_dir: Path, prepared: Prepared, console: Console) -> None:
    """Score every test set with the last checkpoint and with the average; show samples, record all.
    What a killed session had scored is not scored again.

    Writes `scores.json`, `samples.txt`, `curves.png` and, last of all, `result.json`. All processes
    score, the first alone does the rest.

    Raises:
        UserError: the run was trained on other data than this.
    """
    trained = trained_models(run_dir, prepared)
    experiment = trained.experiment
    test_sets = scored_sets(experiment, prepared)
    so_far = ScoresSoFar(run_dir, prepared, dict(trained.by_label.values()), test_sets)
    for label, model in trained.by_label.values():
        writer = Writer(model)
        for name, split in test_sets.items():
            if so_far.has(name, label):
                continue
            documents = prepared.lines(split, "tgt")
            scores = score_texts(writer, documents, console, f"{name}, {label}")
            if hosts.first():
                so_far.add(name, label, scores)
    if not hosts.first():
        return
    results = so_far.results
    records.write(run_dir / "scores.json", results)
    show(results, console, f"{experiment.name}: how well it predicts")
    _show_samples(run_dir, trained.by_label[AVERAGED][1], console)
    plot_run(run_dir)
    write_record(run_dir, prepared, console, trained, results)
    so_far.end()
    console.print(f"Record {run_dir / RECORD}, picture curves.png there.")


def score_texts(
    writer: Writer, documents: Sequence[str], console: Console, description: str
) -> Scores:
    """The figures of some documents, which are shared out to all processes, with a bar."""
    with progress(console) as bar:

        def losses(share: Sequence[str]) -> list[TextLoss]:
            total = sum(map(len, writer.tokenizer.encode(share)))
            task = bar.add_task(f"Scoring {description}", total=total)
            on_done = partial(bar.update, task)
            return text_losses(writer, share, lambda count: on_done(completed=count))

        found = hosts.shared_out(losses, documents)
    # Those of other processes come as lists.
    losses_of_all = [TextLoss(*loss) for loss in found]
    return scores_of(losses_of_all, writer.context, writer.language, writer.tokenizer)


def evaluate_text(path: Path, text: Path, console: Console) -> Scores:
    """The figures of a file, of which each document is one as in training, shown in a table.

    Raises:
        UserError: the model is no language model, or the file cannot be read or holds no text, or
            something else beside it.
    """
    model = model_of(path)
    writer = Writer(model)
    held = [visible(unfolded(document)) for document in _read(text, model.experiment.data)]
    if not any(map(str.split, held)):
        raise UserError(f"{text} holds no text; wanted some words.")
    scored = score_texts(writer, held, console, text.name)
    show({text.name: {"": scored}}, console)
    return scored


def _read(text: Path, data: DataConfig) -> Iterator[str]:
    """The documents of a file; of a table those in its cells, as in training."""
    if is_table(text):
        skipped = Skipped()
        yield from (document for _, document in read_files((text,), data, skipped))
        if skipped.first:
            raise UserError(f"{skipped.first}; wanted text alone.")
        return
    for document in documents(read_text(text), data.documents, str(text)):
        if document.too_long:
            raise UserError(
                f"{text}, line {document.line:,}: the document that begins here is too long; "
                "wanted parts of it."
            )
        yield document.text


def _show_samples(run_dir: Path, model: Model, console: Console) -> None:
    """Some texts that the model writes from their beginning on."""
    asked = Writing(SAMPLE_TOKENS, wishes=Wishes(sample=NUM_SAMPLES, seed=0))
    (written,) = Writer(model).write([""], asked)
    console.print("Some texts of its own:")
    for each in written:
        console.print(f"  {each.text}" + ("" if each.ended == "eos" else " ..."))
        console.print()
    with user_os_errors(run_dir):
        write_text(run_dir / "samples.txt", "".join(f"{each.text}\n\n" for each in written))
