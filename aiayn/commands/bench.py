"""Costs of a stage on this machine: `bench`."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from aiayn.bench.workloads import PEERS, TOOLKITS, TRAINING, WORKLOADS
from aiayn.commands.verb import TRAINED, Verb, existing, positive, trained
from aiayn.errors import UserError
from aiayn.system.files import place, user_os_errors

_CONTESTS = tuple(WORKLOADS)
_WITH_PEERS = ("train", "decode", "generate", "serve", "toolkits")
_PROFILED = ("train", "decode")
_OF_RUNS = ("ngrams", "nano", "pcfg")
_FILES = {
    "serving": ("model", "src", "ref"),
    "serve": ("model", "src"),
    "grammar": ("model", "src"),
    "toolkits": ("model",),
    **dict.fromkeys(_OF_RUNS, ("model",)),
}
"""What each of these needs, and the others do not take."""


def bench(
    what: str,
    workload: str | None,
    peer: str | None,
    profile: bool,
    pairs: list[int] | None,
    model: Path | None,
    src: Path | None,
    ref: Path | None,
    out: Path,
) -> None:
    """Measure what a stage costs on this machine.

    train  times updates: T1 (3+3 layers, d_model 256, 8,000 words, 64 sentences of 32 tokens), T2
           (the base model, 37,000 words, 32 sentences), base and big (26,208 tokens a side in rows
           of 256, for accelerators), L1 (a language model of GPT-1's recipe with the sizes of T1's
           decoder, 16 texts of 128 tokens)
    choices times an update without one thing after another that it does otherwise than is common:
           dropout, the loss, packed rows, attention, projections; beside what was expected of each
    decode times greedy search and beam 4 over 64 sentences of 30 tokens, in batches of 16, to
           outputs of 32: D1tiny (the model of T1), D1base (that of T2); base32, base128, base1024
           (1,024 sentences, in batches of that size, for accelerators)
    generate times greedy texts: G1 (the model of L1, 16 prompts of 16 tokens, 128 more of each)
    prompt times a prompt of 256 tokens read in one pass, beside word by word: P1
    serving translates a text with a model by ours and by CTranslate2, in float32 and int8: BLEU,
           speed
    serve  asks `aiayn serve` for the lines of a text: by 16 clients, by one alone, all at once;
           beside the same with one slot, and `aiayn translate`
    ngrams scores the test sets of a language model's run by the model and by Kneser-Ney 5-grams of
           the same pieces: perplexity per token of both
    nano   trains nanoGPT's recipe for tiny Shakespeare, in PyTorch, on the text of a language
           model's run for as long as that took: nats per character of both (.venv-parity/bin/aiayn)
    pcfg   parses dev and the test sets of a parser's run by the model and by a probabilistic
           grammar read off the same trees: F1 of both
    toolkits
           trains another toolkit (--peer hf or fairseq) by its own loop on the text, the pieces and
           the recipe of a translator's run, for as many updates: BLEU, dev loss by updates and by
           seconds, memory; hours, and it goes on where it was killed
    grammar
           parses the sentences of a file by a parser with and without its grammar, in turns
    start  times the help, the first update of a workload to train, and with --model one sentence
           through `aiayn translate`, compiled anew and from the cache; the sentence in turns with
           Hugging Face and CTranslate2 where they are installed (.venv-parity/bin/aiayn)
    growth times steps of T1 and D1tiny with one size after another varied: what costs more than it
           must
    scaling counts what a step sends on 1 to 1,024 devices, in programs lowered for them, and
           computes, by assumptions that it names, where more of them stop to help; needs one device
    compile compiles base, big and a search for TPUs and GPUs that are not here: memory,
           collectives, FLOPs (after make .venv-tpu/.done .venv-cuda/.done)
    data   writes synthetic corpora with the lengths and the word frequencies of news, prepares them
           as wmt14_ende_base is prepared, and records time and memory

    --profile writes a trace for Perfetto or TensorBoard and shows the most expensive kernels, and
    the parts of the model they belong to. A peer takes turns with ours on the same work: Hugging
    Face's Marian and GPT (hf), torch.nn.Transformer (torch, to train), fairseq (to train),
    CTranslate2 (ctranslate2, to decode and generate), LibreTranslate (libretranslate, to serve);
    `make bench ARGS='train --peer fairseq'` installs what its peer needs.
    Serving needs CTranslate2 beside itself: .venv-parity/bin/aiayn. The workload tiny is there to
    try a benchmark.
    """
    from aiayn.render.terminal import Terminal

    console = Terminal()
    name = _workload(what, workload)
    with user_os_errors(out):  # before the work, which may take hours
        out.mkdir(parents=True, exist_ok=True)
    if profile:
        _profile(what, name, out, console)
    elif what in _CONTESTS:
        _contest(what, name, peer, out, console)
    elif what == "start":
        from aiayn.bench import start

        console.print(start.table(start.bench_start(name, out, console, model)))
    elif model and peer and what == "toolkits":
        from aiayn.bench import toolkits

        console.print(toolkits.table(toolkits.bench_toolkits(model, peer, out, console), model))
    elif model and what in _OF_RUNS:
        _of_run(what, model, out, console)
    elif model and src and what == "serve":
        from aiayn.bench import serve

        console.print(serve.table(serve.bench_serve(model, src, peer, out, console)))
    elif model and src and what == "grammar":
        from aiayn.bench import grammar

        console.print(grammar.table(grammar.bench_grammar(model, src, out, console)))
    elif model and src and ref:
        from aiayn.bench import serving

        console.print(serving.table(serving.bench_serving(model, src, ref, out, console)))
    elif what == "data":
        from aiayn.bench.data import bench_data

        bench_data(pairs or _WMT14, out, console)
    else:
        _MEASURES[what](name, out, console)
    console.print(f"Written to {out}.")


def _check_bench(what: str, workload: str | None, **values: Any) -> None:
    given = tuple(name for name in ("model", "src", "ref") if values[name])
    wanted = _FILES.get(what, ())
    if given != wanted and (what, given) != ("start", ("model",)):
        raise UserError(
            f"{what} needs {_flags(wanted)}; found {_flags(given)}."
            if wanted
            else f"{what} is measured without {_flags(given)}."
        )
    if what not in _WITH_PEERS and values["peer"]:
        raise UserError(f"--peer is for {_listed(_WITH_PEERS)}, not for {what}.")
    if what == "toolkits" and values["peer"] not in TOOLKITS:
        found = values["peer"] or "none"
        raise UserError(f"{what} needs --peer {' or '.join(TOOLKITS)}; found {found}.")
    if (what == "serve") != (values["peer"] == "libretranslate") and values["peer"]:
        raise UserError(f"--peer is {values['peer']}; libretranslate is for serve, and it alone.")
    if what not in _PROFILED and values["profile"]:
        raise UserError(f"--profile is for {_listed(_PROFILED)}, not for {what}.")
    if what != "data" and values["pairs"]:
        raise UserError(f"--pairs is for data, not for {what}.")
    if workload and what not in (*_CONTESTS, "choices", "start"):
        raise UserError(f"--workload is not for {what}.")
    known = [
        name for name in WORKLOADS.get(what, TRAINING) if what != "choices" or _translates(name)
    ]
    if _workload(what, workload) not in known:
        raise UserError(f"--workload is {workload}; to {what}, wanted one of {', '.join(known)}.")


def _flags(names: Sequence[str]) -> str:
    *others, last = [f"--{name}" for name in names] or ["none of its files"]
    return f"{', '.join(others)} and {last}" if others else last


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _translates(name: str) -> bool:
    """Whether this work of training is a translator's, of which all choices can be taken back."""
    return not TRAINING[name].is_text


_WMT14 = (450_000, 1_500_000, 4_508_785)
"""Pairs of its corpus, before them a tenth and a third of it."""
_USUAL = {"decode": "D1tiny", "start": "T2", "generate": "G1", "prompt": "P1"}


def _workload(what: str, given: str | None) -> str:
    """The workload of that name, or the usual one of this stage."""
    return given or _USUAL.get(what, "T1")


def _profile(what: str, name: str, out: Path, console: Any) -> None:
    from aiayn.bench import profile

    record = profile.profile(what, name, out, console)
    for grid in profile.tables(record):
        console.print(grid)


def _contest(what: str, name: str, peer: str | None, out: Path, console: Any) -> None:
    from aiayn.bench import contest

    for record in contest.CONTESTS[what](name, peer, out, console):
        console.print(contest.table(record))
        console.print(contest.summary(record))


def _of_run(what: str, run: Path, out: Path, console: Any) -> None:
    from aiayn.bench import nano, ngrams, pcfg

    measure, table = {
        "ngrams": (ngrams.bench_ngrams, ngrams.table),
        "nano": (nano.bench_nano, nano.table),
        "pcfg": (pcfg.bench_pcfg, pcfg.table),
    }[what]
    console.print(table(measure(run, out, console)))


def _choices(name: str, out: Path, console: Any) -> None:
    from aiayn.bench import choices

    record = choices.bench_choices(name, out, console)
    console.print(choices.table(record))
    console.print(choices.summary(record))


def _growth(name: str, out: Path, console: Any) -> None:
    from aiayn.bench import growth

    console.print(growth.table(growth.bench_growth(out, console)))


def _scaling(name: str, out: Path, console: Any) -> None:
    from aiayn.bench import scaling

    record = scaling.bench_scaling(out, console)
    for workload, found in record["workloads"].items():
        console.print(scaling.table(workload, found))
    console.print(scaling.summary(record))


def _compile(name: str, out: Path, console: Any) -> None:
    from aiayn.bench import targets

    record = targets.bench_targets(out, console)
    for program, found in record["programs"].items():
        console.print(targets.table(program, found))
    console.print(targets.summary(record))


_MEASURES = {"choices": _choices, "compile": _compile, "growth": _growth, "scaling": _scaling}


def _bench_arguments(parser: ArgumentParser) -> None:
    stages = (*_CONTESTS, *_FILES, "start", "data", *_MEASURES)
    parser.add_argument("what", choices=stages, help="the stage")
    parser.add_argument(
        "--workload",
        choices=tuple(dict.fromkeys(chain(*WORKLOADS.values()))),
        help="the work (default: D1tiny to decode, T2 to start, G1, P1, else T1)",
    )
    contest = parser.add_mutually_exclusive_group()
    contest.add_argument("--peer", choices=PEERS, help="whom to take turns with")
    contest.add_argument(
        "--profile", action="store_true", help="train, decode: where the time goes, and a trace"
    )
    parser.add_argument(
        "--pairs",
        type=positive,
        nargs="+",
        metavar="N",
        help="data: sizes of the corpora (default: WMT14's, a third and a tenth of it)",
    )
    parser.add_argument(
        "--model",
        type=trained,
        help=f"{', '.join(_FILES)}, start: {TRAINED}",
    )
    parser.add_argument(
        "--src", type=existing, help="serving, serve, grammar: source sentences, one a line"
    )
    parser.add_argument("--ref", type=existing, help="serving: reference translations, one a line")
    parser.add_argument(
        "--out", type=place, default=Path("runs/bench"), help="where (default: runs/bench)"
    )


def _computes_here(values: Mapping[str, Any]) -> bool:
    """Whether it computes in this process, not in workers that choose their pages themselves."""
    own = ("choices", "growth", "serving", "grammar", *_OF_RUNS)
    return values["profile"] or values["what"] in own


BENCH = Verb("bench", bench, _bench_arguments, _check_bench, large_pages=_computes_here)
