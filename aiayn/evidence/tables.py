"""The tables of results, rendered from the records; nothing in them is typed by hand.

experiments/results/*.json is what runs wrote, with metrics.jsonl beside it as NAME.metrics.jsonl
where the time to a score is to be shown; outputs/ in it what they translated; ablations/, sweeps/
and bench/ what the commands of these names wrote, pretraining/ and parsed_text/ what `aiayn ablate`
did with these, alignment/ what the module of that name did, peers/ what `make peers` did,
reliability/ what `make faults` did, with a picture beside each that has one.

python -m aiayn.evidence.tables           write experiments/RESULTS.md, the README's table, the one
                                          of docs/reliability.md and that of the models that come
                                          along; draw their pictures; say how old each record is;
                                          score every output again whose references are at hand,
                                          and fail where a record says otherwise
python -m aiayn.evidence.tables --check   fail if they differ from the records
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from aiayn.config import Experiment
from aiayn.errors import UserError
from aiayn.evaluation.scores import bleu_name
from aiayn.evidence import alignment, included, outputs, parsed_text, table3, transfer
from aiayn.evidence.age import Age, ages
from aiayn.evidence.bench_tables import render_bench, render_simpler
from aiayn.evidence.outputs import NOT_KEPT, Checked
from aiayn.evidence.records import (
    TOOLKITS,
    Ablation,
    Faults,
    Included,
    Links,
    Point,
    Sweep,
    is_stale,
    load,
    load_ablations,
    load_benchmarks,
    load_parsed_text,
    load_pretraining,
    load_records,
    load_toolkits,
)
from aiayn.evidence.run_tables import STALE, render_full, render_output, render_short
from aiayn.evidence.toolkit_tables import by_experiment, render_toolkits
from aiayn.experiments import load_experiment
from aiayn.render.markdown import (
    hardware_text,
    markdown_table,
    short_commit,
    software_text,
)
from aiayn.system import checkout
from aiayn.system.files import place, write_text
from aiayn.training.run_folder import differences

TABLE, OUTPUT, FAULTS, MODELS = "results", "output", "faults", "models"
"""What pairs of markers are called, `<!-- results: begin -->` and so on: two of the README's, one
each of docs/reliability.md and experiments/models/README.md."""
_EVIDENCE = """
Each claim of the paper beside what this program computes: `make reproduce`, one page. Faults that
were tried: [reliability](../docs/reliability.md). Differences from the paper:
[DEVIATIONS](DEVIATIONS.md).
"""
_LEGEND = """
T1, T2, D1tiny and the like are workloads, which `aiayn bench --help` defines. An AMD EPYC of
family 25, model 1 is a Zen 3; of family 25, model 17, or named without a family, a Zen 4; of
family 26 a Zen 5.
"""
_RESULTS = Path("experiments", "results")


def ablation_origin(record: Ablation) -> str:
    """Which code ran where, and for how long."""
    runs = [run for row in record.rows.values() for run in row.runs]
    commits = sorted({short_commit(commit) for run in runs for commit in run.commits})
    machines = sorted({hardware_text(run.hardware) for run in runs})
    jobs, seeds = sorted({run.jobs for run in runs}), {run.seed for run in runs}
    hours = sum(run.seconds for run in (*runs, *record.text_models)) / 3_600
    return (
        f"commit {', '.join(commits)}, config {record.config_hash[:12]}, "
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)}, {hours:.1f} h of processes, "
        f"{' or '.join(map(str, jobs))} at once, on {'; '.join(machines)}"
    )


def render_ablations(records: Sequence[Ablation]) -> str:
    """Table 3 in miniature beside the paper's, all sizes of it in one table."""
    if not records:
        return ""
    parts = ["### Table 3 in miniature"]
    for record in records:
        parts.append(f"![Our differences over the paper's](results/ablations/{_picture(record)})")
    parts.append(markdown_table(list(table3.table_rows({_heading(r): r for r in records}))))
    for record in records:
        stale = STALE if is_stale(record) else ""
        parts.append(
            f"**{_heading(record)}**{stale}: {table3.summary(record)} By `aiayn ablate`. Scored on "
            f"{record.split}, {record.sentences:,} sentences, beam search with the last "
            f"checkpoint; {record.signature}. Preset {record.preset}; {ablation_origin(record)}; "
            f"{software_text(record.versions)}."
        )
    return "".join(f"\n{part}\n" for part in parts)


def render_pretraining(records: Iterable[Ablation]) -> str:
    """A pre-trained decoder beside one drawn at random."""
    parts: list[str] = []
    for record in records:
        stale = STALE if is_stale(record) else ""
        parts.append(f"### A pre-trained decoder: {_heading(record)}{stale}")
        parts.append(f"![BLEU by pairs and by layers](results/pretraining/{_picture(record)})")
        parts.append(markdown_table(list(transfer.table_rows(record))))
        parts.append(
            f"{transfer.summary(record)} By `aiayn ablate pretraining`. Scored on {record.split}, "
            f"{record.sentences:,} sentences, beam search; "
            f"{record.signature}. {ablation_origin(record)}; {software_text(record.versions)}."
        )
    return "".join(f"\n{part}\n" for part in parts)


def render_parsed_text(records: Iterable[Ablation]) -> str:
    """Parsers of a treebank alone beside those that read parsed text too."""
    parts: list[str] = []
    for record in records:
        stale = STALE if is_stale(record) else ""
        parts.append(f"### Parsed text: {_heading(record)}{stale}")
        parts.append(markdown_table(list(parsed_text.table_rows(record))))
        parts.append(
            f"{parsed_text.summary(record)} Scored on {record.split}, {record.sentences:,} "
            f"sentences, with the mean of the last {_counts(record)} checkpoints; "
            f"{record.signature}. "
            f"{ablation_origin(record)}, without the parsing of the text; "
            f"{software_text(record.versions)}."
        )
    return "".join(f"\n{part}\n" for part in parts)


def _counts(record: Ablation) -> str:
    """How many checkpoints were averaged before runs were scored."""
    found = sorted({run.averaged for row in record.rows.values() for run in row.runs})
    return " or ".join(map(str, found))


def render_sweeps(records: Iterable[Sweep]) -> str:
    """What averaging, beam and length penalty are worth."""
    parts: list[str] = []
    for record in records:
        parts.append(f"### Averaging, beam, length penalty: {_heading(record)}")
        parts.append(f"![{record.measure} by each setting](results/sweeps/{_picture(record)})")
        figure = bleu_name(record.signature) if record.measure == "BLEU" else record.measure
        rows = [["setting", f"{figure} by its value"]]
        for name, points in record.series.items():
            own = str(record.around[name])
            shown = (_point(value, point, value == own) for value, point in points.items())
            rows.append([name, "; ".join(shown)])
        parts.append(markdown_table(rows))
        told = _LENGTHS[record.measure]
        if record.has_free:
            told += "; a free search knows no grammar, and what is no tree is mended"
        parts.append(
            f"A run of {record.kept_steps[-1]:,} updates{_changes(record)}, by `aiayn sweep`. Each "
            f"setting varies alone around the experiment's own, in bold; in brackets {told}; on "
            f"{record.split}, {record.sentences:,} sentences; {record.signature}. On "
            f"{hardware_text(record.hardware)}, commit {short_commit(record.commit)}, "
            f"{software_text(record.versions)}."
        )
    return "".join(f"\n{part}\n" for part in parts)


def render_links(found: Iterable[Links]) -> str:
    """Which heads look at the words that the next word is a translation of."""
    parts: list[str] = []
    for record in found:
        parts.append(f"### Words that belong together: {record.experiment}")
        parts.append(
            f"{alignment.rendered(record)} Of each, the share whose link leads to a word of the "
            "same slot, by attention at the step that predicts the word; in brackets, at the next "
            "step. The first row is what `aiayn translate --align` goes by. By "
            f"`python -m aiayn.evidence.alignment`, commit {short_commit(record.commit)}, on "
            f"{hardware_text(record.hardware)}, {software_text(record.versions)}."
        )
    return "".join(f"\n{part}\n" for part in parts)


_LENGTHS = {
    "BLEU": "the length of the outputs by that of the references",
    "F1": "the constituents found by those that are right",
}
"""What the ratio in a sweep is of, by its measure."""


def _point(value: str, point: Point, is_own: bool) -> str:
    """What one value of a setting is worth; of a parser also without the grammar."""
    text = f"{value}: {point.bleu:.2f} ({point.length_ratio:.3f})"
    free = "" if point.free is None else f", free search {point.free:.2f}"
    return f"**{text}{free}**" if is_own else f"{text}{free}"


def _changes(record: Sweep) -> str:
    """How a run's config differs from the experiment of that name."""
    now = load_experiment(record.experiment).to_dict()
    try:
        there = Experiment.from_dict(record.config).to_dict()
    except UserError:
        return ", of settings that are gone"
    changed = [
        f"{key} is {theirs!r}, not {ours!r}"
        for key, theirs, ours in differences(there, now)
        if key != "data.folder"
    ]
    return f", not as the experiment has it: {', '.join(changed)}" if changed else ""


def render_faults(records: Sequence[Faults]) -> str:
    """All that `make faults` tried, then each part by kind."""
    rows = [["what", "tried", "survived", "lost", "repeat with", "commit"]]
    for record in records:
        counts = [f"{count:,}" for count in (record.tried, record.survived, record.lost)]
        command = f"`{record.command}`"
        rows.append([record.title, *counts, command, short_commit(record.commit)])
    parts = [markdown_table(rows)]
    for record in records:
        kinds = [["", "tried", "survived"]]
        for kind, found in record.details.items():
            kinds.append([kind, f"{found.tried:,}", f"{found.survived:,}"])
        rule = f" The rule: {record.rule}." if record.rule else ""
        parts += [
            f"**{record.title}.**{rule} On {hardware_text(record.hardware)}, "
            f"{software_text(record.versions)}.",
            markdown_table(kinds),
        ]
    return "\n\n".join(parts)


def between_markers(page: str, name: str, text: str) -> str:
    """A page with `text` between its markers of that name.

    Raises:
        UserError: a marker is missing.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in page or end not in page:
        raise UserError(f"A page lacks the markers {begin} and {end}.")
    before, rest = page.split(begin, 1)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Render or check; status 1 if a check finds a difference, or outputs have other scores than
    their records.
    """
    parser = argparse.ArgumentParser(
        prog="python -m aiayn.evidence.tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if they differ")
    parser.add_argument(
        "--data-dir", type=place, default=Path("data"), help="prepared data, which has references"
    )
    parser.add_argument(
        "--references",
        type=place,
        action="append",
        default=[],
        metavar="DIR",
        help="a folder with the files of an experiment; may be repeated",
    )
    given = parser.parse_args(arguments)
    root = checkout.root()
    if not (root / "README.md").is_file():
        print(f"{root} holds no README.md; wanted a checkout of aiayn.", file=sys.stderr)
        return 2
    try:
        differ = {path: text for path, text in _pages(root).items() if not _is(path, text)}
        if given.check:
            for path in differ:
                print(f"{path.name} differs from the records; run make results.", file=sys.stderr)
            return int(bool(differ))
        for path, text in differ.items():
            write_text(path, text)
        _draw(root / _RESULTS)
        checked = dict(outputs.check(root / _RESULTS, given.data_dir, given.references))
        for age in ages(root / _RESULTS):
            print(f"{age.file}: {_behind(age, checked)}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    wrong = [*chain.from_iterable(found.wrong for found in checked.values())]
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


def _pages(root: Path) -> dict[Path, str]:
    """What the pages of the checkout that hold tables should read."""
    folder, readme = root / _RESULTS, root / "README.md"
    reliability = root / "docs" / "reliability.md"
    models = root / checkout.MODELS / "README.md"
    records = load_records(folder)
    text = between_markers(readme.read_text(encoding="utf-8"), TABLE, render_short(records))
    for record in records:
        if record.experiment == "phrasebook":
            text = between_markers(text, OUTPUT, render_output(record))
    faults = load(folder / "reliability", Faults, "faults")
    benchmarks = load_benchmarks(folder)
    return {
        reliability: between_markers(
            reliability.read_text(encoding="utf-8"), FAULTS, render_faults(faults)
        ),
        models: between_markers(
            models.read_text(encoding="utf-8"),
            MODELS,
            included.render(load(folder / "models", Included, "a model")),
        ),
        folder.with_name("RESULTS.md"): "".join(
            (
                render_full(records),
                render_toolkits(load_toolkits(folder), records),
                render_simpler(benchmarks),
                render_sweeps(load(folder / "sweeps", Sweep, "a sweep")),
                "\n## Speed\n",
                _LEGEND,
                render_bench(benchmarks),
                "\n## Evidence\n",
                _EVIDENCE,
                render_ablations(load_ablations(folder)),
                render_pretraining(load_pretraining(folder)),
                render_parsed_text(load_parsed_text(folder)),
                render_links(load(folder / "alignment", Links, "links")),
            )
        ),
        readme: text,
    }


def _draw(folder: Path) -> None:
    """The pictures of the records that hold what theirs shows."""
    from aiayn.evidence import plots  # Matplotlib; a check does without

    for record in load_ablations(folder):
        title = f"{record.experiment}: Table 3 in miniature"
        path = folder / "ablations" / _picture(record)
        plots.plot_ablation(title, table3.panels(record), path)
    for record in load_pretraining(folder):
        plots.plot_pretraining(record, folder / "pretraining" / _picture(record))
    for record in load(folder / "sweeps", Sweep, "a sweep"):
        plots.plot_sweep(record, folder / "sweeps" / _picture(record))
    for experiment, every in by_experiment(load_toolkits(folder), load_records(folder)).items():
        plots.plot_courses(experiment, every, folder / TOOLKITS / f"{experiment}.png")


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _behind(age: Age, checked: Mapping[str, Checked]) -> str:
    """What there is behind a record, and how old it is."""
    scored = checked[age.file].said if age.file in checked else ""
    if age.file.startswith(("ablations/", "sweeps/")):
        scored = NOT_KEPT
    if age.commits is None:
        old = f"commits since {short_commit(age.commit)} {age.text}"
    else:
        old = f"{age.text} commits since {short_commit(age.commit)} changed what it rests on"
    return "; ".join(filter(None, (scored, old)))


def _name(record: Ablation | Sweep) -> str:
    return Path(record.file).stem or record.experiment


def _picture(record: Ablation | Sweep) -> str:
    return f"{_name(record)}.png"


def _heading(record: Ablation | Sweep) -> str:
    """The experiment, and which of several records of it."""
    name = _name(record)
    return name if name == record.experiment else f"{record.experiment} ({name})"


if __name__ == "__main__":
    sys.exit(main())
