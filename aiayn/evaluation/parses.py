"""From a trained parser to its figures (§6.3): labelled bracket F1, some trees, record."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import ne
from pathlib import Path

from flax import nnx
from jax.sharding import Mesh
from rich.console import Console
from rich.text import Text
from rich.tree import Tree as Drawing

from aiayn.config import Experiment
from aiayn.data.prepare import Prepared
from aiayn.data.sources import treebank
from aiayn.data.trees import Tree, clean, linearise, restore, spelling, unmarked, write
from aiayn.decoding.parser import Parser, symbols_of
from aiayn.errors import UserError
from aiayn.evaluation import brackets
from aiayn.evaluation.brackets import SHORT, Brackets
from aiayn.evaluation.evaluate import (
    AVERAGED,
    Outputs,
    plot_run,
    seen_in_train,
    trained_models,
    write_record,
)
from aiayn.evaluation.record import scored_sets
from aiayn.evaluation.scores import Headline, Score, Scores, show
from aiayn.evaluation.so_far import ScoresSoFar
from aiayn.evaluation.validation import validator
from aiayn.model.interface import AutoregressiveModel
from aiayn.model.saved import Model, model_of
from aiayn.render.terminal import progress
from aiayn.system import hosts, records
from aiayn.system.files import user_os_errors, write_text
from aiayn.training.mesh import one_copy
from aiayn.training.run_folder import RECORD
from aiayn.training.step import TrainState

PICTURE = "tree.png"
_DRAWN, _SHOWN_WORDS = 5, 12
"""Trees that are drawn at the end, over about so many words: enough to show something, and few
enough to read."""


def gold_trees(prepared: Prepared, split: str) -> list[Tree]:
    """The trees of a split, as they were prepared: without functions and traces, and where XX
    stands for tags, with those of punctuation alone."""
    return _gold(*(prepared.lines(split, side) for side in ("tgt", "src")))


def _gold(symbols: Sequence[str], sentences: Sequence[str]) -> list[Tree]:
    return [restore(s.split(), words.split()) for s, words in zip(symbols, sentences, strict=True)]


def parse_validator(
    experiment: Experiment,
    prepared: Prepared,
    graphdef: nnx.GraphDef[AutoregressiveModel],
    mesh: Mesh,
) -> Callable[[TrainState, Callable[[], None]], dict[str, float]]:
    """As `aiayn.evaluation.validation.validator`, with `dev_f1` instead of BLEU: of the first trees
    of dev, within the grammar. They are found greedily; by a beam of 4 where symbols are marked,
    since a mark that does not fit its word says that a step before it was wrong.

    Raises:
        UserError: the model does not predict as many symbols as the trees have.
    """
    symbols_of(experiment, prepared.tokenizer)
    losses = validator(experiment, prepared, graphdef, mesh, headline=None)
    gold = gold_trees(prepared, "dev")[: experiment.train.validate_sentences]
    beam_size = 4 if experiment.data.trees == "marked" else 1
    quick = replace(experiment.decode, beam_size=beam_size)

    def validate(state: TrainState, go_on: Callable[[], None]) -> dict[str, float]:
        found = losses(state, go_on)
        if gold:
            model = Model(experiment, prepared.tokenizer, {})
            parser = Parser(model, quick, params=one_copy(state.params))
            parse = partial(parser.best, on_done=lambda _: go_on())
            outputs = hosts.shared_out(parse, [" ".join(tree.words) for tree in gold])
            found["dev_f1"] = headline(outputs, gold).value
        return found

    return validate


def _restored(symbols: Sequence[Sequence[str]], gold: Sequence[Tree]) -> list[Tree]:
    return [restore(each, tree.words) for each, tree in zip(symbols, gold, strict=True)]


def headline(symbols: Sequence[str], gold: Sequence[Tree]) -> Headline:
    """F1 of a parser's outputs, by which settings are compared; its length ratio is that of
    constituents."""
    found = brackets.score(gold, _restored([text.split() for text in symbols], gold))
    counts = found.all.counts
    return Headline(found.all.f1 or 0.0, found.signature, counts.parsed / max(counts.gold, 1))


def scores_of(found: Brackets, mended: tuple[Brackets, int] | None, language: str) -> Scores:
    """The figures of trees; beside them F1 of a search that does not know what a tree is, and how
    many of its outputs had to be mended, where that was tried."""
    values = found.all, found.short
    how, compare = found.signature, brackets.COMPARES
    of_tags = how
    if values[0].tags is None:
        of_tags = _NO_TAGS if values[0].counts.words else _NO_WORDS
    sums = "{0.matched:,} matched, {0.gold:,} gold, {0.parsed:,} parsed"
    entries = [
        Score("f1", values[0].f1, how, compare, sums.format(values[0].counts)),
        Score("f1_short", values[1].f1, f"{how}|len:{SHORT}", f"{compare}, len<={SHORT}"),
        Score("recall", values[0].recall, how, compare),
        Score("precision", values[0].precision, how, compare),
        Score("exact", values[0].exact, how, compare),
        Score("tags", values[0].tags, of_tags, compare),
    ]
    if mended:
        free, count = mended
        how = f"{free.signature}|search:free|mended:{count}"
        compare = f"F1; {count:,} outputs were no trees, and were mended"
        entries.append(Score("f1_free", free.all.f1, how, compare))
    return Scores(language, "trees", _num_trees(found), tuple(entries))


_NO_TAGS, _NO_WORDS = "the trees say XX for tags", "no word but punctuation"


def _num_trees(found: Brackets) -> int:
    return found.all.counts.sentences + len(found.empty)


def evaluate_parses(run_dir: Path, prepared: Prepared, console: Console) -> None:
    """Parse every test set with the last checkpoint and with the average; draw some trees, record
    all. What a killed session had scored is not parsed again.

    The average is also searched without the grammar; what is no tree is mended by
    `aiayn.data.trees.restore`, and counted.

    Writes trees, `scores.json`, `curves.png`, `tree.png` and, last of all, `result.json`. All
    processes parse, the first alone does the rest.

    Raises:
        UserError: the run was trained on other data than this.
    """
    trained = trained_models(run_dir, prepared)
    experiment = trained.experiment
    test_sets = scored_sets(experiment, prepared)
    so_far = ScoresSoFar(run_dir, prepared, dict(trained.by_label.values()), test_sets)
    for folder, (label, model) in trained.by_label.items():
        parser = Parser(model)
        for name, split in test_sets.items():
            if so_far.has(name, label):
                continue
            gold = gold_trees(prepared, split)
            title = f"{name}, {label}"
            found, scores = score_parses(parser, gold, console, title, free=folder == AVERAGED)
            if hosts.first():
                _write_trees(run_dir / "outputs" / folder, name, found, gold)
                warnings = (*scores.warnings, *seen_in_train(prepared, split))
                so_far.add(name, label, replace(scores, warnings=warnings))
    if not hosts.first():
        return
    results = so_far.results
    records.write(run_dir / "scores.json", results)
    show(results, console, f"{experiment.name}: labelled bracket F1")
    drawn = (zip(*_read_trees(run_dir / "outputs" / AVERAGED, n), strict=True) for n in test_sets)
    _draw_some([*chain.from_iterable(drawn)], console, run_dir / PICTURE)
    plot_run(run_dir)
    write_record(run_dir, prepared, console, trained, results)
    so_far.end()
    console.print(f"Record {run_dir / RECORD}, pictures curves.png and {PICTURE} there.")


def score_parses(
    parser: Parser, gold: Sequence[Tree], console: Console, description: str, free: bool = False
) -> tuple[list[Tree], Scores]:
    """The trees over the words of others, and their figures; the sentences are shared out to all
    processes, with a bar."""
    mended = None
    with progress(console) as bar:

        def parsed(parser: Parser, title: str) -> list[list[str]]:
            def of_share(share: Sequence[str]) -> list[str]:
                task = bar.add_task(title, total=len(share))
                return parser.best(share, lambda count: bar.update(task, completed=count))

            lines = [" ".join(map(spelling, tree.words)) for tree in gold]
            return [text.split() for text in hosts.shared_out(of_share, lines)]

        found = _restored(parsed(parser, f"Parsing {description}"), gold)
        if free:
            symbols = parsed(parser.free(), f"{description}, free search")
            trees = _restored(symbols, gold)
            spelled = ([unmarked(each) for each in line] for line in symbols)
            count = sum(map(ne, spelled, map(list, map(linearise, trees))))
            mended = brackets.score(gold, trees), count
    scores = scores_of(brackets.score(gold, found), mended, parser.source)
    return found, replace(scores, warnings=tuple(parser.unlike_training(gold)))


def _write_trees(folder: Path, name: str, found: Sequence[Tree], gold: Sequence[Tree]) -> None:
    """The trees of a test set, the model's and the right ones, as `aiayn f1` reads them."""
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, trees in (("trees", found), ("gold.trees", gold)):
            write_text(folder / f"{name}.{suffix}", "".join(f"{write(t)}\n" for t in trees))


def _read_trees(folder: Path, name: str) -> tuple[list[Tree], list[Tree]]:
    """What `_write_trees` wrote."""
    found, gold = (
        [*treebank.trees(folder / f"{name}.{suffix}")] for suffix in ("trees", "gold.trees")
    )
    return found, gold


def read_outputs(folder: Path, name: str) -> Outputs:
    """What a run wrote of a test set, by its symbols, so that words are in the sources alone.

    Raises:
        UserError: a file is missing, or holds something else.
    """
    found, gold = _read_trees(folder, name)
    lines, references = ([" ".join(linearise(tree)) for tree in trees] for trees in (found, gold))
    return Outputs(lines, [" ".join(tree.words) for tree in gold], references)


def score_again(experiment: Experiment, outputs: Outputs) -> Scores:
    """The figures of outputs as `read_outputs` has them; those of a free search need the model.

    Raises:
        UserError: there are more or fewer of them than sentences.
    """
    if not len(outputs.lines) == len(outputs.sources) == len(outputs.references):
        raise UserError(
            f"There are {len(outputs.lines):,} outputs and {len(outputs.references):,} trees for "
            f"{len(outputs.sources):,} sentences; wanted one for each."
        )
    words = [line.split() for line in outputs.sources]
    found, gold = (
        [restore(line.split(), own) for line, own in zip(lines, words, strict=True)]
        for lines in (outputs.lines, outputs.references)
    )
    return scores_of(brackets.score(gold, found), None, experiment.data.src)


def evaluate_gold(path: Path, gold: Path, console: Console) -> Scores:
    """Parse the words of a treebank with a model, and score its trees."""
    right = [clean(tree) for tree in treebank.trees(gold)]
    if not right:
        raise UserError(f"{gold} holds no tree; wanted one at least.")
    parser = Parser(model_of(path))
    _, found = score_parses(parser, right, console, gold.name, free=True)
    show({gold.name: {"": found}}, console)
    return found


# --- Trees in a terminal --------------------------------------------------------------------------


def _draw_some(pairs: Sequence[tuple[Tree, Tree]], console: Console, picture: Path) -> None:
    """A few of the model's trees, one from each part of the test sets, each with its F1; the first
    of them as a picture too."""
    from aiayn.render.branches import plot_tree

    count = min(_DRAWN, len(pairs))
    console.print("Some trees over unseen sentences:")
    for number in range(count):
        part = pairs[number * len(pairs) // count : (number + 1) * len(pairs) // count]
        found, gold = min(part, key=lambda pair: abs(len(pair[0].words) - _SHOWN_WORDS))
        f1 = brackets.score([gold], [found]).all.f1
        console.print(f"  {' '.join(found.words)}" + ("" if f1 is None else f"  (F1 {f1:.1f})"))
        console.print(drawing(found))
        console.print()
        if not number:
            plot_tree(found.words, found.tags, found.brackets, picture)


def drawing(tree: Tree) -> Drawing:
    """A tree of lines, with a tag before each word."""
    top = Drawing(Text("TOP"))
    opened: list[tuple[int, Drawing]] = [(len(tree.words), top)]
    following = iter([*tree.brackets, None])
    bracket = next(following)
    for place, (word, tag) in enumerate(zip(tree.words, tree.tags, strict=True)):
        while opened[-1][0] <= place:
            opened.pop()
        while bracket and bracket.start == place:
            opened.append((bracket.end, opened[-1][1].add(Text(bracket.label))))
            bracket = next(following)
        opened[-1][1].add(Text(f"{tag} {word}"))
    return top
