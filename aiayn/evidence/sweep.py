"""What averaging, beam and length penalty are worth on a trained run (§6.1).

Each is varied alone around the experiment's own setting, on dev: nothing is chosen on a test set.
A parser is searched with each beam once more without its grammar, and what is no tree is mended.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from aiayn.config import DecodeConfig, Experiment
from aiayn.data.prepare import Prepared
from aiayn.decoding.parser import Parser
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.evaluation import parses
from aiayn.evaluation.average import average
from aiayn.evaluation.evaluate import check_data
from aiayn.evaluation.parses import gold_trees
from aiayn.evaluation.scores import Headline, bleu_name
from aiayn.evidence.records import Point, Sweep
from aiayn.model.saved import Model
from aiayn.render.markdown import number
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.files import read_json, user_os_errors, write_text
from aiayn.tasks import translation_of
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.run_folder import in_use, read_run

BEAM_SIZES = (1, 2, 4, 8, 16)
LENGTH_PENALTIES = (0.0, 0.3, 0.6, 0.9, 1.2)
OF_TREES: Mapping[str, Sequence[float]] = {
    "beam_size": (1, 4, 21),
    "length_penalty": (0.0, 0.3, 0.6),
}
"""Around 21 and 0.3, which the paper parses with (§6.3)."""
_COUNTS = (1, 2, 3, 5, 7, 10, 15, 20)
_SO_FAR = "sweep.so_far.json"
_OWN, _FREE = "own", "free"
"""How a parser is searched: within the grammar, and without it."""


def settings(
    around: DecodeConfig, kept: int, is_parser: bool = False
) -> Iterator[tuple[str, DecodeConfig]]:
    """What is varied, and each setting of it, where `kept` checkpoints can be averaged."""
    for count in sorted({*(n for n in _COUNTS if n <= kept), around.average_last}):
        yield "average_last", replace(around, average_last=count)
    beams = OF_TREES["beam_size"] if is_parser else BEAM_SIZES
    for beam_size in sorted({*map(int, beams), around.beam_size}):
        yield "beam_size", replace(around, beam_size=beam_size)
    penalties = OF_TREES["length_penalty"] if is_parser else LENGTH_PENALTIES
    for alpha in sorted({*penalties, around.length_penalty}):
        yield "length_penalty", replace(around, length_penalty=alpha)


def sweep(run_dir: Path, prepared: Prepared, console: Console) -> Sweep:
    """Score dev under every setting; write `sweep.json` and `sweep.png`, and return the record. A
    sweep that was cut short goes on.

    Raises:
        UserError: the run has no checkpoints, was trained on other data, or is in use.
    """
    with in_use(run_dir):
        return _sweep(run_dir, prepared, console)


def _sweep(run_dir: Path, prepared: Prepared, console: Console) -> Sweep:
    from aiayn.evidence.plots import plot_sweep

    experiment, _ = read_run(run_dir)
    check_data(run_dir, prepared)
    is_parser = experiment.task == "parsing"
    figures = {_OWN: figure_on_dev(experiment, prepared)}
    if is_parser:
        figures[_FREE] = figure_on_dev(experiment, prepared, free=True)
    checkpoints = Checkpoints.open(run_dir)
    steps = checkpoints.last(len(checkpoints.steps()))
    _, tokenizer = checkpoints.about(steps[-1])
    about = {"steps": steps, "data": prepared.fingerprint, **environment()}
    known = _Known(run_dir / _SO_FAR, about)

    @lru_cache(maxsize=1)  # one model at a time in memory
    def averaged(count: int) -> Model:
        return Model(experiment, tokenizer, average(checkpoints, steps[-count:]))

    def scored(decode: DecodeConfig, search: str = _OWN) -> Headline:
        def find() -> Headline:
            return figures[search](averaged(decode.average_last), decode)

        return known.get(json.dumps([search, decode.to_dict()]), find)

    around = replace(
        experiment.decode, average_last=min(experiment.decode.average_last, len(steps))
    )
    jobs = list(settings(around, len(steps), is_parser))
    series: dict[str, dict[str, Point]] = {}
    doing = "Parsing" if is_parser else "Translating"
    with progress(console) as bar:
        task = bar.add_task("", total=len(jobs))
        for name, decode in jobs:
            value = getattr(decode, name)
            bar.update(task, description=f"{doing} dev, {name} {value}")
            found, free = scored(decode), None
            if is_parser and name == "beam_size":
                free = scored(decode, _FREE).value
            series.setdefault(name, {})[str(value)] = Point(found.value, found.length_ratio, free)
            bar.advance(task)
    checkpoints.close()
    values = {
        "experiment": experiment.name,
        "config": experiment.portable(),
        "split": "dev",
        "sentences": len(prepared.lines("dev", "src")),
        "signature": scored(around).signature,
        "kept_steps": steps,
        "around": {name: getattr(around, name) for name in series},
        **environment(),
        "series": series,
        "measure": measure_of(experiment),
    }
    record = msgspec.convert(values, Sweep)
    records.write(run_dir / "sweep.json", record)
    known.forget()
    plot_sweep(record, run_dir / "sweep.png")
    return record


class _Known:
    """Figures by their settings, which a sweep that was cut short goes on from: of the same
    checkpoints, text, code and machine."""

    def __init__(self, path: Path, about: Mapping[str, Any]):
        self._path, self._about = path, msgspec.to_builtins(about)
        self._figures: dict[str, list[Any]] = {}
        with suppress(UserError):
            found = read_json(path)
            if found.get("about") == self._about:
                self._figures = found["figures"]

    def get(self, settings: str, find: Callable[[], Headline]) -> Headline:
        """The figure of some settings; found, and kept, where it is not known."""
        if settings not in self._figures:
            self._figures[settings] = [*find()]
            text = json.dumps({"about": self._about, "figures": self._figures})
            with user_os_errors(self._path):
                write_text(self._path, text)
        return Headline(*self._figures[settings])

    def forget(self) -> None:
        """The record has them all."""
        self._path.unlink(missing_ok=True)


def measure_of(experiment: Experiment) -> str:
    """The name of the figure that settings are compared by."""
    return "F1" if experiment.task == "parsing" else "BLEU"


def figure_on_dev(
    experiment: Experiment, prepared: Prepared, free: bool = False
) -> Callable[[Model, DecodeConfig], Headline]:
    """What a model and a search are worth on dev; a parser's may be `free` of its grammar."""
    sources, references = (prepared.lines("dev", side) for side in ("src", "tgt"))
    if experiment.task == "parsing":
        gold = gold_trees(prepared, "dev")

        def parsed(model: Model, decode: DecodeConfig) -> Headline:
            parser = Parser(model, decode)
            return parses.headline((parser.free() if free else parser).best(sources), gold)

        return parsed
    headline = translation_of(experiment).headline

    def translated(model: Model, decode: DecodeConfig) -> Headline:
        outputs = [best[0].text for best in Translator(model, decode).translate(sources)]
        return headline(outputs, references, experiment.data.tgt)

    return translated


def table(record: Sweep) -> Table:
    """BLEU, or F1, and length ratio of every setting, and the difference from the experiment's
    own."""
    is_bleu = record.measure == "BLEU"
    figure = bleu_name(record.signature) if is_bleu else record.measure
    grid = Table(title=f"{record.experiment}: {figure} on dev", title_justify="left")
    more = ["free search"] if record.has_free else []
    ratio = "length ratio" if is_bleu else "constituents found by right ones"
    for heading in ("", "setting", record.measure, "Δ", ratio, *more):
        grid.add_column(heading, justify="left" if heading in ("", "setting") else "right")
    for name, points in record.series.items():
        own = points[str(record.around[name])].bleu
        for value, point in points.items():
            is_own = value == str(record.around[name])
            grid.add_row(
                name,
                value + (" (the experiment's)" if is_own else ""),
                f"{point.bleu:.2f}",
                "" if is_own else f"{point.bleu - own:+.2f}",
                f"{point.length_ratio:.3f}",
                *(number(point.free) for _ in more),
            )
        grid.add_section()
    return grid
