"""Whether ten million lines go through `aiayn translate` in their order, in the same memory.

python -m tests.faults.lines

A small model learns to count in German. Lines of one to three numbers, and empty ones, are drawn
and piped through `aiayn translate`; each line that comes back is compared with the translation of
that line alone, while the resident memory of the process is sampled. The same is done with one that
keeps every line it reads (tests/faults/careless), to show that the rule finds so little.
"""

import argparse
import io
import itertools
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import Progress

from aiayn.decoding.translator import Translator
from aiayn.evaluation.average import average_run
from aiayn.model.saved import load_model
from aiayn.system.environment import configure_jax, environment
from aiayn.system.files import write_text
from tests.faults import runs
from tests.faults.resources import RESULTS, Samples, median_slope
from tests.faults.saves import resident_bytes
from tests.support.corpora import write_pairs
from tests.support.runs import reverse_experiment, train_here

NUM_LINES, EVERY, WARM = 10_000_000, 10_000, 500_000
MOST = 2
"""Bytes that a line may leave, after WARM; a list of them takes eight for a place alone."""
MOST_SHARE = 0.02
"""Of memory at WARM, by which it may have grown at the end."""
_NUMBERS = {
    **{"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf"},
    **{"six": "sechs", "seven": "sieben", "eight": "acht", "nine": "neun", "ten": "zehn"},
}
PAIRS = {
    " ".join(words): " ".join(_NUMBERS[word] for word in words)
    for length in (1, 2, 3)
    for words in itertools.product(_NUMBERS, repeat=length)
}
"""All texts of one to three numbers."""


def drawn(count: int) -> Iterator[list[str]]:
    """The lines, `EVERY` at a time, the same whenever asked; about one in a thousand is empty."""
    rng, texts = random.Random(0), [*PAIRS, ""]
    for begin in range(0, count, EVERY):
        yield rng.choices(texts, k=min(EVERY, count - begin))


def write_model(folder: Path) -> Path:
    """A model that has learnt to count, and mostly can."""
    pairs = list(PAIRS.items())
    write_pairs(folder / "corpus", "train", pairs)
    write_pairs(folder / "corpus", "dev", pairs[::50])
    write_pairs(folder / "corpus", "test", pairs[::50])
    settings = [
        *("data.src=en", "data.tgt=de", "decode.beam_size=1", "decode.max_extra_tokens=4"),
        *("model.d_model=32", "model.d_ff=64", "model.d_k=8", "model.d_v=8"),
    ]
    experiment = reverse_experiment(folder / "corpus", num_steps=400, checkpoint_every=100)
    train_here(experiment.with_overrides(settings), folder / "run", folder / "data")
    average_run(folder / "run")
    return folder / "run"


def alone(run: Path) -> dict[str, str]:
    """The translation of each text by itself."""
    translator = Translator(load_model(run / "model"))
    return {text: translator.best([text])[0] for text in [*PAIRS, ""]}


def sample(
    program: Sequence[str], run: Path, count: int, wanted: Mapping[str, str], bar: Progress
) -> tuple[Samples, int]:
    """Send so many lines through a process and look at its memory after every `EVERY`; with it, how
    many came back otherwise than they do alone.

    Raises:
        RuntimeError: it does not end well, or with another number of lines.
    """
    found: Samples = []
    wrong = 0
    task = bar.add_task(" ".join(program), total=count)
    command = [sys.executable, "-m", *program, "translate", str(run)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=runs.environment(), stdin=pipe, stdout=pipe) as process:
        assert process.stdin
        assert process.stdout
        writer = threading.Thread(target=_write, args=(process.stdin, count))
        writer.start()
        with io.TextIOWrapper(process.stdout, encoding="utf-8", newline="\n") as output:
            for number, lines in enumerate(drawn(count), 1):
                back = [line.removesuffix("\n") for line in itertools.islice(output, len(lines))]
                if len(back) == len(lines):
                    wrong += sum(b != wanted[line] for b, line in zip(back, lines, strict=True))
                    found.append((number * EVERY, resident_bytes(process.pid)))
                    bar.update(task, completed=number * EVERY)
            left = sum(1 for _ in output)
        writer.join()
    if process.returncode or left or len(found) < -(-count // EVERY):
        raise RuntimeError(f"{command} ended with {process.returncode}, or other lines than came.")
    return found[:-1], wrong  # after the last line it ends


def _write(file: IO[bytes], count: int) -> None:
    with file:
        for lines in drawn(count):
            file.write("".join(f"{line}\n" for line in lines).encode())


def growth_a_line(samples: Samples) -> tuple[float, float]:
    """Bytes a line, after WARM, and the share by which memory grows from there to the last sample:
    by the median of the slopes between any two samples."""
    warm = [(number, resident) for number, resident in samples if number >= WARM]
    found = median_slope(warm)
    return found, found * (warm[-1][0] - WARM) / warm[0][1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    configure_jax()
    console, began, about = Console(), time.monotonic(), environment()
    with Progress(console=console) as bar, tempfile.TemporaryDirectory() as folder:
        run = write_model(Path(folder))
        wanted = alone(run)
        samples, wrong = sample(["aiayn"], run, NUM_LINES, wanted, bar)
        keeping = ["tests.faults.careless", "lines"]
        leaking, _ = sample(keeping, run, WARM + 200_000, wanted, bar)
    (a_line, share), (control, _) = growth_a_line(samples), growth_a_line(leaking)
    details = {
        "each line as it is alone, in its order": wrong == 0,
        "a line leaves nothing": a_line < MOST,
        "memory is flat over all lines": share < MOST_SHARE,
        "every line kept, and found": control >= MOST,
    }
    survived = sum(details.values())
    right = sum(wanted[text] == translation for text, translation in PAIRS.items())
    record: dict[str, Any] = {
        "name": "lines",
        "title": f"{NUM_LINES:,} lines go through `aiayn translate` in their order, in the "
        "same memory, and a small leak would show",
        "command": "make faults",
        "tried": len(details),
        "survived": survived,
        "lost": len(details) - survived,
        "details": {what: {"tried": 1, "survived": int(holds)} for what, holds in details.items()},
        "rule": f"each of {len(set(wanted.values())):,} different outputs ({right:,} of "
        f"{len(PAIRS):,} texts are translated right) is that of its line alone: {wrong:,} were "
        f"not. From line {WARM:,} on, less than {MOST} bytes a line, by Theil-Sen slopes: "
        f"{a_line:.2f} were found, {control:,.0f} where every line is kept. To the end less than "
        f"{MOST_SHARE:.0%} of memory: {share:.1%} were found",
        "bytes_per_line": round(a_line, 3),
        "bytes_per_line_of_the_leak": round(control, 1),
        "share": round(share, 5),
        "wrong": wrong,
        "mebibytes": {
            str(number): round(resident / 2**20)
            for number, resident in samples
            if number % (NUM_LINES // 10) == 0
        },
        "samples": len(samples),
        "seed": 0,
        "seconds": round(time.monotonic() - began),
        **about,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "lines.json", json.dumps(record, indent=1) + "\n")
    console.print(f"The rule: {record['rule']}. Written to {arguments.out}: lines.json.")
    return int(record["lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())
