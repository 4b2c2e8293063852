"""A task: where the text of an experiment comes from, and how its outputs are scored.

Everything between the two (rows, model, training, search) is the same for all tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from aiayn.config import Experiment
from aiayn.data.corpus import OpenSource, open_pairs
from aiayn.evaluation.bleu import headline, score
from aiayn.evaluation.scores import Headline, Scores


@dataclass(frozen=True)
class Task:
    """The two ends of an experiment."""

    open_source: OpenSource
    """The pairs of train, dev and the test sets, as they come."""
    score: Callable[..., Scores]
    """Every figure of outputs, references and sources, and what readers should know of the text."""
    headline: Callable[[Sequence[str], Sequence[str], str], Headline]
    """The one figure of outputs and references in a target language, which validation, sweeps and
    ablations go by."""


TASKS: Mapping[str, Task] = {
    "translation": Task(open_pairs, score, headline),
    "translation_of_tokens": Task(
        open_pairs, partial(score, tokens=True), partial(headline, tokens=True)
    ),
}
"""By the name that an experiment gives its task; text of tokens is tokenised already, and is scored
as it is."""


def task_of(experiment: Experiment) -> Task:
    """The task of an experiment."""
    return TASKS[experiment.task]
