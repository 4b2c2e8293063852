"""Outputs kept beside the records of runs, and every figure computed again from them.

experiments/results/outputs/NAME/SET.last.txt.gz and SET.averaged.txt.gz hold what the last
checkpoint and the averaged model of the run behind NAME.json made of a test set, a sentence a line;
trees by their symbols, without the words. peers/outputs/ holds what other toolkits made of them.
References are not kept: they belong to the corpora. The figures of a language model are of its
probabilities, which nothing but the model has.

python -m aiayn.evidence.outputs RUN    keep the record of a finished run, with its outputs
"""

import argparse
import gzip
import re
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from aiayn.bench import toolkits
from aiayn.bench.toolkits import ToolkitRun
from aiayn.config import DataConfig, Experiment
from aiayn.data.corpus import open_pairs, read_plain, read_test_files
from aiayn.data.prepare import sha256_of_lines
from aiayn.data.sources.embedded import EMBEDDED
from aiayn.data.sources.formats import Pair, Skipped
from aiayn.errors import UserError
from aiayn.evaluation.evaluate import Outputs
from aiayn.evaluation.record import Record, TestSet, read_record
from aiayn.evaluation.scores import Scores
from aiayn.evidence.records import TOOLKITS, load_records, load_toolkits
from aiayn.system import checkout, records
from aiayn.system.files import place, user_os_errors, write_bytes
from aiayn.tasks import TASKS, Task
from aiayn.training.run_folder import RECORD

FOLDER = "outputs"
WEIGHTS = ("last", "averaged")
"""The names of files for the labels of a record, in its order; a run's folders have them too."""
NOT_KEPT = "outputs not kept"
"""Of records from before there were any."""
NO_OUTPUTS = "figures of probabilities, which have no outputs"
"""Of records of language models."""
_NEAR = 0.005
"""BLEU or chrF2: what tables show has two decimals."""

Text = tuple[Sequence[str], Sequence[str]]
"""Sources and references."""
Scored = Record | ToolkitRun
"""A record of outputs, ours or a toolkit's."""


@dataclass(frozen=True)
class Checked:
    """What became of the outputs behind a record."""

    said: str
    """For a reader: how many sets were scored again, or why none was."""
    wrong: tuple[str, ...] = ()
    """Each figure that its outputs do not have, and each file that should not be so."""


def keep(run_dir: Path, results: Path, name: str = "", metrics: bool = False) -> Path:
    """Put the record of a finished run and its outputs into a folder of results; the record's path.

    Its name is `name`, or that of its experiment; what was there under it is replaced. With
    `metrics`, also the curve of the run, from which the time to a score is read. What another
    toolkit trained, whose record holds its curve, goes into a folder of its own there, by the name
    of its folder.

    Raises:
        UserError: the run is not finished, its outputs are gone, or they are not those whose scores
            it recorded; or the name is none of a file.
    """
    source, record = _finished(run_dir)
    if isinstance(record, ToolkitRun):
        results, name, metrics = results / TOOLKITS, name or run_dir.resolve().name, False
    name = name or record.experiment
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(f"The name of the record is {name!r}; wanted letters, digits, '-' and '.'.")
    kept: dict[str, bytes] = {}
    tests: dict[str, TestSet] = {}
    rescoring = _task(record).rescoring
    for test_set, labels in record.scores.items() if rescoring else ():
        assert rescoring
        for weights, (label, scores) in zip(WEIGHTS, labels.items(), strict=False):
            folder = run_dir / "outputs" / weights
            outputs = rescoring.read(folder, test_set)
            found = rescoring.score(Experiment.from_dict(record.config), outputs)
            if wrong := [*_differences(f"{test_set}, {label}", scores, found)]:
                raise UserError(
                    f"The outputs in {folder} are not those of {source.name}: {wrong[0]}"
                )
            sums = map(sha256_of_lines, (outputs.sources, outputs.references))
            tests[test_set] = TestSet(len(outputs.sources), *sums)
            text = "".join(f"{line}\n" for line in outputs.lines)
            kept[f"{test_set}.{weights}.txt.gz"] = gzip.compress(text.encode(), mtime=0)
    path, folder = results / f"{name}.json", results / FOLDER / name
    with user_os_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        (folder if kept else results).mkdir(parents=True, exist_ok=True)
        for file, content in kept.items():
            write_bytes(folder / file, content)
        before = path.read_bytes() if path.is_file() else b""
        if record.data.tests:
            write_bytes(path, source.read_bytes())
        else:  # an earlier version's, which did not say what text it was scored on
            record.data.tests = tests
            records.write(path, record)
        course = path.with_suffix(".metrics.jsonl")
        if metrics:
            write_bytes(course, (run_dir / "metrics.jsonl").read_bytes())
        elif path.read_bytes() != before:
            course.unlink(missing_ok=True)  # of another run, which was here
    return path


def _finished(run_dir: Path) -> tuple[Path, Scored]:
    """The record of what was trained in a folder, by us or by another toolkit, and where it is."""
    path = run_dir / toolkits.RECORD
    if path.is_file():
        return path, records.read(path, ToolkitRun, "a toolkit's training")
    return run_dir / RECORD, read_record(run_dir)


def check(
    results: Path, data_dir: Path, folders: Sequence[Path] = ()
) -> Iterator[tuple[str, Checked]]:
    """The records of runs by file, with what scoring their outputs again says.

    References come from the corpora that are built in, from the prepared data under `data_dir`, and
    from `folders` that hold the files of an experiment; they count where they are the record's.
    """
    of_toolkits = results / TOOLKITS
    paths = sorted(of_toolkits.glob("*.json"))
    every: dict[Path, Scored] = {
        **{results / record.file: record for record in load_records(results)},
        **dict(zip(paths, load_toolkits(results), strict=True)),
    }
    for path, record in every.items():
        folder = path.parent / FOLDER / path.stem
        yield str(path.relative_to(results)), _checked(record, folder, data_dir, folders)
    known = {path.parent / FOLDER / path.stem for path in every}
    for folder in sorted(f for top in (results, of_toolkits) for f in (top / FOLDER).glob("*")):
        if folder not in known:
            where = str(folder.relative_to(results))
            yield where, Checked("", (f"{folder} belongs to no record.",))


def _checked(record: Scored, folder: Path, data_dir: Path, folders: Sequence[Path]) -> Checked:
    rescoring = _task(record).rescoring
    if rescoring is None:
        return Checked(NO_OUTPUTS)
    if not folder.is_dir():
        return Checked(NOT_KEPT)
    texts = {name: _text_of(record, name, data_dir, folders) for name in record.scores}
    wrong, count = list[str](), 0
    wanted: set[str] = set()
    for test_set, labels in record.scores.items():
        for weights, (label, scores) in zip(WEIGHTS, labels.items(), strict=False):
            path, text = folder / f"{test_set}.{weights}.txt.gz", texts[test_set]
            wanted.add(path.name)
            try:
                outputs = _read(path)
                if text is not None:
                    experiment = Experiment.from_dict(record.config)
                    found = rescoring.score(experiment, Outputs(outputs, *text))
                    wrong += _differences(f"{path}, {label}", scores, found)
                    count += 1
            except UserError as error:
                wrong.append(str(error))
    wrong += [f"{p} is of no test set." for p in sorted(folder.iterdir()) if p.name not in wanted]
    missing = [name for name, text in texts.items() if text is None]
    said = f"{count} outputs scored again"
    if missing:
        said += f"; the references of {', '.join(missing)} are not at hand"
    return Checked(said, tuple(wrong))


def _read(path: Path) -> list[str]:
    """The outputs that were kept."""
    try:
        return gzip.decompress(path.read_bytes()).decode().split("\n")[:-1]
    except FileNotFoundError:
        raise UserError(f"{path} is missing; `make record` keeps the outputs of a run.") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be used: {error}.") from error


def _task(record: Scored) -> Task:
    """What a run was trained for; earlier versions knew of translation alone."""
    return TASKS[record.config.get("task", "translation")]


def _differences(where: str, recorded: Scores, found: Scores) -> Iterator[str]:
    """Of figures that both have: what needs a package that is missing here is none of them."""
    again = found.values()
    for entry in recorded.entries:
        value = again.get(entry.name)
        if entry.value is None or value is None:
            continue
        if not abs(entry.value - value) < _NEAR:
            yield (
                f"{where}: {entry.name} is {entry.value:.2f} in the record ({entry.how}) and "
                f"{value:.2f} by its outputs ({found[entry.name].how})."
            )


# --- References ---------------------------------------------------------------------------------


def _text_of(record: Scored, test_set: str, data_dir: Path, folders: Sequence[Path]) -> Text | None:
    """The text that a test set had when it was scored; None if it is not at hand."""
    known = record.data.tests.get(test_set)
    if known is None:
        return None
    for sources, references in _candidates(record, test_set, data_dir, folders):
        if (sha256_of_lines(sources), sha256_of_lines(references)) == (known.src, known.ref):
            return sources, references
    return None


def _candidates(
    record: Scored, test_set: str, data_dir: Path, folders: Sequence[Path]
) -> Iterator[Text]:
    experiment = Experiment.from_dict(record.config)
    split = "dev" if test_set == "dev" else f"test.{test_set}"
    for path in sorted(data_dir.glob(f"*/text/{split}.src")):
        with suppress(UserError):  # half of what a copy left
            yield read_plain(path), read_plain(path.with_suffix(".tgt"))
    for folder in folders:
        yield _sides(_read_folder(experiment, folder).get(test_set, []))
    if experiment.data.corpus in EMBEDDED:  # last, since it takes seconds to make
        yield _sides(_built_in(replace(experiment.data, test_files=())).get(test_set, []))


def _sides(pairs: Sequence[Pair]) -> Text:
    return [src for src, _ in pairs], [tgt for _, tgt in pairs]


@cache
def _built_in(data: DataConfig) -> Mapping[str, Sequence[Pair]]:
    return {name: [*split.pairs(Skipped())] for name, split in open_pairs(data).tests.items()}


def _read_folder(experiment: Experiment, folder: Path) -> Mapping[str, Sequence[Pair]]:
    """The test sets, and dev, of an experiment in a folder; nothing where it holds others."""
    dev = tuple(f"dev={pattern}" for pattern in experiment.data.dev_files)
    found: dict[str, Sequence[Pair]] = {}
    for spec in (*experiment.data.test_files, *dev):
        try:
            found |= read_test_files(
                replace(experiment.data, folder=str(folder), test_files=(spec,))
            )
        except UserError:
            continue
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Keep a run."""
    parser = argparse.ArgumentParser(prog="python -m aiayn.evidence.outputs", description=__doc__)
    parser.add_argument("run", type=place, help="the directory of a finished run")
    parser.add_argument("--name", default="", help="of the record (default: the experiment's)")
    parser.add_argument("--metrics", action="store_true", help="keep metrics.jsonl beside it")
    given = parser.parse_args(arguments)
    try:
        results = checkout.shipped("experiments/results")
        path = keep(given.run, results, given.name, given.metrics)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    folder = path.parent / FOLDER / path.stem
    beside = f", with its outputs in {folder}" if folder.is_dir() else ""
    print(f"{path}{beside}; now make results")
    return 0


if __name__ == "__main__":
    sys.exit(main())
