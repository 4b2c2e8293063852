"""A task: where the text of an experiment comes from, and how its outputs are scored.

Everything between the two (rows, step, training) is the same for all tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from rich.console import Console

from aiayn.config import Experiment
from aiayn.data.corpus import OpenSource, open_pairs
from aiayn.data.prepare import Prepared
from aiayn.decoding.parser import Parser
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError
from aiayn.evaluation import parses
from aiayn.evaluation.bleu import headline, score
from aiayn.evaluation.evaluate import Outputs, evaluate_run, read_outputs, translate_file
from aiayn.evaluation.parses import evaluate_parses, gold_trees, parse_validator, score_parses
from aiayn.evaluation.scores import Headline, Scores
from aiayn.evaluation.texts import evaluate_texts, score_texts
from aiayn.evaluation.validation import validator
from aiayn.model.saved import Model
from aiayn.training.loop import MakeValidator


class Rescoring(NamedTuple):
    """How outputs of a run that are kept are scored again."""

    read: Callable[[Path, str], Outputs]
    """Those of a test set in a folder that a run wrote."""
    score: Callable[[Experiment, Outputs], Scores]


@runtime_checkable
class Task(Protocol):
    """The two ends of an experiment."""

    @property
    def open_source(self) -> OpenSource:
        """The text of train, dev and the test sets, as it comes."""
        ...

    @property
    def make_validator(self) -> MakeValidator:
        """What is measured on dev before each checkpoint."""
        ...

    @property
    def rescoring(self) -> Rescoring | None:
        """None where figures are of the model's own probabilities, and nothing is put out."""
        ...

    def evaluate(self, run_dir: Path, prepared: Prepared, console: Console) -> None:
        """Score a trained run on its test sets, show and record it."""
        ...

    def score_model(self, model: Model, prepared: Prepared, split: str, console: Console) -> Scores:
        """The figures of any model of this task on one test set."""
        ...


@dataclass(frozen=True)
class Translation:
    """Text goes in, and other text comes out, which references are held against."""

    open_source: OpenSource
    score: Callable[..., Scores]
    """Every figure of outputs, references and sources, and what readers should know of the text."""
    headline: Callable[[Sequence[str], Sequence[str], str], Headline]
    """The one figure of outputs and references in a target language, which validation, sweeps and
    ablations go by."""

    @property
    def make_validator(self) -> MakeValidator:
        return partial(validator, headline=self.headline)

    @property
    def rescoring(self) -> Rescoring:
        return Rescoring(read_outputs, self._score_again)

    def _score_again(self, experiment: Experiment, outputs: Outputs) -> Scores:
        languages = {"src": experiment.data.src, "tgt": experiment.data.tgt}
        return self.score(outputs.lines, outputs.references, outputs.sources, **languages)

    def evaluate(self, run_dir: Path, prepared: Prepared, console: Console) -> None:
        evaluate_run(run_dir, prepared, console, self.score)

    def score_model(self, model: Model, prepared: Prepared, split: str, console: Console) -> Scores:
        sources, references = (prepared.lines(split, side) for side in ("src", "tgt"))
        lines = translate_file(model, sources, console, split)
        return self._score_again(model.experiment, Outputs(lines, sources, references))


@dataclass(frozen=True)
class LanguageModelling:
    """Text is gone on with; its own next words are what predictions are held against."""

    open_source: OpenSource

    @property
    def make_validator(self) -> MakeValidator:
        return partial(validator, headline=None)

    @property
    def rescoring(self) -> None:
        return None

    def evaluate(self, run_dir: Path, prepared: Prepared, console: Console) -> None:
        evaluate_texts(run_dir, prepared, console)

    def score_model(self, model: Model, prepared: Prepared, split: str, console: Console) -> Scores:
        return score_texts(Writer(model), prepared.lines(split, "tgt"), console, split)


@dataclass(frozen=True)
class Parsing:
    """Words go in, and a tree over them comes out, which the right one is held against (§6.3)."""

    open_source: OpenSource

    @property
    def make_validator(self) -> MakeValidator:
        return parse_validator

    @property
    def rescoring(self) -> Rescoring:
        return Rescoring(parses.read_outputs, parses.score_again)

    def evaluate(self, run_dir: Path, prepared: Prepared, console: Console) -> None:
        evaluate_parses(run_dir, prepared, console)

    def score_model(self, model: Model, prepared: Prepared, split: str, console: Console) -> Scores:
        gold = gold_trees(prepared, split)
        return score_parses(Parser(model), gold, console, split)[1]


_TRANSLATIONS: Mapping[str, Translation] = {
    "translation": Translation(open_pairs, score, headline),
    "translation_of_tokens": Translation(
        open_pairs, partial(score, tokens=True), partial(headline, tokens=True)
    ),
}
TASKS: Mapping[str, Task] = {
    **_TRANSLATIONS,
    "language_model": LanguageModelling(open_pairs),
    "parsing": Parsing(open_pairs),
}
"""By the name that an experiment gives its task; text of tokens is tokenised already, and is scored
as it is."""


def task_of(experiment: Experiment) -> Task:
    """The task of an experiment."""
    return TASKS[experiment.task]


def translation_of(experiment: Experiment) -> Translation:
    """The task of an experiment that translates.

    Raises:
        UserError: it does not.
    """
    if experiment.task not in _TRANSLATIONS:
        kind = (
            "parser, whose outputs are trees"
            if experiment.task == "parsing"
            else ("language model, which does not translate")
        )
        raise UserError(
            f"{experiment.name} is a {kind}; wanted one of {' or '.join(_TRANSLATIONS)}."
        )
    return _TRANSLATIONS[experiment.task]
