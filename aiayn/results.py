"""The tables of results, rendered from the records; nothing in them is typed by hand.

python -m aiayn.results           write experiments/RESULTS.md and the README's table
python -m aiayn.results --check   fail if they differ from the records
"""

import argparse
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from aiayn.bleu import Scores, table
from aiayn.errors import UserError
from aiayn.experiments import load_experiment

TABLE, OUTPUT = "results", "output"
"""What the README's two pairs of markers are called, `<!-- results: begin -->` and so on."""
_FIGURES = {
    "sacrebleu": "BLEU (13a)",
    "sacrebleu-lc": "13a, uncased",
    "intl": "intl",
    "chrf2": "chrF2",
    "tokenised-lc": "tokenised, uncased",
    "compound-split": "compound-split",
    "compound-split-quotes": "with plain quotes",
}


def load_records(folder: Path) -> list[dict[str, Any]]:
    """Every record of a folder, by name.

    Raises:
        UserError: a file that is no record.
    """
    records: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            missing = {"experiment", "config", "scores", "config_hash", "commit"} - set(record)
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is no record of a run: {error}.") from None
        if missing:
            raise UserError(f"{path} is no record of a run: it lacks {', '.join(sorted(missing))}.")
        records.append(record)
    return records


def is_stale(record: Mapping[str, Any]) -> bool:
    """Whether the experiment of that name is no longer the one that was run."""
    return not load_experiment(record["experiment"]).is_same(record["config"])


def render_short(records: Iterable[Mapping[str, Any]]) -> str:
    """The README's table: one row per test set, the averaged model."""
    rows = [["experiment", "test set", "BLEU (13a)", "chrF2", "parameters", "time", "hardware"]]
    for record in records:
        for test_set, labels in record["scores"].items():
            values = _values(list(labels.values())[-1])
            rows.append(
                [
                    _name(record),
                    test_set,
                    _number(values["sacrebleu"]),
                    _number(values["chrf2"]),
                    f"{record['parameters']:,}",
                    _duration(record["seconds"]),
                    hardware_text(record),
                ]
            )
    return markdown_table(rows)


def render_full(records: Iterable[Mapping[str, Any]]) -> str:
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
        parts.append(f"## {_name(record)}")
        rows = [["test set", "weights", *_FIGURES.values()]]
        for test_set, labels in record["scores"].items():
            for label, scores in labels.items():
                values = _values(scores)
                rows.append([test_set, label, *(_number(values.get(name)) for name in _FIGURES)])
        parts.append(markdown_table(rows))
        versions = record["versions"]
        parts.append(
            f"Preset {record['preset']}; {record['parameters']:,} parameters; "
            f"{record['updates']:,} updates of {record['src_tokens_per_update']:,.0f} source and "
            f"{record['tgt_tokens_per_update']:,.0f} target tokens; "
            f"{_duration(record['seconds'])} on {hardware_text(record)}; "
            f"{record['tokens_per_second']:,.0f} tokens/s (median, both sides); one seed. "
            f"Commit {record['commit'][:12]}, config {record['config_hash'][:12]}, "
            f"jax {versions['jax']}, Python {versions['python']}."
        )
    return "\n\n".join(parts) + "\n"


def render_output(record: Mapping[str, Any]) -> str:
    """The table a run of `record` ends with, as a terminal shows it, without the legend."""
    results = {
        name: {label: Scores.from_dict(found) for label, found in rows.items()}
        for name, rows in record["scores"].items()
    }
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(table(results, title=f"{record['experiment']}: BLEU and chrF2"))
    lines = console.export_text().split("\nBLEU 13a compares")[0].splitlines()
    return "\n".join(["```text", *(line.rstrip() for line in lines if line.strip()), "```"])


def between_markers(readme: str, name: str, text: str) -> str:
    """The README with `text` between its markers of that name.

    Raises:
        UserError: a marker is missing.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in readme or end not in readme:
        raise UserError(f"README.md lacks the markers {begin} and {end}.")
    before, rest = readme.split(begin, 1)
    return f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Render or check; status 1 if a check finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m aiayn.results", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if they differ")
    check: bool = parser.parse_args(arguments).check
    root = Path(__file__).parent.parent
    records = load_records(root / "experiments" / "results")
    text = (root / "README.md").read_text(encoding="utf-8")
    text = between_markers(text, TABLE, render_short(records))
    for record in records:
        if record["experiment"] == "phrasebook":
            text = between_markers(text, OUTPUT, render_output(record))
    wanted = {
        root / "experiments" / "RESULTS.md": render_full(records),
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


def _name(record: Mapping[str, Any]) -> str:
    return record["experiment"] + (" (stale: the experiment changed)" if is_stale(record) else "")


def _values(scores: Mapping[str, Any]) -> dict[str, float | None]:
    return {entry["name"]: entry["value"] for entry in scores["entries"]}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def hardware_text(record: Mapping[str, Any]) -> str:
    """The machine that a run was trained on."""
    hardware = record["hardware"]
    if hardware["platform"] == "cpu":
        return f"{hardware['cpu_count']} cores, {hardware['cpu']}"
    return f"{hardware['num_devices']} × {hardware['device']}"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows as a table, the first as its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


if __name__ == "__main__":
    sys.exit(main())
