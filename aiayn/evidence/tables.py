"""The tables of results, rendered from the records; nothing in them is typed by hand.

experiments/results/*.json is what runs wrote, with metrics.jsonl beside it as NAME.metrics.jsonl
where the time to a score is to be shown; ablations/, sweeps/ and bench/ in it what the commands of
these names wrote, reliability/ what `make faults` did, with a picture beside each that has one.

python -m aiayn.evidence.tables           write experiments/RESULTS.md, the README's table and the
                                          one of docs/reliability.md
python -m aiayn.evidence.tables --check   fail if they differ from the records
"""

import argparse
import io
import math
import sys
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from rich.console import Console

from aiayn.config import Experiment
from aiayn.errors import UserError
from aiayn.evaluation.record import Record
from aiayn.evaluation.scores import Scores, table, tokeniser
from aiayn.evidence import table3
from aiayn.evidence.bench_tables import render_bench
from aiayn.evidence.published import PUBLISHED
from aiayn.evidence.records import (
    Ablation,
    Faults,
    RunRecord,
    Sweep,
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
}

_SCORE_STEP = 5
"""BLEU on dev between the times that are shown."""


def render_short(records: Iterable[Record]) -> str:
    """The README's table: a row for each test set, the averaged model; of all runs of an
    experiment the mean, not the best.

    Beside it is what others published, and our own score by the ruler nearest to theirs.
    """
    rows = [["experiment", "test set", "BLEU (13a)", "published", "parameters", "time, hardware"]]
    for (name, test_set), found in _averaged(records).items():
        runs, scores = [run for run, _ in found], [each for _, each in found]
        times = [f"{duration(run.seconds)}, {hardware_text(run.hardware)}" for run in runs]
        rows.append(
            [
                name,
                test_set,
                _figure(scores, "sacrebleu"),
                _beside(runs[0].experiment, test_set, scores),
                " or ".join(dict.fromkeys(f"{run.parameters:,}" for run in runs)),
                "; ".join(times),
            ]
        )
    return markdown_table(rows)


def _averaged(
    records: Iterable[Record],
) -> dict[tuple[str, str], list[tuple[Record, Scores]]]:
    """Every run's scores with the averaged model, by experiment and test set."""
    found: dict[tuple[str, str], list[tuple[Record, Scores]]] = {}
    for record in records:
        for test_set, labels in record.scores.items():
            scores = list(labels.values())[-1]
            found.setdefault((_name(record), test_set), []).append((record, scores))
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


def _beside(experiment: str, test_set: str, scores: Sequence[Scores]) -> str:
    """The published figure, and ours by its ruler."""
    published = PUBLISHED.get((experiment, test_set))
    if not published:
        return "–"
    ours = repeated([each.values().get(published.ruler) for each in scores])
    return f"{published.bleu} ({published.source}; ours by this ruler {ours})"


def render_full(records: Sequence[RunRecord]) -> str:
    """`RESULTS.md`: every test set, before and after averaging, with what it takes to repeat it."""
    parts = [
        "# Results",
        "Rendered by `make results` from the records in `results/`; do not edit. The signature of "
        "every figure is in its record, with what it may be compared with. The first four are "
        "sacreBLEU's. The others are BLEU on Moses' tokens: uncased, as Multi30k is reported; with "
        "compounds split at hyphens, as tensor2tensor's script of the paper's month does; and with "
        "quotes made plain besides. A dash: not taken by the version that ran.",
    ]
    for record in records:
        parts.append(f"## {_name(record)} on {hardware_text(record.hardware)}")
        rows = [["test set", "weights", *_FIGURES.values()]]
        for test_set, labels in record.scores.items():
            for label, scores in labels.items():
                rows.append([test_set, label, *(_figure([scores], name) for name in _FIGURES)])
        parts.append(markdown_table(rows))
        waiting = record.waiting_for_rows
        waited = "" if waiting is None else f", at most {waiting:.1%} of it waiting for rows"
        parts.append(
            f"Preset {record.preset}; {record.parameters:,} parameters; "
            f"{record.updates:,} updates of {record.src_tokens_per_update:,.0f} source and "
            f"{record.tgt_tokens_per_update:,.0f} target tokens; "
            f"{duration(record.seconds)} on {hardware_text(record.hardware)}{waited}; "
            f"{record.tokens_per_second:,.0f} tokens/s (median, both sides); one seed. "
            f"Commit {short_commit(record.commit)}, config {record.config_hash[:12]}, "
            f"{software_text(record.versions)}."
        )
        if record.dev_scores:
            parts.append(_time_to_score(record.dev_scores))
    return "\n\n".join([*parts, *_repeats(records)]) + "\n"


def _repeats(records: Sequence[Record]) -> list[str]:
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
        "They differ in machines and versions, and by chance; README.md has these."
    )
    return ["## Runs that were repeated", markdown_table(rows), text]


def _time_to_score(scores: Sequence[tuple[float, float]]) -> str:
    """When BLEU on dev was first so high: wall time from the first update's beginning, with
    compiling, validating and saving.
    """
    best = max(bleu for _, bleu in scores)
    wanted = [*range(_SCORE_STEP, math.ceil(best), _SCORE_STEP), best]
    times = (next(seconds for seconds, bleu in scores if bleu >= each) for each in wanted)
    reached = [f"{each:.4g} after {next(times):.0f} s" for each in wanted]
    return (
        "Time to score, with compiling, validating and saving: BLEU on dev by greedy search "
        f"{', '.join(reached)}, its highest."
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
        parts.append(f"## Table 3 in miniature: {_name(record)}")
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
        parts.append(f"## Averaging, beam, length penalty: {record.experiment}")
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
    """Render or check; status 1 if a check finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m aiayn.evidence.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if they differ")
    check: bool = parser.parse_args(arguments).check
    root = checkout.root()
    if not (root / "README.md").is_file():
        print(f"{root} holds no README.md; wanted a checkout of aiayn.", file=sys.stderr)
        return 2
    folder = root / "experiments" / "results"
    records = load_records(folder)
    text = (root / "README.md").read_text(encoding="utf-8")
    text = between_markers(text, TABLE, render_short(records))
    for record in records:
        if record.experiment == "phrasebook":
            text = between_markers(text, OUTPUT, render_output(record))
    reliability = root / "docs" / "reliability.md"
    faults = load(folder / "reliability", Faults, "faults")
    wanted = {
        reliability: between_markers(
            reliability.read_text(encoding="utf-8"), FAULTS, render_faults(faults)
        ),
        root / "experiments" / "RESULTS.md": (
            render_full(records)
            + render_ablations(load_ablations(folder))
            + render_sweeps(load(folder / "sweeps", Sweep, "a sweep"))
            + render_bench(load_benchmarks(folder))
        ),
        root / "README.md": text,
    }
    for path, text in wanted.items():
        same = path.is_file() and path.read_text(encoding="utf-8") == text
        if check and not same:
            print(f"{path.name} differs from the records; run make results.", file=sys.stderr)
            return 1
        if not same:
            path.write_text(text, encoding="utf-8")
    return 0


def _name(record: Record | Ablation) -> str:
    return record.experiment + (" (stale: the experiment changed)" if is_stale(record) else "")


def _picture(record: Ablation | Sweep) -> str:
    return f"{record.experiment}.png"


if __name__ == "__main__":
    sys.exit(main())
