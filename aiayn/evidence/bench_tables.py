"""What benchmarks found, in Markdown, rendered from their records."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from aiayn.bench import choices, contest, data, growth, scaling, serving, start
from aiayn.render.markdown import (
    duration,
    hardware_text,
    markdown_table,
    number,
    short_commit,
    software_text,
)
from aiayn.system.records import Hardware

_CONTESTS = ("train", "decode")


def render_bench(records: Iterable[Mapping[str, Any]]) -> str:
    """What stages cost: contests with peers at a glance, then every record."""
    records = list(records)
    contests = [r for r in records if r["bench"] in _CONTESTS and contest.peer(r)]
    parts = _render_contests(contests)
    for record in records:
        kinds = {
            "data": _render_data,
            "start": _render_start,
            "scaling": _render_scaling,
            "serving": _render_serving,
            "growth": _render_growth,
            "choices": _render_choices,
        }
        render = kinds.get(record["bench"], _render_speed)
        parts += [
            *render(record),
            f"On {_machine(record)}, commit {short_commit(record['commit'])}, "
            f"{software_text(record['versions'])}.",
        ]
    return "".join(f"\n{part}\n" for part in parts)


def _render_contests(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Ours beside each peer, a record a line."""
    if not records:
        return []
    rows = [["work", "beside", "of its speed", "with large pages", "on", "commit"]]
    for record in records:
        plain, *large = map(_spread, record["ratios"].values())
        rows.append(
            [
                contest.work(record),
                contest.beside(record),
                plain,
                *(large or ["–"]),
                _machine(record),
                short_commit(record["commit"]),
            ]
        )
    return [
        "## Beside others on the same work",
        markdown_table(rows),
        "Its seconds by ours, in turns, the median and the range of pairs: above 1, ours is "
        "faster. Each line is a record, which stands below.",
    ]


def _machine(record: Mapping[str, Any]) -> str:
    return hardware_text(msgspec.convert(record["hardware"], Hardware))


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def _render_data(record: Mapping[str, Any]) -> list[str]:
    speeds = ["pairs/s", "text to rows, pairs/s", "SentencePiece alone, pairs/s", "ms an update"]
    rows = [["pairs", "text", "time", "of it", *speeds, "memory", "slots filled, by width"]]
    for run in record["runs"]:
        stages = ", ".join(f"{name} {duration(s)}" for name, s in run["stages"].items())
        memory = ", ".join(f"{name} {b / 1e9:.1f} GB" for name, b in run["peak_rss_bytes"].items())
        fill = ", ".join(f"{width}: {share:.1%}" for width, share in run["fill"].items())
        rows.append(
            [
                f"{run['pairs']:,}",
                f"{run['text_bytes'] / 1e6:,.0f} MB",
                duration(run["seconds"]),
                stages,
                f"{run['pairs_per_second']:,.0f}",
                number(run.get("packed_pairs_per_second"), ",.0f"),
                number(run.get("sentencepiece_pairs_per_second"), ",.0f"),
                number(run.get("milliseconds_per_update"), ".1f"),
                memory,
                fill,
            ]
        )
    return [
        "## Preparing a corpus of WMT14's size",
        markdown_table(rows),
        "Synthetic text with the lengths and the word frequencies of news, by `aiayn bench data`. "
        f"Memory: {record['definitions']['peak_rss_bytes']}.",
        *_grown_data(record),
    ]


def _grown_data(record: Mapping[str, Any]) -> list[str]:
    if not record.get("growth"):
        return []
    return [
        "How seconds and memory grow with the pairs, as exponents fitted to the last three sizes. "
        f"Its own: {record['definitions']['peak_own_bytes']}.",
        markdown_table(data.growth_figures(record)),
        "![How the cost of a corpus grows](results/bench/data.png)",
    ]


def _render_speed(record: Mapping[str, Any]) -> list[str]:
    texts = [contest.summary(record)]
    if "ceilings" in record:
        ceilings, flops = record["ceilings"], record["flops_per_step"]
        texts.append(
            f"{contest.product_text(record)}; a step's products are {flops / 1e9:,.1f} GFLOP."
        )
        if peak := ceilings["datasheet_flops_per_second"]:
            seconds = record["contenders"]["aiayn"]["median_seconds_per_step"]
            texts.append(
                f"Of the {peak / 1e9:,.0f} GFLOP/s of the maker's data sheet (MFU) ours has "
                f"{flops / seconds / peak:.1%}."
            )
    texts.append(f"By `aiayn bench {record['bench']}`; every figure is defined in its record.")
    return [f"## {contest.title(record)}", markdown_table(contest.figures(record)), " ".join(texts)]


def _render_choices(record: Mapping[str, Any]) -> list[str]:
    text = f"{choices.summary(record)} By `aiayn bench choices`; defined in its record."
    return [f"## {choices.title(record)}", markdown_table(choices.figures(record)), text]


def _render_start(record: Mapping[str, Any]) -> list[str]:
    return [
        f"## Start, workload {record['workload']}",
        markdown_table(start.figures(record)),
        "By `aiayn bench start`; every figure is defined in its record.",
    ]


def _render_serving(record: Mapping[str, Any]) -> list[str]:
    return [
        f"## {serving.title(record)}",
        markdown_table(serving.figures(record)),
        f"CTranslate2 {record['versions']['ctranslate2']}. By `aiayn bench serving`; every figure "
        "is defined in its record.",
    ]


def _render_growth(record: Mapping[str, Any]) -> list[str]:
    return [
        "## How a step's cost grows",
        markdown_table(growth.figures(record)),
        "![How a step's cost grows](results/bench/growth.png)",
        "Exponents are fitted to the last three points. By `aiayn bench growth`; what is varied, "
        "and how FLOPs are counted, is defined in its record.",
    ]


def _render_scaling(record: Mapping[str, Any]) -> list[str]:
    parts: list[str] = []
    for name, found in record["workloads"].items():
        parts += [f"## {scaling.title(name, found)}", markdown_table(scaling.figures(found))]
    text = f"{scaling.summary(record)} By `aiayn bench scaling`."
    return [*parts, "![Scaling, on paper](results/bench/scaling.png)", text]
