"""Whether the memory of a server stays flat over 15,000 requests.

python -m tests.faults.serving

`aiayn serve` answers clients that ask for beams, greedy texts and samples, whole and as streams, of
whom every seventh hangs up midway, while its resident memory is sampled. The same is done with a
server that keeps every request (tests/faults/careless), to show that the rule finds so little.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from aiayn.system.environment import configure_jax, environment
from aiayn.system.files import write_text
from tests.faults.resources import RESULTS, Samples, median_slope
from tests.faults.saves import resident_bytes
from tests.support.clients import MIXED, answer, hang_up, metrics
from tests.support.servers import running

NUM_REQUESTS, EVERY, WARM = 15_000, 50, 5_000
CLIENTS = 16
LEAVES = 7
"""Of so many requests the client of one hangs up; no divisor of the number of kinds."""
MOST = 500
"""Bytes that a request may leave, after WARM."""
MOST_SHARE = 0.05
"""Of memory at WARM, by which it may have grown at the end."""


def sample(program: Sequence[str], count: int, bar: Progress) -> tuple[Samples, int]:
    """Send so many requests to a server and look at its memory after every 50; with it, how many
    programs the server compiled meanwhile."""
    found: Samples = []
    task = bar.add_task(" ".join(program), total=count)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), program=program) as (process, address),
        ThreadPoolExecutor(CLIENTS) as pool,
    ):

        def ask(number: int) -> None:
            (answer if number % LEAVES else hang_up)(address, MIXED[number % len(MIXED)])

        for begin in range(0, count, EVERY):
            list(pool.map(ask, range(begin, begin + EVERY)))
            found.append((begin + EVERY, resident_bytes(process.pid)))
            bar.update(task, completed=begin + EVERY)
        return found, metrics(address)["aiayn_compilations_total"]


def growth_a_request(samples: Samples) -> tuple[float, float]:
    """Bytes a request, after WARM, and the share by which memory grows from there to the end: by
    the median of the slopes between any two samples."""
    warm = [(number, resident) for number, resident in samples if number >= WARM]
    found = median_slope(warm)
    return found, found * (NUM_REQUESTS - WARM) / warm[0][1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    configure_jax()
    console, began, about = Console(), time.monotonic(), environment()
    with Progress(console=console) as bar:
        samples, compilations = sample(["aiayn"], NUM_REQUESTS, bar)
        leaking, _ = sample(["tests.faults.careless", "requests"], WARM + 2_000, bar)
    (a_request, share), (control, _) = growth_a_request(samples), growth_a_request(leaking)
    details = {
        "a request leaves nothing": a_request < MOST,
        "memory is flat over all requests": share < MOST_SHARE,
        "nothing is compiled": compilations == 0,
        "every request kept, and found": control >= MOST,
    }
    survived = sum(details.values())
    record: dict[str, Any] = {
        "name": "serving",
        "title": f"Memory of a server over {NUM_REQUESTS:,} requests is flat, and a small leak "
        "would show",
        "command": "make faults",
        "tried": len(details),
        "survived": survived,
        "lost": len(details) - survived,
        "details": {what: {"tried": 1, "survived": int(holds)} for what, holds in details.items()},
        "rule": f"from request {WARM:,} on, of {CLIENTS} clients, less than {MOST:,} bytes a "
        f"request, by Theil-Sen slopes: {a_request:,.0f} were found, {control:,.0f} where every "
        f"request is kept. To the end less than {MOST_SHARE:.0%} of memory: {share:.1%} were found",
        "bytes_per_request": round(a_request, 1),
        "bytes_per_request_of_the_leak": round(control, 1),
        "share": round(share, 5),
        "mebibytes": {
            str(number): round(resident / 2**20)
            for number, resident in samples
            if number % 1_000 == 0
        },
        "samples": len(samples),
        "seconds": round(time.monotonic() - began),
        **about,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "serving.json", json.dumps(record, indent=1) + "\n")
    console.print(f"The rule: {record['rule']}. Written to {arguments.out}: serving.json.")
    return int(record["lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())
