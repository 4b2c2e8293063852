"""What benchmarks found, in Markdown, rendered from their records: machines are columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import msgspec

from aiayn.bench import (
    choices,
    contest,
    data,
    grammar,
    growth,
    nano,
    ngrams,
    pcfg,
    scaling,
    serve,
    serving,
    start,
    targets,
)
from aiayn.render.markdown import (
    duration,
    hardware_text,
    markdown_table,
    number,
    short_commit,
    software_text,
    spread,
)
from aiayn.system.records import Hardware

Bench = Mapping[str, Any]
"""The record of a benchmark; `file` is its place in the folder of results, where it has one."""


def render_bench(records: Iterable[Bench]) -> str:
    """What stages cost, by kind: contests with peers at a glance first."""
    records = list(records)

    def of(*kinds: str) -> list[Bench]:
        return _of(records, *kinds)

    parts = [
        *_render_contests([r for r in of(*contest.CONTESTS) if contest.peer(r)]),
        *_render_steps(of(*contest.CONTESTS)),
        *_render_choices(of("choices")),
        *_render_start(of("start")),
        *_render_data(of("data")),
    ]
    kinds = {
        "grammar": _render_grammar,
        "growth": _render_growth,
        "scaling": _render_scaling,
        "compile": _render_targets,
    }
    for record in of(*kinds):
        *others, last = kinds[record["bench"]](record)
        parts += [*others, f"{last} {_origins([record])}"]
    parts += [*_render_serve(of("serve")), *_render_serving(of("serving"))]
    return "".join(f"\n{part}\n" for part in parts)


_BESIDE = {"nano": nano.beside, "ngrams": ngrams.beside, "pcfg": pcfg.beside}


def render_simpler(records: Iterable[Bench]) -> str:
    """How well simpler models of the same text do beside ours."""
    found = _of(records, *_BESIDE)
    if not found:
        return ""
    rows = [["experiment", "text", "by", "ours", "others"]]
    for record in found:
        name = _linked(record["experiment"], record)
        rows += [[name, *row] for row in _BESIDE[record["bench"]](record)]
    verbs = dict.fromkeys(f"`aiayn bench {record['bench']}`" for record in found)
    parts = [
        "### Beside simpler models of the same text",
        markdown_table(rows),
        "The others are trained on the text of ours alone. Of F1 more is better, of the rest less. "
        f"By {', '.join(verbs)}; each row leads to its record, which defines every figure and has "
        f"what it took. {_origins(found)}",
    ]
    return "".join(f"\n{part}\n" for part in parts)


def _of(records: Iterable[Bench], *kinds: str) -> list[Bench]:
    return [record for record in records if record["bench"] in kinds]


# --- Machines as columns ------------------------------------------------------------------------


def _across(
    records: Sequence[Bench],
    heads: Sequence[str],
    lines: Callable[[Bench], Mapping[tuple[str, ...], str]],
    column: Callable[[Bench], str] | None = None,
) -> str:
    """A table with a column for each machine; `lines` gives a record's cells by their row."""
    column = column or _machine
    columns = list(dict.fromkeys(map(column, records)))
    cells: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for record in records:
        for row, cell in lines(record).items():
            cells.setdefault(row, {}).setdefault(column(record), []).append(cell)
    body = [
        [*row, *("; ".join(found.get(each, ["–"])) for each in columns)]
        for row, found in cells.items()
    ]
    return markdown_table([[*heads, *columns], *body])


def _side_by_side(tables: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """Tables whose rows begin alike as one, each head after the name of its table."""
    firsts = dict.fromkeys(row[0] for table in tables.values() for row in table[1:])
    rows = [[next(iter(tables.values()))[0][0]], *([first] for first in firsts)]
    for name, (heads, *body) in tables.items():
        rows[0] += [f"{name}: {head}" for head in heads[1:]]
        known = {row[0]: row[1:] for row in body}
        for row in rows[1:]:
            row += known.get(row[0], ["–"] * len(heads[1:]))
    return markdown_table(rows)


def _a_line_each(head: str, tables: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """Tables of one head as a line each, their rows as columns with all figures in a cell."""
    columns = list(dict.fromkeys(row[0] for table in tables.values() for row in table[1:]))
    rows = [[head, *columns]]
    for name, (heads, *body) in tables.items():
        cells = {row[0]: _told(heads[1:], row[1:]) for row in body}
        rows.append([name, *(cells.get(each, "–") for each in columns)])
    return markdown_table(rows)


def _told(heads: Sequence[str], figures: Sequence[str]) -> str:
    """Figures with their heads behind them; what stands alone in its row needs none."""
    if not any(figures[1:]):
        return figures[0]
    pairs = zip(figures, heads, strict=True)
    return "; ".join(f"{figure} {head}" for figure, head in pairs if figure not in ("", "–"))


def _by_kind_of_machine(records: Sequence[Bench]) -> list[list[Bench]]:
    """Those of processors and those of accelerators, which hardly share a row."""
    cpu, other = (
        [r for r in records if (r["hardware"]["platform"] == "cpu") == wanted]
        for wanted in (True, False)
    )
    return [group for group in (cpu, other) if group]


def _origins(records: Sequence[Bench]) -> str:
    """Of each machine the commits and versions that ran, as a footnote."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        texts = short_commit(record["commit"]), software_text(record["versions"])
        found.setdefault(_machine(record), {}).update(dict.fromkeys(texts))
    texts = (f"{machine}: {', '.join(said)}" for machine, said in found.items())
    return f"Commits and versions, on {'; '.join(texts)}."


def _machine(record: Bench) -> str:
    return hardware_text(msgspec.convert(record["hardware"], Hardware))


def _own_name(record: Bench) -> str:
    """What its file adds to the name of its kind: of two machines or texts, two names."""
    stem = PurePath(record["file"]).stem if "file" in record else record["experiment"]
    return stem.removeprefix(f"{record['bench']}-")


def _linked(text: str, record: Bench) -> str:
    """A figure that leads to its record."""
    return f"[{text}](results/{record['file']})" if "file" in record else text


# --- Contests -----------------------------------------------------------------------------------


def _render_contests(records: Sequence[Bench]) -> list[str]:
    """Ours beside each peer, a work a line."""
    if not records:
        return []

    def lines(record: Bench) -> dict[tuple[str, ...], str]:
        plain, *large = map(spread, record["ratios"].values())
        text = "".join(f"; {each} with large pages" for each in large)
        return {(contest.work(record), contest.beside(record)): _linked(plain, record) + text}

    return [
        "### Beside others on the same work",
        _across(records, ("work", "beside"), lines),
        "Its seconds by ours, in turns, the median and the range of pairs: above 1, ours is "
        "faster. Each figure leads to its record, which has the pairs, and defines every figure.",
    ]


def _render_steps(records: Sequence[Bench]) -> list[str]:
    """Our own seconds: those behind the ratios, and of works without a peer."""
    parts: list[str] = []
    for group in _by_kind_of_machine(records):
        where = "processors" if group[0]["hardware"]["platform"] == "cpu" else "accelerators"
        fastest: dict[tuple[str, str], Bench] = {}
        for record in sorted(group, key=_our_seconds):
            fastest.setdefault((contest.work(record), _machine(record)), record)
        chosen = [record for record in group if record in fastest.values()]
        parts += [
            f"### A step of training and of decoding, on {where}",
            _across(chosen, ("work",), _step_lines),
            "Ours: seconds a step (range); target tokens a second; the share of XLA's large "
            "product, where that was timed (once: before all rounds only); memory; the first step; "
            "what the machine did. Of several records the fastest; a peer's seconds are in the "
            f"record of its ratio. By `aiayn bench train` and `aiayn bench decode`. "
            f"{_origins(chosen)}",
        ]
    return parts


def _our_seconds(record: Bench) -> float:
    return record["contenders"]["aiayn"]["median_seconds_per_step"]


def _step_lines(record: Bench) -> dict[tuple[str, ...], str]:
    head, *rows = contest.figures(record)
    once = any(heading.endswith("timed once") for heading in head)
    seconds, reach, tokens, *shares, memory, first = next(r[1:] for r in rows if r[0] == "aiayn")
    share = [f"{each}{' once' if once else ''}" for each in shares]
    texts = (f"{tokens}/s", *share, memory, f"first {first}")
    cell = f"{_linked(seconds, record)} ({reach}); {'; '.join(texts)}. {_product(record)}"
    return {(contest.work(record),): cell}


def _product(record: Bench) -> str:
    """What a large product of XLA's reached, what else went on, and MFU where that is defined."""
    load = contest.quiet([r for c in record["contenders"].values() for r in c["rounds"]])
    texts = [load.removesuffix(".")]
    if "ceilings" in record:
        flops = record["flops_per_step"]
        texts[:0] = [contest.product_text(record), f"a step's products {flops / 1e9:,.1f} GFLOP"]
        if peak := record["ceilings"]["datasheet_flops_per_second"]:
            seconds = record["contenders"]["aiayn"]["median_seconds_per_step"]
            share = f"{flops / seconds / peak:.1%}"
            texts.append(f"MFU of ours {share} of the data sheet's {peak / 1e9:,.0f} GFLOP/s")
    return "; ".join(texts)


# --- Other benchmarks ---------------------------------------------------------------------------


def _render_choices(records: Sequence[Bench]) -> list[str]:
    if not records:
        return []
    summaries = (
        f"{record['workload']} on {_linked(_machine(record), record)}: {choices.summary(record)}"
        for record in records
    )
    return [
        "### Choices in the training step",
        _across(
            records,
            ("choice", "instead of it"),
            _choice_lines,
            lambda record: f"{record['workload']} on {_machine(record)}",
        ),
        "Seconds of a step without the choice by those of the step: above 1 the choice wins; "
        "the range; what was expected; and the first loss without the choice, less that with "
        "it, in nats per token. By `aiayn bench choices`; defined in the records. "
        f"{' '.join(summaries)} {_origins(records)}",
    ]


def _choice_lines(record: Bench) -> dict[tuple[str, ...], str]:
    found: dict[tuple[str, ...], str] = {}
    for name, instead, expected, ratio, reach, loss in choices.figures(record)[1:]:
        cell = f"{ratio} ({reach}), expected {expected}, {loss}" if reach else ratio or "–"
        found[name, instead] = cell
    return found


def _render_start(records: Sequence[Bench]) -> list[str]:
    def lines(record: Bench) -> dict[tuple[str, ...], str]:
        return {
            (record["workload"], what): f"{_linked(median, record)} ({reach})"
            for what, median, reach in start.figures(record)[1:]
        }

    if not records:
        return []
    return [
        "### Start",
        _across(records, ("workload", "until"), lines),
        "The median and the range. By `aiayn bench start`; every figure is defined in its record. "
        f"{_origins(records)}",
    ]


def _render_data(records: Sequence[Bench]) -> list[str]:
    if not records:
        return []
    speeds = ["pairs/s", "text to rows, pairs/s", "SentencePiece alone, pairs/s", "ms an update"]
    rows = [["on", "pairs", "text", "time", "of it", *speeds, "memory", "slots filled, by width"]]
    for record in records:
        for run in record["runs"]:
            rows.append([_linked(_machine(record), record), *_prepared(run)])
    return [
        "### Preparing a corpus of WMT14's size",
        markdown_table(rows),
        "Synthetic text with the lengths and the word frequencies of news, by `aiayn bench data`. "
        f"Memory: {records[0]['definitions']['peak_rss_bytes']}. {_origins(records)}",
        *_grown_data([record for record in records if record.get("growth")]),
    ]


def _prepared(run: Mapping[str, Any]) -> list[str]:
    return [
        f"{run['pairs']:,}",
        f"{run['text_bytes'] / 1e6:,.0f} MB",
        duration(run["seconds"]),
        ", ".join(f"{name} {duration(s)}" for name, s in run["stages"].items()),
        f"{run['pairs_per_second']:,.0f}",
        number(run.get("packed_pairs_per_second"), ",.0f"),
        number(run.get("sentencepiece_pairs_per_second"), ",.0f"),
        number(run.get("milliseconds_per_update"), ".1f"),
        ", ".join(f"{name} {b / 1e9:.1f} GB" for name, b in run["peak_rss_bytes"].items()),
        ", ".join(f"{width}: {share:.1%}" for width, share in run["fill"].items()),
    ]


def _grown_data(records: Sequence[Bench]) -> list[str]:
    parts: list[str] = []
    for record in records:
        _, *rows = data.growth_figures(record)
        told = ", ".join(f"{stage} {' and '.join(exponents)}" for stage, *exponents in rows)
        parts.append(
            "How seconds and memory of its own grow with the pairs, as exponents fitted to the "
            f"last three sizes: {told}. Its own: {record['definitions']['peak_own_bytes']}."
        )
    return [*parts, "![How the cost of a corpus grows](results/bench/data.png)"] if parts else []


def _render_serving(records: Sequence[Bench]) -> list[str]:
    if not records:
        return []
    versions = dict.fromkeys(record["versions"]["ctranslate2"] for record in records)
    timed = dict.fromkeys(
        "By ours: its seconds by ours in the same round."
        if "ratios" in record
        else "Records without that timed each once."
        for record in records
    )
    return [
        "### A file, by ours and by CTranslate2",
        _a_line_each(
            "model, text", {_linked(serving.title(r), r): serving.figures(r) for r in records}
        ),
        "Without a length penalty, which the two programs define differently, so that BLEU is not "
        f"that of the run. {' '.join(timed)} CTranslate2 {', '.join(versions)}. By `aiayn bench "
        "serving`; every "
        f"figure is defined in its record. {_origins(records)}",
    ]


def _render_serve(records: Sequence[Bench]) -> list[str]:
    if not records:
        return []
    same = (
        f"of {record['experiment']} "
        + ", ".join(f"{name} {share:.1%}" for name, share in record["same"].items())
        for record in records
    )
    return [
        "### Requests to a server",
        _side_by_side({_own_name(record): serve.figures(record) for record in records}),
        "Medians of rounds in turns; beside them the seconds by those of ours in the same round, "
        "with their range: above 1, ours is faster. Sentences with the same translation as ours: "
        f"{'; '.join(same)}. Of {'; '.join(_linked(serve.title(r), r) for r in records)}. By "
        "`aiayn bench serve`; every figure is defined in its record. "
        f"{_origins(records)}",
    ]


def _render_grammar(record: Bench) -> list[str]:
    return [
        f"### {grammar.title(record)}",
        markdown_table(grammar.figures(record)),
        "Medians of rounds in turns; ratios of the same round, the median and the range: above 1, "
        "the grammar takes longer. By `aiayn bench grammar`; every figure is defined in "
        f"{_linked('its record', record)}.",
    ]


def _render_growth(record: Bench) -> list[str]:
    return [
        "### How a step's cost grows",
        markdown_table(growth.figures(record)),
        "![How a step's cost grows](results/bench/growth.png)",
        "Exponents are fitted to the last three points. By `aiayn bench growth`; what is varied, "
        f"and how FLOPs are counted, is defined in {_linked('its record', record)}.",
    ]


def _render_scaling(record: Bench) -> list[str]:
    workloads = record["workloads"]
    titles = "; ".join(scaling.title(name, found) for name, found in workloads.items())
    return [
        "### Scaling on paper",
        _side_by_side({name: scaling.figures(found) for name, found in workloads.items()}),
        "![Scaling, on paper](results/bench/scaling.png)",
        f"Of {titles}. {scaling.summary(record)} By `aiayn bench scaling`, "
        f"{_linked('its record', record)}.",
    ]


def _render_targets(record: Bench) -> list[str]:
    tables = {
        targets.title(name, found): targets.figures(found)
        for name, found in record["programs"].items()
    }
    said = "every figure is defined in "
    link = _linked("its record", record)
    text = f"{targets.summary(record)} By `aiayn bench compile`; {said}{link}."
    return ["### Compiled for devices that are not here", _a_line_each("program", tables), text]
