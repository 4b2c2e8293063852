"""What it costs a parser that only trees may come: the search within the grammar beside a free one.

Both are of the same model, over the same sentences, and take turns in one process. A free search
may write more or fewer symbols than a tree has, so the time of a symbol is given beside the whole.
"""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aiayn.bench.grid import grid
from aiayn.decoding.parser import Parser, words_of
from aiayn.errors import UserError
from aiayn.evaluation.systems import read_aligned
from aiayn.model.saved import model_of
from aiayn.render.markdown import spread
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment

WITHIN, FREE = "within the grammar", "free"
_ROUNDS = 7
_DEFINITIONS = {
    "searches": f"{WITHIN}: as `aiayn parse` has it; {FREE}: the same model searched as a "
    "translator is, with no step of the grammar in its program; both with the model's own beam "
    "and length penalty",
    "rounds": f"{_ROUNDS}, in which the two take turns; each does all once before the first",
    "seconds": "wall time of a round, over all sentences, in one process that starts itself with "
    "large pages of memory on CPU (aiayn.system.memory)",
    "symbols": "of the best output of each sentence, EOS included",
    "ratios": f"seconds {WITHIN} by those of the free search in the same round",
    "ratios_of_symbols": "the same, where each one's seconds are divided by its symbols",
}


def bench_grammar(path: Path, src: Path, folder: Path, console: Console) -> dict[str, Any]:
    """Parse the sentences of `src` with and without the grammar, in turns; the record, also in
    `folder/grammar-EXPERIMENT.json`.

    Raises:
        UserError: no parser or text is there, or the text is empty.
    """
    model, (lines,) = model_of(path), read_aligned(src)
    within = Parser(model)
    sentences = [words for line in lines if (words := words_of(line))]
    if not sentences:
        raise UserError(f"{src} is empty; wanted a sentence a line.")
    parsers = {WITHIN: within, FREE: within.free()}
    seconds: dict[str, list[float]] = {name: [] for name in parsers}
    symbols: dict[str, int] = {}
    with progress(console) as bar:
        for number in bar.track(range(1 + _ROUNDS), description="Parsing in turns"):
            for name, parser in parsers.items():
                began = time.perf_counter()
                symbols[name] = sum(len(best.symbols) + 1 for best, *_ in parser.parse(sentences))
                if number:
                    seconds[name].append(time.perf_counter() - began)
    ratios = [a / b for a, b in zip(seconds[WITHIN], seconds[FREE], strict=True)]
    record = {
        "bench": "grammar",
        "experiment": model.experiment.name,
        **environment(),
        "definitions": _DEFINITIONS,
        "updates": model.experiment.train.num_steps,
        "text": src.name,
        "sentences": len(sentences),
        "words": sum(map(len, sentences)),
        "beam_size": model.experiment.decode.beam_size,
        "searches": {
            name: {"seconds": seconds[name], "symbols": symbols[name]} for name in parsers
        },
        "ratios": ratios,
        "ratios_of_symbols": [each * symbols[FREE] / symbols[WITHIN] for each in ratios],
    }
    records.write(folder / f"grammar-{model.experiment.name}.json", record)
    return record


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each search."""
    rows = [["", "sentences/s", "symbols", "time, by the free search", "by its symbols"]]
    for name, found in record["searches"].items():
        speed = record["sentences"] / statistics.median(found["seconds"])
        keys = ("ratios", "ratios_of_symbols")
        ratios = [spread(record[key]) if name == WITHIN else "" for key in keys]
        rows.append([name, f"{speed:,.1f}", f"{found['symbols']:,}", *ratios])
    return rows


def title(record: Mapping[str, Any]) -> str:
    return (
        f"Trees alone, by {record['experiment']} of {record['updates']:,} updates: "
        f"{record['text']}, {record['sentences']:,} sentences of "
        f"{record['words'] / record['sentences']:.0f} words, beam {record['beam_size']}"
    )


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(title(record), figures(record))
