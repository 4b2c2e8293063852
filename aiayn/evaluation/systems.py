"""Outputs of anybody's systems on one test set: scored, and compared by paired bootstrap.

Nothing here needs a model, nor JAX.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from rich.console import Console
from rich.text import Text
from sacrebleu.significance import PairedTest, Result

from aiayn.data.plain import check_plain
from aiayn.data.sources.formats import read_text
from aiayn.errors import UserError, naming
from aiayn.evaluation.bleu import metrics_of, normalised, score
from aiayn.evaluation.scores import Scores, plain_table, show, tokeniser

MOST_RESAMPLED = 20_000
"""Sentences: sacreBLEU holds all resamples in memory at once, of so many up to 1.5 GB."""
SAMPLES = 1_000


@dataclass(frozen=True)
class Chance:
    """What a figure of one system is over resamples of the sentences."""

    mean: float
    confidence: float
    """95 % of the resamples lie this close to the mean."""
    p_value: float | None
    """Of the difference from the first system; None for that one and for copies of it."""


@dataclass(frozen=True)
class Resampled:
    """One figure of all systems over the same resamples, with sacreBLEU's signature of them."""

    signature: str
    systems: Mapping[str, Chance]


@dataclass(frozen=True)
class Systems:
    """Scores of several systems by name; the others are held against the first."""

    scores: Mapping[str, Scores]
    resampled: Mapping[str, Resampled]
    """By figure; empty where there are more than `MOST_RESAMPLED` sentences."""


def compare(
    systems: Mapping[str, Sequence[str]],
    references: Sequence[Sequence[str]],
    sources: Sequence[str] | None = None,
    *,
    src: str,
    tgt: str,
    tokens: bool = False,
) -> Systems:
    """Every figure of each system, and sacreBLEU's paired bootstrap of the first BLEU and chrF2;
    `tokens` as in `score`.

    Raises:
        UserError: as `score`; or SACREBLEU_SEED is no seed.
    """
    _check_seed()
    for name, lines in systems.items():
        with naming(name):  # of several, whose lines are no text
            check_plain("hypotheses", lines, tokens)
    scores = {
        name: score(lines, references, sources, src=src, tgt=tgt, tokens=tokens)
        for name, lines in systems.items()
    }
    if len(references[0]) > MOST_RESAMPLED:
        return Systems(scores, {})
    texts = {name: normalised(lines, references) for name, lines in systems.items()}
    first = next(iter(texts.values()))
    # Of all systems: each has its own signature in its scores.
    changed = max((text.changed for text in texts.values()), key=len)
    test = PairedTest(
        [(name, text.hypotheses) for name, text in texts.items()],
        metrics_of(tgt, tokens),
        first.references,
        test_type="bs",
        n_samples=SAMPLES,
    )
    signatures, found = test()
    resampled: dict[str, Resampled] = {}
    for figure, theirs in (("sacrebleu", "BLEU"), ("chrf2", "chrF2")):
        results = [result for result in found[theirs] if isinstance(result, Result)]
        by_name = {
            name: _chance(result, is_same=_are_equal(result, results[0]))
            for name, result in zip(texts, results, strict=True)
        }
        how = ", ".join(filter(None, (changed, signatures[theirs].format())))
        resampled[figure] = Resampled(how, by_name)
    return Systems(scores, resampled)


def _are_equal(one: Result, other: Result) -> bool:
    """Whether the figure does not tell two systems apart, in the whole or in any resample."""
    return (one.score, one.mean, one.ci) == (other.score, other.mean, other.ci)


def _chance(result: Result, is_same: bool) -> Chance:
    """sacreBLEU calls no difference at all significant, with p = 0.001."""
    assert result.mean is not None
    assert result.ci is not None
    p_value = None if result.p_value is None or is_same else float(result.p_value)
    return Chance(float(result.mean), float(result.ci), p_value)


def show_systems(found: Systems, console: Console) -> None:
    """The scores of all systems, and below them what chance makes of the differences."""
    results = {name: {"": scores} for name, scores in found.scores.items()}
    show(results, console, heads=("system", ""), every=True)
    console.print()
    if not found.resampled:
        about = f"No confidence was estimated: there are more than {MOST_RESAMPLED:,} sentences."
        console.print(about)
        return
    first, *others = found.scores
    columns, lines, legend = ["system"], {name: [name] for name in found.scores}, Text()
    for figure, resampled in found.resampled.items():
        tokens = tokeniser(resampled.signature)
        heading = f"BLEU {tokens}" if figure == "sacrebleu" else "chrF2"
        columns += [f"{heading}\n95 %", *(["p"] if others else [])]
        for name, chance in resampled.systems.items():
            lines[name].append(f"{chance.mean:.2f}±{chance.confidence:.2f}")
            if others:
                p_value = chance.p_value
                lines[name].append("–" if p_value is None else f"{p_value:.4f}")
        legend.append(f"{heading} 95 %", style="bold")
        legend.append(f" of {SAMPLES:,} resamples of the sentences lie within\n")
        legend.append(f"  {resampled.signature}\n")
    if others:
        legend.append("p", style="bold")
        legend.append(" is how likely chance alone makes so large a difference from ")
        legend.append(f"{first}, by paired bootstrap")
    legend.rstrip()
    console.print(plain_table(columns, [list(lines.values())], 1))
    console.print(legend)


def aligned(*paths: Path) -> Iterator[tuple[str, ...]]:
    """The first line of each of several text files, plain or packed, then the second of each, ...

    Raises:
        UserError: a file cannot be read or is not UTF-8; or, after the last line that all have,
            the counts differ.
    """
    counts = [0] * len(paths)
    for lines in zip_longest(*map(read_text, paths)):
        for place, line in enumerate(lines):
            counts[place] += line is not None
        if None not in lines:  # else the longer ones are read to their ends for their counts
            yield lines
    for path, count in zip(paths, counts, strict=True):
        if count != counts[0]:
            raise UserError(
                f"{paths[0]} has {counts[0]:,} lines and {path} {count:,}; wanted as many."
            )


def read_aligned(*paths: Path) -> list[list[str]]:
    """All lines of text files that belong together, file by file.

    Raises:
        UserError: as `aligned`.
    """
    texts: list[list[str]] = [[] for _ in paths]
    for lines in aligned(*paths):
        for text, line in zip(texts, lines, strict=True):
            text.append(line)
    return texts


def _check_seed() -> None:
    seed = os.environ.get("SACREBLEU_SEED", "none")
    if seed.lower() != "none" and not (seed.isdecimal() and int(seed)):
        raise UserError(
            f"SACREBLEU_SEED is {seed!r}; wanted a whole number above 0, which sacreBLEU takes for "
            "no seed, or none."
        )
