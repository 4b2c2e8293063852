"""Whether memory stays flat over a long training, and over many checkpoints.

python -m tests.faults.resources

A real process trains a tiny model for 5,000 updates, with a validation and a checkpoint every 500,
while its resident memory is sampled. The same is done with a program that keeps every update's
metrics (tests/faults/careless), to show that the rule finds so little. Then 1,000 checkpoints are
saved as training saves them (tests/faults/saves).
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
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from scipy.stats import theilslopes

from aiayn.system.environment import configure_jax, environment
from aiayn.system.files import write_text
from tests.faults import runs
from tests.faults.saves import resident_bytes

NUM_STEPS, EVERY, WARM = 5_000, 500, 1_000
MOST = 1_000
"""Bytes a step by which memory may grow between two checkpoints."""
MOST_SHARE = 0.02
"""Of memory at WARM, by which it may have grown at NUM_STEPS, with all that checkpoints leave."""
SAVES, WARM_SAVES = 1_000, 300
MOST_A_SAVE = 2**16
"""Bytes that a checkpoint may leave, after WARM_SAVES."""
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
    step = 0
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, env=runs.environment(), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                step = max(step, _last_step(metrics))  # 0 while a line is being written
                if step < NUM_STEPS and (resident := resident_bytes(process.pid)):
                    found.append((step, resident))
                bar.update(task, completed=step)
                time.sleep(0.2)
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise RuntimeError(f"Training ended with {process.returncode}: {folder / 'output.txt'}.")
    return found


def save(bar: Progress) -> Samples:
    """The memory of a process that saves checkpoints, after each.

    Raises:
        RuntimeError: it does not end well.
    """
    command = [sys.executable, "-m", "tests.faults.saves", str(SAVES)]
    task = bar.add_task("saves", total=SAVES)
    found: Samples = []
    with subprocess.Popen(
        command, env=runs.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        for number, line in enumerate(process.stdout or (), 1):
            found.append((number, int(line)))
            bar.update(task, completed=number)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}.")
    return found


def growth_a_save(samples: Samples) -> float:
    """Bytes a checkpoint, after WARM_SAVES: the median of the slopes between any two."""
    return median_slope([(number, resident) for number, resident in samples if number > WARM_SAVES])


def growth(samples: Samples) -> tuple[float, float]:
    """Bytes a step between checkpoints, and the share by which memory grows from WARM to NUM_STEPS
    with what checkpoints leave.

    Each is the median of the slopes between any two samples, or any two stretches: one step of a
    stair, such as a buffer that is grown once, does not move it far.
    """
    stretches: dict[int, Samples] = {}
    for step, resident in samples:
        if step >= WARM:
            stretches.setdefault(step // EVERY, []).append((step, resident))
    parts = [part for part in stretches.values() if len({step for step, _ in part}) > 1]
    medians = [(n, int(np.median([r for _, r in part]))) for n, part in stretches.items()]
    stair = median_slope(medians) * (NUM_STEPS - WARM) / EVERY
    return float(np.median([*map(median_slope, parts)])), stair / medians[0][1]


def median_slope(samples: Samples) -> float:
    """Bytes a step: the median of the slopes between any two samples."""
    steps, resident = np.array(samples).T
    return float(theilslopes(resident, steps)[0])


def plot(trainings: dict[str, Samples], saves: Samples, path: Path) -> None:
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, samples in trainings.items():
        _draw(left, samples, f"{name}: {growth(samples)[0]:,.0f} bytes a step")
    _draw(right, saves, f"{growth_a_save(saves) / 2**10:,.1f} KiB a checkpoint")
    left.axvline(WARM, color="grey", linewidth=0.5)
    left.set(xlabel="update", ylabel="resident memory, MiB", title="A training process", ylim=0)
    right.axvline(WARM_SAVES, color="grey", linewidth=0.5)
    right.set(xlabel="checkpoint", title="A process that saves checkpoints alone")
    for axes in (left, right):
        axes.legend()
    figure.savefig(path, dpi=120)


def _draw(axes: Axes, samples: Samples, label: str) -> None:
    at, resident = np.array(samples).T
    axes.plot(at, resident / 2**20, linewidth=1, label=label)


def _last_step(metrics: Path) -> int:
    with suppress(OSError, ValueError, IndexError), metrics.open("rb") as file:
        file.seek(max(metrics.stat().st_size - 2_000, 0))
        return json.loads(file.read().splitlines()[-1])["step"]
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
        saves = save(bar)
    (slope, share), (control, _) = (growth(found) for found in samples.values())
    a_save = growth_a_save(saves)
    details = {
        "memory is flat between checkpoints": slope < MOST,
        "memory is flat with what checkpoints leave": share < MOST_SHARE,
        "a thousand checkpoints leave little": a_save < MOST_A_SAVE,
        "every update's metrics kept, and found": control >= MOST,
    }
    survived = sum(details.values())
    record: dict[str, Any] = {
        "name": "memory",
        "title": f"Memory over {NUM_STEPS:,} updates is flat, {SAVES:,} checkpoints leave little, "
        "and a small leak would show",
        "command": "make faults",
        "tried": len(details),
        "survived": survived,
        "lost": len(details) - survived,
        "details": {what: {"tried": 1, "survived": int(holds)} for what, holds in details.items()},
        "rule": f"from step {WARM:,} on, less than {MOST:,} bytes a step between checkpoints, by "
        f"Theil-Sen slopes: {slope:,.0f} were found, {control:,.0f} with a leak. From there to the "
        f"end, with {(NUM_STEPS - WARM) // EVERY} checkpoints and validations, less than "
        f"{MOST_SHARE:.0%} of memory: {share:.1%} were found. From the {WARM_SAVES}th of {SAVES:,} "
        f"checkpoints on, each leaves less than {MOST_A_SAVE:,} bytes: {a_save:,.0f} were found",
        "bytes_per_step": round(slope, 1),
        "bytes_per_step_of_the_leak": round(control, 1),
        "share": round(share, 5),
        "bytes_per_checkpoint": round(a_save),
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
    plot(samples, saves, arguments.out / "memory.png")
    console.print(
        f"The rule: {record['rule']}. Written to {arguments.out}: memory.json, memory.png."
    )
    return int(record["lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())
