"""What a process holds after a run, and how often it compiles."""

import io
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from rich.console import Console

import aiayn.training.log
import aiayn.training.loop
from aiayn.data.prepare import prepare
from aiayn.evaluation.evaluate import evaluate_run
from aiayn.evaluation.validation import validator
from aiayn.experiments import load_experiment
from aiayn.training.loop import train
from aiayn.training.mesh import data_mesh
from tests.faults import lines, runs, saves, serving
from tests.faults.resources import EVERY, MOST, MOST_SHARE, WARM_SAVES, growth, growth_a_save
from tests.faults.runs import write_experiment
from tests.support.corpora import copy_corpus

COMPILED = "/jax/core/compile/backend_compile_duration"
"""What JAX reports for each program that it asks XLA or the cache on disk for."""


class Held(NamedTuple):
    """What was there after a run, and what was compiled for it."""

    compiled: Counter[str]
    layouts: set[tuple[int, ...]]
    """Of the rows that it was trained on."""
    files: Counter[Path]
    python_threads: set[threading.Thread]
    system_threads: Counter[str]


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """After each of four runs in this process: an epoch on rows of two widths, evaluated."""
    folder, layouts = tmp_path_factory.mktemp("runs"), set()
    experiment = load_experiment(str(write_experiment(folder, num_steps=40, every=20)))
    experiment = replace(
        experiment,
        data=replace(experiment.data, row_widths=(8, 16)),
        # Of a size that no other test has, whose programs might be there already.
        model=replace(experiment.model, d_ff=experiment.model.d_ff + 8),
    )
    copy_corpus(folder / "corpus", num_train=1_000)  # sentences short and long
    prepared = prepare(experiment.data, folder / "data", progress=False)
    count_slots = aiayn.training.log.Log.count_slots

    def seen(log, rows):
        layouts.add(rows.src_BS.shape)
        count_slots(log, rows)

    def run(name):
        console = Console(file=io.StringIO())
        layouts.clear()
        with _compiled() as compiled:
            train(experiment, folder / name, prepared, console, validator)
            evaluate_run(folder / name, prepared, console)
        python, system = set(threading.enumerate()), _system_threads()
        return Held(compiled, set(layouts), _open_files(), python, system)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiayn.training.loop, "data_mesh", lambda: data_mesh(jax.devices()[:1]))
        patch.setattr(aiayn.training.log.Log, "count_slots", seen)
        return [run(name) for name in ("first", "second", "third", "fourth")]


@contextmanager
def _compiled():
    """How often each function is compiled."""
    counts = Counter()

    def count(event, duration, **about):
        if event == COMPILED:
            counts[about["fun_name"]] += 1

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        yield counts
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


@pytest.mark.slow
def test_each_function_is_compiled_once(held):
    first, *later = held
    assert first.compiled["jit(train_step)"] == len(first.layouts) == 2
    assert first.compiled["jit(evaluation_step)"] == 1
    assert first.compiled["jit(search)"] == 2, "greedy in training, with a beam at the end"
    # Each run has an optimiser and a mesh of its own, and nothing else that is new.
    again = {"jit(train_step)", "jit(evaluation_step)"}
    for run in later:
        assert run.compiled == {name: first.compiled[name] for name in again}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no /proc here")
def test_a_run_gives_back_its_files_and_threads(held):
    _, before, *later = held
    last = later[-1]
    assert last.files == before.files
    assert last.python_threads == before.python_threads
    grown = last.system_threads - before.system_threads
    # TensorStore keeps idle threads for a while, as many as it ever needed at once.
    del grown["ts_pool_worker"]
    assert grown.total() < len(later), f"one for each run, or more: {grown}"


def _system_threads():
    return Counter(_name(task) for task in Path("/proc/self/task").glob("*"))


def _open_files():
    found = Counter()
    for path in Path("/proc/self/fd").glob("*"):
        if path.is_symlink():  # the one that lists them is gone
            found[path.readlink()] += 1
    return found


def _name(task):
    try:
        return (task / "comm").read_text().strip()
    except OSError:
        return "ended"


def test_the_rule_for_memory_sees_through_a_stair():
    steps = np.arange(0, 5_000, 10)
    stair = [(int(s), 300_000_000 + 4_000_000 * (s > 4_200)) for s in steps]
    assert growth(stair) == (0, 0)
    leak = [(step, resident + 2 * MOST * step) for step, resident in stair]
    assert growth(leak)[0] == pytest.approx(2 * MOST)
    per_checkpoint = [(step, resident + 3_000_000 * (step // EVERY)) for step, resident in stair]
    between, share = growth(per_checkpoint)
    # From step 1,000 on there are eight, of 1 % each.
    assert between == 0
    assert share == pytest.approx(0.08, rel=0.4)
    assert share > MOST_SHARE


def test_the_rule_for_checkpoints_begins_when_buffers_have_their_sizes():
    grown = [(n, 300_000_000 + 1_000_000 * min(n, WARM_SAVES)) for n in range(1, 1_000)]
    assert growth_a_save(grown) == 0
    assert growth_a_save([(n, resident + 50_000 * n) for n, resident in grown]) == 50_000


def test_the_rule_for_requests_sees_through_a_stair_and_finds_a_leak():
    numbers = np.arange(serving.EVERY, serving.NUM_REQUESTS, serving.EVERY)
    flat = [(int(n), 300_000_000 + 8_000_000 * (n > 12_500)) for n in numbers]
    assert serving.growth_a_request(flat) == (0, 0)
    leak = [(n, resident + 2 * serving.MOST * n) for n, resident in flat]
    assert serving.growth_a_request(leak)[0] == pytest.approx(2 * serving.MOST, rel=0.01)


def test_the_rule_for_lines_sees_through_a_stair_and_finds_a_leak():
    numbers = np.arange(lines.EVERY, lines.NUM_LINES, lines.EVERY)
    flat = [(int(n), 300_000_000 + 4_000_000 * (n > 9_000_000)) for n in numbers]
    assert lines.growth_a_line(flat) == (0, 0)
    # Nine megabytes over all lines after the first half a million.
    grown = [(n, resident + n) for n, resident in flat]
    assert lines.growth_a_line(grown)[0] == pytest.approx(1, rel=0.01)
    assert lines.growth_a_line(grown)[1] == pytest.approx(9_490_000 / 300_500_000, rel=0.01)


def test_the_lines_are_the_same_whenever_they_are_drawn():
    first, second = ([*lines.drawn(lines.EVERY + 1)] for _ in range(2))
    assert first == second
    assert [len(part) for part in first] == [lines.EVERY, 1]
    assert {*first[0]} == {*lines.PAIRS, ""}
    assert lines.PAIRS["two ten"] == "zwei zehn"


def test_a_process_saves_and_tells_its_memory():
    command = [sys.executable, "-m", saves.__name__, "2"]
    output = subprocess.run(command, env=runs.environment(), capture_output=True, text=True)
    assert output.returncode == 0, output.stderr
    assert all(int(line) > 2**20 for line in output.stdout.splitlines())
    assert len(output.stdout.splitlines()) == 2
