"""The readers under test: what each is given, and what must hold of what it makes of it.

A check reads a folder and returns its counts, raises UserError where the folder is refused, and
anything else where something was lost. What went in is counted here by other means than the
reader's own.
"""

import bz2
import gzip
import io
import json
import lzma
import random
import re
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast
from unittest import mock
from xml.parsers import expat

from aiayn.config import Experiment
from aiayn.data.sources.formats import Pair, Skipped, read_pairs, read_text
from aiayn.data.sources.treebank import Malformed, entries, trees
from aiayn.data.trees import clean, linearise, restore
from aiayn.data.trees import write as write_tree
from aiayn.errors import UserError

from . import inputs
from .inputs import BOM, Files


class Counts(NamedTuple):
    """Pairs or lines that a reader was given, gave back, and said that it left out."""

    given: int = 0
    returned: int = 0
    reported: int = 0


class Reader(NamedTuple):
    """`share` of 100,000 inputs, each with at most `seconds` of processor time."""

    make: Callable[[random.Random], Files]
    check: Callable[[Path], Counts]
    share: int
    seconds: int = 10


class Lost(Exception):  # noqa: N818, it is a finding
    """A reader broke its promise; the message says how."""


def demand(condition: bool, message: str) -> None:
    if not condition:
        raise Lost(message)


# --- Parallel text ------------------------------------------------------------------------------


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    begins = {rb"\x1f\x8b": gzip, rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": bz2, rb"\xfd7zXZ\x00": lzma}
    for magic, packing in begins.items():
        if re.match(magic, data):
            return packing.decompress(data)
    return data


def _raw_lines(path: Path) -> list[bytes]:
    return _split(_content(path))


def _split(data: bytes) -> list[bytes]:
    """The lines as UTF-8, with halves of characters as `surrogatepass` writes them."""
    wide = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16"}
    for mark, encoding in (*wide.items(), (b"\xfe\xff", "utf-16"), (BOM, "utf-8-sig")):
        if data.startswith(mark):
            if encoding == "utf-8-sig":
                data = data.removeprefix(BOM)
            else:
                data = data.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
            break
    return (
        [line.removesuffix(b"\r") for line in data.removesuffix(b"\n").split(b"\n")] if data else []
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _usable(side: bytes) -> bool:
    return _is_utf8(side) and b"\0" not in side


def _read(files: tuple[Path, ...], given: Callable[[int], int]) -> tuple[list[Pair], Counts]:
    """Read as training does; every pair given is returned, or reported with a place.

    How many were given may be told by how many were found, where a file leaves that open.
    """
    skipped = Skipped()
    columns: tuple[str, ...] = ()
    if (names := files[0].with_name("columns")).exists():
        columns = tuple(names.read_text(encoding="utf-8").split("\n"))
    found = list(read_pairs(files, "en", "de", skipped, columns))
    for pair in cast(list[Any], found):
        demand(len(pair) == 2 and all(isinstance(side, str) for side in pair), f"no pair: {pair!r}")
        demand(all(_usable(side.encode("utf-8", "surrogatepass")) for side in pair), "not usable")
    total = skipped.counts.total()
    counts = Counts(given(len(found) + total), len(found), total)
    demand(counts.given == counts.returned + counts.reported, f"the counts differ: {counts}")
    demand(bool(skipped.first) == bool(skipped.counts), "a pair left out has no place")
    return found, counts


def check_lines(folder: Path) -> Counts:
    (path,) = folder.iterdir()
    found, wanted = list(read_text(path)), [line.decode() for line in _raw_lines(path)]
    demand(found == wanted, f"{len(wanted)} lines were read as other {len(found)}")
    return Counts(len(wanted), len(found))


def check_parallel(folder: Path) -> Counts:
    files = tuple(next(folder.glob(f"a.{lang}*")) for lang in ("en", "de"))
    found, counts = _read(files, lambda _: len(_raw_lines(files[0])))
    raw = zip(*map(_raw_lines, files), strict=True)
    wanted = [(s.decode(), t.decode()) for s, t in raw if _usable(s) and _usable(t)]
    demand(found == wanted, "other pairs than the files hold")
    return counts


def _the_file(folder: Path) -> Path:
    (path,) = folder.glob("a.*")
    return path


def check_tsv(folder: Path) -> Counts:
    path = _the_file(folder)

    def given(found: int) -> int:
        lines = _raw_lines(path)
        # Empty lines may stand before a header.
        text = next((line for line in lines if line.strip()), b"").decode(errors="replace")
        cells = text.lower().split("\t")
        is_header = sum(any(word in cell for word in HEADINGS) for cell in cells) > 1
        return len(lines) - (is_header and found < len(lines))

    return _read((path,), given)[1]


HEADINGS = ("en", "de", "ger", "source", "target", "src", "tgt", "put", "score", "id")
"""Of these the first line of a TSV has two if it is not a pair."""


def check_jsonl(folder: Path) -> Counts:
    path = _the_file(folder)

    def given(_: int) -> int:  # asked once the file was read: a damaged one is refused before
        texts = [line.decode(errors="replace") for line in _raw_lines(path)]
        return sum(bool(text.strip()) for text in texts)

    return _read((path,), given)[1]


def check_trees(folder: Path) -> Counts:
    """A line that begins with a root begins an entry, and a tree is spelt and read as it is."""
    path, malformed = _the_file(folder), Malformed()
    found = list(trees(path, malformed))
    counts = Counts(len(found) + malformed.count, len(found), malformed.count)
    root = re.compile(rb"\(((TOP|S1|ROOT)[ (]|\(|$)")
    starts = sum(bool(root.match(line)) for line in _raw_lines(path))
    demand(counts.given >= starts, f"{starts} trees begin, but {counts}")
    demand(bool(malformed.first) == bool(malformed.count), "a tree left out has no place")
    for tree in found:
        bare = clean(tree)
        demand(restore(linearise(bare), bare.words) == bare, f"{bare} has other symbols")
        demand([each.tree for each in entries([write_tree(tree)])] == [tree], f"{tree} is another")
    return counts


def check_tmx(folder: Path) -> Counts:
    """Units of a sound file are all returned or reported; of a damaged one, all that begin."""
    path = _the_file(folder)

    def given(found: int) -> int:
        content = _content(path)
        starts = len(re.findall(rb"<tu[\s>/]", content))
        try:
            units = _num_units(content)
        except (expat.ExpatError, LookupError):  # the latter of the name of an encoding
            hidden = re.search(rb"<!|<\?(?!xml )|\0", content)
            demand(bool(hidden) or found >= starts, f"{starts} units begin, {found} were found")
            return found
        return max(found, units) if starts > units else units

    return _read((path,), given)[1]


def _num_units(xml: bytes) -> int:
    ends: list[str] = []
    parser = expat.ParserCreate(namespace_separator="}")
    parser.EndElementHandler = lambda name: ends.append(name.rpartition("}")[2])
    parser.EntityDeclHandler = lambda *_: demand(False, "a declared entity was read")
    parser.Parse(xml, True)
    return ends.count("tu")


def check_parquet(folder: Path) -> Counts:
    path = _the_file(folder)
    parquet: Any = import_module("pyarrow.parquet")
    return _read((path,), lambda _: parquet.read_metadata(path).num_rows)[1]


# --- Settings and models ------------------------------------------------------------------------


def check_settings(folder: Path) -> Counts:
    text = (folder / "settings").read_bytes().decode("utf-8", "surrogatepass")
    _check_experiment(Experiment("small").with_overrides(text.split("\0")))
    return Counts()


def _check_experiment(experiment: Experiment) -> None:
    written = json.loads(json.dumps(experiment.to_dict()))
    demand(Experiment.from_dict(written) == experiment, "settings do not come back from JSON")
    demand(experiment.is_same(written), "settings are not their own")


def check_run(folder: Path) -> Counts:
    from aiayn.data.corpus import Manifest
    from aiayn.training.log import read_metrics
    from aiayn.training.run_folder import read_run

    _check_experiment(read_run(folder)[0])
    demand(sum(split.read for split in Manifest.load(folder).splits.values()) >= 0, "no counts")
    rows = cast(list[Any], read_metrics(folder / "metrics.jsonl"))
    demand(all(isinstance(row, dict) for row in rows), "a row of metrics is no table")
    _command("info", folder)
    return Counts()


def check_model(folder: Path) -> Counts:
    from aiayn.decoding.translator import Translator
    from aiayn.model.saved import model_of

    _command("info", folder)
    demand(not list(folder.glob("code-was-run")), "code of the model was run")
    _check_experiment((model := model_of(folder)).experiment)
    Translator(model)
    return Counts()


def check_checkpoint(folder: Path) -> Counts:
    from aiayn.training.checkpoint import Checkpoints

    checkpoints = Checkpoints.open(folder)
    for step in checkpoints.steps():
        experiment, tokenizer = checkpoints.about(step)
        _check_experiment(experiment)
        demand(tokenizer.num_words > 0, "a tokenizer without words")
    checkpoints.close()
    _command("info", folder)
    return Counts()


def check_marian(folder: Path) -> Counts:
    from aiayn.interop.marian import read_marian

    _check_tokenizer(read_marian(folder).tokenizer)
    return Counts()


def check_tokenizer(folder: Path) -> Counts:
    from aiayn.data.tokenizer import Tokenizer

    return _check_tokenizer(Tokenizer.load(folder / "tokenizer.model"))


def _check_tokenizer(tokenizer: Any) -> Counts:
    """Whatever the model, text becomes ids that there are, and ids become text."""
    texts = ["one two", "", " ", "\u2581", "e\u0301\u202e\0\x85", *inputs.BITING[:4], "x" * 300]
    encoded = [*tokenizer.encode(texts), *tokenizer.encode_target(texts)]
    demand(len(encoded) == 2 * len(texts), "sentences are lost in encoding")
    words = range(tokenizer.num_words)
    demand(all(token in words for ids in encoded for token in ids), "an id that there is not")
    demand({tokenizer.pad, tokenizer.bos, tokenizer.eos} <= set(words), "no such special piece")
    some = [list(words[:: max(1, len(words) // 50)])]
    demand(all(isinstance(t, str) for t in tokenizer.decode(encoded + some)), "no text comes back")
    demand(len(tokenizer.pieces(some[0])) == len(some[0]), "pieces are lost")
    return Counts(len(encoded), len(encoded))


# --- Commands -----------------------------------------------------------------------------------


class Output(NamedTuple):
    out: bytes
    err: str


def _command(*arguments: object, stdin: bytes = b"") -> Output:
    """Run a command of ours in this process.

    Raises:
        UserError: with what it said on standard error, where its exit status is 2.
    """
    from aiayn.__main__ import main

    given, out, err = (io.BytesIO(data) for data in (stdin, b"", b""))
    with (
        mock.patch("sys.stdin", io.TextIOWrapper(given, "utf-8")),
        redirect_stdout(io.TextIOWrapper(out, "utf-8", write_through=True)),
        redirect_stderr(io.TextIOWrapper(err, "utf-8", "backslashreplace", write_through=True)),
    ):
        status = main([str(argument) for argument in arguments])
        said = Output(out.getvalue(), err.getvalue().decode())
    if status == 2:
        raise UserError(said.err)
    demand(status == 0, f"exit status {status}")
    return said


@cache
def _model() -> TemporaryDirectory[str]:
    from .folders import model_folder

    folder = TemporaryDirectory()
    write(Path(folder.name), model_folder())
    return folder


def check_translate(folder: Path) -> Counts:
    given = (folder / "stdin").read_bytes()
    said = _command("translate", _model().name, stdin=given)
    lines = _split(given)
    found = said.out.decode().split("\n")
    demand(found.pop() == "", "the last line has no end")
    counts = Counts(len(lines), len(found))
    demand(counts.given == counts.returned, f"the counts differ: {counts}")
    demand(all(len(line.splitlines()) < 2 for line in found), "a line break within a line")
    replaced = sum(not _is_utf8(line) for line in lines)
    demand(said.err.count("is not UTF-8") == replaced, "a line that is no UTF-8 is not said")
    return counts


def write(folder: Path, files: Files) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


READERS: Mapping[str, Reader] = {
    "lines": Reader(inputs.lines, check_lines, 10_000),
    "parallel": Reader(inputs.parallel, check_parallel, 17_700),
    "tsv": Reader(inputs.tsv, check_tsv, 17_000),
    "jsonl": Reader(inputs.jsonl, check_jsonl, 17_000),
    "trees": Reader(inputs.trees, check_trees, 1_000),
    "tmx": Reader(inputs.tmx, check_tmx, 16_000),
    "parquet": Reader(inputs.parquet, check_parquet, 4_000),
    "settings": Reader(inputs.settings, check_settings, 9_000),
    "run": Reader(inputs.run, check_run, 1_500),
    "tokenizer": Reader(inputs.tokenizer, check_tokenizer, 3_900),
    "model": Reader(inputs.model, check_model, 1_000, seconds=60),
    "marian": Reader(inputs.marian, check_marian, 500, seconds=60),
    "checkpoint": Reader(inputs.checkpoint, check_checkpoint, 400, seconds=60),
    "translate": Reader(inputs.translate, check_translate, 600, seconds=120),
    "stdin": Reader(inputs.stdin, check_translate, 400, seconds=120),
}
"""In the order they are tried."""
