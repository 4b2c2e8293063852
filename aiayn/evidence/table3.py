"""The paper's Table 3 beside an ablation's: differences from the base row, their signs (§6.2)."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from aiayn.evidence.paper import TABLE_3
from aiayn.evidence.records import Ablation, Row

DEVIATIONS: Mapping[str, Mapping[str, Any]] = {
    "halves": {"preset": "custom", "model.positions": "halves"},
    "others": {"preset": "custom", "train.smoothing_over": "others"},
    "t2t_v1": {
        "preset": "t2t_v1",
        "model.positions": "halves",
        "train.smoothing_over": "others",
        "model.target_space_embedding": True,
    },
    "bfloat16": {"model.matmul_dtype": "bfloat16"},
}
"""What the code of June 2017 and accelerators do otherwise than the text."""
ROWS = (*TABLE_3, *DEVIATIONS)
SAME, OTHER, OPEN = "same", "other", "open"
"""What a difference of ours says of the sign of the paper's."""
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A row less the base row: the paper's, and ours with each seed against the same seed's base.

    Perplexities differ in nats per token, ln of their quotient, which texts of different difficulty
    can share; BLEU in points.
    """

    paper: float | None
    """None for a row that the paper has not."""
    ours: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.ours)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; not a number where there is one."""
        return stdev(self.ours) if len(self.ours) > 1 else math.nan

    @property
    def sign(self) -> str:
        """Whether the paper's sign is `SAME` or `OTHER`, where ours is told from 0 by Student's t
        over the seeds, two-sided, at 95 %; else `OPEN`. Empty where the paper has none."""
        if not self.paper:
            return ""
        if len(self.ours) < 2:
            return OPEN
        from scipy.special import stdtrit  # takes a while, and most who draw a plot need none

        seeds = len(self.ours)
        least = float(stdtrit(seeds - 1, (1 + _CONFIDENCE) / 2)) * self.spread / math.sqrt(seeds)
        if abs(self.mean) <= least:
            return OPEN
        return SAME if (self.mean > 0) == (self.paper > 0) else OTHER


MEASURES = {"nats": "ln perplexity, nats per token", "bleu": "BLEU"}


def differences(record: Ablation, measure: str) -> dict[str, Difference]:
    """Of every row of an ablation but the base, in `nats` or `bleu`."""

    def value(perplexity: float, bleu: float) -> float:
        return math.log(perplexity) if measure == "nats" else bleu

    def ours(row: str) -> list[float]:
        return [value(run.perplexity, run.bleu) for run in record.rows[row].runs]

    paper = {row: value(variant.perplexity, variant.bleu) for row, variant in TABLE_3.items()}
    return {
        row: Difference(
            paper[row] - paper["base"] if row in paper else None,
            tuple(own - base for own, base in zip(ours(row), ours("base"), strict=True)),
        )
        for row in record.rows
        if row != "base"
    }


def signs(found: Mapping[str, Difference]) -> str:
    """How many differences have the paper's sign, in words."""
    counts = Counter(difference.sign for difference in found.values())
    total = counts[SAME] + counts[OTHER] + counts[OPEN]
    return f"{counts[SAME]} of {total} the same, {counts[OTHER]} the other, {counts[OPEN]} open"


def table_rows(records: Mapping[str, Ablation]) -> Iterator[list[str]]:
    """The comparison as text, of several records side by side: a head, the base itself, then the
    differences, each with its sign."""
    digits = {"nats": 3, "bleu": 2}
    yield [
        *("row", "changes", "parameters", "minutes"),
        *(f"Δ {name}, {whose}" for name in ("nats", "BLEU") for whose in ("paper", *records)),
    ]
    found = {m: [differences(record, m) for record in records.values()] for m in MEASURES}
    for row in dict.fromkeys(row for record in records.values() for row in record.rows):
        own = [record.rows.get(row) for record in records.values()]
        there = [each for each in own if each]
        about = [row, _changes(there), _each(f"{each.parameters:,}" for each in there)]
        minutes = (fmean(run.seconds for run in each.runs) / 60 for each in there)
        about.append("; ".join(f"{each:.0f}" for each in minutes))
        if row == "base":
            perplexities = (f"{fmean(run.perplexity for run in each.runs):.2f}" for each in there)
            scores = (f"{fmean(run.bleu for run in each.runs):.1f}" for each in there)
            paper = TABLE_3[row]
            values = [
                f"perplexity {paper.perplexity}",
                *perplexities,
                f"BLEU {paper.bleu}",
                *scores,
            ]
            yield [*about, *values]
            continue
        for measure in MEASURES:
            known = [of_record.get(row) for of_record in found[measure]]
            value = next(each.paper for each in known if each)
            about.append(signed(value, 3 if measure == "nats" else 1))
            about += (_with_sign(each, digits[measure]) if each else "–" for each in known)
        yield about


def _changes(rows: Sequence[Row]) -> str:
    """What a row sets in each record, but for the name of a preset, whose values these are."""
    names = [key for key in rows[0].changes if key != "preset"]
    values = {key: _each(str(row.changes.get(key, "–")) for row in rows) for key in names}
    return ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in values.items())


def _each(values: Iterable[str]) -> str:
    """Of several records what they share once, else one after the other."""
    return "; ".join(dict.fromkeys(values))


def _with_sign(found: Difference, digits: int) -> str:
    return " ".join(filter(None, (with_spread(found, digits), found.sign)))


def summary(record: Ablation) -> str:
    """What was compared, and how many signs agree."""
    nats, bleu = (signs(differences(record, measure)) for measure in MEASURES)
    seeds = len(record.rows["base"].runs)
    if seeds == 1:
        return "One seed, which says nothing of signs."
    return (
        f"Means over {seeds} seeds ± standard deviation, each seed against the same seed's base; "
        "minutes are per run, with other runs on the same machine. "
        f"A sign is open where Student's t does not tell our difference from 0 at "
        f"{_CONFIDENCE:.0%}. Signs in nats: {nats}; in BLEU: {bleu}."
    )


def panels(record: Ablation) -> dict[str, tuple[str, dict[str, Difference]]]:
    """What a picture shows of each measure: its name, how many signs agree, the differences."""
    found = {title: differences(record, measure) for measure, title in MEASURES.items()}
    return {title: (f"signs: {signs(of_rows)}", of_rows) for title, of_rows in found.items()}


def table(record: Ablation) -> Table:
    """The comparison, for a terminal."""
    head, *body = table_rows({"ours": record})
    grid = Table(title=f"{record.experiment}: Table 3 in miniature", title_justify="left")
    for heading in head:
        grid.add_column(heading, justify="left" if heading in ("row", "changes") else "right")
    for row in body:
        grid.add_row(*row)
    return grid


def with_spread(found: Difference, digits: int) -> str:
    """The mean, and where there are several seeds how far they scatter."""
    spread = "" if math.isnan(found.spread) else f" ± {found.spread:.{digits}f}"
    return signed(found.mean, digits) + spread


def signed(value: float | None, digits: int) -> str:
    """A difference with its sign; a dash where there is none."""
    return "–" if value is None else f"{value:+.{digits}f}"
