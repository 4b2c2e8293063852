"""Speed of training, decoding and writing on this machine, alone or in turns with a peer.

All do the same work, each in a process of its own that waits while another runs. A ratio is taken
within a round, so that what else the machine does in the meantime hits both; the load of others is
noted. A peer runs twice: as it comes, and with the large pages of memory that ours asks for.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from aiayn.bench.definitions import (
    DEFINITIONS,
    OF_DECODING,
    OF_GENERATION,
    OF_PROMPTS,
    OF_TRAINING,
    ROUNDS,
)
from aiayn.bench.grid import grid
from aiayn.bench.worker import PRODUCT
from aiayn.bench.workloads import (
    BEAM_SIZES,
    DECODING,
    GENERATION,
    PROMPTS,
    TRAINING,
    Generation,
    Training,
    Workload,
)
from aiayn.errors import UserError
from aiayn.model.flops import decoding_flops, training_flops
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.files import user_os_errors
from aiayn.system.memory import LARGE_PAGES

_Command = tuple[list[str], Mapping[str, str]]


class Worker:
    """A contender's process."""

    def __init__(self, command: list[str], environment: Mapping[str, str]):
        self.command = " ".join(command)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.about: dict[str, Any] = {}
        """Its own description; there once it has taken its first step."""

    def run(self, steps: int) -> dict[str, Any]:
        """So many steps, now."""
        return self._ask(str(steps))

    def product(self) -> float:
        """FLOP/s of a large matrix product, now."""
        return self._ask(PRODUCT)["flops_per_second"]

    def _ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin
        with suppress(BrokenPipeError):  # it has ended; the answer that is missing says so
            print(line, file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            status = self.process.wait()
            raise UserError(f"{self.command} ended with status {status}; its own message is above.")
        return json.loads(line)

    def __enter__(self) -> "Worker":
        try:
            self.about = self._answer()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()


def bench_train(
    name: str, peer: str | None, folder: Path, console: Console
) -> list[dict[str, Any]]:
    """Measure updates; the one record, also in `folder/train-WORKLOAD[-PEER].json`.

    Raises:
        UserError: a worker failed, or the peer's environment is not there; or the peer cannot do
            this work.
    """
    workload = TRAINING[name]
    if peer == "ctranslate2":
        raise UserError("ctranslate2 does not train; wanted hf, torch or fairseq.")
    if peer in ("torch", "fairseq") and workload.is_text:
        raise UserError(f"{peer} trains no language model, which {name} is; wanted hf.")
    if peer and workload.sentences_per_row > 1:
        raise UserError(f"{peer} has no packed rows, which {name} is; wanted T1 or T2.")
    path = _path(folder, f"train-{name}", peer)
    commands = _commands(["train", name], peer)
    limits = {"ceilings": _ceilings(peer), "flops_per_step": flops_of(workload)}
    about = {
        "bench": "train",
        "workload": name,
        "definitions": {**DEFINITIONS, **OF_TRAINING},
        "padding": 1 - workload.tokens / (workload.num_rows * workload.width),
    }
    record = _contest(f"Training, {name}", workload, limits, commands, console)
    return [_write(path, {**about, **record})]


def bench_decode(
    name: str, peer: str | None, folder: Path, console: Console
) -> list[dict[str, Any]]:
    """Measure greedy and beam search; the records, also in
    `folder/decode-WORKLOAD-beamSIZE[-PEER].json`.

    Raises:
        UserError: as `bench_train`.
    """
    workload = DECODING[name]
    if peer in ("torch", "fairseq"):
        raise UserError(f"{peer} takes part in training only; wanted hf or ctranslate2.")
    plans = [
        (
            beam_size,
            _path(folder, f"decode-{name}-beam{beam_size}", peer),
            _commands(["decode", name, str(beam_size)], peer),
        )
        for beam_size in BEAM_SIZES
    ]
    ceilings = _ceilings(peer)
    records: list[dict[str, Any]] = []
    for beam_size, path, commands in plans:
        title = f"Decoding, {name}, beam {beam_size}"
        limits = {"ceilings": ceilings, "flops_per_step": flops_of(workload, beam_size)}
        about = {
            "bench": "decode",
            "workload": name,
            "beam_size": beam_size,
            "definitions": {**DEFINITIONS, **OF_DECODING},
        }
        record = _contest(title, workload, limits, commands, console)
        records.append(_write(path, {**about, **record}))
    return records


def bench_generate(
    name: str, peer: str | None, folder: Path, console: Console
) -> list[dict[str, Any]]:
    """Measure greedy texts; the one record, also in `folder/generate-WORKLOAD[-PEER].json`.

    Raises:
        UserError: as `bench_train`.
    """
    workload = GENERATION[name]
    if peer in ("torch", "fairseq"):
        raise UserError(f"{peer} writes no text; wanted hf or ctranslate2.")
    path = _path(folder, f"generate-{name}", peer)
    commands = _commands(["generate", name], peer)
    limits = {"ceilings": _ceilings(peer), "flops_per_step": flops_of(workload)}
    about = {
        "bench": "generate",
        "workload": name,
        "definitions": {**DEFINITIONS, **OF_GENERATION},
    }
    record = _contest(f"Generation, {name}", workload, limits, commands, console)
    return [_write(path, {**about, **record})]


_BY_WORDS = "aiayn, word by word"


def bench_prompt(
    name: str, peer: str | None, folder: Path, console: Console
) -> list[dict[str, Any]]:
    """Measure prompts read in one pass, in turns with the same word by word, on CPU; the one
    record, also in `folder/prompt-WORKLOAD.json`.

    Raises:
        UserError: a worker failed.
    """
    assert peer is None, "ours is beside ours"
    workload, alone = PROMPTS[name], _our_environment(_BY_WORDS)
    path = _path(folder, f"prompt-{name}", None)
    ways = {"aiayn": "whole", _BY_WORDS: "words"}
    commands = {by: ([*_OURS, "prompt", name, way], alone) for by, way in ways.items()}
    limits = {"ceilings": _ceilings(_BY_WORDS), "flops_per_step": flops_of(workload)}
    about = {"bench": "prompt", "workload": name, "definitions": {**DEFINITIONS, **OF_PROMPTS}}
    record = _contest(f"Reading a prompt, {name}", workload, limits, commands, console)
    return [_write(path, {**about, **record})]


CONTESTS = {
    "train": bench_train,
    "decode": bench_decode,
    "generate": bench_generate,
    "prompt": bench_prompt,
}
"""By the name that a command and a record give it."""


def flops_of(workload: Workload, beam_size: int = 1) -> float:
    """FLOPs of the products of a step, as records define them."""
    model, words = workload.model, workload.num_words
    if isinstance(workload, Generation):
        length = workload.prompt_length + workload.output_length
        unread = 2.0 * model.d_model * words * workload.prompt_length
        return workload.num_texts * (decoding_flops(model, words, 0, length) - unread)
    if isinstance(workload, Training):
        src_length = 0 if workload.is_text else workload.length
        each = training_flops(model, words, src_length, workload.length)
    else:
        each = decoding_flops(model, words, workload.length, workload.output_length, beam_size)
    return workload.num_sentences * each


def _path(folder: Path, name: str, peer: str | None) -> Path:
    """Where a record goes; a folder that cannot be is refused before anything is measured."""
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}{f'-{peer}' if peer else ''}.json"


def _write(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The record, and beside it its picture, where there is Matplotlib: an accelerator's image may
    have none."""
    with user_os_errors(path):
        records.write(path, record)
        if find_spec("matplotlib"):
            from aiayn.bench.plots import plot_contest

            plot_contest(title(record), record, path.with_suffix(".png"))
    return record


_OURS = [sys.executable, "-m", "aiayn.bench.ours"]


def python_of(environment: str) -> Path:
    """The interpreter of an environment beside this one.

    Raises:
        UserError: it is not installed.
    """
    python, is_whole = Path(environment) / "bin" / "python", Path(environment) / ".done"
    if not is_whole.is_file():  # an installation that failed has a Python already
        raise UserError(f"{environment} is not there or not whole; `make {is_whole}` installs it.")
    return python.absolute()


def _our_environment(peer: str | None) -> dict[str, str]:
    where = {"JAX_PLATFORMS": "cpu"} if peer else {}  # where peers run
    return {**os.environ, **LARGE_PAGES, **where, "JAX_ENABLE_COMPILATION_CACHE": "false"}


def _commands(arguments: Sequence[str], peer: str | None) -> dict[str, _Command]:
    """How to start each contender, and its environment."""
    commands: dict[str, _Command] = {"aiayn": ([*_OURS, *arguments], _our_environment(peer))}
    if peer:
        where = ".venv-fairseq" if peer == "fairseq" else ".venv-parity"
        python = python_of(where)
        own = ["aiayn.bench.ctranslate2"] if peer == "ctranslate2" else ["aiayn.bench.peers", peer]
        command = [str(python), "-m", *own, *arguments]
        plain = {name: value for name, value in os.environ.items() if name not in LARGE_PAGES}
        commands[peer] = command, plain
        if LARGE_PAGES:
            commands[f"{peer}, large pages"] = command, {**plain, **LARGE_PAGES}
    return commands


def _ceilings(peer: str | None) -> dict[str, Any]:
    command = [*_OURS, "limits"]
    measured = subprocess.run(command, env=_our_environment(peer), stdout=subprocess.PIPE)
    if measured.returncode:
        raise UserError("The ceilings of the machine could not be measured; see above.")
    return json.loads(measured.stdout)


def _contest(
    title: str,
    workload: Workload,
    limits: Mapping[str, Any],
    commands: Mapping[str, _Command],
    console: Console,
) -> dict[str, Any]:
    """The parts that all records have: machine, rounds, medians, shares of the limits, ratios."""
    rounds: dict[str, list[dict[str, Any]]] = {contender: [] for contender in commands}
    products: dict[str, list[float]] = {name: [] for name in commands if "," not in name}
    with ExitStack() as stack, progress(console) as bar:
        task = bar.add_task("", total=len(commands) * (ROUNDS + 1))
        workers: dict[str, Worker] = {}
        for contender, command in commands.items():
            bar.update(task, description=f"{title}: warming up {contender}")
            workers[contender] = stack.enter_context(Worker(*command))
            workers[contender].run(workload.warm_up)
            bar.advance(task)
        for number in range(ROUNDS):
            for contender, found in products.items():
                found.append(workers[contender].product())
            for contender, worker in workers.items():
                bar.update(task, description=f"{title}: round {number + 1}, {contender}")
                worker.run(1)
                rounds[contender].append(timed_round(worker.run, workload.steps_per_round))
                bar.advance(task)
    about = {contender: worker.about for contender, worker in workers.items()}
    record: dict[str, Any] = {
        **{key: about["aiayn"].pop(key) for key in ("commit", "versions", "hardware")},
        "warming_up": workload.warm_up,
        "target_tokens_per_step": workload.tokens,
        "source_tokens_per_step": workload.source_tokens,
        **limits,
        "xla_product_flops_per_second": (xla := products.pop("aiayn")),
        "best_xla_product_flops_per_second": max(xla),
        "contenders": {},
    }
    flops, peak = limits["flops_per_step"], limits["ceilings"]["datasheet_flops_per_second"]
    if not isinstance(workload, Training):  # all else is the work of one device, limits of all
        flops *= record["hardware"]["num_devices"]
    for contender, found in rounds.items():
        median = statistics.median(r["seconds_per_step"] for r in found)
        record["contenders"][contender] = {
            **about[contender],
            "rounds": found,
            "median_seconds_per_step": median,
            "steps_per_second": 1 / median,
            "target_tokens_per_second": workload.tokens / median,
            "source_tokens_per_second": workload.source_tokens / median,
            "share_of_xla_product": flops / median / max(xla),
            "share_of_datasheet": flops / median / peak if peak else None,
        }
    for contender, found in products.items():
        if any(found):
            record["contenders"][contender]["product_flops_per_second"] = found
    own = [r["seconds_per_step"] for r in rounds.pop("aiayn")]
    record["ratios"] = {
        contender: [r["seconds_per_step"] / ours for r, ours in zip(found, own, strict=True)]
        for contender, found in rounds.items()
    }
    return record


def timed_round(
    run: Callable[[int], Mapping[str, Any]], calls: int, steps_per_call: int = 1
) -> dict[str, Any]:
    """A number of calls of a number of steps each, and the load of others meanwhile."""
    before, began = _busy_seconds(), time.perf_counter()
    found = run(calls)
    after, seconds = _busy_seconds(), time.perf_counter() - began
    others = None
    if before is not None and after is not None:
        others = max(0.0, (after - before - found["processor_seconds"]) / seconds)
    steps = calls * steps_per_call
    return {
        "seconds_per_step": found["seconds"] / steps,
        "processor_seconds_per_step": found["processor_seconds"] / steps,
        "others": others,
        **{k: value for k, value in found.items() if k not in ("seconds", "processor_seconds")},
    }


def _busy_seconds() -> float | None:
    """Processor seconds of the whole machine since its start; None where it does not say."""
    try:
        user, nice, system, _, _, irq, soft_irq, stolen, *_ = map(
            int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        )
    except OSError:
        return None
    return (user + nice + system + irq + soft_irq + stolen) / os.sysconf("SC_CLK_TCK")


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each contender."""
    shares = [(name, heading) for name, heading in _SHARES.items() if _has(record, name)]
    headings = [heading for _, heading in shares]
    rows = [["", "s/step", "range", "target tokens/s", *headings, "memory", "first step"]]
    for name, found in record["contenders"].items():
        seconds = [r["seconds_per_step"] for r in found["rounds"]]
        rows.append(
            [
                name,
                f"{found['median_seconds_per_step']:#.3g}",
                f"{min(seconds):#.3g}–{max(seconds):#.3g}",
                f"{found['target_tokens_per_second']:,.0f}",
                *(f"{found[name]:.1%}" for name, _ in shares),
                f"{_memory(found['rounds'][-1]) / 1e9:.2f} GB",
                f"{found['first_step_seconds']:.1f} s",
            ]
        )
    return rows


_SHARES = {
    "share_of_xla_product": "of XLA's large product",
    "share_of_ceiling": "of XLA's large product, timed once",  # so older records name it
}


def _has(record: Mapping[str, Any], name: str) -> bool:
    """Whether a record's contenders have a figure; the oldest of decoding lack all shares."""
    return all(name in found for found in record["contenders"].values())


def product_text(record: Mapping[str, Any]) -> str:
    """What a large product of XLA's reached, and how that was measured."""
    if best := record.get("best_xla_product_flops_per_second"):
        lowest = min(record["xla_product_flops_per_second"])
        theirs = "".join(
            f"; {contender}'s: {max(found['product_flops_per_second']) / 1e9:,.0f} in the best"
            for contender, found in record["contenders"].items()
            if "product_flops_per_second" in found
        )
        return (
            f"XLA's large product: {best / 1e9:,.0f} GFLOP/s in the best round, "
            f"{lowest / 1e9:,.0f} in the worst{theirs}"
        )
    once = record["ceilings"]["matmul_flops_per_second"]
    return f"XLA's large product, timed once before all rounds: {once / 1e9:,.0f} GFLOP/s"


def _memory(last_round: Mapping[str, Any]) -> int:
    """Of the device where that has its own, else of the process."""
    return last_round.get("peak_device_bytes") or last_round["peak_rss_bytes"]


def summary(record: Mapping[str, Any]) -> str:
    """The ratios, and whether the machine was quiet."""
    load = quiet([r for c in record["contenders"].values() for r in c["rounds"]])
    ratios = [
        f"{contender} {statistics.median(found):.2f} ({', '.join(f'{r:.2f}' for r in found)})"
        for contender, found in record["ratios"].items()
    ]
    if not ratios:
        return load
    return f"Ratios, above 1 ours is faster, in pairs: {'; '.join(ratios)}. {load}"


def quiet(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Whether the machine was, in all these rounds."""
    others = [each["others"] for each in rounds]
    if None in others:
        return "What else the machine did was not measured."
    return f"At most {max(others):.2f} processors were busy with other work in any round."


def title(record: Mapping[str, Any]) -> str:
    """The work and the peer, as a title."""
    return work(record) + (f", beside {beside(record)}" if peer(record) else "")


def work(record: Mapping[str, Any]) -> str:
    """The work, as a title."""
    if record["bench"] != "decode":
        return f"{_KINDS[record['bench']]}, workload {record['workload']}"
    return f"Decoding, workload {record['workload']}, beam {record['beam_size']}"


_KINDS = {"train": "Training", "generate": "Generation", "prompt": "Reading a prompt"}


def peer(record: Mapping[str, Any]) -> str | None:
    """Whose speed ours was compared with."""
    return next(iter(record["ratios"]), None)


def beside(record: Mapping[str, Any]) -> str:
    """The peer, and how it was used where that is less than its best."""
    name = peer(record) or ""
    slow = name == "ctranslate2" and "batches_at_once" not in record["contenders"][name]
    return f"{name}, batch by batch" if slow else name


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(title(record), figures(record))
