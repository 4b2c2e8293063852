"""Corpora from the Hugging Face Hub, pinned to a commit and counted (§5.1)."""

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from aiayn.config import DataConfig
from aiayn.data.sources.formats import (
    ARROW_ROWS,
    Pair,
    Skipped,
    Source,
    Split,
    arrow_columns,
    arrow_pairs,
    as_documents,
)
from aiayn.errors import UserError
from aiayn.system.files import place

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
"""The Hub's names and ours."""


def open_hub(data: DataConfig) -> Source:
    """The dataset `data.hub`, downloaded or from the cache, without its network if need be.

    Its only test set is named "test".

    Raises:
        UserError: it cannot be had, holds other languages, or other numbers of pairs than
            `data.num_pairs`.
    """
    loaded = _load(data)
    splits = {ours: loaded[theirs] for theirs, ours in SPLITS.items() if theirs in loaded}
    if "train" not in splits:
        raise UserError(f"{_title(data)} has the splits {', '.join(loaded)}; wanted 'train'.")
    counts = {name: len(split) for name, split in splits.items()}
    noun = "pairs" if data.src else "rows"
    if data.num_pairs and tuple(counts.values()) != data.num_pairs:
        raise UserError(
            f"{_title(data)} has {_listed(counts.values())} {noun} in {', '.join(counts)}; "
            f"data.num_pairs expects {_listed(data.num_pairs)}. The dataset has changed, or "
            "data.revision names another version."
        )
    streams = {name: _split(split, data) for name, split in splits.items()}
    details = {
        "kind": "hub",
        "name": Path(_name(data)).name if Path(_name(data)).is_dir() else data.hub,
        "config": data.hub_config,
        "revision": _commit(splits["train"], data),
    }
    tests = {"test": streams["test"]} if "test" in streams else {}
    return Source(details, streams["train"], streams.get("dev"), tests)


def _name(data: DataConfig) -> str:
    """Its name on the Hub, or the path of a local copy."""
    return str(place(data.hub)) if data.hub.startswith("~") else data.hub


def _load(data: DataConfig) -> Any:
    datasets: Any = import_module("datasets")
    # Each of its retries would be a warning of its own; what comes of them is said below.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    load = partial(datasets.load_dataset, _name(data), revision=data.revision or None)
    # The Hub client and its HTTP and file layers raise some dozens of unrelated types, all of which
    # say the same to the user: the corpus is not available there.
    try:
        return load(data.hub_config or None)
    except Exception as error:
        problem = error
    if data.hub_config and isinstance(problem, ValueError):
        # Branches that the Hub has converted to Parquet keep each configuration in a folder of its
        # name and describe none.
        with suppress(Exception):
            return load(data_dir=data.hub_config)
    codes = [code for code in (data.src, data.tgt) if code]
    files = [p.replace("{lang}", code) for p in data.train_files for code in codes]
    named = ", ".join(dict.fromkeys(files)) if files else "the files that data.train_files names"
    first_line = str(problem).strip().split("\n")[0][:300]
    raise UserError(
        f"{_title(data)} could not be downloaded from the Hugging Face Hub and is not cached "
        f"({type(problem).__name__}: {first_line}). Without the Hub, use local files: --set "
        f"data.folder=DIR looks there for {named} (data.dev_files and data.test_files likewise)."
    ) from problem


def _split(dataset: Any, data: DataConfig) -> Split:
    where = f"{_title(data)}, split {dataset.split}"
    paths = arrow_columns(dataset.data.schema, data.src, data.tgt, where, data.columns)
    tables = dataset.select_columns(sorted({path[0] for path in paths})).with_format("arrow")

    def rows(skipped: Skipped) -> Iterator[Pair]:
        for table in tables.iter(ARROW_ROWS):
            yield from arrow_pairs(table, paths, where, skipped)

    def pairs(skipped: Skipped) -> Iterator[Pair]:
        found = rows(skipped)
        return found if data.src else as_documents(found, data.documents, where, skipped)

    return Split(pairs, len(dataset) if data.src else None)


def _commit(dataset: Any, data: DataConfig) -> str:
    """The commit that was loaded: the name of its folder in the cache.

    Offline, the cache gives the newest version it has, whatever revision was asked for.

    Raises:
        UserError: that is not the commit in `data.revision`.
    """
    folders = {Path(file["filename"]).parent.name for file in dataset.cache_files}
    commits = [name for name in folders if re.fullmatch("[0-9a-f]{40}", name)]
    found = commits[0] if commits else data.revision
    if re.fullmatch("[0-9a-f]{40}", data.revision) and found != data.revision:
        raise UserError(
            f"{_title(data)}: the Hub cannot be reached and the cache here holds commit {found}; "
            f"data.revision expects {data.revision}."
        )
    return found


def _title(data: DataConfig) -> str:
    return f"Hub dataset {data.hub!r}" + (f" ({data.hub_config})" if data.hub_config else "")


def _listed(counts: Any) -> str:
    return " / ".join(f"{count:,}" for count in counts)
