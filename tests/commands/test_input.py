"""What no input may do: lose a pair in silence, run code, multiply itself, end in a traceback."""

import ast
import gzip
import json
import random
import re
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

import aiayn
from aiayn.__main__ import main
from aiayn.config import Experiment
from aiayn.data.corpus import Manifest
from aiayn.data.sources.formats import Pair, read_text
from aiayn.data.tokenizer import Tokenizer
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.interop.marian import read_marian
from aiayn.model.saved import Model, load_model
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.log import read_metrics
from aiayn.training.run_folder import read_run
from tests.data.sources.test_formats import TMX, read, unit, write
from tests.faults import folders, inputs, readers

usual = settings(
    max_examples=50,
    database=None,
    suppress_health_check=list(HealthCheck),
)
words = st.text(st.characters(), max_size=8) | st.sampled_from(inputs.BITING)
sentences = st.lists(words, max_size=4).map("".join)
texts = sentences.map(lambda text: text.encode("utf-8", "replace").decode().replace("\0", ""))
"""Sentences that are fit to train on, whatever else is in them."""
lines = texts.map(lambda text: text.replace("\n", "").rstrip("\r").lstrip("\ufeff"))


# --- Every reader -------------------------------------------------------------------------------


@usual
@given(st.lists(st.tuples(lines, lines)), st.sampled_from(("\n", "\r\n")), st.booleans())
def test_parallel_text_comes_back_pair_for_pair(tmp_path, pairs: list[Pair], end, mark):
    files = (tmp_path / "a.en", tmp_path / "a.de.gz")
    for side, path in enumerate(files):
        data = "".join(pair[side] + end for pair in pairs).encode()
        data = inputs.BOM + data if mark else data
        write(path, gzip.compress(data) if path.suffix == ".gz" else data)
    assert read(*files) == (pairs, {})
    assert list(read_text(files[0])) == [src for src, _ in pairs]


@usual
@given(st.lists(st.tuples(lines, lines)))
def test_tsv_comes_back_pair_for_pair(tmp_path, pairs):
    pairs = [(src.replace("\t", ""), tgt.replace("\t", "")) for src, tgt in pairs]
    text = "en\tde\n" + "".join(f"{src}\t{tgt}\n" for src, tgt in pairs)
    assert read(write(tmp_path / "a.tsv", text)) == (pairs, {})


@usual
@given(st.lists(st.tuples(sentences, sentences)))
def test_jsonl_and_parquet_give_or_report_every_pair(tmp_path, pairs):
    # JSON can spell halves of characters, alone or side by side.
    rows = [json.dumps({"en": src, "de": tgt}) for src, tgt in pairs]
    pairs = [tuple(json.loads(json.dumps(pair))) for pair in pairs]
    bad = re.compile("[\0\ud800-\udfff]")
    fit = [pair for pair in pairs if not any(bad.search(side) for side in pair)]
    found, skipped = read(write(tmp_path / "a.jsonl", "\n".join(rows)))
    assert found == fit
    assert sum(skipped.values()) == len(pairs) - len(fit)

    sides = [[p[side].encode("utf-8", "surrogatepass") for p in pairs] for side in (0, 1)]
    columns = [pa.array(side, pa.binary()).view(pa.string()) for side in sides]
    pq.write_table(pa.table(columns, ["en", "de"]), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == (found, skipped)


@pytest.mark.parametrize("name", ["lines", "parallel", "tsv", "jsonl", "tmx", "parquet", "run"])
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path, name):
    # The long form of this is `python -m tests.faults.fuzz`.
    reader = readers.READERS[name]
    for number in range(60):
        folder = tmp_path / str(number)
        folder.mkdir()
        readers.write(folder, reader.make(random.Random(number)))
        with suppress(UserError):
            reader.check(folder)


# --- What bites ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl"])
def test_a_file_of_nothing_or_of_a_mark_alone_holds_no_pairs(tmp_path, name):
    for data in (b"", inputs.BOM):
        assert read(write(tmp_path / name, data)) == ([], {})


def test_a_mark_alone_is_no_line(tmp_path):
    marked, empty = write(tmp_path / "a.en", inputs.BOM), write(tmp_path / "a.de", b"")
    assert read(marked, empty) == ([], {})
    assert list(read_text(write(tmp_path / "b.en", inputs.BOM + b"\n"))) == [""]


def test_a_packed_file_of_no_bytes_was_not_fetched_whole(tmp_path):
    # One without content has a header and a checksum all the same.
    assert read(write(tmp_path / "a.tsv.gz", gzip.compress(b""))) == ([], {})
    with pytest.raises(UserError, match=r"b\.tsv\.gz is not a whole gzip file"):
        read(write(tmp_path / "b.tsv.gz", b""))


def test_a_line_of_a_megabyte_is_one_line(tmp_path):
    text = "e\u0301\u2028" * 200_000
    path = write(tmp_path / "a.tsv", f"{text}\t{text}\n")
    assert read(path) == ([(text, text)], {})


def test_default_attributes_are_refused_since_every_element_would_have_a_copy(tmp_path):
    # A megabyte of default and 3,000 elements of 40 bytes took 3 GB.
    doctype = '<!DOCTYPE tmx [<!ATTLIST seg x CDATA "aaaa"> <!ATTLIST seg y CDATA #IMPLIED>]>'
    path = write(tmp_path / "a.tmx", TMX.format(doctype=doctype, units=unit("cat", "Katze")))
    with pytest.raises(UserError, match=r"a\.tmx declares a default value of 'x'"):
        read(path)
    harmless = doctype.replace('"aaaa"', "#IMPLIED")
    write(path, TMX.format(doctype=harmless, units=unit("cat", "Katze")))
    assert read(path) == ([("cat", "Katze")], {})


# --- Settings and runs --------------------------------------------------------------------------


def test_a_setting_in_a_file_is_refused_by_the_name_of_the_file(tmp_path):
    readers.write(tmp_path, folders.run_folder())
    about = json.loads((tmp_path / "config.json").read_text())
    about["experiment"]["train"] = []
    write(tmp_path / "config.json", json.dumps(about))
    with pytest.raises(UserError, match=r"config\.json: train is \[\]; wanted a table"):
        read_run(tmp_path)
    with pytest.raises(UserError, match=r"max_ratio is 1000.*; wanted a number below"):
        Experiment.from_dict({"name": "x", "data": {"max_ratio": 10**400}})


@pytest.mark.parametrize(
    "damage", ["[]", "{", "\ud800".encode("utf-8", "surrogatepass"), "[" * 10**5]
)
def test_a_manifest_that_is_none_is_refused(tmp_path, damage):
    write(tmp_path / "manifest.json", damage)
    with pytest.raises(UserError, match="holds no prepared text"):
        Manifest.load(tmp_path)


def test_a_row_of_metrics_that_is_damaged_is_not_taken_for_the_end(tmp_path):
    path = write(tmp_path / "metrics.jsonl", '{"step": 1}\n{"step": 2}\n{"st')
    assert read_metrics(path) == [{"step": 1}, {"step": 2}]
    for middle in (b"{", b"[]", b"\xff", b"[" * 100_000):
        write(path, b'{"step": 1}\n' + middle + b'\n{"step": 3}\n')
        with pytest.raises(UserError, match=r"metrics\.jsonl, line 2, is damaged"):
            read_metrics(path)
    assert read_metrics(tmp_path / "none.jsonl") == []


# --- Models, from whoever made them -------------------------------------------------------------


@pytest.fixture
def model(tmp_path) -> Path:
    readers.write(tmp_path / "model", folders.model_folder())
    return tmp_path / "model"


def change(folder: Path, name: str, content: bytes) -> None:
    """Another content for one file, with the checksums that go with it."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    readers.write(folder, inputs.with_true_sums(files | {name: content}))


def with_header(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


HOSTILE = {
    "a pickle for weights": ("weights.safetensors", inputs.HOSTILE_PICKLE),
    "a pickle for a tokenizer": ("tokenizer.model", inputs.HOSTILE_PICKLE),
    "a header past the end": ("weights.safetensors", with_header(b"{}", 2**63)),
    "a type that NumPy lacks": (
        "weights.safetensors",
        with_header(b'{"embedding":{"dtype":"BF16","shape":[0],"data_offsets":[0,0]}}'),
    ),
    "a config that is a list": ("config.json", b"[1, 2]"),
    "a config a hundred thousand deep": ("config.json", b"[" * 100_000),
    "checksums of a device": ("sha256.json", b'{"/dev/zero": ""}'),
    "a million layers": (
        "config.json",
        b'{"format": 1, "name": "x", "model": {"num_layers": 1000000}}',
    ),
    "an endless width": (
        "config.json",
        b'{"format": 1, "name": "x", "model": {"d_model": 4611686018427387904}}',
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_info_on_a_hostile_model_says_what_is_wrong_and_runs_nothing(
    model, what, monkeypatch, capsys
):
    monkeypatch.chdir(model)
    name, content = HOSTILE[what]
    change(model, name, content)
    if name == inputs.SUMS:
        write(model / name, content)
    assert main(["info", str(model)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("aiayn: ")
    assert str(model) in said
    assert sorted(path.name for path in model.iterdir()) == sorted(folders.model_folder())


def test_a_folder_that_points_out_of_itself_is_read_and_nothing_is_written(model, tmp_path, capsys):
    # The caches of others are made of such links; what they lead to is judged like any file.
    weights = (model / "weights.safetensors").rename(tmp_path / "outside")
    (model / "weights.safetensors").symlink_to(weights)
    before = weights.read_bytes()
    assert main(["info", str(model)]) == 0
    assert weights.read_bytes() == before
    change(model, "weights.safetensors", b"root:x:0:0")
    assert main(["info", str(model)]) == 2
    assert "root:x" not in "".join(capsys.readouterr())
    for name in ("result.json", "model"):
        (model / name).symlink_to("/dev/zero")
    assert main(["info", str(model)]) == 2


def test_weights_that_are_no_numbers_are_refused(model):
    path = model / "weights.safetensors"
    for value in (float("nan"), float("inf")):
        weights = dict(load_file(path))
        weights["embedding"] = np.full_like(weights["embedding"], value)
        change(model, path.name, save(weights))
        with pytest.raises(UserError, match="values in embedding that are no numbers"):
            load_model(model)
        readers.write(model, folders.model_folder())
    whole = {name: value.astype(np.int32) for name, value in load_file(path).items()}
    change(model, path.name, save(whole))
    with pytest.raises(UserError, match="that are no numbers"):
        load_model(model)


def test_info_shows_a_record_without_what_moves_the_cursor(tmp_path, capsys):
    readers.write(tmp_path, folders.run_folder())
    record = json.loads((tmp_path / "result.json").read_text())
    record["experiment"] = "\x1b[2J\u202e\ud800é"
    write(tmp_path / "result.json", json.dumps(record))
    assert main(["info", str(tmp_path)]) == 0
    assert "\\x1b[2J\\u202e\\ud800é (" in capsys.readouterr().out
    assert main(["info", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["record"] == record
    for wrong in ({}, {**record, "scores": {"test": {"": {}}}}, {**record, "updates": "x"}):
        write(tmp_path / "result.json", json.dumps({"experiment": "x", **wrong}))
        assert main(["info", str(tmp_path)]) == 2
        assert "result.json is no record of a run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("about/metadata", b'{"experiment": 1}'),
        ("_CHECKPOINT_METADATA", b"[]"),
        ("about/metadata", b""),
    ],
)
def test_a_damaged_checkpoint_is_refused_by_its_name(tmp_path, name, content):
    files = {**folders.checkpoint_folder(), f"checkpoints/2/{name}": content}
    readers.write(tmp_path, inputs.with_true_sums(files))
    with pytest.raises(UserError, match="checkpoints"):
        Checkpoints.open(tmp_path).about(2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"none", "checkpoints/2 cannot be read: "),
        (b"[" * 4_000, "checkpoints/2 cannot be read: "),
        (b"[" * 200_000, ".zarray is too long"),
    ],
)
def test_a_checkpoint_whose_arrays_are_damaged_is_refused_by_its_name(
    tmp_path, capsys, content, message
):
    array = "checkpoints/2/state/params.embedding/.zarray"
    files = {**folders.checkpoint_folder(), array: content}
    readers.write(tmp_path, inputs.with_true_sums(files))
    assert main(["info", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_a_tokenizer_has_the_pieces_that_it_speaks_of():
    pair = json.loads(folders.pair_folder()["tokenizer.model"])
    Tokenizer.of(json.dumps(pair).encode())
    for change in (
        {"starts_with": 300},
        {"starts_with": float("inf")},
        {"vocabulary": {**pair["vocabulary"], "one": 10**6}},
        {"vocabulary": {**pair["vocabulary"], "\ud800": len(pair["vocabulary"])}},
        {"target": ""},
    ):
        with pytest.raises(UserError, match="tokenizer"):
            Tokenizer.of(json.dumps({**pair, **change}).encode())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": "8"}, "d_model is '8'; wanted a whole number"),
        (
            {"encoder_attention_heads": 0, "decoder_attention_heads": 0},
            "encoder_attention_heads is 0",
        ),
        ({"activation_function": []}, r"activation_function is \[\]"),
        ({"dropout": None}, "dropout is None"),
    ],
)
def test_odd_values_in_a_folder_of_hugging_faces_are_refused(tmp_path, changes, message):
    readers.write(tmp_path, folders.marian_folder())
    config = json.loads((tmp_path / "config.json").read_text())
    write(tmp_path / "config.json", json.dumps({**config, **changes}))
    with pytest.raises(UserError, match=message):
        read_marian(tmp_path)


# --- Translation --------------------------------------------------------------------------------


def test_hostile_lines_become_as_many_lines(tmp_path):
    for number in range(3):
        made = readers.READERS["translate"].make(random.Random(number))
        readers.write(tmp_path, made)
        counts = readers.check_translate(tmp_path)
        assert counts.given == counts.returned > 0


def test_no_program_finds_a_line_break_in_a_translation(model, monkeypatch):
    translator = Translator(load_model(model))
    monkeypatch.setattr(Tokenizer, "decode", lambda _, ids: ["a\vb\x85c\u2028d\x1ce" for _ in ids])
    assert translator.translate(["one"])[0][0].text == "a b c d e"
    assert translator.translate(["\u2581\r\u2581"])[0][0].text == "\u2581 \u2581"


def test_a_model_that_says_nothing_is_an_error_and_no_missing_line(model):
    loaded = load_model(model)
    huge = {name: np.full_like(value, np.nan) for name, value in loaded.params.items()}
    with pytest.raises(UserError, match="scores are not finite"):
        Translator(Model(loaded.experiment, loaded.tokenizer, huge)).translate(["one"])
    with pytest.raises(UserError, match="scores are not finite"):
        Translator(Model(loaded.experiment, loaded.tokenizer, huge)).score([("one", "two")])


# --- Code ---------------------------------------------------------------------------------------


def test_nothing_that_is_read_can_be_code_or_unpack_itself_elsewhere():
    # A pickle is code, and an archive may hold paths that lead out of its folder: nothing here
    # reads either. torch.load would be a pickle too; only the peers that we are held against have
    # torch, of which fairseq reads checkpoints that it has written itself.
    of_torch = {"peers.py", "nano_torch.py", "toolkit_hf.py", "toolkit_fairseq.py"}
    refused = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "tarfile", "zipfile", "joblib"}
    found: set[str] = set()
    for path in Path(aiayn.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call):
                call = ast.unparse(node)
                names = re.findall(r"^import_module\('(\w+)", call)
                if re.match(r"(np|numpy|jnp|torch)\.load\b|.*unpack_archive|.*extractall", call):
                    found.add(f"{path.name}: {call}")
            roots = {name.split(".")[0] for name in names}
            wrong = roots & refused | (set() if path.name in of_torch else roots & {"torch"})
            found |= {f"{path.name} imports {name}" for name in wrong}
    assert found == set()
