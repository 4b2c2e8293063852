"""The commands: one verb per stage, nothing else. JAX is imported only once a verb needs it."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiayn
from aiayn.arguments import parser
from aiayn.config import Experiment
from aiayn.errors import LostProcess, Preempted, UserError
from aiayn.experiments import load_experiment
from aiayn.system.files import user_os_errors
from aiayn.system.memory import use_large_pages
from aiayn.system.signals import stop_on_sigterm


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0 done, or stopped by SIGTERM with all saved, 1 a claim
    fails, 2 a user's mistake, 3 another process that computed with this one is gone, 130 Ctrl-C.
    """
    parsed = parser().parse_args(arguments)
    if arguments is None and (parsed.verb in _COMPUTING or _computes(parsed)):
        use_large_pages()
    try:
        with user_os_errors(Path("standard output")):
            return _VERBS[parsed.verb](parsed) or 0
    except UserError as error:
        print(f"aiayn: {error}", file=sys.stderr)
        return error.status
    except (KeyboardInterrupt, LostProcess) as error:
        resumes = parsed.verb in _TRAINING
        advice = "; the same command goes on from the last checkpoint" if resumes else ""
        lost = isinstance(error, LostProcess)
        print(f"aiayn: {error if lost else 'interrupted'}{advice}.", file=sys.stderr)
        return error.status if lost else 130
    except Preempted as stopped:
        print(f"aiayn: {stopped} The same command goes on.", file=sys.stderr)
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _computes(parsed: Any) -> bool:
    """Whether it is a benchmark in this process, not in workers that choose for themselves."""
    if parsed.verb != "bench":
        return False
    return parsed.profile or parsed.what in ("choices", "growth", "serving")


def _configured(arguments: Any) -> Experiment:
    return load_experiment(arguments.experiment).with_overrides(arguments.overrides)


def _train(arguments: Any) -> None:
    stop_on_sigterm()
    experiment = _configured(arguments)
    from rich.console import Console

    from aiayn.data.prepare import prepare_once
    from aiayn.evaluation.evaluate import evaluate_run
    from aiayn.evaluation.record import show_record
    from aiayn.evaluation.validation import validator
    from aiayn.system import hosts
    from aiayn.system.environment import configure_jax
    from aiayn.training.loop import train
    from aiayn.training.run_folder import finished_record, in_use

    configure_jax()
    run_dir = arguments.run_dir or Path("runs") / experiment.name
    with hosts.joined():
        console = Console(quiet=not hosts.first())
        prepared = prepare_once(experiment.data, arguments.data_dir)
        with in_use(run_dir):
            record = finished_record(experiment, run_dir, prepared)
            if record:
                show_record(run_dir, record, console)
            else:
                train(experiment, run_dir, prepared, console, validator)
                evaluate_run(run_dir, prepared, console)


def _prepare(arguments: Any) -> None:
    experiment = _configured(arguments)
    from aiayn.data.prepare import prepare

    prepared = prepare(experiment.data, arguments.data_dir)
    for name, split in prepared.manifest.splits.items():
        dropped = "".join(f", {count:,} {reason}" for reason, count in split.dropped.items())
        print(f"{name}: {split.kept:,} of {split.read:,} pairs{dropped}")
    for row_class in prepared.train.classes:
        print(
            f"rows of {row_class.src_width} + {row_class.tgt_width} slots: {row_class.num_rows:,}, "
            f"{row_class.fill:.1%} filled"
        )
    print(f"Prepared in {prepared.folder}")


def _translate(arguments: Any) -> None:
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import Progress

    from aiayn.decoding.translator import Long, Translator
    from aiayn.model.saved import model_of
    from aiayn.system.environment import configure_jax

    if arguments.num_best < 1:
        raise UserError(f"--num-best is {arguments.num_best}; wanted 1 or more.")
    configure_jax()
    model = model_of(arguments.model)
    changes = {
        name: value
        for name in ("beam_size", "length_penalty")
        if (value := getattr(arguments, name)) is not None
    }
    translator = Translator(model, replace(model.experiment.decode, **changes))
    lines = list(_stdin_lines())
    errors = Console(stderr=True)

    def say_long(long: Long) -> None:
        errors.print(
            f"line {long.line}: {long.tokens:,} tokens, more than the {translator.max_tokens} of "
            f"training; translated in {long.pieces} pieces",
            highlight=False,
        )

    with Progress(console=errors, disable=not errors.is_terminal, transient=True) as bar:
        task = bar.add_task("Translating", total=len(lines))
        found = translator.translate(
            lines,
            num_best=arguments.num_best,
            on_done=lambda count: bar.update(task, completed=count),
            on_long=say_long,
        )
    write = sys.stdout.buffer.write
    for number, hypotheses in enumerate(found, 1):
        for hypothesis in hypotheses[: arguments.num_best]:
            line = hypothesis.text
            if arguments.num_best > 1:
                line = f"{number}\t{hypothesis.score:.4f}\t{line}"
            write(line.encode() + b"\n")
    sys.stdout.buffer.flush()


def _stdin_lines() -> list[str]:
    """Lines as `\\n` ends them; bytes that are no UTF-8 become U+FFFD, which is said.

    A byte order mark at the start is no part of the text.
    """
    from aiayn.data.sources.formats import BYTE_ORDER_MARK

    lines: list[str] = []
    for number, raw in enumerate(sys.stdin.buffer, 1):
        if number == 1:
            raw = raw.removeprefix(BYTE_ORDER_MARK)
        text = raw.removesuffix(b"\n").removesuffix(b"\r")
        try:
            lines.append(text.decode())
        except UnicodeDecodeError:
            print(f"aiayn: line {number} is not UTF-8; its other bytes were kept.", file=sys.stderr)
            lines.append(text.decode(errors="replace"))
    return lines


def _score(arguments: Any) -> None:
    from aiayn.decoding.translator import Translator
    from aiayn.evaluation.evaluate import read_parallel
    from aiayn.model.saved import model_of
    from aiayn.system.environment import configure_jax

    configure_jax()
    translator = Translator(model_of(arguments.model))
    sources, targets = read_parallel(arguments.src, arguments.tgt)
    for log_prob, num_tokens in translator.score(list(zip(sources, targets, strict=True))):
        print(f"{log_prob:.4f}\t{num_tokens}")


def _attention(arguments: Any) -> None:
    from aiayn.decoding.heads import draw, look
    from aiayn.decoding.translator import Translator
    from aiayn.model.saved import model_of
    from aiayn.system.environment import configure_jax

    configure_jax()
    model = model_of(arguments.model)
    translator = Translator(model)
    target = arguments.target
    if target is None:
        target = translator.translate([arguments.sentence])[0][0].text
        print(target)
    draw(
        look(translator, arguments.sentence, target),
        arguments.kind,
        arguments.layer if arguments.layer is not None else model.experiment.model.num_layers,
        arguments.heads,
        arguments.word,
        arguments.out,
        model.experiment.name,
    )
    print(f"Written to {arguments.out}: heatmap.png, links.png, attention.json.")


def _average(arguments: Any) -> None:
    from aiayn.evaluation.average import average_run
    from aiayn.model.saved import MODEL
    from aiayn.system.environment import configure_jax

    configure_jax()
    _, steps = average_run(arguments.run, arguments.last)
    print(f"{arguments.run / MODEL}: average of steps {', '.join(f'{s:,}' for s in steps)}")


def _evaluate(arguments: Any) -> None:
    from rich.console import Console

    from aiayn.data.prepare import prepare_once
    from aiayn.evaluation.evaluate import evaluate_files, evaluate_run
    from aiayn.system import hosts
    from aiayn.system.environment import configure_jax
    from aiayn.training.run_folder import in_use, read_run

    configure_jax()
    if bool(arguments.src) != bool(arguments.ref):
        raise UserError("--src and --ref go together: the sentences, and what they should become.")
    if not arguments.src and (arguments.model / "weights.safetensors").is_file():
        raise UserError(
            f"{arguments.model} is a model, which has no test sets of its own; name the files to "
            "score it on with --src and --ref."
        )
    with hosts.joined():
        console = Console(quiet=not hosts.first())
        if arguments.src:
            evaluate_files(arguments.model, arguments.src, arguments.ref, console)
            return
        experiment, _ = read_run(arguments.model)
        prepared = prepare_once(experiment.data, arguments.data_dir)
        with in_use(arguments.model):
            evaluate_run(arguments.model, prepared, console)


def _import(arguments: Any) -> None:
    from aiayn.interop.marian import read_marian
    from aiayn.model.saved import save_model
    from aiayn.system.environment import configure_jax

    configure_jax()
    if arguments.out.exists():
        raise UserError(f"{arguments.out} exists already; wanted a new folder.")
    model = read_marian(arguments.folder)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_model(arguments.out, model)
    print(f"{arguments.out}: {sum(p.size for p in model.params.values()):,} parameters")


def _export(arguments: Any) -> None:
    from aiayn.interop.ctranslate2 import export
    from aiayn.model.saved import model_of
    from aiayn.system.environment import configure_jax

    configure_jax()
    export(model_of(arguments.model), arguments.out, arguments.quantization)
    print(f"{arguments.out}: for ctranslate2.Translator")


def _sweep(arguments: Any) -> None:
    from rich.console import Console

    from aiayn.data.prepare import prepare
    from aiayn.evidence.sweep import sweep, table
    from aiayn.system.environment import configure_jax
    from aiayn.training.run_folder import read_run

    configure_jax()
    console = Console()
    experiment, _ = read_run(arguments.run)
    prepared = prepare(experiment.data, arguments.data_dir)
    console.print(table(sweep(arguments.run, prepared, console)))
    console.print(f"Written to {arguments.run}: sweep.json, sweep.png.")


def _ablate(arguments: Any) -> None:
    for name in ("seeds", "jobs"):
        value = getattr(arguments, name)
        if value < 1:
            raise UserError(f"--{name} is {value}; wanted 1 or more.")
    base = _configured(arguments)
    from rich.console import Console

    from aiayn.evidence.ablation import ablate
    from aiayn.evidence.table3 import summary, table
    from aiayn.system.environment import configure_jax

    stop_on_sigterm()
    configure_jax()
    console = Console()
    folder = Path("runs") / base.name
    record = ablate(
        base,
        folder,
        arguments.data_dir,
        console,
        num_seeds=arguments.seeds,
        num_jobs=arguments.jobs,
        earlier=arguments.record,
    )
    console.print(table(record))
    console.print(summary(record), soft_wrap=True, highlight=False)
    console.print(f"Written to {folder}: ablation.json, ablation.png.")


def _bench(arguments: Any) -> None:
    from aiayn.bench.command import bench

    bench(arguments)


def _report(arguments: Any) -> int:
    from rich.console import Console

    from aiayn.evidence.page import show, write_report
    from aiayn.system.environment import configure_jax

    configure_jax()
    console = Console(stderr=arguments.json)
    records = Path(aiayn.__file__).parent.parent / "experiments" / "results"
    claims = write_report(records, arguments.out, console)
    if arguments.json:
        sys.stdout.write((arguments.out / "claims.json").read_text(encoding="utf-8"))
    else:
        show(claims, console)
        console.print(f"Written to {arguments.out}: claims.html, claims.md, claims.json.")
    return int(any(claim.status == "fails" for claim in claims))


def _replay(arguments: Any) -> None:
    from aiayn.system.environment import configure_jax
    from aiayn.training.replay import replay
    from aiayn.training.run_folder import NOT_FINITE

    configure_jax()
    for line in replay(arguments.run_dir / NOT_FINITE):
        print(line)


def _info(arguments: Any) -> None:
    from aiayn.evaluation.record import record_lines, run_info
    from aiayn.system.environment import configure_jax

    configure_jax()
    info = run_info(arguments.path)
    if arguments.json:
        print(json.dumps(info, indent=1))
        return
    if info["record"]:
        for line in record_lines(info["record"], arguments.path):
            print(line)
    for step, about in info["checkpoints"].items():
        print(f"checkpoint {int(step):,}: {about['params_sha256'][:16]}")
    if "model" in info:
        print(f"model: {info['model']['parameters']:,} parameters")


_VERBS: dict[str, Callable[[Any], int | None]] = {
    "train": _train,
    "prepare": _prepare,
    "translate": _translate,
    "score": _score,
    "attention": _attention,
    "average": _average,
    "evaluate": _evaluate,
    "import": _import,
    "export": _export,
    "sweep": _sweep,
    "ablate": _ablate,
    "bench": _bench,
    "report": _report,
    "replay": _replay,
    "info": _info,
}
_TRAINING = ("train", "ablate")
_COMPUTING = (*_TRAINING, "evaluate", "translate", "score", "sweep")

if __name__ == "__main__":
    sys.exit(main())
