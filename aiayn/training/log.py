"""The log of a run: `metrics.jsonl` and TensorBoard events."""

import json
import math
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import jax
import numpy as np
from tensorboard.summary import Writer

from aiayn.config import Experiment
from aiayn.data.rows import Rows
from aiayn.errors import UserError
from aiayn.model.flops import matmul_flops
from aiayn.system import hosts
from aiayn.system.environment import peak_flops
from aiayn.system.files import user_os_errors, write_text
from aiayn.system.memory import peak_bytes
from aiayn.training.optim import learning_rate
from aiayn.training.step import Metrics


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a last line that was cut off is left out.

    Raises:
        UserError: another line is no row.
    """
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n") if path.is_file() else []
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(cast(dict[str, Any], row))
        elif number < len(lines):
            raise UserError(
                f"{path}, line {number}, is damaged; wanted one JSON table a line. Delete the line "
                "to go on without it."
            )
    return rows


def totals_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The totals that the rows of a log give, if none is missing; see `Log.totals`."""
    trained = [row for row in rows if "tokens" in row]
    steps = np.diff([row["step"] for row in trained], prepend=0).tolist()

    def count(side: str) -> int:
        each = (row[f"{side}_tokens_per_update"] for row in trained)
        return sum(round(mean * n) for mean, n in zip(each, steps, strict=True))

    return {
        "seconds": max((row["seconds"] for row in rows), default=0.0),
        "src_tokens": count("src"),
        "tgt_tokens": count("tgt"),
        "crc32": _crc32(rows),
        "skipped": sum(row.get("skipped", 0) for row in rows),
        "in_a_row": 0,
        "dev": next((dict(row) for row in reversed(rows) if "dev_loss" in row), None),
    }


def what_is_lost(
    rows: Sequence[Mapping[str, Any]], step: int, totals: Mapping[str, Any] | None
) -> str:
    """What is wrong with the rows of a log up to a checkpoint, or nothing.

    Without its totals, which earlier versions did not keep, the log is held against itself: each
    row has the tokens of the run up to there, and the means of the updates since the row before.
    """
    if totals is not None:
        return "" if _crc32(rows) == totals["crc32"] else "has lost lines, or was changed"
    before = tokens = 0
    for row in rows:
        if "tokens" in row:
            mean = row["src_tokens_per_update"] + row["tgt_tokens_per_update"]
            tokens += round(mean * (row["step"] - before))
            before = row["step"]
            if row["tokens"] != tokens:
                return f"has lost lines before step {before:,}; totals are of those left"
    return f"has lost its lines up to step {step:,}" if before != step else ""


def _crc32(rows: Sequence[Mapping[str, Any]]) -> int:
    found = 0
    for row in rows:
        found = zlib.crc32(_line(row).encode(), found)
    return found


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row) + "\n"


T = TypeVar("T")


class Log:
    """`metrics.jsonl` and TensorBoard events of a run, which the first process writes.

    A file that grows can lose lines. So all that a record says of a whole run is counted in
    `totals` as well, which checkpoints keep, with a checksum of the lines up to there.
    """

    def __init__(self, run_dir: Path, experiment: Experiment):
        self.path = run_dir / "metrics.jsonl"
        self.experiment = experiment
        self.peak = peak_flops()
        self.writer = Writer(str(run_dir / "tensorboard")) if hosts.first() else None
        self.slots = 0
        self.waited = 0.0
        self.seconds = 0.0
        self.src_tokens = 0
        self.tgt_tokens = 0
        self.skipped = 0
        """Updates that were not finite, and not applied."""
        self.crc32 = 0
        self.dev: dict[str, Any] | None = None
        """The last validation."""
        self.in_a_row = 0
        """Updates that were not finite, since the last one that was."""
        self.began = time.perf_counter()

    def resume(self, step: int, validated: bool, totals: Mapping[str, Any] | None) -> str:
        """Go on after `step`, with the totals of its checkpoint; what is wrong with the lines up to
        there, or nothing.

        The rows of steps that run again are dropped: those past `step`, its validation if due.
        """
        rows = [row for row in read_metrics(self.path) if row["step"] <= step]
        if not validated:
            rows = [row for row in rows if row["step"] < step or "dev_loss" not in row]
        if self.writer:
            write_text(self.path, "".join(_line(row) for row in rows))
        lost = what_is_lost(rows, step, totals)
        values = totals or totals_of(rows)
        self.seconds, self.crc32, self.dev = values["seconds"], values["crc32"], values["dev"]
        self.src_tokens, self.tgt_tokens = values["src_tokens"], values["tgt_tokens"]
        # Earlier versions did not keep these.
        self.skipped = values.get("skipped", totals_of(rows)["skipped"])
        self.in_a_row = values.get("in_a_row", 0)
        self.began = time.perf_counter()
        return f"{self.path} {lost}." if lost and self.writer else ""

    def totals(self) -> dict[str, Any]:
        """What a checkpoint keeps of the log up to now."""
        names = "seconds", "src_tokens", "tgt_tokens", "skipped", "in_a_row", "crc32", "dev"
        return {name: getattr(self, name) for name in names}

    def timed(self, items: Iterator[T], pending: Sequence[Metrics]) -> Iterator[T]:
        """The same; counts the seconds for which the devices too may have waited for an item."""
        while True:
            began = time.perf_counter()
            item = next(items, None)
            if item is None:
                return
            if not pending or pending[-1].loss.is_ready():  # pyright: ignore[reportAttributeAccessIssue]
                self.waited += time.perf_counter() - began
            yield item

    def count_slots(self, rows: Rows) -> None:
        """Count the slots of an update, empty ones included; its rows are those of all devices."""
        self.slots += rows.src_BS.size + rows.tgt_in_BT.size

    def write(self, step: int, pending: list[Metrics]) -> dict[str, Any]:
        """One row for the updates since the last; waits for the device.

        An update that is not finite was not applied: the row counts it as `skipped` and leaves it
        out of the means of loss and gradient.
        """
        each = Metrics(*np.transpose(jax.device_get(pending)))
        now = time.perf_counter()
        elapsed, self.began = now - self.began, now
        finite = np.isfinite(each.loss) & np.isfinite(each.grad_norm)
        if finite.any():
            self.in_a_row = int(np.argmax(finite[::-1]))  # updates after the last finite one
        else:
            self.in_a_row += len(finite)
        tokens = int((each.src_tokens + each.tgt_tokens).sum())
        self.seconds += elapsed
        self.src_tokens += int(each.src_tokens.sum())
        self.tgt_tokens += int(each.tgt_tokens.sum())
        self.skipped += int((~finite).sum())
        config = self.experiment
        rate = learning_rate(
            max(1, step - self.skipped),
            config.model.d_model,
            config.train.warmup_steps,
            config.train.learning_rate_constant,
        )
        row: dict[str, Any] = {
            "step": step,
            "learning_rate": float(rate),
            "src_tokens_per_update": float(each.src_tokens.mean()),
            "tgt_tokens_per_update": float(each.tgt_tokens.mean()),
            "tokens_per_second": tokens / elapsed,
            "tgt_tokens_per_second": float(each.tgt_tokens.sum()) / elapsed,
            "padding": 1.0 - tokens / self.slots,
            "waiting_for_rows": self.waited / elapsed,
            "seconds": self.seconds,
            "tokens": self.src_tokens + self.tgt_tokens,
            "peak_bytes": peak_bytes(),
        }
        if finite.any():
            count = each.tgt_tokens[finite].sum()
            row["loss"] = float(each.loss[finite].sum() / count)
            row["perplexity"] = math.exp(min(float(each.plain_loss[finite].sum() / count), 50.0))
            row["grad_norm"] = float(each.grad_norm[finite].mean())
        if not finite.all():
            row["skipped"] = int((~finite).sum())
        self.slots, self.waited = 0, 0.0
        if self.peak:
            words = config.data.vocab_size
            flops = 3 * matmul_flops(
                config.model, words, int(each.src_tokens.sum()), int(each.tgt_tokens.sum())
            )
            row["mfu"] = flops / elapsed / self.peak
        self._append(row)
        return row

    def write_validation(self, step: int, found: dict[str, float]) -> dict[str, Any]:
        now = time.perf_counter()
        self.seconds += now - self.began
        self.began = now
        self.dev = {"step": step, **found, "seconds": self.seconds}
        self._append(self.dev)
        return self.dev

    def _append(self, row: dict[str, Any]) -> None:
        line = _line(row)
        self.crc32 = zlib.crc32(line.encode(), self.crc32)
        if not self.writer:
            return
        with user_os_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line)
        for name, value in row.items():
            if name != "step":
                self.writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        if self.writer:
            self.writer.close()
