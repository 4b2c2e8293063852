"""BLEU and speed of a model served by CTranslate2, in float32 and int8, beside ours."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from aiayn.bench.grid import grid
from aiayn.bench.worker import num_processors
from aiayn.decoding.translator import Translator
from aiayn.evaluation.systems import read_aligned
from aiayn.interop.ctranslate2 import export
from aiayn.model.saved import Model, model_of
from aiayn.render.markdown import spread
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.tasks import translation_of

_OURS = "aiayn"
_ROUNDS = 5
_DEFINITIONS = {
    "bleu": "sacreBLEU, with its signature; of text that is tokenised already, of its tokens",
    "rounds": f"{_ROUNDS}, in which all take turns; each does all once before the first",
    "seconds": "wall time of a round, over all sentences, in the median",
    "ratios": "seconds of each by those of ours in the same round",
    "model_bytes": "size of the file of weights",
    "settings": "the model's own beam and no length penalty, which the two define differently; "
    "outputs have the limit of `aiayn translate` in ours, 256 tokens in CTranslate2; all "
    "processors, on CPU; one process, started with large pages of memory (aiayn.system.memory)",
}

Translate = Callable[[Sequence[str]], list[str]]


def bench_serving(
    path: Path, src: Path, ref: Path, folder: Path, console: Console
) -> dict[str, Any]:
    """Translate `src` with each program; the record, also in `folder/serving-EXPERIMENT.json`.

    Raises:
        UserError: no model or text is there, or CTranslate2 is missing or cannot hold the model.
    """
    model = model_of(path)
    experiment, (sources, references) = model.experiment, read_aligned(src, ref)
    headline = translation_of(experiment).headline
    rows: dict[str, Any] = {}
    rounds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as place, progress(console) as bar:
        programs = dict(_programs(model, Path(place)))
        for name, (size, translate) in programs.items():
            found = headline(translate(sources), references, experiment.data.tgt)
            rows[name] = {"bleu": found.value, "signature": found.signature, "model_bytes": size}
        for _ in bar.track(range(_ROUNDS), description="Translating in turns"):
            for name, (_, translate) in programs.items():
                began = time.perf_counter()
                translate(sources)
                rounds.setdefault(name, []).append(time.perf_counter() - began)
    for name, seconds in rounds.items():
        rows[name] |= {"seconds": median(seconds), "rounds": seconds}
    about = environment()
    record = {
        "bench": "serving",
        "experiment": experiment.name,
        **about,
        "versions": {**about["versions"], "ctranslate2": version("ctranslate2")},
        "definitions": _DEFINITIONS,
        "updates": experiment.train.num_steps,
        "text": src.name,
        "sentences": len(sources),
        "beam_size": experiment.decode.beam_size,
        "rows": rows,
        "ratios": {
            name: [theirs / ours for theirs, ours in zip(each, rounds[_OURS], strict=True)]
            for name, each in rounds.items()
            if name != _OURS
        },
    }
    records.write(folder / f"serving-{experiment.name}.json", record)
    return record


def _programs(model: Model, place: Path) -> Mapping[str, tuple[int, Translate]]:
    """By name: the size of the weights, and what translates with them."""
    decode = replace(model.experiment.decode, length_penalty=0.0)
    size = sum(value.nbytes for value in model.params.values())
    programs: dict[str, tuple[int, Translate]] = {_OURS: (size, Translator(model, decode).best)}
    for name in ("float32", "int8"):
        export(model, place / name, name)
        size = (place / name / "model.bin").stat().st_size
        programs[f"CTranslate2 {name}"] = size, _engine(model, place / name, name)
    return programs


def _engine(model: Model, folder: Path, compute_type: str) -> Translate:
    ctranslate2: Any = import_module("ctranslate2")
    engine = ctranslate2.Translator(
        str(folder),
        device="cpu",
        compute_type=compute_type,
        inter_threads=num_processors(),
        intra_threads=1,
    )
    tokenizer = model.tokenizer
    ids = {piece: id for id, piece in enumerate(tokenizer.pieces(range(tokenizer.num_words)))}

    def translate(lines: Sequence[str]) -> list[str]:
        found = engine.translate_batch(
            [tokenizer.pieces(sentence) for sentence in tokenizer.encode(lines)],
            beam_size=model.experiment.decode.beam_size,
            length_penalty=0,
            min_decoding_length=0,
            max_batch_size=64,
        )
        return tokenizer.decode([[ids[p] for p in each.hypotheses[0]] for each in found])

    return translate


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each program."""
    ratios = record.get("ratios", {})  # earlier versions timed each once
    return [["", "BLEU", "sentences/s", "by ours", "weights"]] + [
        [
            name,
            f"{row['bleu']:.2f}",
            f"{record['sentences'] / row['seconds']:,.0f}",
            spread(ratios[name]) if name in ratios else "",
            f"{row['model_bytes'] / 1e6:,.1f} MB",
        ]
        for name, row in record["rows"].items()
    ]


def title(record: Mapping[str, Any]) -> str:
    """What the figures are of."""
    sentences = f"{record['text']}, {record['sentences']:,} sentences"
    model = f"{record['experiment']} of {record['updates']:,} updates"
    return f"{model}, {sentences}, beam {record['beam_size']}"


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(f"A file: {title(record)}", figures(record))
