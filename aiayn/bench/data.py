"""Benchmarks: what a stage costs on this machine, by the command that a user would type.

The record of each says what every figure means, and on what it was taken.
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from sentencepiece import SentencePieceProcessor

from aiayn.bench.grid import grid
from aiayn.bench.worker import num_processors
from aiayn.data.prepare import Prepared, open_prepared
from aiayn.data.updates import Updates
from aiayn.errors import UserError
from aiayn.experiments import load_experiment
from aiayn.model.flops import exponent
from aiayn.render.markdown import number
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.system.files import new_folder, user_os_errors
from aiayn.system.workers import parallel_map

_EXPERIMENT = "wmt14_ende_base"
_FIRST = 100_000
_UPDATES = 50
_DEFINITIONS = {
    "seconds": "wall time of `aiayn prepare` on two text files, its start included",
    "stages": "of it, by when each stage's last file was complete: text cleaned and without "
    "duplicates, tokenizer trained, rows packed",
    "pairs_per_second": "pairs of the text files by seconds",
    "peak_rss_bytes": "resident memory of all its processes together, the highest of two samples a "
    "second, in each stage; a page that processes share counts in each",
    "peak_own_bytes": "of it what is no file's, so that the system cannot just drop it; a page "
    "that processes share counts once",
    "text_bytes": "size of the two text files",
    "fill": "share of the slots of a class of rows that hold a token, by its target width",
    "packed_pairs_per_second": "pairs that are left by the stage of rows: tokenized and packed",
    "sentencepiece_pairs_per_second": f"SentencePiece alone on the first {_FIRST:,} of these "
    "pairs, all in memory, on all processors",
    "milliseconds_per_update": "of one thread for the rows of an update, read and laid out, the "
    f"median of {_UPDATES}; training has a thread that does it, and moves them to the devices, two "
    "updates ahead",
    "growth": "exponents of a stage's seconds and of its peak_own_bytes by pairs: the slope of the "
    "logarithms by least squares, over the last three sizes; none of fewer",
}


class _Chunk(NamedTuple):
    """Lines of the synthetic corpus that one job writes."""

    first: int
    num_lines: int


_CHUNK = 20_000
_TYPES = 1_000_000
"""Different words of a language."""


def synthetic_pairs(chunk: _Chunk) -> tuple[str, str]:
    """Text of both sides: words by Zipf's law, lengths log-normal with a mean near WMT14's 27.

    A pure function of the numbers of the lines.
    """
    rng = np.random.default_rng([14, chunk.first])
    length = 18 * np.exp(rng.normal(0, 0.62, chunk.num_lines))  # words; a word is some 1.2 pieces
    sides: list[str] = []
    for language, scale in ((0, 1.0), (1, np.exp(rng.normal(0, 0.2, chunk.num_lines)))):
        counts = np.clip((length * scale).round(), 1, 200).astype(int)
        ranks = np.exp(rng.random(counts.sum()) * np.log(_TYPES)).astype(int)
        made = [_word(rank, language) for rank in ranks.tolist()]
        ends = np.cumsum(counts).tolist()
        lines = (
            " ".join(made[end - count : end]).capitalize() + "."
            for end, count in zip(ends, counts.tolist(), strict=True)
        )
        sides.append("".join(f"{line}\n" for line in lines))
    return sides[0], sides[1]


_SYLLABLES = (
    [c + v + e for c in "bdfgklmnprstvwz" for v in "aeiou" for e in ("", "n", "r", "st")],
    [c + v + e for c in "bdfghklmnrstwz" for v in ("a", "e", "i", "ei", "ö", "u") for e in "lnrs"],
)


@cache
def _word(rank: int, language: int) -> str:
    """The word of a rank: frequent ones are short."""
    syllables = _SYLLABLES[language]
    word = ""
    while rank:
        rank, place = divmod(rank, len(syllables))
        word += syllables[place]
    return word


def write_synthetic(folder: Path, num_pairs: int, console: Console) -> None:
    """`train.aa` and `train.bb` in `folder`, unless they are there."""
    if folder.is_dir():
        return
    chunks = [
        _Chunk(first, min(_CHUNK, num_pairs - first)) for first in range(0, num_pairs, _CHUNK)
    ]
    made = parallel_map(synthetic_pairs, chunks)
    description = f"Writing {num_pairs:,} synthetic pairs"
    with (
        new_folder(folder) as building,
        (building / "train.aa").open("w", encoding="utf-8") as src,
        (building / "train.bb").open("w", encoding="utf-8") as tgt,
        progress(console) as bar,
    ):
        for _, (src_text, tgt_text) in bar.track(made, len(chunks), description=description):
            src.write(src_text)
            tgt.write(tgt_text)


def bench_data(sizes: Sequence[int], folder: Path, console: Console) -> dict[str, Any]:
    """Prepare synthetic corpora of these sizes in pairs; the record, also in `folder/data.json`.

    Raises:
        UserError: `aiayn prepare` failed.
    """
    runs: list[dict[str, Any]] = []
    for num_pairs in sizes:
        corpus = folder / f"corpus-{num_pairs}"
        with user_os_errors(folder):
            write_synthetic(corpus, num_pairs, console)
            runs.append(_prepare(corpus, num_pairs, folder / "data"))
        console.print(describe(runs[-1]))
    record = {
        "bench": "data",
        **environment(),
        "definitions": _DEFINITIONS,
        "runs": runs,
        "growth": _growth(runs),
    }
    records.write(folder / "data.json", record)
    if record["growth"]:
        from aiayn.bench.plots import plot_data

        plot_data(record, folder / "data.png")
        console.print(grid("How the cost of a corpus grows", growth_figures(record)))
    return record


_GROWS = {"stages": "seconds", "peak_own_bytes": "memory of its own"}
"""The costs of a stage that grow, by their names in a run."""


def _growth(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The exponents of each stage, where there are sizes enough to fit them."""
    last = runs[-3:]
    if len({run["pairs"] for run in last}) < 3:
        return {}
    sizes = [run["pairs"] for run in last]
    return {
        stage: {
            what: exponent(sizes, values)
            for what in _GROWS
            if min(values := [run[what][stage] for run in last])  # 0: not measured
        }
        for stage in runs[-1]["stages"]
    }


def growth_figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The exponents as text: a head, then a stage a row."""
    return [["", *_GROWS.values()]] + [
        [stage, *(number(found.get(what), ".2f") for what in _GROWS)]
        for stage, found in record["growth"].items()
    ]


def describe(run: Mapping[str, Any]) -> str:
    """The figures of one preparation in a line."""
    stages = ", ".join(f"{name} {seconds:,.0f} s" for name, seconds in run["stages"].items())
    memory = max(run["peak_rss_bytes"].values())
    return (
        f"{run['pairs']:,} pairs, {run['text_bytes'] / 1e6:,.0f} MB of text: "
        f"{run['seconds']:,.0f} s ({stages}), {run['pairs_per_second']:,.0f} pairs/s, "
        + (f"at most {memory / 1e9:.1f} GB of memory" if memory else "memory not measured")
    )


def _prepare(corpus: Path, num_pairs: int, data_dir: Path) -> dict[str, Any]:
    """Run the command on a corpus, with the settings of `_EXPERIMENT` besides."""
    shutil.rmtree(data_dir, ignore_errors=True)
    settings = {
        "data.corpus": "synthetic",
        "data.src": "aa",
        "data.tgt": "bb",
        "data.hub": "",
        "data.hub_config": "",
        "data.revision": "",
        "data.num_pairs": "",
        "data.folder": str(corpus),
        "data.train_files": "train.{lang}",
        "data.holdout_pairs": str(min(3_000, num_pairs // 10)),
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "aiayn", "prepare", _EXPERIMENT, *overrides]
    began = time.time()
    samples = _run([*command, "--data-dir", str(data_dir)])
    seconds = time.time() - began
    (made,) = data_dir.iterdir()
    ends = {
        "text": made / "text" / "manifest.json",
        "tokenizer": made / "tokenizer.made_from",
        "rows": made / "rows" / "dev.made_from",
    }
    times = [began, *(path.stat().st_mtime for path in ends.values())]
    stages = list(zip(ends, times, times[1:], strict=False))
    held_during = {
        name: [held for at, held in samples if begin <= at < end] for name, begin, end in stages
    }
    prepared = open_prepared(made)
    train = prepared.train
    packed = prepared.manifest.splits["train"].kept / (times[3] - times[2])
    return {
        "pairs": num_pairs,
        "text_bytes": sum(path.stat().st_size for path in corpus.iterdir()),
        "seconds": seconds,
        "stages": {name: end - begin for name, begin, end in stages},
        "pairs_per_second": num_pairs / seconds,
        **{
            what: {
                name: max((getattr(held, what) for held in during), default=0)
                for name, during in held_during.items()
            }
            for what in _Held._fields
        },
        "rows": sum(row_class.num_rows for row_class in train.classes),
        "fill": {str(row_class.tgt_width): row_class.fill for row_class in train.classes},
        "packed_pairs_per_second": packed,
        "sentencepiece_pairs_per_second": _by_sentencepiece(prepared),
        "milliseconds_per_update": 1e3 * _seconds_per_update(prepared),
    }


def _by_sentencepiece(prepared: Prepared) -> float:
    """Pairs per second, both sides, in one process with a thread for each processor."""
    processor = SentencePieceProcessor(model_proto=prepared.tokenizer.model)
    pairs = prepared.first_pairs(_FIRST)
    lines = [line for pair in pairs for line in pair]
    began = time.perf_counter()
    processor.encode(lines, num_threads=num_processors())
    return len(pairs) / (time.perf_counter() - began)


def _seconds_per_update(prepared: Prepared) -> float:
    tokens = load_experiment(_EXPERIMENT).data.tokens_per_update
    updates = Updates(prepared.train, 1, tokens, prepared.tokenizer.bos)
    seconds: list[float] = []
    for step in range(_UPDATES):
        began = time.perf_counter()
        chosen, _ = updates.choose(step)
        updates.rows(step, updates.layout(chosen, 1, tokens))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


class _Held(NamedTuple):
    """Bytes of memory, as a record defines them."""

    peak_rss_bytes: int
    peak_own_bytes: int


def _run(command: Sequence[str]) -> list[tuple[float, _Held]]:
    """Run `aiayn prepare` to its end; the samples of its memory."""
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            samples = list(_samples(process))
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)  # Ctrl-C does not reach a session of its own
            raise
    if process.returncode:
        raise UserError("aiayn prepare failed; its own message is above.")
    return samples


def _samples(process: subprocess.Popen[bytes]) -> Iterator[tuple[float, _Held]]:
    """The time, and what a process and its descendants hold, until it ends.

    They hold 0 where there is no /proc.
    """
    while process.returncode is None:
        try:
            process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            held = (_held(folder, process.pid) for folder in Path("/proc").glob("[0-9]*"))
            yield time.time(), _Held(*map(sum, zip(_Held(0, 0), *held, strict=True)))


def _held(folder: Path, session: int) -> _Held:
    """By a process, if it is of this session."""
    try:
        after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        if int(after_name[3]) != session:
            return _Held(0, 0)
        _, *lines = (folder / "smaps_rollup").read_text().splitlines()
        size = {name: 1024 * int(kilobytes) for name, kilobytes, _ in map(str.split, lines)}
        return _Held(size["Rss:"], size.get("Pss_Anon:", 0) + size.get("Pss_Shmem:", 0))
    except (OSError, IndexError, ValueError):  # it has ended
        return _Held(0, 0)
