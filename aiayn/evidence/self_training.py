"""Parsers of a treebank alone, beside parsers that read parsed text as well (§6.3).

The text has trees already, those of another parser; its words are parsed once more by the parser
of the treebank alone, with the same seed, and its trees are what a third parser learns from too.
`parsed_text` says what came out.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from aiayn.config import Experiment
from aiayn.data.prepare import Prepared, open_prepared, prepare
from aiayn.data.sources import treebank
from aiayn.data.sources.formats import find_files
from aiayn.data.trees import write
from aiayn.decoding.parser import Parser
from aiayn.errors import UserError
from aiayn.evidence.ablation import (
    Run,
    finish,
    folder_key,
    read_record,
    record_of,
    scored_model,
    share_machine,
    with_tokenizer,
)
from aiayn.evidence.parsed_text import OWN, PARSED, ROWS, changes
from aiayn.evidence.records import Ablation
from aiayn.system import records
from aiayn.system.environment import configure_jax
from aiayn.system.files import locked, place, user_os_errors, write_text
from aiayn.system.workers import as_finished
from aiayn.tasks import task_of
from aiayn.training.run_folder import read_run


def variant(base: Experiment, row: str, seed: int, text: Path) -> Experiment:
    """The experiment of a row and a seed; `text` holds the treebank with the trees of its own."""
    files = changes(base, row).get("data.train_files", base.data.train_files)
    folder = str(text) if row == "own" else base.data.folder
    return replace(
        base,
        name=f"{base.name}_{row}_{seed}",
        data=replace(base.data, train_files=tuple(files), folder=folder),
        train=replace(base.train, seed=seed),
    )


def self_train(
    base: Experiment,
    folder: Path,
    data_dir: Path,
    console: Console,
    *,
    num_seeds: int,
    num_jobs: int,
    earlier: Path | None = None,
) -> Ablation:
    """As `aiayn.evidence.ablation.ablate`: train and score what is not finished in `folder`.

    Raises:
        UserError: as there; there is no treebank, or no parsed text beside it, or a limit that
            leaves that out.
    """
    if not base.data.train_files:
        raise UserError(
            f"{base.name} reads no treebank: data.train_files is empty; wanted its files, with "
            f"{PARSED} beside them."
        )
    if base.data.limit:
        raise UserError(
            f"data.limit is {base.data.limit:,}; wanted 0: the parsed text comes after the "
            "treebank, and would not be reached."
        )
    seeds = range(base.train.seed, base.train.seed + num_seeds)
    with user_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with user_os_errors(folder), locked(folder / "lock", wait=False):
        open_source = task_of(base).open_source
        # Of the treebank and the text, so that a record of other text is known as such.
        both = variant(base, "other", base.train.seed, folder).data
        prepared = prepare(both, data_dir, open_source=open_source)
        set_by = {row: changes(base, row) for row in ROWS}
        recorded = read_record(earlier, base, prepared, set_by, seeds) if earlier else {}
        share_machine(num_jobs)
        given = with_tokenizer(base, prepared, folder)
        # A recorded parser is not here to parse: where its trees are wanted, it is trained again.
        teaching = [seed for seed in seeds if ("own", seed) not in recorded]
        known = {key: found for key, found in recorded.items() if key[1] not in teaching}
        runs: dict[tuple[str, int], Run] = {}
        texts = {seed: folder / _text_name(given, seed, prepared, folder) for seed in seeds}

        def add(row: str) -> None:
            for seed in seeds:
                made, data = variant(given, row, seed, texts[seed]), prepared.folder
                if seed in teaching:
                    data = prepare(made.data, data_dir, open_source=open_source).folder
                runs[row, seed] = Run(row, made, folder / f"{row}-{seed}", data, num_jobs)

        for seed in teaching:
            _refuse_other_text(folder / f"own-{seed}", texts[seed])
        add("base")
        add("other")
        finish(base.name, runs, known, num_jobs, console)
        to_write = [_Text(runs["base", seed], texts[seed]) for seed in teaching]
        _write_texts(to_write, num_jobs, console)
        add("own")
        finished = finish(base.name, runs, known, num_jobs, console)
        record = record_of(base, prepared, finished, set_by)
        records.write(folder / "ablation.json", record)
    return record


def _text_name(base: Experiment, seed: int, prepared: Prepared, folder: Path) -> str:
    """Of the text as a parser has parsed it: other text, or a parser of other settings, is kept
    apart."""
    parser = folder_key(variant(base, "base", seed, folder))
    return f"text-{seed}-{prepared.fingerprint[:8]}-{parser}"


def _refuse_other_text(run_dir: Path, text: Path) -> None:
    """Raises UserError where a run of the third row learns from other text than it would now; it
    would be found only after hours of the first two."""
    if not (run_dir / "config.json").is_file():
        return
    there = read_run(run_dir)[0].data.folder
    if there != str(text):
        raise UserError(
            f"{run_dir} learns from {there}, and now its text is {text}; remove it to begin anew."
        )


@dataclass(frozen=True)
class _Text:
    """The text that a parser is to parse, and the folder for its trees and the treebank."""

    parser: Run
    folder: Path


def _write_texts(texts: Sequence[_Text], num_jobs: int, console: Console) -> None:
    """The treebank with the trees of each parser, where it is not there yet."""
    waiting = [text for text in texts if not (text.folder / OWN).is_file()]
    for text, seconds in as_finished(_write_text, waiting, num_jobs):
        seed = text.parser.experiment.train.seed
        console.print(f"Text parsed by the parser of seed {seed}: {seconds / 60:.1f} min")


def _write_text(text: _Text) -> float:
    """Parse the text with a trained parser, in a process of its own; its seconds."""
    configure_jax()
    began = time.perf_counter()
    run = text.parser
    data, source = run.experiment.data, place(run.experiment.data.folder)
    parser = Parser(scored_model(run, open_prepared(run.data))[0])
    # The sentences that the second row learns from: what is no tree is counted there, and left out.
    found = treebank.pairs(source / PARSED, parser.terminals, lambda reason, place: None)
    parses = parser.parse([sentence.split() for sentence, _ in found])
    lines = [f"{write(best.tree)}\n" for best, *_ in parses]
    for name in {*data.train_files, *data.dev_files, *data.test_files}:
        pattern = name.rpartition("=")[2]
        for (file,) in find_files(pattern, data.folder, data.src, data.tgt, "data.train_files"):
            if not place(pattern).is_absolute():  # else it is found where it is
                copy = text.folder / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
    text.folder.mkdir(parents=True, exist_ok=True)
    write_text(text.folder / OWN, "".join(lines))  # last of all: what is there is whole
    return time.perf_counter() - began
