"""Where the files of a corpus are not any more what its text was prepared from.

Sums say that a file is another; its line says what somebody has done to it. The files are cleaned
once more, up to the first pair that the prepared text does not have in that place.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aiayn.config import DataConfig
from aiayn.data.cleaning import NEVER, Rules, SeenHashes, judge
from aiayn.data.corpus import Manifest, read_lines
from aiayn.data.sources.formats import Pair, Skipped, find_files, read_files
from aiayn.data.text import one_line, visible


class _Placed(NamedTuple):
    """A pair, and the files and the line, or the unit or row, that it comes from."""

    pair: Pair
    files: tuple[Path, ...]
    number: int
    unit: str
    """What the number counts."""


def first_change(data: DataConfig, folder: Path) -> str:
    """The first line of the files of train and dev that is another than when the text in `folder`
    was prepared from them, or several of which one is; empty if the same text would come of them.

    Raises:
        UserError: a file cannot be read any more.
    """
    manifest = Manifest.load(folder)
    dev = (each._replace(pair=_as_dev(each.pair)) for each in _placed(data, data.dev_files, "dev"))
    dev = (each for each in dev if data.src or each.pair[1].strip())
    train = islice(_placed(data, data.train_files, "train"), data.limit or None)
    kept = _kept(data, _rules(data, manifest, folder), train)
    return _compared(kept, _prepared(folder, "train")) or (
        _compared(dev, _prepared(folder, "dev")) if data.dev_files else ""
    )


def _placed(data: DataConfig, patterns: Sequence[str], split: str) -> Iterator[_Placed]:
    for pattern in patterns:
        setting = f"data.{split}_files"
        for files in find_files(pattern, data.folder, data.src, data.tgt, setting):
            skipped = Skipped()
            pairs = read_files(files, data, skipped)
            unit = "line" if len(files) == 2 else data.noun.removesuffix("s")
            for count, pair in enumerate(pairs, 1):
                yield _Placed(pair, files, count + skipped.counts.total(), unit)


def _prepared(folder: Path, split: str) -> Iterator[Pair]:
    sides = (read_lines(folder / f"{split}.{side}") for side in ("src", "tgt"))
    return zip(*sides, strict=True)


def _as_dev(pair: Pair) -> Pair:
    src, tgt = map(visible, pair)
    return one_line(src), one_line(tgt)


def _rules(data: DataConfig, manifest: Manifest, folder: Path) -> Rules:
    """Those that train was cleaned by."""
    names = [name for name in manifest.splits if name != "train"]
    of_files = [name for name in names if name in manifest.source]
    holding_out = data.holdout_pairs > 0 and len(of_files) < len(names)
    return Rules.of(data, {name: [*_prepared(folder, name)] for name in names}, holding_out)


def _kept(data: DataConfig, rules: Rules, pairs: Iterator[_Placed]) -> Iterator[_Placed]:
    """The pairs of train that cleaning leaves, clean."""
    seen = SeenHashes()
    while part := list(islice(pairs, 10_000)):
        judged = [judge(each.pair, rules) for each in part]
        clean = [
            each._replace(pair=(src, tgt))
            for each, (reason, src, tgt) in zip(part, judged, strict=True)
            if not reason
        ]
        hashes = np.array([hash(each.pair) & NEVER for each in clean], np.uint64)
        is_first = seen.add(hashes) if data.deduplicate else np.ones(len(clean), np.bool_)
        yield from (each for each, first in zip(clean, is_first, strict=True) if first)


def _compared(now: Iterator[_Placed], before: Iterator[Pair]) -> str:
    """Where the first pair comes from that was another one before; empty if there is none."""
    last: _Placed | None = None
    for each in now:
        was = next(before, None)
        if each.pair != was:
            # Those in between are not kept any more, or never were.
            begin = last.number + 1 if last and last.files == each.files else 1
            return _place(each, begin, was)
        last = each
    if next(before, None) is None:
        return ""
    return f"what followed {_place(last, last.number)}" if last else "all of it"


def _place(each: _Placed, begin: int, was: Pair | None = None) -> str:
    """The lines from `begin` to that of a pair, of the file that is not as it was, or of both."""
    files, unit = each.files, each.unit
    if was and len(files) == 2:
        same = [now == before for now, before in zip(each.pair, was, strict=True)]
        files = (files[same.index(False)],) if any(same) else files
    end = each.number
    numbers = f"{unit} {end:,}" if begin == end else f"one of {unit}s {begin:,} to {end:,}"
    return f"{numbers} of {' and '.join(map(str, files))}"
