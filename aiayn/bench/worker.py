"""The process that a benchmark times, ours or a peer's.

It prepares itself, then obeys lines on standard input and answers each with a line of JSON.
So two of them can take turns on one machine, each with its own libraries, and wait meanwhile
without using a processor. This module imports neither JAX nor PyTorch.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from aiayn.bench.workloads import Decoding, Generation, Training
from aiayn.system.memory import peak_bytes

Ids = npt.NDArray[np.int32]


def rows_of(workload: Training) -> tuple[Ids, Ids, Ids]:
    """Source ids, target ids and the segments of both, one row a line. No id is a special piece."""
    rng = np.random.default_rng(0)
    shape = workload.num_rows, workload.width
    place = np.arange(workload.width)
    filled = workload.sentences_per_row * workload.length
    segments = np.where(place < filled, place // workload.length + 1, 0)
    segments = np.broadcast_to(segments, shape).astype(np.int32)
    src, tgt = (
        np.where(segments > 0, rng.integers(4, workload.num_words, shape), 0).astype(np.int32)
        for _ in range(2)
    )
    return src, tgt, segments


def sentences_of(workload: Decoding) -> Ids:
    """Source ids, one sentence a line. No id is a special piece."""
    rng = np.random.default_rng(0)
    shape = workload.num_sentences, workload.length
    return rng.integers(4, workload.num_words, shape).astype(np.int32)


def prompts_of(workload: Generation) -> Ids:
    """The ids that texts go on with, one prompt a line. No id is a special piece."""
    rng = np.random.default_rng(0)
    shape = workload.num_texts, workload.prompt_length
    return rng.integers(4, workload.num_words, shape).astype(np.int32)


@dataclass(frozen=True)
class Contender:
    """A prepared program and its description, which a worker serves.

    `run` completes a number of steps and returns the results: the last `loss` of training, the
    `tokens` of the last step's outputs, or the `word` after a prompt.
    """

    about: Mapping[str, Any]
    run: Callable[[int], Mapping[str, float]]
    program: Callable[[], str] = lambda: ""
    """The compiled text of what `run` runs."""


PRODUCT = "product"
"""The line that asks for `product` instead of a number of steps."""


def serve(
    prepare: Callable[[], Contender],
    counts: Callable[[], Mapping[str, float | None]] = dict,
    product: Callable[[], float] = lambda: 0.0,
) -> None:
    """Be a worker until standard input ends; `counts` is taken at the end of each round, `product`
    are the FLOP/s of a large matrix product."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    contender = prepare()
    began = time.perf_counter()
    contender.run(1)
    answer(**contender.about, first_step_seconds=time.perf_counter() - began)
    for line in sys.stdin:
        if line.strip() == PRODUCT:
            answer(flops_per_second=product())
            continue
        found = timed(contender, int(line))
        answer(**found, peak_rss_bytes=peak_bytes(), **counts())


def timed(contender: Contender, steps: int) -> dict[str, Any]:
    """A number of steps: their seconds and their results."""
    wall, processor = time.perf_counter(), time.process_time()
    found = contender.run(steps)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return {"seconds": wall, "processor_seconds": processor, **found}


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
