"""What a prepared corpus is like, so that a wrong one is seen before it is trained on (§5.1).

`report.json` beside the text: pairs to read, lengths, scripts, shares of what looks odd. All is
estimated from a sample that depends on the text alone.
"""

import json
import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from aiayn.data import languages
from aiayn.data.corpus import Manifest, read_split
from aiayn.data.prepare import Prepared
from aiayn.data.text import CHUNK_CHARACTERS, clean, composed, num_words
from aiayn.data.tokenizer import TreeTokenizer
from aiayn.errors import UserError
from aiayn.system.files import read_json, write_text

REPORT = "report.json"
SAMPLE, SHOWN = 10_000, 5
"""Pairs that the figures are estimated from, and that are shown."""
_SHOWN_OF = 500
"""Characters that are shown of a sentence."""
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
IDENTICAL, NUMBERS, DROPPED, FOREIGN = 0.1, 0.1, 0.2, 0.2
"""Shares above which there is a warning."""
_WRITTEN_WITH = {"Jpan": "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA", "Kore": "HANGUL CJK"}
_RENAMED = {"Hans": "CJK", "Hant": "CJK", "Beng": "BENGALI", "Orya": "ORIYA", "Cans": "CANADIAN"}
"""Scripts whose letters Unicode calls otherwise than CLDR calls the script."""


@dataclass(frozen=True)
class Side:
    """One side of the sampled pairs, or the documents."""

    language: str
    words: Sequence[float]
    """At `QUANTILES`; likewise the characters and tokens of a sentence."""
    characters: Sequence[float]
    tokens: Sequence[float]
    scripts: Mapping[str, float]
    """Shares of the letters, by the name that Unicode gives their script."""


@dataclass(frozen=True)
class Report:
    """The figures on the kept pairs of train, and what became of the others."""

    made_from: str
    """The fingerprint of the prepared data."""
    sides: Sequence[Side]
    identical: float
    """Share of pairs with one text on both sides; likewise of those, or of the documents, without a
    letter."""
    numbers: float
    dropped: Mapping[str, float]
    """Shares of all pairs that were read, by reason."""
    pairs: Sequence[Sequence[str]]
    warnings: Sequence[str]

    @property
    def noun(self) -> str:
        return "pairs" if len(self.sides) == 2 else "documents"

    @classmethod
    def load(cls, folder: Path) -> "Report":
        """Raises UserError if there is none, or another version's."""
        values: dict[str, Any] = read_json(folder / REPORT)
        try:
            values["sides"] = [Side(**side) for side in values["sides"]]
            return cls(**values)
        except (LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{folder / REPORT} is no report: {error}") from error


def report(prepared: Prepared) -> tuple[Report, bool]:
    """The report on prepared data, and whether it was made now rather than found beside it."""
    with suppress(UserError, OSError):
        found = Report.load(prepared.folder)
        dropped = dropped_shares(prepared.manifest, prepared.train.too_long)
        if (found.made_from, found.dropped) == (prepared.fingerprint, dropped):
            return found, False
    made = _make(prepared)
    with suppress(UserError, OSError):  # a folder to read from only
        text = json.dumps(asdict(made), indent=1, ensure_ascii=False)
        write_text(prepared.folder / REPORT, f"{text}\n")
    return made, True


def _make(prepared: Prepared) -> Report:
    manifest = prepared.manifest
    pairs = _sampled(prepared)
    tokenizer = prepared.tokenizer
    encode = tokenizer.encode, tokenizer.encode_target
    sides = [
        _side(code, [pair[place] for pair in pairs], encode[place])
        for place, code in enumerate((manifest.src, manifest.tgt))
        if code
    ]
    identical = sum(clean(a) == clean(b) for a, b in pairs) / len(pairs)
    numbers = sum(not any(map(str.isalpha, a + b)) for a, b in pairs) / len(pairs)
    dropped = dropped_shares(manifest, prepared.train.too_long)
    shown = [list(pair) for pair in random.Random(0).sample(pairs, min(SHOWN, len(pairs)))]
    found = Report(prepared.fingerprint, sides, identical, numbers, dropped, shown, ())
    return replace(found, warnings=[*_warnings(found), *_unseen(prepared)])


def _sampled(prepared: Prepared) -> list[tuple[str, str]]:
    """The same pairs of train for the same text, in their order; few where documents are long."""
    manifest = prepared.manifest
    kept, size = manifest.splits["train"].kept, manifest.files["train.tgt"].size
    held = max(1, CHUNK_CHARACTERS * kept // size)
    chosen = sorted(random.Random(0).sample(range(kept), min(SAMPLE, held, kept)))
    pairs = read_split(prepared.folder / "text", "train", manifest.src)
    steps = [place - before - 1 for before, place in zip([-1, *chosen], chosen, strict=False)]
    return [next(islice(pairs, step, None)) for step in steps]


def _side(
    code: str, texts: Sequence[str], encode: Callable[[Sequence[str]], list[list[int]]]
) -> Side:
    return Side(
        code,
        _quantiles(num_words(composed(text)) for text in texts),
        _quantiles(map(len, texts)),
        _quantiles(map(len, encode(texts))),
        script_shares(texts),
    )


def _quantiles(lengths: Iterable[int]) -> list[float]:
    return [round(float(value), 1) for value in np.quantile(list(lengths), QUANTILES)]


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """The share of each script among the letters, largest first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(script for char in text if (script := _script(char)))
    return {script: round(n / counts.total(), 4) for script, n in counts.most_common()}


@cache
def _script(char: str) -> str:
    """The script of a letter, the first word of its name, or nothing."""
    if not char.isalpha():
        return ""
    width, *words = unicodedata.name(char, "OTHER").split()
    return words[0] if width in ("FULLWIDTH", "HALFWIDTH") else width


def dropped_shares(manifest: Manifest, too_many_tokens: int) -> dict[str, float]:
    """The shares of the pairs of train that were left out, by reason."""
    train = manifest.splits["train"]
    dropped = Counter(train.dropped) + Counter(max_tokens=too_many_tokens)
    return {reason: round(n / max(1, train.read), 4) for reason, n in dropped.most_common()}


def _warnings(found: Report) -> list[str]:
    first, second = found.sides[0].language, found.sides[-1].language
    said: list[str] = []
    if found.identical > IDENTICAL and not languages.same_language(first, second):
        said.append(f"{found.identical:.0%} of the pairs have the same text on both sides")
    if found.numbers > NUMBERS:
        said.append(f"{found.numbers:.0%} of the {found.noun} have no letter at all")
    for reason, share in found.dropped.items():
        if share > DROPPED:
            said.append(f"{share:.0%} of train was left out: {reason.replace('_', ' ')}")
    names = ("source", "target") if len(found.sides) == 2 else ("text",)
    for name, side in zip(names, found.sides, strict=True):
        usual = _usual_scripts(side.language)
        for script, share in side.scripts.items():
            if usual and share > FOREIGN and script not in usual:
                said.append(
                    f"{share:.0%} of the letters of the {name} are {script.title()}, which "
                    f"{side.language} is not written in"
                )
    return said


def _unseen(prepared: Prepared) -> Iterator[str]:
    """What no output can have, though trees of dev do."""
    if not isinstance(prepared.tokenizer, TreeTokenizer):
        return
    if found := prepared.tokenizer.unseen(prepared.lines("dev", "tgt")):
        yield f"dev has labels or tags that no tree of train has: {found}"


def _usual_scripts(code: str) -> set[str]:
    """The names that Unicode has for the scripts of a language; empty if it is unknown here."""
    names: set[str] = set()
    for script in languages.scripts(code):
        known = _WRITTEN_WITH.get(script) or _RENAMED.get(script)
        names |= set((known or languages.script_name(script).split()[0]).split())
    return names


def show(found: Report, console: Console) -> None:
    """Print a report on a console of ours, which takes text of users as it is."""
    console.print(f"{len(found.pairs)} {found.noun} of train, chosen at random:")
    for pair in found.pairs:
        for text in pair[-len(found.sides) :]:
            console.print("  " + text[:_SHOWN_OF].replace("\n", "\n  "))
        console.print()
    console.print("Lengths: least, 5 %, median, 95 %, most")
    for side in found.sides:
        for unit in ("words", "characters", "tokens"):
            values = " ".join(f"{value:>8,.0f}" for value in getattr(side, unit))
            console.print(f"  {side.language:8} {unit:10} {values}")
        scripts = [f"{n.title()} {share:.1%}" for n, share in list(side.scripts.items())[:5]]
        console.print(f"  {side.language:8} scripts    {', '.join(scripts) or 'none'}")
    shares = {"same on both sides": found.identical} if len(found.sides) == 2 else {}
    shares |= {"without a letter": found.numbers}
    shares |= {reason.replace("_", " "): share for reason, share in found.dropped.items()}
    listed = ", ".join(f"{share:.1%} {name}" for name, share in shares.items())
    console.print(f"Shares: {listed}")
    for warning in found.warnings:
        console.print(f"Warning: {warning}.")
