"""A run directory: which experiment it holds, what trained it, and whether it is finished.

config.json     the experiment, its hash, and the fingerprint of the prepared data
sessions.jsonl  a line for each time that training began or went on: from which step, with which
                code, on which machine
"""

import json
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from aiayn.config import Experiment
from aiayn.data.changes import first_change
from aiayn.data.corpus import Manifest, OpenSource
from aiayn.data.prepare import Begun, Prepared, find_prepared, fingerprint, prepare_once
from aiayn.errors import UserError, naming
from aiayn.model.transformer import matmul_dtype
from aiayn.system.environment import environment
from aiayn.system.files import (
    FORMAT,
    check_format,
    locked,
    place,
    read_json,
    user_os_errors,
    write_bytes,
    write_text,
)
from aiayn.training.log import read_metrics

RECORD = "result.json"
"""Written last of all."""
NOT_FINITE = "not_finite"
"""Holds the update that training gave up at."""

_MAY_CHANGE = (
    "train.num_steps",
    "train.log_every",
    "train.validate_sentences",
    "train.checkpoint_every",
    "train.keep_last",
    "train.keep_best",
    "train.slots_per_device",
    "decode.",
    "data.folder",
    "data.test_files",
)
"""Settings that a run may be resumed with other values of."""


_ELSEWHERE = (
    "in another directory (`aiayn train --run-dir DIR`; `aiayn ablate NAME --set name=NAME_2`)"
)


def read_run(run_dir: Path) -> tuple[Experiment, str]:
    """The experiment that a run directory holds, and the fingerprint of the data it is trained on.

    Raises:
        UserError: it is no run directory, or one of another format.
    """
    path = run_dir / "config.json"
    no_run = UserError(f"{run_dir} is no run directory: no usable config.json in it.")
    try:
        about = read_json(path)
    except (OSError, UserError):
        raise no_run from None
    check_format(about.get("format"), path)
    if not {"experiment", "data_fingerprint"} <= about.keys():
        raise no_run
    with naming(path):
        experiment = Experiment.from_dict(about["experiment"])
    return experiment, _of_training(run_dir, str(about["data_fingerprint"]))


def _of_training(run_dir: Path, written: str) -> str:
    """The fingerprint of the data of training; earlier versions wrote one with the test sets."""
    with suppress(UserError, OSError):
        manifest, model = Manifest.load(run_dir), (run_dir / "tokenizer.model").read_bytes()
        if written == fingerprint(manifest, model, tests=True):
            return fingerprint(manifest, model)
    return written


@contextmanager
def in_use(run_dir: Path) -> Generator[None]:
    """Keep other processes out of a run directory; it is made where it is not there.

    Of processes that compute as one, each has a lock of its own.

    Raises:
        UserError: another process is at work in it.
    """
    with user_os_errors(run_dir):
        run_dir.mkdir(parents=True, exist_ok=True)
    with user_os_errors(run_dir), locked(run_dir / f"lock.{jax.process_index()}", wait=False):
        yield


def begun_run(experiment: Experiment, run_dir: Path) -> Begun | None:
    """The data that the run in a directory was begun with; None where there is none yet.

    Raises:
        UserError: it is another run, by its settings, which are named.
    """
    if not (run_dir / "config.json").is_file():
        return None
    found, written = read_run(run_dir)
    changed = [
        f"{key} (there {there!r}, now {now!r})"
        for key, there, now in differences(found.to_dict(), experiment.to_dict())
        if not key.startswith(_MAY_CHANGE)
    ]
    if changed:
        raise UserError(
            f"{run_dir} holds another run; different: {', '.join(changed)}. "
            f"Set them back to go on with that one, or begin {_ELSEWHERE}."
        )
    model = run_dir / "tokenizer.model"
    return Begun(found.data, written, model.read_bytes() if model.is_file() else b"")


def check_run(experiment: Experiment, run_dir: Path, prepared: Prepared) -> None:
    """Refuse a directory that holds another run, or one of other text; changes nothing.

    Files in which only that has changed which cleaning drops are no other text.

    Raises:
        UserError: naming the settings that differ, or the files and the first line.
    """
    begun = begun_run(experiment, run_dir)
    if begun is None:
        return
    changed, first = [name for names in prepared.changed.values() for name in names], ""
    if not prepared.is_of(begun.fingerprint):
        changed = changed or _other_files(run_dir, prepared.manifest) or ["the tokenizer"]
    elif changed and prepared.manifest.source["kind"] == "files":
        try:
            place = first_change(experiment.data, prepared.folder / "text")
        except UserError as error:
            place = str(error)
        if not place:
            return
        first = f" ({place})"
    if changed:
        raise UserError(
            f"{run_dir} was begun with other data than what is there now; changed since: "
            f"{', '.join(changed)}{first}. Bring the old text back to go on with this run, or "
            f"train on the new text {_ELSEWHERE}."
        )


def _other_files(run_dir: Path, now: Manifest) -> list[str]:
    """The files of train and dev, as they came or at least as they were prepared, that are not
    those of a run."""
    try:
        before = Manifest.load(run_dir)
    except UserError:
        return ["the prepared data"]
    sources = [
        {file["name"]: file for split in ("train", "dev") for file in m.source.get(split, [])}
        for m in (before, now)
    ]
    texts = [
        {name: file for name, file in m.files.items() if not name.startswith("test.")}
        for m in (before, now)
    ]
    for there, here in (sources, texts):
        if names := [name for name in {**there, **here} if there.get(name) != here.get(name)]:
            return names
    return []


def data_of_run(
    experiment: Experiment,
    run_dir: Path,
    data_dir: Path | None,
    console: Console,
    open_source: OpenSource,
) -> Prepared:
    """The data that a run was begun with, and the test sets that `experiment` names; says where.

    It is looked for in `data_dir`, else where it was when the run was trained, else in `data`. Only
    where `data_dir` is given is it prepared anew.

    Raises:
        UserError: it is not there, or the run is another.
    """
    begun = begun_run(experiment, run_dir)
    assert begun is not None, run_dir
    about = read_json(run_dir / "config.json")
    known = [Path(str(about.get("data_dir", "data"))), Path("data")]
    places = [data_dir] if data_dir else list(dict.fromkeys(path.absolute() for path in known))
    data, folder = experiment.data, str(about.get("folder", ""))
    if folder and data.folder == begun.data.folder and Path(folder).is_dir():
        data = replace(data, folder=folder)  # relative to where it was trained, not to here
    # Each of several processes looks; all see the same file system.
    for root in places:
        if found := find_prepared(begun, root):
            console.print(f"Prepared data of {run_dir}: {found}")
            return prepare_once(data, root, True, open_source, begun)
    if data_dir is None:
        raise UserError(
            f"The prepared data of {run_dir} is not in {' nor in '.join(map(str, places))}. Say "
            "where it is with --data-dir DIR; where DIR does not hold it, it is prepared there "
            "anew."
        )
    console.print(
        f"{data_dir} does not hold the prepared data of {run_dir}; preparing it there anew.",
    )
    return prepare_once(data, data_dir, True, open_source, begun)


def open_run(
    experiment: Experiment, run_dir: Path, prepared: Prepared, folder: str | None = None
) -> None:
    """Write the experiment, manifest and tokenizer of a run into its directory, and where its text
    is: in `data.folder`, from here, unless `folder` says another place."""
    if folder is None:
        named = experiment.data.folder
        folder = str(place(named).absolute()) if named else ""
    about = {
        "format": FORMAT,
        "experiment": experiment.to_dict(),
        "hash": experiment.hash(),
        "data_fingerprint": prepared.fingerprint,
        "data_dir": str(prepared.folder.parent.absolute()),
        "folder": folder,
    }
    with user_os_errors(run_dir):
        write_text(run_dir / "config.json", json.dumps(about, indent=1) + "\n")
        write_text(run_dir / "manifest.json", prepared.manifest.to_json())
        write_bytes(run_dir / "tokenizer.model", prepared.tokenizer.model)


def begin_session(experiment: Experiment, run_dir: Path, step: int) -> None:
    """Record that training starts from `step` with this code on this machine."""
    session = {
        "from_step": step,
        "matmul_dtype": str(matmul_dtype(experiment.model)),
        **environment(),
    }
    path = run_dir / "sessions.jsonl"
    # Written anew: a line that a kill cut off would take all later ones with it.
    lines = [json.dumps(row) + "\n" for row in [*read_metrics(path), session]]
    with user_os_errors(path):
        write_text(path, "".join(lines))


def read_sessions(run_dir: Path) -> list[dict[str, Any]]:
    """The sessions that trained the run, oldest first.

    Raises:
        UserError: the directory says nothing of them.
    """
    found = read_metrics(run_dir / "sessions.jsonl")
    if not found:
        raise UserError(f"{run_dir} does not say what trained it: no usable sessions.jsonl in it.")
    return found


def differences(a: Any, b: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """The dotted names of what two configs as dictionaries do not share, and both values."""
    if isinstance(a, dict):
        return [d for key in a for d in differences(a[key], b[key], f"{prefix}{key}.")]
    a, b = (tuple(x) if isinstance(x, list) else x for x in (a, b))
    return [] if a == b else [(prefix[:-1], a, b)]
