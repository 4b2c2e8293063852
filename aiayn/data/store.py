"""Packed rows on disk: flat files that are memory-mapped (§5.1)."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aiayn.data.rows import Ints
from aiayn.errors import UserError


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

    @property
    def files(self) -> list[str]:
        """The names of all that it is read from."""
        return [f"{self.split}.json", *(f"{self.split}.{c.tgt_width}.bin" for c in self.classes)]

    @classmethod
    def load(cls, folder: Path, split: str) -> "PackedSplit":
        values = json.loads((folder / f"{split}.json").read_text(encoding="utf-8"))
        classes = tuple(RowClass(**c) for c in values["classes"])
        return cls(folder, split, classes, values["too_long"])


def field_widths(src_width: int, tgt_width: int) -> list[int]:
    return [src_width, src_width, tgt_width, tgt_width]
