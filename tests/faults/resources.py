"""Whether memory stays flat over a long training.

python -m tests.faults.resources

A real process trains a tiny model for 5,000 updates, with a validation and a checkpoint every 500,
while its resident memory is sampled. The same is done with a program that keeps every update's
metrics (tests/faults/careless), to show that the rule finds so little.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from scipy.stats import theilslopes

from aiayn.files import write_text
from aiayn.report import configure_jax, environment
from tests.faults import runs

NUM_STEPS, EVERY, WARM = 5_000, 500, 1_000
MOST = 1_000
"""Bytes a step by which memory may grow between two checkpoints."""
RESULTS = runs.ROOT / "experiments" / "results" / "reliability"

Samples = list[tuple[int, int]]
"""Steps and bytes."""


def sample(folder: Path, program: Sequence[str], bar: Progress) -> Samples:
    """Train in a folder and look at the process about five times a second until the last step.

    Raises:
        RuntimeError: it does not end well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    experiment = runs.write_experiment(folder, NUM_STEPS, EVERY, log_every=10)
    command = runs.command(experiment, folder, program)
    metrics = folder / "run" / "metrics.jsonl"
    found: Samples = []
    task = bar.add_task(" ".join(program), total=NUM_STEPS)
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, env=runs.environment(), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                step = _last_step(metrics)
                if step < NUM_STEPS and (resident := _resident(process.pid)):
                    found.append((step, resident))
                bar.update(task, completed=step)
                time.sleep(0.2)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise RuntimeError(f"Training ended with {process.returncode}: {folder / 'output.txt'}.")
    return found


def growth(samples: Samples) -> tuple[float, float]:
    """Bytes a step between checkpoints, and bytes from one checkpoint to the next, after WARM.

    Each is the median of the slopes between any two samples, or any two stretches: one step of a
    stair, such as a buffer that is grown once, does not move it far.
    """
    stretches: dict[int, Samples] = {}
    for step, resident in samples:
        if step >= WARM:
            stretches.setdefault(step // EVERY, []).append((step, resident))
    slopes = [_slope(part) for part in stretches.values() if len({step for step, _ in part}) > 1]
    medians = [(n, int(np.median([r for _, r in part]))) for n, part in stretches.items()]
    return float(np.median(slopes)), _slope(medians)


def _slope(samples: Samples) -> float:
    steps, resident = np.array(samples).T
    return float(theilslopes(resident, steps)[0])


def _in_words(found: tuple[float, float]) -> str:
    return f"{found[0]:,.0f} bytes a step, {found[1] / 2**10:,.0f} KiB a checkpoint"


def plot(all_samples: dict[str, Samples], path: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, samples in all_samples.items():
        steps, resident = np.array(samples).T
        label = f"{name}: {_in_words(growth(samples))}"
        axes.plot(steps, resident / 2**20, linewidth=1, label=label)
    axes.axvline(WARM, color="grey", linewidth=0.5)
    axes.set(xlabel="update", ylabel="resident memory, MiB", title="Memory of a training process")
    axes.set_ylim(0)
    axes.legend()
    figure.savefig(path, dpi=120)


def _last_step(metrics: Path) -> int:
    with suppress(OSError, ValueError, IndexError), metrics.open("rb") as file:
        file.seek(max(metrics.stat().st_size - 2_000, 0))
        return json.loads(file.read().splitlines()[-1])["step"]
    return 0


def _resident(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, default=Path("runs/faults/resources"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    configure_jax()
    console = Console()
    began = time.monotonic()
    about = environment()
    programs = {"aiayn": ["aiayn"], "keeping metrics": ["tests.faults.careless", "memory"]}
    with Progress(console=console) as bar:
        samples = {
            name: sample(arguments.folder.resolve() / program[-1], program, bar)
            for name, program in programs.items()
        }
    (slope, stair), (control, _) = (growth(found) for found in samples.values())
    flat, seen = slope < MOST, control >= MOST
    record: dict[str, Any] = {
        "name": "memory",
        "title": f"Memory over {NUM_STEPS:,} updates is flat between checkpoints, and a small leak "
        "would show",
        "command": "make faults",
        "tried": 2,
        "survived": flat + seen,
        "lost": 2 - flat - seen,
        "details": {
            "memory is flat": {"tried": 1, "survived": int(flat)},
            "every update's metrics kept, and found": {"tried": 1, "survived": int(seen)},
        },
        "rule": f"from step {WARM:,} on, less than {MOST:,} bytes a step between checkpoints, by "
        f"Theil-Sen slopes; {slope:,.0f} were found, {control:,.0f} with a leak; from each "
        f"checkpoint to the next {stair / 2**20:.1f} MiB more stay with Orbax",
        "bytes_per_step": round(slope, 1),
        "bytes_per_checkpoint": round(stair),
        "bytes_per_step_of_the_leak": round(control, 1),
        "mebibytes": {
            str(at): round(np.median([r for s, r in samples["aiayn"] if abs(s - at) < 100]) / 2**20)
            for at in range(WARM, NUM_STEPS, WARM)
        },
        "samples": len(samples["aiayn"]),
        "seed": 1,
        "seconds": round(time.monotonic() - began),
        **about,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "memory.json", json.dumps(record, indent=1) + "\n")
    plot(samples, arguments.out / "memory.png")
    for name, found in samples.items():
        console.print(f"{name}: {_in_words(growth(found))}, after step {WARM:,}.")
    console.print(
        f"The rule: {record['rule']}. Written to {arguments.out}: memory.json, memory.png."
    )
    return int(record["lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())
