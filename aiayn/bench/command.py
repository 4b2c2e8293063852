"""The command `aiayn bench`: what goes with what, and where each stage is measured.

As in aiayn/__main__.py, JAX is imported only once it is needed.
"""

from typing import Any

from aiayn.bench.workloads import DECODING, TRAINING
from aiayn.errors import UserError

_CONTESTS = ("train", "decode")


def bench(arguments: Any) -> None:
    """Measure what `arguments`, as the command line gives them, ask for.

    Raises:
        UserError: they contradict each other, or as the measuring itself.
    """
    name = _workload(arguments)
    from rich.console import Console

    console = Console()
    if arguments.profile:
        from aiayn.bench import profile

        record = profile.profile(arguments.what, name, arguments.out, console)
        for grid in profile.tables(record):
            console.print(grid)
    elif arguments.what in _CONTESTS:
        from aiayn.bench import contest

        measure = contest.bench_train if arguments.what == "train" else contest.bench_decode
        for record in measure(name, arguments.peer, arguments.out, console):
            console.print(contest.table(record))
            console.print(contest.summary(record), soft_wrap=True, highlight=False)
    else:
        _measure(arguments, name, console)
    console.print(f"Written to {arguments.out}.")


def _workload(arguments: Any) -> str:
    """The work that is asked for, once all goes together."""
    what = arguments.what
    if min(arguments.pairs) < 1:
        raise UserError(f"--pairs is {min(arguments.pairs)}; wanted 1 or more.")
    if what not in _CONTESTS and (arguments.peer or arguments.profile):
        raise UserError(f"--peer and --profile are for train and decode, not for {what}.")
    if what not in (*_CONTESTS, "choices", "start") and arguments.workload:
        raise UserError(f"--workload is not for {what}.")
    text = arguments.model, arguments.src, arguments.ref
    if (what == "serving") != any(text) or (any(text) and not all(text)):
        raise UserError("--model, --src and --ref are for serving, which wants all three.")
    known = DECODING if what == "decode" else TRAINING
    name = arguments.workload or {"decode": "D1tiny", "start": "T2"}.get(what, "T1")
    if name not in known:
        raise UserError(f"--workload is {name}; to {what}, wanted one of {', '.join(known)}.")
    return name


def _measure(arguments: Any, name: str, console: Any) -> None:
    """What is no contest."""
    from aiayn.system.environment import configure_jax

    what, out = arguments.what, arguments.out
    if what == "data":
        from aiayn.bench.data import bench_data

        bench_data(arguments.pairs, out, console)
        return
    if what == "start":
        from aiayn.bench import start

        console.print(start.table(start.bench_start(name, out, console)))
        return
    configure_jax()
    if what == "serving":
        from aiayn.bench import serving

        text = arguments.model, arguments.src, arguments.ref
        console.print(serving.table(serving.bench_serving(*text, out, console)))
    elif what == "growth":
        from aiayn.bench import growth

        console.print(growth.table(growth.bench_growth(out, console)))
    elif what == "choices":
        from aiayn.bench import choices

        record = choices.bench_choices(name, out, console)
        console.print(choices.table(record))
        console.print(choices.summary(record), soft_wrap=True, highlight=False)
    else:
        from aiayn.bench import scaling

        record = scaling.bench_scaling(out, console)
        for workload, found in record["workloads"].items():
            console.print(scaling.table(workload, found))
        console.print(scaling.summary(record), soft_wrap=True, highlight=False)
