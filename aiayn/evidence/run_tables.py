"""The tables of runs: what each experiment came to, by the figures of its task."""

import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from rich.console import Console

from aiayn.errors import UserError
from aiayn.evaluation.record import Record, TestSet
from aiayn.evaluation.scores import Scores, table, tokeniser
from aiayn.evidence.published import PUBLISHED, Published
from aiayn.evidence.records import RunRecord, is_repeat, is_stale
from aiayn.render.markdown import (
    duration,
    hardware_text,
    markdown_table,
    number,
    short_commit,
    software_text,
)


@dataclass(frozen=True, eq=False)
class Kind:
    """How the figures of one kind of task are shown."""

    title: str
    figures: Mapping[str, str]
    """Columns by the name of the figure."""
    ruler: str
    """What the README shows where nothing was published."""
    best: Callable[[Iterable[float]], float]
    note: str

    def named(self, ruler: str) -> str:
        """A figure without its column's table around it."""
        name = self.figures[ruler]
        return f"BLEU, {name}" if "sacrebleu" in self.figures and "BLEU" not in name else name


_TRANSLATION = Kind(
    "Translation",
    {
        "sacrebleu": "BLEU (13a)",
        "sacrebleu-lc": "13a, uncased",
        "intl": "intl",
        "chrf2": "chrF2",
        "tokenised": "tokenised",
        "tokenised-lc": "tokenised, uncased",
        "compound-split": "compound-split",
        "compound-split-quotes": "with plain quotes",
        "tokens": "tokens as they are",
    },
    "sacrebleu",
    max,
    "The first four are sacreBLEU's, the next four BLEU on Moses' tokens: as they are; uncased, as "
    "papers on Multi30k have it; with compounds split at hyphens, as tensor2tensor's script of the "
    "paper's month does; and with quotes made plain besides; then BLEU of text that is tokenised "
    "already, as it is. A dash: not taken by the version that ran, or not of such text.",
)
_LANGUAGE_MODEL = Kind(
    "Language models",
    {
        "nats_per_character": "nats per character",
        "bits_per_byte": "bits per byte",
        "word_perplexity": "perplexity per word",
        "perplexity": "perplexity per token",
    },
    "nats_per_character",
    min,
    "Lower is better. All but the last compare with any model on the same text, the last with "
    "models that have the same pieces.",
)
_PARSING = Kind(
    "Parsing (§6.3)",
    {
        "f1": "F1",
        "f1_short": "up to 40 words",
        "recall": "recall",
        "precision": "precision",
        "exact": "exact",
        "tags": "tags",
        "f1_free": "F1 of a free search, mended",
    },
    "f1",
    max,
    "Labelled brackets by EVALB's rules, from words alone. A free search knows no grammar; what is "
    "no tree then is mended.",
)
_KINDS = {"language_model": _LANGUAGE_MODEL, "parsing": _PARSING}


def kind_of(record: Record) -> Kind:
    """What the figures of a run are, by its task."""
    return _KINDS.get(record.config.get("task", ""), _TRANSLATION)


def ruler_of(record: Record) -> str:
    """The figure that a run is compared by where nothing else is said."""
    of_tokens = record.config.get("task") == "translation_of_tokens"
    return "tokens" if of_tokens else kind_of(record).ruler


def render_short(records: Sequence[RunRecord]) -> str:
    """The README's table: a row for each test set, the averaged model; not of runs on other text
    than the experiment's own, and dev where that is all that was scored. Of experiments on one text
    by one ruler those with a published figure, and the best.

    By the ruler of the published figure, where there is one: the mean of all runs of an experiment,
    the best of them, and how far both are from what was published.
    """
    head = [
        *("experiment", "test set", "score", "by", "best run", "published", "how far"),
        *("parameters", "time, hardware"),
    ]
    rows: list[tuple[tuple[str, ...] | None, float, list[str]]] = []
    best_of: dict[tuple[str, ...], float] = {}
    for (name, test_set, _), runs in _by_test_set(records).items():
        is_dev_beside = test_set == "dev" and len(runs[0].scores) > 1
        if name.endswith(OTHER_TEXT) or is_dev_beside:
            continue
        kind = kind_of(runs[0])
        published = PUBLISHED.get((runs[0].experiment, test_set))
        ruler = published.ruler if published else ruler_of(runs[0])
        averaged = _averaged(runs, test_set)
        known = [(each.values().get(ruler), run) for each, run in zip(averaged, runs, strict=True)]
        values = [value for value, _ in known if value is not None]
        value = kind.best(values) if values else None
        run = next(run for own, run in known if own == value)
        best = _linked(number(value), run, "experiments/")
        row = [
            *(name, test_set, _figure(averaged, ruler), kind.named(ruler)),
            *(best, f"{published.value} ({published.source})" if published else "–"),
            _how_far(value, values, published),
            f"{run.parameters:,}",
            f"{duration(run.seconds)}, {hardware_text(run.hardware)}",
        ]
        text = runs[0].data.tests.get(test_set)
        if not (text and values) or name.endswith(STALE):
            rows.append((None, 0.0, row))
            continue
        key, mean = (text.src, text.ref, ruler), fmean(values)
        best_of[key] = kind.best((mean, best_of.get(key, mean)))
        rows.append((None if published else key, mean, row))
    shown = [row for key, mean, row in rows if key is None or mean == best_of[key]]
    return markdown_table([head, *shown])


def _how_far(best: float | None, values: Sequence[float], published: Published | None) -> str:
    """The best run, and the mean, less what was published."""
    if not published or best is None:
        return "–"
    far = f"{best - published.value:+.2f}"
    return far if len(values) < 2 else f"{far}, mean {fmean(values) - published.value:+.2f}"


def _by_test_set(records: Sequence[RunRecord]) -> dict[tuple[str, str, str], list[RunRecord]]:
    """Every run that was scored, by experiment, test set, and all else that decides what it comes
    to but chance.

    Raises:
        UserError: runs of an experiment were scored on other texts under one name.
    """
    found: dict[tuple[str, str, str], list[RunRecord]] = {}
    texts: dict[tuple[str, str], tuple[TestSet, str]] = {}
    for name, record in zip(_names(records), records, strict=True):
        for test_set in record.scores:
            if text := record.data.tests.get(test_set):
                known, file = texts.setdefault((name, test_set), (text, record.file))
                if known != text:
                    raise UserError(
                        f"{file} and {record.file} have other texts as {test_set} of {name}; a "
                        "mean is of one text. Give one of the two experiments another name."
                    )
            found.setdefault((name, test_set, _trained_as(record)), []).append(record)
    return found


def _trained_as(record: RunRecord) -> str:
    """What runs have in common that may be averaged: text, settings but the seed, first weights."""
    settings = {**record.config, "train": {**record.config["train"], "seed": None}}
    same = "" if is_repeat(record) else json.dumps(settings, sort_keys=True)
    return f"{record.data.fingerprint} {(record.initial or {}).get('params_sha256')} {same}"


def _averaged(runs: Sequence[RunRecord], test_set: str) -> list[Scores]:
    """Each run's scores with the averaged model, or the only one it has."""
    return [list(run.scores[test_set].values())[-1] for run in runs]


def _figure(scores: Sequence[Scores], name: str) -> str:
    """Of all these runs, with the tokeniser where that is another than the heading has it."""
    text = repeated([each.values().get(name) for each in scores])
    if name == "sacrebleu" and (tokens := tokeniser(scores[0][name].how)) not in ("", "13a"):
        return "–" if tokens == "none" else f"{text} ({tokens})"  # which has a column of its own
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
    """The beginning of `RESULTS.md`: quality, of every test set, averaged and not."""
    runs = [_RUN]
    for name, record in zip(_names(records), records, strict=True):
        runs.append([_named(name, record), *_about(record)])
    found = {kind_of(record) for record in records} | {_TRANSLATION}
    kinds = [kind for kind in (_TRANSLATION, *_KINDS.values()) if kind in found]
    parts = [
        "# Results",
        "Rendered by `make results` from the records in `results/`; do not edit. Each row or "
        "figure leads to its record, which has the signature of every figure, what it may be "
        "compared with, the commit, all versions and the machine. Of several runs of an "
        "experiment on the same text the mean and the standard deviation: they differ in seeds, "
        "machines, versions and the precision of products (bfloat16 on a GPU), and by chance.",
        "## Quality",
        *(part for kind in kinds for part in _of_kind(kind, records)),
        "### Runs",
        markdown_table(runs),
        "Tokens of an update without padding; tokens a second on both sides, the median.",
        *_times_to_score([record for record in records if record.dev_scores]),
    ]
    return "\n\n".join(parts) + "\n"


def _of_kind(kind: Kind, records: Sequence[RunRecord]) -> list[str]:
    """All test sets of one kind of task, each with all runs of an experiment."""
    alone = "the linked one, not averaged"
    rows = [["experiment", "test set", "weights", *kind.figures.values(), alone]]
    for (name, test_set, _), runs in _by_test_set(records).items():
        if kind_of(runs[0]) is not kind:
            continue
        averaged, ruler = _averaged(runs, test_set), ruler_of(runs[0])
        figures = [
            _leading(averaged, runs, ruler) if figure == ruler else _figure(averaged, figure)
            for figure in kind.figures
        ]
        every = [list(run.scores[test_set].items()) for run in runs]
        labels = dict.fromkeys(scores[-1][0] for scores in every)
        last = [scores[0][1] for scores in every if len(scores) > 1]
        rows.append(
            [
                *(name, test_set, ", ".join(labels), *figures),
                _figure(last, ruler) if last else "–",
            ]
        )
    return [f"### {kind.title}: test sets", markdown_table(rows), kind.note]


def _leading(scores: Sequence[Scores], runs: Sequence[RunRecord], ruler: str) -> str:
    """The figure of an experiment, and those of its runs, each of which leads to its record."""
    figure = _figure(scores, ruler)
    if len(runs) == 1:
        return _linked(figure, runs[0])
    values = (number(each.values().get(ruler)) for each in scores)
    return f"{figure}: {', '.join(map(_linked, values, runs))}"


def _named(name: str, record: RunRecord) -> str:
    """A run that leads to its record, and how it is marked."""
    run = _linked(record.file.removesuffix(".json") or name, record)
    return run + (name.removeprefix(record.experiment) if name != record.experiment else "")


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


_SCORE_STEP = 5
"""BLEU on dev between the times that are shown."""


def _times_to_score(records: Sequence[RunRecord]) -> list[str]:
    """When BLEU on dev was first so high: wall time from the first update's beginning."""
    if not records:
        return []
    bests = [max(bleu for _, bleu in record.dev_scores) for record in records]
    wanted = range(_SCORE_STEP, math.ceil(max(bests)), _SCORE_STEP)
    rows = [["run", "by", "sentences", *map(str, wanted), "highest"]]
    for record, best in zip(records, bests, strict=True):
        times = [_first_time(record, each) for each in (*map(float, wanted), best)]
        told = [f"{seconds:.0f} s" if seconds is not None else "–" for seconds in times]
        by = kind_of(record).named(ruler_of(record))
        highest = f"{best:.4g} after {told[-1]}"
        count = f"{record.config['train']['validate_sentences']:,}"
        rows.append([_named(record.experiment, record), by, count, *told[:-1], highest])
    return [
        "Time until BLEU on the first sentences of dev by greedy search was so high, with "
        "compiling, validating and saving:",
        markdown_table(rows),
    ]


def _first_time(record: RunRecord, wanted: float) -> float | None:
    return next((seconds for seconds, bleu in record.dev_scores if bleu >= wanted), None)


def render_output(record: Record) -> str:
    """The table a run of `record` ends with, as a terminal shows it, without the legend."""
    console = Console(file=io.StringIO(), width=90, record=True)
    console.print(table(record.scores))
    lines = [line.rstrip() for line in console.export_text().splitlines() if line.strip()]
    return "\n".join(["```text", f"{record.experiment}: BLEU and chrF2", *lines, "```"])


STALE = " (stale: not the settings that the experiment has now)"
OTHER_TEXT = " (on other text)"


def _names(records: Sequence[RunRecord]) -> list[str]:
    """The experiment of each record, marked where its settings are others now, or its text is not
    that of the run which is named as the experiment; another seed is no change beside a run of the
    experiment's own."""
    own = {record.experiment for record in records if not is_stale(record)}
    texts: dict[str, str] = {}
    for record in sorted(records, key=lambda each: each.file != f"{each.experiment}.json"):
        texts.setdefault(record.experiment, record.data.fingerprint)

    def mark(record: RunRecord) -> str:
        if is_stale(record) and not (record.experiment in own and is_repeat(record)):
            return STALE
        return "" if record.data.fingerprint == texts[record.experiment] else OTHER_TEXT

    return [record.experiment + mark(record) for record in records]
