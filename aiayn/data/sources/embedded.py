"""The corpora that are built in, as sources: the phrasebook's pairs, the treebook's trees."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from aiayn.config import DataConfig
from aiayn.data.languages import find, parse
from aiayn.data.sources.formats import Pair, Source, Split
from aiayn.data.trees import Terminals, Tree, linearise

_SEED = 1


class Embedded(NamedTuple):
    """A corpus that is built in."""

    open: Callable[[DataConfig], Source]
    details: Callable[[], dict[str, Any]]
    """What it is made from, as one hash."""


def _open_phrasebook(data: DataConfig) -> Source:
    from aiayn.data.sources.phrasebook import generate

    data.require(data.documents == "line", "documents", "'line', as the phrasebook has them")
    held = ("en-US", "de-DE", "fr-FR", "pt-BR")
    src, tgt = (
        code if place is None else parse(held[place]).language
        for code in (data.src, data.tgt)
        for place in (find(code, held),)
    )
    # A language's sentences are the same whatever the other one is.
    other = src or ("de" if tgt == "en" else "en")
    splits: dict[str, list[Pair]] = generate(other, tgt, seed=_SEED)._asdict()
    if not src:
        splits = {name: [("", text) for _, text in pairs] for name, pairs in splits.items()}
    return _source(splits, _phrasebook_details())


def _phrasebook_details() -> dict[str, Any]:
    """Its code, its templates, CLDR's version."""
    from aiayn.data.sources import phrasebook

    folder = Path(phrasebook.__file__).parent
    files = [folder / "phrasebook.py", *sorted((folder / "phrasebook_templates").iterdir())]
    versions = [f"{name} {version(name)}\n".encode() for name in ("babel", "num2words")]
    return _details("phrasebook", versions, files)


def _open_treebook(data: DataConfig) -> Source:
    from aiayn.data.sources.treebook import generate

    data.require(find(data.src, ("en",)) is not None, "src", "'en', as the treebook has it")
    terminals = data.trees
    assert terminals != "none"  # which the settings refuse
    splits = {
        name: [_pair(tree, terminals) for tree in trees]
        for name, trees in generate(seed=_SEED)._asdict().items()
    }
    return _source(splits, _treebook_details())


def _pair(tree: Tree, terminals: Terminals) -> Pair:
    return " ".join(tree.words), " ".join(linearise(tree, terminals))


def _treebook_details() -> dict[str, Any]:
    """Its code and its grammar."""
    from aiayn.data.sources import treebook

    file = Path(treebook.__file__)
    return _details("treebook", [], [file, file.with_name(treebook.GRAMMAR)])


def _source(splits: Mapping[str, Sequence[Pair]], details: dict[str, Any]) -> Source:
    def split(name: str) -> Split:
        return Split(lambda _: iter(splits[name]), len(splits[name]))

    tests = {name.removeprefix("test_"): split(name) for name in splits if name.startswith("test_")}
    return Source(details, split("train"), split("dev"), tests)


def _details(kind: str, made_from: Sequence[bytes], files: Sequence[Path]) -> dict[str, Any]:
    digest = hashlib.sha256(b"".join([*made_from, *(file.read_bytes() for file in files)]))
    return {"kind": kind, "seed": _SEED, "sha256": digest.hexdigest()}


EMBEDDED: Mapping[str, Embedded] = {
    "phrasebook": Embedded(_open_phrasebook, _phrasebook_details),
    "treebook": Embedded(_open_treebook, _treebook_details),
}
"""By the name of the corpus."""
