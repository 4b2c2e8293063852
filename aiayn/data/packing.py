"""Tokenized sentence pairs packed into rows, written once to flat files (§5.1).

Both sides of a row must fill up together, which is bin packing in two dimensions. Rows of a class
have as many source slots per target slot as the corpus has tokens, and pairs are chosen to keep the
two sides level: on captions and on news alike some 2 to 4 % of the slots stay empty.

Text is packed as pairs whose source has no tokens, into rows without source slots. A document that
no row holds is cut into pieces, none of which sees another.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from rich.progress import Progress

from aiayn.config import MOST_WIDTHS, DataConfig
from aiayn.data.rows import Ints
from aiayn.data.store import PackedSplit, RowClass, field_widths
from aiayn.data.text import chunked
from aiayn.data.tokenizer import Tokenizer
from aiayn.errors import UserError
from aiayn.render import terminal
from aiayn.system.files import write_text
from aiayn.system.workers import parallel_map

_Job = tuple[bytes, int, list[tuple[str, str]]]
"""A tokenizer's model, `max_tokens`, and a chunk of pairs."""
_Encoded = tuple[Ints, Ints, Ints, int]
_PACK_BLOCK = 8_192
_FILLED_UP = 0.95
"""Of the room that pairs leave in wide rows. The last few slots are too small for any."""
_WIDEST_ROW = 4_096
"""Attention's memory grows with the square."""


def pack_split(
    lines: Iterable[tuple[str, str]],
    num_pairs: int,
    tokenizer: Tokenizer,
    config: DataConfig,
    folder: Path,
    split: str,
    progress: bool = False,
) -> PackedSplit:
    """Tokenize the pairs, or the texts on their target side, pack them, write `SPLIT.*` into
    `folder`.

    Memory is bounded: the tokens of a large corpus pass through a file. Chunks go to a pool of
    processes; the result does not depend on how many there are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokens_path = folder / f"{split}.tokens.tmp"
    try:
        with terminal.progress(terminal.Terminal(), hidden=not progress) as bar:
            encode = _encode_chunk if config.src else _encode_texts
            src_n, tgt_n, too_long = _tokenize(
                lines, num_pairs, tokenizer, config.max_tokens, encode, tokens_path, split, bar
            )
            if not len(tgt_n):
                raise UserError(
                    f"No pair of {split} is left: all {too_long} are over {config.max_tokens} "
                    "tokens."
                )
            widths = choose_widths(src_n, tgt_n, config)
            classes = _pack(src_n, tgt_n, widths, tokens_path, folder, split, bar)
    finally:
        tokens_path.unlink(missing_ok=True)
    description = {"classes": [asdict(c) for c in classes], "too_long": too_long}
    write_text(folder / f"{split}.json", json.dumps(description, indent=1))
    return PackedSplit(folder, split, classes, too_long)


def _tokenize(
    lines: Iterable[tuple[str, str]],
    num_pairs: int,
    tokenizer: Tokenizer,
    max_tokens: int,
    encode: Callable[[_Job], _Encoded],
    path: Path,
    split: str,
    bar: Progress,
) -> tuple[Ints, Ints, int]:
    """Write all ids to a file; the lengths of both sides, and how many pairs were too long."""
    src_lengths: list[Ints] = []
    tgt_lengths: list[Ints] = []
    too_long = 0
    task = bar.add_task(f"Tokenizing {split}", total=num_pairs)
    with path.open("wb") as out:
        jobs = ((tokenizer.model, max_tokens, chunk) for chunk in chunked(lines))
        for (_, _, chunk), (src_n, tgt_n, flat, dropped) in parallel_map(encode, jobs):
            out.write(flat.tobytes())
            src_lengths.append(src_n)
            tgt_lengths.append(tgt_n)
            too_long += dropped
            bar.advance(task, len(chunk))
    return np.concatenate(src_lengths), np.concatenate(tgt_lengths), too_long


def _pack(
    src_n: Ints,
    tgt_n: Ints,
    widths: Sequence[tuple[int, int]],
    tokens_path: Path,
    folder: Path,
    split: str,
    bar: Progress,
) -> tuple[RowClass, ...]:
    """Write the rows of every class."""
    task = bar.add_task(f"Packing {split}", total=len(src_n))
    offsets = np.concatenate([[0], np.cumsum(src_n.astype(np.int64) + tgt_n)])
    made: list[RowClass] = []
    for (src_width, tgt_width), blocks in zip(widths, share_out(src_n, tgt_n, widths), strict=True):
        num_rows = 0
        with (folder / f"{split}.{tgt_width}.bin").open("wb") as out:
            jobs = (
                (tokens_path, offsets[b], src_n[b], tgt_n[b], src_width, tgt_width) for b in blocks
            )
            for job, table in parallel_map(_pack_chunk, jobs):
                out.write(table.tobytes())
                num_rows += len(table)
                bar.advance(task, len(job[1]))
        members = np.concatenate(blocks)
        tokens = int(src_n[members].sum()), int(tgt_n[members].sum())
        made.append(RowClass(src_width, tgt_width, num_rows, len(members), *tokens))
    return tuple(made)


def share_out(src_n: Ints, tgt_n: Ints, widths: Sequence[tuple[int, int]]) -> list[list[Ints]]:
    """The pairs of each class of rows, in blocks that are packed one by one.

    A pair goes to the narrowest rows that hold it. Two of those that need a wide row seldom share
    one, so wide rows are filled up with pairs drawn from the narrowest class, half of it at most.
    """
    which = np.searchsorted([t for _, t in widths], tgt_n)
    for number, (src_width, _) in enumerate(widths[:-1]):
        which[(which == number) & (src_n > src_width)] += 1
    tokens_of = src_n.astype(np.int64) + tgt_n
    short = np.random.default_rng(len(src_n)).permutation(np.flatnonzero(which == 0))
    short = short[: len(short) // 2]
    for number, (src_width, tgt_width) in list(enumerate(widths))[:0:-1]:
        members = np.flatnonzero(which == number)
        num_rows = sum(
            int(assign_rows(src_n[b], tgt_n[b], src_width, tgt_width).max()) + 1
            for b in _blocks(members)
        )
        room = num_rows * (src_width + tgt_width) - int(tokens_of[members].sum())
        taken = np.searchsorted(np.cumsum(tokens_of[short]), _FILLED_UP * room)
        which[short[:taken]] = number
        short = short[taken:]
    return [
        _blocks(np.random.default_rng([len(src_n), n]).permutation(np.flatnonzero(which == n)))
        for n in range(len(widths))
    ]


def _blocks(members: Ints) -> list[Ints]:
    return np.split(members, range(_PACK_BLOCK, len(members), _PACK_BLOCK))


def unlimited(config: DataConfig) -> DataConfig:
    """Settings for dev, where no pair is dropped: row widths up to its longest sentence. Texts are
    cut as those of train are, to what a model is trained to read at once.
    """
    if not config.src:
        return config
    widths = list(config.row_widths)
    while widths[-1] < _WIDEST_ROW:
        widths.append(2 * widths[-1])
    widest = tuple(widths[-MOST_WIDTHS:])
    return replace(config, row_widths=widest, max_tokens=widths[-1])


def choose_widths(src_n: Ints, tgt_n: Ints, config: DataConfig) -> list[tuple[int, int]]:
    """(source, target) slots of each class of rows.

    A class too small for four updates joins its wider neighbour, the widest its narrower one; a
    width that no pair needs is left out.
    """
    ratio = float(src_n.sum() / tgt_n.sum())
    enough = 4 * config.tokens_per_update
    longest = int(src_n.max()), int(tgt_n.max())
    kept: list[tuple[int, int]] = []
    waiting = 0
    remaining = np.ones(len(src_n), bool)
    for tgt_width in config.row_widths:
        src_width = max(8, 2 * round(tgt_width * ratio / 2)) if ratio else 0
        if tgt_width == config.row_widths[-1]:
            src_width = max(src_width, longest[0])
        fits = remaining & (src_n <= src_width) & (tgt_n <= tgt_width)
        waiting += int(src_n[fits].sum()) + int(tgt_n[fits].sum())
        remaining &= ~fits
        if waiting >= enough:
            kept.append((src_width, tgt_width))
            waiting = 0
        if not remaining.any():
            if waiting and kept and kept[-1][1] < tgt_width:
                kept.pop()
            if not kept or kept[-1][1] < tgt_width:
                kept.append((src_width, tgt_width))
            break
    return kept


def _encode_chunk(job: _Job) -> _Encoded:
    """Lengths of both sides, EOS included, and their ids one after the other."""
    model, max_tokens, chunk = job
    tokenizer = _tokenizer(model)
    sources = tokenizer.encode([s for s, _ in chunk])
    targets = tokenizer.encode_target([t for _, t in chunk])
    flat: list[int] = []
    src_n: list[int] = []
    tgt_n: list[int] = []
    for source, target in zip(sources, targets, strict=True):
        if max(len(source), len(target)) < max_tokens:
            src_n.append(len(source) + 1)
            tgt_n.append(len(target) + 1)
            flat += source
            flat.append(tokenizer.eos)
            flat += target
            flat.append(tokenizer.eos)
    lengths = np.array(src_n, np.uint16), np.array(tgt_n, np.uint16)
    return *lengths, np.array(flat, np.uint16), len(chunk) - len(src_n)


def _encode_texts(job: _Job) -> _Encoded:
    """As `_encode_chunk`, of the target sides alone: the pieces that they are cut into."""
    model, max_tokens, chunk = job
    tokenizer = _tokenizer(model)
    lengths: list[int] = []
    flat: list[int] = []
    for ids in tokenizer.encode_target([text for _, text in chunk]):
        whole = [*ids, tokenizer.eos]
        lengths += cut(whole, max_tokens, tokenizer.line_break)
        flat += whole
    tgt_n = np.array(lengths, np.uint16)
    return np.zeros_like(tgt_n), tgt_n, np.array(flat, np.uint16), 0


def cut(ids: Sequence[int], max_tokens: int, line_break: int | None) -> list[int]:
    """The lengths of the pieces of a document, none over `max_tokens`: as much of it as ends with a
    line break, or else as much as fits.

    The last piece has more than EOS, which after nothing would teach documents without text.
    """
    pieces: list[int] = []
    start = 0
    while len(ids) - start > max_tokens:
        most = max(1, min(max_tokens, len(ids) - start - 2))
        ends = (n for n in range(start + most, start, -1) if ids[n - 1] == line_break)
        end = next(ends, start + most)
        pieces.append(end - start)
        start = end
    return [*pieces, len(ids) - start]


_loaded: dict[bytes, Tokenizer] = {}


def _tokenizer(model: bytes) -> Tokenizer:
    """The tokenizer of this model, loaded once per worker process."""
    if model not in _loaded:
        _loaded.clear()
        _loaded[model] = Tokenizer.of(model)
    return _loaded[model]


def _pack_chunk(job: tuple[Path, Ints, Ints, Ints, int, int]) -> Ints:
    """The table of packed rows of one block of pairs."""
    path, starts, src_n, tgt_n, src_width, tgt_width = job
    row_of = assign_rows(src_n, tgt_n, src_width, tgt_width)
    num_rows = int(row_of.max()) + 1
    tokens = np.memmap(path, np.uint16, "r")
    table = np.zeros((num_rows, sum(field_widths(src_width, tgt_width))), np.uint16)
    src, src_segments, tgt, tgt_segments = np.split(
        table, np.cumsum(field_widths(src_width, tgt_width))[:-1], axis=1
    )
    src_used, tgt_used, segment = np.zeros((3, num_rows), np.int64)
    for row, start, s, t in zip(
        row_of.tolist(), starts.tolist(), src_n.tolist(), tgt_n.tolist(), strict=True
    ):
        i, j = src_used[row], tgt_used[row]
        segment[row] += 1
        src[row, i : i + s] = tokens[start : start + s]
        src_segments[row, i : i + s] = segment[row]
        tgt[row, j : j + t] = tokens[start + s : start + s + t]
        tgt_segments[row, j : j + t] = segment[row]
        src_used[row] += s
        tgt_used[row] += t
    return table


def assign_rows(src_n: Ints, tgt_n: Ints, src_width: int, tgt_width: int) -> Ints:
    """The row of each pair, rows filled one after another.

    The next pair is the longest of those that still fit, minus the imbalance it would leave between
    the two sides: room on one side alone is useless. Without a source there is none.
    """
    lengths, cell_of = np.unique(np.stack([src_n, tgt_n]), axis=1, return_inverse=True)
    waiting = np.split(np.argsort(cell_of, kind="stable"), np.cumsum(np.bincount(cell_of))[:-1])
    tgt_share = lengths[1] / tgt_width
    src_share = lengths[0] / src_width if src_width else tgt_share
    left = np.array([len(pairs) for pairs in waiting])
    row_of = np.zeros(len(src_n), np.int64)
    row = 0
    while len(left):
        src_room = tgt_room = 1.0 + 1e-9
        while True:
            src_after, tgt_after = src_room - src_share, tgt_room - tgt_share
            score = src_share + tgt_share - np.abs(src_after - tgt_after)
            score[(src_after < 0) | (tgt_after < 0)] = -np.inf
            best = int(score.argmax())
            if score[best] == -np.inf:
                break
            left[best] -= 1
            row_of[waiting[best][left[best]]] = row
            src_room, tgt_room = float(src_after[best]), float(tgt_after[best])
            if left[best] == 0:
                keep = np.arange(len(left)) != best
                src_share, tgt_share, left = src_share[keep], tgt_share[keep], left[keep]
                waiting.pop(best)
                if not len(left):
                    break
        row += 1
    return row_of
