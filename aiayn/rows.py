"""Sentence pairs packed into rows of a few widths, and which rows make up update number n (§5.1).

A row is a fixed number of source slots and of target slots that holds one or several pairs.
`segments` says which (1, 2, ...; 0 is padding) and `positions` count within the sentence. An
unpacked batch is the case of one pair a row.

Rows are cut once, offline, into flat files that are memory-mapped. The rows of an update are a pure
function of (seed, step) and of nothing else: no iterator state to save, no dependence on devices,
processes or accumulation. A thread reads ahead; a pipeline library would have nothing to add.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

from aiayn.errors import UserError
from aiayn.tokenizer import Tokenizer

T = TypeVar("T")
Ints = npt.NDArray[np.integer]


class Rows(NamedTuple):
    """What the model reads. `tgt_in` starts with BOS, `tgt_out` ends with EOS; both sides' padding
    has segment 0.

    NumPy arrays on the host, JAX arrays on devices (`Any` below is either of them); the rows of an
    update have a leading axis of rounds.
    """

    src_BS: Int[Any, "*rounds batch source"]
    src_segments_BS: Int[Any, "*rounds batch source"]
    src_positions_BS: Int[Any, "*rounds batch source"]
    tgt_in_BT: Int[Any, "*rounds batch target"]
    tgt_out_BT: Int[Any, "*rounds batch target"]
    tgt_segments_BT: Int[Any, "*rounds batch target"]
    tgt_positions_BT: Int[Any, "*rounds batch target"]

    @property
    def weight_BT(self) -> Float[Any, "*rounds batch target"]:
        """1 on real target tokens, 0 on padding."""
        return (self.tgt_segments_BT > 0).astype(np.float32)


@dataclass(frozen=True)
class RowClass:
    """All rows of one width."""

    src_width: int
    tgt_width: int
    num_rows: int
    num_pairs: int
    src_tokens: int
    tgt_tokens: int

    @property
    def fill(self) -> float:
        """Share of the slots, source and target together, that hold a real token."""
        slots = self.num_rows * (self.src_width + self.tgt_width)
        return (self.src_tokens + self.tgt_tokens) / slots if slots else 1.0


@dataclass(frozen=True)
class PackedSplit:
    """The rows of one split on disk: `SPLIT.WIDTH.bin`, described by `SPLIT.json`."""

    folder: Path
    split: str
    classes: tuple[RowClass, ...]
    too_long: int
    """Pairs left out because a side has more than `max_tokens` tokens."""

    def arrays(self, row_class: RowClass) -> list[Ints]:
        """`src`, `src_segments`, `tgt`, `tgt_segments` of a class, memory-mapped."""
        path = self.folder / f"{self.split}.{row_class.tgt_width}.bin"
        widths = field_widths(row_class.src_width, row_class.tgt_width)
        wanted = row_class.num_rows * sum(widths) * 2
        if not path.is_file() or path.stat().st_size != wanted:
            found = path.stat().st_size if path.is_file() else "no file"
            raise UserError(
                f"{path}: {found}; wanted {wanted} bytes. Delete the folder to prepare it anew."
            )
        table = np.memmap(path, np.uint16, "r", shape=(row_class.num_rows, sum(widths)))
        return list(np.split(table, np.cumsum(widths)[:-1], axis=1))

    @classmethod
    def is_whole(cls, folder: Path, split: str) -> bool:
        """Whether the folder holds all rows of a split."""
        try:
            packed = cls.load(folder, split)
            for row_class in packed.classes:
                packed.arrays(row_class)
        except (OSError, LookupError, TypeError, ValueError, UserError):
            return False
        return True

    @classmethod
    def load(cls, folder: Path, split: str) -> "PackedSplit":
        values = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
        classes = tuple(RowClass(**c) for c in values["classes"])
        return cls(folder, split, classes, values["too_long"])


def field_widths(src_width: int, tgt_width: int) -> list[int]:
    return [src_width, src_width, tgt_width, tgt_width]


def make_rows(src: Ints, src_segments: Ints, tgt: Ints, tgt_segments: Ints, bos: int) -> Rows:
    """Rows from ids that end with EOS and their segments; BOS and the shift are added here."""
    src_positions, tgt_positions = _positions(src_segments), _positions(tgt_segments)
    tgt_in = np.zeros_like(tgt)
    tgt_in[:, 1:] = tgt[:, :-1]
    tgt_in[tgt_positions == 0] = bos
    tgt_in[tgt_segments == 0] = 0
    fields = src, src_segments, src_positions, tgt_in, tgt, tgt_segments, tgt_positions
    return Rows(*(np.asarray(field, np.int32) for field in fields))


def rows_of_pairs(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    tokenizer: Tokenizer,
    width: int = 0,
) -> Rows:
    """One pair of encoded sentences a row, as wide as the longest side or `width`."""
    width = max(width, 1 + max(max(len(s), len(t)) for s, t in pairs))
    src, src_segments, tgt, tgt_segments = np.zeros((4, len(pairs), width), np.int32)
    for row, (source, target) in enumerate(pairs):
        src[row, : len(source) + 1] = [*source, tokenizer.eos]
        tgt[row, : len(target) + 1] = [*target, tokenizer.eos]
        src_segments[row, : len(source) + 1] = 1
        tgt_segments[row, : len(target) + 1] = 1
    return make_rows(src, src_segments, tgt, tgt_segments, tokenizer.bos)


def _positions(segments: Ints) -> Ints:
    """Each slot's place within its sentence; padding counts on from 0."""
    slot = np.arange(segments.shape[1])[None, :]
    starts = np.ones(segments.shape, bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return slot - np.maximum.accumulate(np.where(starts, slot, 0), axis=1)


class Layout(NamedTuple):
    """How an update's rows lie: `num_accumulated` rounds of `rows_per_round` on all devices."""

    num_accumulated: int
    rows_per_round: int


@dataclass(frozen=True)
class Updates:
    """The updates of a run: which rows belong to step n, and those rows as arrays.

    Every epoch deals all rows of each class into batches of nearly equal size, in a new random
    order; a batch holds rows of one width (the paper batches by approximate length, §5.1), as many
    as hold the wanted tokens on average.
    """

    packed: PackedSplit
    seed: int
    tokens_per_update: int
    """Real tokens, source and target together."""
    bos: int

    @property
    def num_batches(self) -> tuple[int, ...]:
        """Updates an epoch takes from each class."""
        return tuple(
            min(max(1, round((c.src_tokens + c.tgt_tokens) / self.tokens_per_update)), c.num_rows)
            for c in self.packed.classes
        )

    @property
    def per_epoch(self) -> int:
        return sum(self.num_batches)

    def choose(self, step: int) -> tuple[int, Ints]:
        """The class and the rows of update `step` (counted from 0)."""
        epoch, number = divmod(step, self.per_epoch)
        batch = int(np.random.default_rng([self.seed, epoch]).permutation(self.per_epoch)[number])
        chosen = 0
        while batch >= self.num_batches[chosen]:
            batch -= self.num_batches[chosen]
            chosen += 1
        num_rows, parts = self.packed.classes[chosen].num_rows, self.num_batches[chosen]
        order = _permutation(self.seed, epoch, chosen, num_rows)
        return chosen, order[num_rows * batch // parts : num_rows * (batch + 1) // parts]

    def layout(self, chosen: int, num_devices: int, slots_per_device: int) -> Layout:
        """As many rounds as the devices need to take a batch of this class."""
        row_class = self.packed.classes[chosen]
        most = -(-row_class.num_rows // self.num_batches[chosen])
        rounds = -(-most * row_class.tgt_width // (num_devices * slots_per_device))
        rows_per_device = -(-most // (rounds * num_devices))
        return Layout(rounds, rows_per_device * num_devices)

    def rows(self, step: int, layout: Layout, columns: slice = slice(None)) -> Rows:
        """The rows of update `step`, (round, row in the round, slot), filled up with empty rows.

        `columns` selects the share of each round that this process holds.
        """
        chosen, order = self.choose(step)
        index = np.full(layout.num_accumulated * layout.rows_per_round, -1)
        index[: len(order)] = order
        local = index.reshape(layout)[:, columns]
        arrays = [a[local.ravel()] for a in self.packed.arrays(self.packed.classes[chosen])]
        for array in arrays:
            array[local.ravel() < 0] = 0
        flat = make_rows(*arrays, bos=self.bos)
        return Rows(*(field.reshape(*local.shape, -1) for field in flat))


def batches(packed: PackedSplit, slots: int, bos: int, multiple: int) -> Iterator[Rows]:
    """Every row of a split once, in order, at most `slots` target slots at a time.

    The number of rows is a multiple of `multiple`, with empty rows at the end.
    """
    for row_class in packed.classes:
        size = max(1, slots // row_class.tgt_width // multiple) * multiple
        size = min(size, -(-row_class.num_rows // multiple) * multiple)
        arrays = packed.arrays(row_class)
        for start in range(0, row_class.num_rows, size):
            part = [np.asarray(a[start : start + size]) for a in arrays]
            missing = size - len(part[0])
            yield make_rows(*(np.pad(a, ((0, missing), (0, 0))) for a in part), bos=bos)


@lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, chosen: int, num_rows: int) -> Ints:
    return np.random.default_rng([seed, epoch, chosen]).permutation(num_rows)


def read_ahead(make: Callable[[int], T], first: int, last: int, ahead: int = 2) -> Iterator[T]:
    """`make(first)`, ..., `make(last - 1)`, each begun `ahead` items before it is asked for."""
    with ThreadPoolExecutor(1, thread_name_prefix="rows") as pool:
        pending = deque(pool.submit(make, n) for n in range(first, min(first + ahead, last)))
        for number in range(first, last):
            if number + ahead < last:
                pending.append(pool.submit(make, number + ahead))
            yield pending.popleft().result()
