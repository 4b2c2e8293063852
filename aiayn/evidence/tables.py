"""The tables of results, rendered from the records; nothing in them is typed by hand.

experiments/results/*.json is what runs wrote, with metrics.jsonl beside it as NAME.metrics.jsonl
where the time to a score is to be shown; outputs/ in it what they translated; ablations/, sweeps/
and bench/ what the commands of these names wrote, reliability/ what `make faults` did, with a
picture beside each that has one.

python -m aiayn.evidence.tables           write experiments/RESULTS.md, the README's table and the
                                          one of docs/reliability.md; say how old each record is;
                                          score every output again whose references are at hand,
                                          and fail where a record says otherwise
python -m aiayn.evidence.tables --check   fail if they differ from the records
"""

import argparse
import io
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console

from aiayn.config import Experiment
from aiayn.errors import UserError
from aiayn.evaluation.record import Record
from aiayn.evaluation.scores import Scores, table, tokeniser
from aiayn.evidence import outputs, table3
from aiayn.evidence.age import Age, ages
from aiayn.evidence.bench_tables import render_bench
from aiayn.evidence.outputs import NOT_KEPT, Checked
from aiayn.evidence.published import PUBLISHED, Published
from aiayn.evidence.records import (
    Ablation,
    Faults,
    RunRecord,
    Sweep,
    is_repeat,
    is_stale,
    load,
    load_ablations,
    load_benchmarks,
    load_records,
)
from aiayn.experiments import load_experiment
from aiayn.render.markdown import (
    duration,
    hardware_text,
    markdown_table,
    number,
    short_commit,
    software_text,
)
from aiayn.system import checkout
from aiayn.system.files import place, write_text
from aiayn.training.run_folder import differences

TABLE, OUTPUT, FAULTS = "results", "output", "faults"
"""What pairs of markers are called, `<!-- results: begin -->` and so on: two of the README's, and
one of docs/reliability.md."""
_FIGURES = {
    "sacrebleu": "BLEU (13a)",
    "sacrebleu-lc": "13a, uncased",
    "intl": "intl",
    "chrf2": "chrF2",
    "tokenised-lc": "tokenised, uncased",
    "compound-split": "compound-split",
    "compound-split-quotes": "with plain quotes",
    "tokens": "tokens as they are",
}

_EVIDENCE = """
Each claim of the paper beside what this program computes: `make reproduce`, one page. Faults that
were tried: [reliability](../docs/reliability.md). Differences from the paper:
[DEVIATIONS](DEVIATIONS.md).
"""
_RESULTS = Path("experiments", "results")
_SCORE_STEP = 5
"""BLEU on dev between the times that are shown."""


def render_short(records: Sequence[RunRecord]) -> str:
    """The README's table: a row for each test set, the averaged model.

    By the ruler of the published figure, where there is one: the mean of all runs of an experiment,
    the best of them, and how far both are from what was published.
    """
    rows = [
        [
            *("experiment", "test set", "BLEU", "by", "best run", "published", "how far"),
            *("parameters", "time, hardware"),
        ]
    ]
    for (name, test_set), found in _averaged(records).items():
        published = PUBLISHED.get((found[0][0].experiment, test_set))
        ruler = published.ruler if published else "sacrebleu"
        known = [(scores.values().get(ruler), run) for run, scores in found]
        values = [value for value, _ in known if value is not None]
        run = max(known, key=lambda each: each[0] or 0.0)[1]
        best = _linked(number(max(values, default=None)), run, "experiments/")
        rows.append(
            [
                *(name, test_set, _figure([each for _, each in found], ruler), _FIGURES[ruler]),
                *(best, f"{published.bleu} ({published.source})" if published else "–"),
                _how_far(values, published),
                f"{run.parameters:,}",
                f"{duration(run.seconds)}, {hardware_text(run.hardware)}",
            ]
        )
    return markdown_table(rows)


def _how_far(values: Sequence[float], published: Published | None) -> str:
    """The best run, and the mean, less what was published."""
    if not published or not values:
        return "–"
    far = f"{max(values) - published.bleu:+.2f}"
    return far if len(values) < 2 else f"{far}, mean {fmean(values) - published.bleu:+.2f}"


def _averaged(
    records: Sequence[RunRecord],
) -> dict[tuple[str, str], list[tuple[RunRecord, Scores]]]:
    """Every run's scores with the averaged model, by experiment and test set."""
    found: dict[tuple[str, str], list[tuple[RunRecord, Scores]]] = {}
    for name, record in zip(_names(records), records, strict=True):
        for test_set, labels in record.scores.items():
            scores = list(labels.values())[-1]
            found.setdefault((name, test_set), []).append((record, scores))
    return found


def _figure(scores: Sequence[Scores], name: str) -> str:
    """Of all these runs, with the tokeniser where that is another than the heading has it."""
    text = repeated([each.values().get(name) for each in scores])
    if name == "sacrebleu" and (tokens := tokeniser(scores[0][name].how)) not in ("", "13a"):
        text += f" ({tokens})"
    return text


def repeated(values: Iterable[float | None]) -> str:
    """A figure of one run; of several their mean, standard deviation and number."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return number(known[0] if known else None)
    return f"{fmean(known):.2f} ± {stdev(known):.2f}, n = {len(known)}"


def _linked(text: str, record: RunRecord, place: str = "") -> str:
    """A text that leads to its record."""
    return f"[{text}]({place}results/{record.file})" if record.file else text


def render_full(records: Sequence[RunRecord]) -> str:
    """The beginning of `RESULTS.md`: quality, of every test set before and after averaging."""
    scores, runs = [["run", "test set", "weights", *_FIGURES.values()]], [_RUN]
    for name, record in zip(_names(records), records, strict=True):
        run = _linked(record.file.removesuffix(".json") or name, record)
        if name != record.experiment:
            run += name.removeprefix(record.experiment)
        for test_set, labels in record.scores.items():
            for label, found in labels.items():
                figures = (_figure([found], figure) for figure in _FIGURES)
                scores.append([run, test_set, label, *figures])
        runs.append([run, *_about(record)])
    parts = [
        "# Results",
        "Rendered by `make results` from the records in `results/`; do not edit. Each row or "
        "figure leads to its record, which has the signature of every figure, what it may be "
        "compared with, the commit, all versions and the machine.",
        "## Quality",
        "### Test sets",
        markdown_table(scores),
        "The first four are sacreBLEU's, the next three BLEU on Moses' tokens: uncased, as papers "
        "on Multi30k have it; with compounds split at hyphens, as tensor2tensor's script of the "
        "paper's month does; and with quotes made plain besides. The last is BLEU of text that is "
        "tokenised already, as it is. A dash: not taken by the version that ran, or not of such "
        "text.",
        "### Runs",
        markdown_table(runs),
        "Tokens of an update without padding; tokens a second on both sides, the median.",
        *(_time_to_score(record) for record in records if record.dev_scores),
    ]
    return "\n\n".join([*parts, *_repeats(records)]) + "\n"


_RUN = [
    *("run", "seed", "preset", "parameters", "updates", "tokens, source + target", "time, on"),
    *("waiting for rows", "tokens/s", "commit, config", "software"),
]


def _about(record: RunRecord) -> list[str]:
    """What it takes to repeat a run, as the table of runs shows it."""
    return [
        f"{record.config['train']['seed']}",
        record.preset,
        f"{record.parameters:,}",
        f"{record.updates:,}",
        f"{record.src_tokens_per_update:,.0f} + {record.tgt_tokens_per_update:,.0f}",
        f"{duration(record.seconds)} on {hardware_text(record.hardware)}",
        number(record.waiting_for_rows, ".1%"),
        f"{record.tokens_per_second:,.0f}",
        f"{short_commit(record.commit)}, {record.config_hash[:12]}",
        software_text(record.versions),
    ]


def _repeats(records: Sequence[RunRecord]) -> list[str]:
    """The experiments of which there are several records, on all of them."""
    rows = [["experiment", "test set", *_FIGURES.values()]]
    for (name, test_set), found in _averaged(records).items():
        if len(found) > 1:
            scores = [each for _, each in found]
            rows.append([name, test_set, *(_figure(scores, figure) for figure in _FIGURES)])
    if len(rows) == 1:
        return []
    text = (
        "Mean and standard deviation over the records of an experiment, with the averaged model. "
        "They differ in seeds, machines and versions, and by chance; README.md has these."
    )
    return ["### Runs that were repeated", markdown_table(rows), text]


def _time_to_score(record: RunRecord) -> str:
    """When BLEU on dev was first so high: wall time from the first update's beginning, with
    compiling, validating and saving.
    """
    scores = record.dev_scores
    best = max(bleu for _, bleu in scores)
    wanted = [*range(_SCORE_STEP, math.ceil(best), _SCORE_STEP), best]
    times = (next(seconds for seconds, bleu in scores if bleu >= each) for each in wanted)
    reached = [f"{each:.4g} after {next(times):.0f} s" for each in wanted]
    return (
        f"Time to score of {record.file.removesuffix('.json')}, with compiling, validating and "
        f"saving: BLEU on dev by greedy search {', '.join(reached)}, its highest."
    )


def ablation_origin(record: Ablation) -> str:
    """Which code ran where, and for how long."""
    runs = [run for row in record.rows.values() for run in row.runs]
    commits = sorted({short_commit(commit) for run in runs for commit in run.commits})
    machines = sorted({hardware_text(run.hardware) for run in runs})
    jobs = sorted({run.jobs for run in runs})
    hours = sum(run.seconds for run in runs) / 3_600
    return (
        f"commit {', '.join(commits)}, config {record.config_hash[:12]}, "
        f"{len(record.rows['base'].runs)} seeds, {hours:.1f} h of processes, "
        f"{' or '.join(map(str, jobs))} at once, on {'; '.join(machines)}"
    )


def render_ablations(records: Iterable[Ablation]) -> str:
    """Table 3 in miniature beside the paper's."""
    parts: list[str] = []
    for record in records:
        stale = _STALE if is_stale(record) else ""
        parts.append(f"### Table 3 in miniature: {record.experiment}{stale}")
        parts.append(f"![Our differences over the paper's](results/ablations/{_picture(record)})")
        parts.append(markdown_table(list(table3.table_rows(record))))
        origin = ablation_origin(record)
        parts.append(
            f"{table3.summary(record)} Scored on {record.split}, {record.sentences:,} "
            f"sentences, beam search with the last checkpoint; {record.signature}. Preset "
            f"{record.preset}; {origin}; {software_text(record.versions)}."
        )
    return "".join(f"\n{part}\n" for part in parts)


def render_sweeps(records: Iterable[Sweep]) -> str:
    """What averaging, beam and length penalty are worth."""
    parts: list[str] = []
    for record in records:
        parts.append(f"### Averaging, beam, length penalty: {record.experiment}")
        parts.append(f"![BLEU by each setting](results/sweeps/{_picture(record)})")
        rows = [["setting", "value", f"BLEU ({tokeniser(record.signature)})", "length ratio"]]
        for name, points in record.series.items():
            own = str(record.around[name])
            for value, point in points.items():
                mark = f"**{value}**" if value == own else value
                rows.append([name, mark, f"{point.bleu:.2f}", f"{point.length_ratio:.3f}"])
        parts.append(markdown_table(rows))
        parts.append(
            f"A run of {record.kept_steps[-1]:,} updates{_changes(record)}. Each setting varies "
            f"alone around the experiment's own, in bold; on {record.split}, "
            f"{record.sentences:,} sentences; {record.signature}. On "
            f"{hardware_text(record.hardware)}, commit {short_commit(record.commit)}, "
            f"{software_text(record.versions)}."
        )
    return "".join(f"\n{part}\n" for part in parts)


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


def render_output(record: Record) -> str:
    """The table a run of `record` ends with, as a terminal shows it, without the legend."""
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(table(record.scores))
    lines = [line.rstrip() for line in console.export_text().splitlines() if line.strip()]
    return "\n".join(["```text", f"{record.experiment}: BLEU and chrF2", *lines, "```"])


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
    records = load_records(folder)
    text = between_markers(readme.read_text(encoding="utf-8"), TABLE, render_short(records))
    for record in records:
        if record.experiment == "phrasebook":
            text = between_markers(text, OUTPUT, render_output(record))
    faults = load(folder / "reliability", Faults, "faults")
    return {
        reliability: between_markers(
            reliability.read_text(encoding="utf-8"), FAULTS, render_faults(faults)
        ),
        folder.with_name("RESULTS.md"): "".join(
            (
                render_full(records),
                render_sweeps(load(folder / "sweeps", Sweep, "a sweep")),
                "\n## Speed\n",
                render_bench(load_benchmarks(folder)),
                "\n## Evidence\n",
                _EVIDENCE,
                render_ablations(load_ablations(folder)),
            )
        ),
        readme: text,
    }


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


_STALE = " (stale: the experiment changed)"


def _names(records: Sequence[RunRecord]) -> list[str]:
    """The experiment of each record, marked where it has changed since; another seed is no change
    beside a run of the experiment's own."""
    own = {record.experiment for record in records if not is_stale(record)}
    return [
        record.experiment
        + (
            _STALE
            if is_stale(record) and not (record.experiment in own and is_repeat(record))
            else ""
        )
        for record in records
    ]


def _picture(record: Ablation | Sweep) -> str:
    return f"{record.experiment}.png"


if __name__ == "__main__":
    sys.exit(main())
