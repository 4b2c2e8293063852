"""Which rows make up update number n, and those rows as arrays (§5.1).

The rows of an update are a pure function of (seed, step) and of nothing else: no iterator state to
save, no dependence on devices, processes or accumulation. A thread reads ahead; a pipeline library
would have nothing to add."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

from aiayn.data.rows import Ints, Rows, make_rows
from aiayn.data.store import PackedSplit

T = TypeVar("T")


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
    """Real tokens, source (where there is one) and target together."""
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
