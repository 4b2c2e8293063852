"""Other toolkits' trainings beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from aiayn.bench.toolkits import ToolkitRun, Trained, figures, of_ours, of_toolkit, scored_by, title
from aiayn.config import Experiment
from aiayn.errors import UserError
from aiayn.evidence.records import TOOLKITS, RunRecord, is_repeat
from aiayn.experiments import load_experiment
from aiayn.render.markdown import markdown_table, short_commit

_PACKAGES = ("torch", "transformers", "accelerate", "fairseq")


def render_toolkits(runs: Sequence[ToolkitRun], ours: Sequence[RunRecord]) -> str:
    """The tables of all experiments that toolkits trained, beside the runs of ours whose course is
    kept."""
    parts: list[str] = []
    for experiment, every in by_experiment(runs, ours).items():
        theirs = [run for run in runs if run.experiment == experiment and is_repeat(run)]
        parts.append(f"### {title(experiment)}")
        parts.append(
            f"![Loss on dev by updates and by minutes](results/{TOOLKITS}/{experiment}.png)"
        )
        parts.append(f"Of the test sets {scored_by(every)}.")
        parts.append(markdown_table(figures(every)))
        told = theirs[0].definitions
        parts.append(" ".join(f"{name.capitalize()}: {told[name]}." for name in told))
        parts.append(
            "; ".join(
                f"{run.toolkit}, seed {run.config['train']['seed']}: commit "
                f"{short_commit(run.commit)}, sessions {run.sessions}, {_software(run)}"
                for run in theirs
            )
            + ". By `make peers`."
        )
    return "".join(f"\n{part}\n" for part in parts)


def by_experiment(
    runs: Sequence[ToolkitRun], ours: Sequence[RunRecord]
) -> Mapping[str, list[Trained]]:
    """All trainings of each experiment as it is now that toolkits trained, ours first: with them
    those of its recipe from other first weights.

    Raises:
        UserError: toolkits trained an experiment on several texts.
    """
    found: dict[str, list[Trained]] = {}
    for experiment in dict.fromkeys(run.experiment for run in runs if is_repeat(run)):
        theirs = [run for run in runs if run.experiment == experiment and is_repeat(run)]
        text, *others = {run.data.fingerprint for run in theirs}
        if others:
            raise UserError(
                f"The records in results/{TOOLKITS} of {experiment} are of {1 + len(others)} "
                "texts; wanted one."
            )
        kept = [
            record
            for record in ours
            if record.data.fingerprint == text
            and record.dev_scores
            and _recipe(record.experiment) == _recipe(experiment)
            and is_repeat(record)
        ]
        kept.sort(key=lambda record: record.experiment != experiment)
        found[experiment] = [*(of_ours(r, r.metrics) for r in kept), *map(of_toolkit, theirs)]
    return found


def _recipe(name: str) -> Experiment:
    """What an experiment is, but for its name and its first weights."""
    found = load_experiment(name)
    return replace(found, name="any", model=replace(found.model, initializer="glorot"))


def _software(run: ToolkitRun) -> str:
    """The packages that decide what a toolkit computes."""
    known = ((name, run.versions.get(name)) for name in _PACKAGES)
    return ", ".join(f"{name} {found}" for name, found in known if found)
