import dataclasses
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiayn.cleaning
import aiayn.corpus
from aiayn.cleaning import Rules, SeenHashes, check_direction, clean, judge, normalise
from aiayn.config import DataConfig
from aiayn.corpus import MANIFEST, Manifest, prepare_corpus, read_lines
from aiayn.errors import UserError
from aiayn.formats import Pair

SHARED_DATA = Path(__file__).parent.parent.parent / "shared" / "data"

EN = "the house of the old man is not far from the river and you have to go there with him"
DE = "das Haus von dem alten Mann ist nicht weit von dem Fluss und du musst mit ihm dahin"


def pair(number: int) -> Pair:
    return f"sentence {number} of a text", f"Satz {number} eines Textes"


def write_pairs(folder: Path, name: str, pairs: Sequence[Pair]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for side, lang in enumerate(("en", "de")):
        text = "".join(f"{p[side]}\n" for p in pairs)
        (folder / f"{name}.{lang}").write_bytes(text.encode("utf-8", "surrogateescape"))


def config(folder: Path, **changes: Any) -> DataConfig:
    values: dict[str, Any] = {
        "corpus": "tiny",
        "folder": str(folder),
        "train_files": ("train.{lang}",),
        "dev_files": ("dev.{lang}",),
        "test_files": ("news=test.{lang}",),
    }
    return DataConfig(**(values | changes))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """20 pairs of train, 3 of dev, 2 of test, all different."""
    folder = tmp_path / "source"
    write_pairs(folder, "train", [pair(i) for i in range(20)])
    write_pairs(folder, "dev", [pair(i) for i in range(100, 103)])
    write_pairs(folder, "test", [pair(i) for i in range(200, 202)])
    return folder


def read(out: Path, name: str) -> list[Pair]:
    return list(zip(read_lines(out / f"{name}.src"), read_lines(out / f"{name}.tgt"), strict=True))


def prepare(data: DataConfig, out: Path, **arguments: Any) -> Manifest:
    return prepare_corpus(data, out, progress=False, **arguments)


# --- What is written ----------------------------------------------------------------------------


def test_every_split_is_written_and_described(source: Path, tmp_path: Path):
    manifest = prepare(config(source), tmp_path / "out")
    names = {f"{n}.{s}" for n in ("train", "dev", "test.news") for s in ("src", "tgt")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {MANIFEST}
    assert manifest.files.keys() == names
    assert manifest.tests == ("news",)
    assert read(tmp_path / "out", "train") == [pair(i) for i in range(20)]
    assert read(tmp_path / "out", "test.news") == [pair(200), pair(201)]
    # "sentence 100 of a text" has 5 words, "Satz 100 eines Textes" has 4.
    dev = manifest.splits["dev"]
    assert (dev.read, dev.kept, dev.src_words, dev.tgt_words) == (3, 3, 15, 12)
    assert Manifest.load(tmp_path / "out") == manifest


def test_manifest_knows_no_path_of_this_machine(source: Path, tmp_path: Path):
    prepare(config(source), tmp_path / "out")
    text = (tmp_path / "out" / MANIFEST).read_text()
    assert str(tmp_path) not in text
    file = source / "train.en"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert {"name": "train.en", "bytes": file.stat().st_size, "sha256": digest} in (
        json.loads(text)["source"]["train"]
    )


def test_direction_follows_the_configuration(source: Path, tmp_path: Path):
    prepare(config(source, src="de", tgt="en"), tmp_path / "out")
    assert read(tmp_path / "out", "dev")[0] == pair(100)[::-1]


def test_dev_and_test_stay_as_they_are(source: Path, tmp_path: Path):
    odd = ("  two  blanks\tand e\u0301\u2028 here ", "")
    write_pairs(source, "dev", [odd, odd, pair(1)])
    manifest = prepare(config(source), tmp_path / "out")
    assert read(tmp_path / "out", "dev") == [odd, odd, pair(1)]
    assert manifest.splits["train"].dropped == {"in_dev_or_test": 1}


def test_line_breaks_inside_a_dev_sentence_become_blanks(source: Path, tmp_path: Path):
    rows = [{"en": "one\nsentence", "de": "ein Satz"}, {"en": "two", "de": "zwei\r\nSätze"}]
    pq.write_table(pa.Table.from_pylist([*rows, {"en": "c", "de": "d"}]), source / "dev.parquet")
    manifest = prepare(config(source, dev_files=("dev.parquet",)), tmp_path / "out")
    wanted = [("one sentence", "ein Satz"), ("two", "zwei Sätze"), ("c", "d")]
    assert read(tmp_path / "out", "dev") == wanted
    assert manifest.splits["dev"].line_breaks == 2


def test_dev_that_cannot_be_read_is_refused_not_filtered(source: Path, tmp_path: Path):
    write_pairs(source, "dev", [pair(1), ("bad \udcff byte", "x"), pair(2)])
    with pytest.raises(UserError, match=r"dev has 1 pairs that cannot be used.*line 2: invalid"):
        prepare(config(source), tmp_path / "out")


# --- What train loses ---------------------------------------------------------------------------


def test_each_reason_is_counted_once(source: Path, tmp_path: Path):
    train = [
        ("Caf\u0065\u0301  is\u00a0open ", "Das Café\tist offen"),  # kept: NFC, single blanks
        ("Café is open", "Das Café ist offen"),  # the same after cleaning
        ("Café is open", "Das Café hat offen"),  # kept: another translation
        (" \u2003 ", "leer"),
        ("bad \udcff byte", "x"),
        ("escape \x1b[0m", "x"),
        ("nul \0", "x"),
        ("one two three four five six", "eins zwei drei vier fünf sechs"),
        ("one", "eins zwei drei vier"),  # 4 words to 1
        ("x" * 10_001, "lang"),
        (pair(100)[0], "the source stands in dev"),
        ("the target stands in test", pair(201)[1] + " "),
        ("x" * 10_000, "kurz"),  # kept
    ]
    write_pairs(source, "train", train)
    manifest = prepare(config(source, max_words=5, max_ratio=3.0), tmp_path / "out")
    counts = manifest.splits["train"]
    assert counts.dropped == {
        "control": 2,
        "duplicate": 1,
        "empty": 1,
        "in_dev_or_test": 2,
        "invalid_utf8": 1,
        "max_ratio": 1,
        "max_words": 1,
        "too_long": 1,
    }
    assert (counts.read, counts.kept) == (13, 3)
    assert read(tmp_path / "out", "train") == [
        ("Café is open", "Das Café ist offen"),
        ("Café is open", "Das Café hat offen"),
        ("x" * 10_000, "kurz"),
    ]


def test_duplicates_stay_where_they_are_wanted(source: Path, tmp_path: Path):
    write_pairs(source, "train", [pair(1), pair(2), pair(1)])
    manifest = prepare(config(source, deduplicate=False), tmp_path / "out")
    assert manifest.splits["train"].kept == 3


def test_limit_takes_the_first_pairs(source: Path, tmp_path: Path):
    manifest = prepare(config(source, limit=7), tmp_path / "out")
    assert read(tmp_path / "out", "train") == [pair(i) for i in range(7)]
    assert manifest.splits["train"].read == 7


def test_train_without_a_usable_pair_says_what_became_of_them(source: Path, tmp_path: Path):
    write_pairs(source, "train", [("", "a"), ("b", "")])
    with pytest.raises(UserError, match=r"Nothing of train is left \(2 empty\)"):
        prepare(config(source), tmp_path / "out")


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    train=st.lists(st.tuples(texts, texts), max_size=12),
    dev=st.lists(st.tuples(texts, texts), min_size=1, max_size=3),
)
def test_any_text_is_accounted_for(
    train: list[Pair], dev: list[Pair], tmp_path_factory: pytest.TempPathFactory
):
    root = tmp_path_factory.mktemp("any")
    # "a\0" is refused in dev; the last pair keeps train from being empty.
    dev = [(s.replace("\0", ""), t.replace("\0", "")) for s, t in dev]
    write_pairs(root / "source", "train", [*train, ("end", "Ende")])
    write_pairs(root / "source", "dev", dev)
    data = config(root / "source", test_files=(), max_words=3, max_ratio=2.0)
    manifest = prepare(data, root / "out")
    counts = manifest.splits["train"]
    assert counts.read == len(train) + 1
    kept = read(root / "out", "train")
    assert counts.kept == len(kept) == len(set(kept))
    assert counts.read == counts.kept + sum(counts.dropped.values())
    assert counts.src_words == sum(len(src.split()) for src, _ in kept)
    held = [[clean(p[side]) for p in dev] for side in (0, 1)]
    for src, tgt in kept:
        assert src
        assert tgt
        assert src not in held[0]
        assert tgt not in held[1]
        assert src == " ".join(src.split()) == unicodedata.normalize("NFC", src)


@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=8))
def test_seen_hashes_is_a_set_that_keeps_the_order(arrays: list[list[int]]):
    seen, known = SeenHashes(), set[int]()
    for array in arrays:
        wanted: list[bool] = []
        for value in array:
            wanted.append(value not in known)
            known.add(value)
        assert seen.add(np.array(array, np.uint64)).tolist() == wanted


def test_normalised_sentences_are_words_alone():
    assert normalise("  1. Déjà-vu, she said: “No!” (2)  ") == "déjà vu she said no"
    assert normalise("कि") != normalise("का")  # Vowel signs tell words apart.
    assert normalise("1984?!") == ""


def test_held_sentences_never_include_the_empty_one():
    rules = Rules.of(DataConfig(), {"dev": [("1!", "2?")]}, normalised=True)
    assert judge(("3!", "4?"), rules) == ("", "3!", "4?")


# --- Holding out --------------------------------------------------------------------------------


def write_holdout_source(folder: Path, order: int) -> None:
    # Sentences 0 to 29 occur three times: as they are, with another number, and under another
    # source with the same translation.
    words = [chr(97 + i // 26) + chr(97 + i % 26) for i in range(60)]
    train = [(f"The {w} of 1.", f"Das {w} von 1.") for w in words]
    train += [(f"the {w} of 22", f"Der {w}er von 22") for w in words[:30]]
    train += [(f"Other {w} words", f"das {w}, von 3") for w in words[:30]]
    write_pairs(folder, "train", train[::order])


def test_held_out_sets_are_disjoint_from_train_however_compared(tmp_path: Path):
    write_holdout_source(tmp_path / "source", 1)
    data = config(tmp_path / "source", dev_files=(), test_files=(), holdout_pairs=10)
    manifest = prepare(data, tmp_path / "out")
    assert list(manifest.splits) == ["train", "dev", "test.test"]
    sets = {name: read(tmp_path / "out", name) for name in ("train", "dev", "test.test")}
    assert [len(sets[name]) for name in ("dev", "test.test")] == [10, 10]
    held = sets["dev"] + sets["test.test"]
    assert len({normalise(src) for src, _ in held}) == 20
    for side in (0, 1):
        train = {normalise(p[side]) for p in sets["train"]}
        assert not train & {normalise(p[side]) for p in held}
    counts = manifest.splits["train"]
    assert counts.read == 120
    assert counts.kept == 120 - counts.dropped["in_dev_or_test"]


def test_held_out_choice_depends_on_neither_order_nor_limit(tmp_path: Path):
    found: list[set[str]] = []
    for order, limit in ((1, 0), (-1, 0), (1, 30)):
        root = tmp_path / f"{order}_{limit}"
        write_holdout_source(root / "source", order)
        data = config(root / "source", dev_files=(), test_files=(), holdout_pairs=10, limit=limit)
        prepare(data, root / "out")
        found.append({normalise(src) for src, _ in read(root / "out", "dev")})
    assert found[0] == found[1] == found[2]


def test_holdout_fills_only_what_is_missing(tmp_path: Path):
    write_holdout_source(tmp_path / "source", 1)
    test = [("the ab of 7", "das ab von 7"), ("something else", "etwas anderes")]
    write_pairs(tmp_path / "source", "test", test)
    manifest = prepare(
        config(tmp_path / "source", dev_files=(), holdout_pairs=10), tmp_path / "out"
    )
    assert manifest.tests == ("news",)
    assert read(tmp_path / "out", "test.news") == test
    dev = {normalise(src) for src, _ in read(tmp_path / "out", "dev")}
    assert len(dev) == 10
    assert "the ab of" not in dev


def test_too_large_a_holdout_names_what_there_is(source: Path, tmp_path: Path):
    data = config(source, dev_files=(), test_files=(), holdout_pairs=5)
    with pytest.raises(UserError, match="train has only 1 distinct usable sentences"):
        prepare(data, tmp_path / "out")


def test_no_dev_and_no_holdout_is_refused(source: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"data\.dev_files, or set data\.holdout_pairs"):
        prepare(config(source, dev_files=()), tmp_path / "out")


# --- Direction ----------------------------------------------------------------------------------


def test_swapped_sides_are_refused(source: Path, tmp_path: Path):
    write_pairs(source, "train", [(f"{DE} {i}", f"{EN} {i}") for i in range(20)])
    with pytest.raises(UserError, match="In train, the source side reads like 'de'"):
        prepare(config(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_swapped_dev_is_refused_though_train_is_right(source: Path, tmp_path: Path):
    write_pairs(source, "train", [(f"{EN} {i}", f"{DE} {i}") for i in range(20)])
    write_pairs(source, "dev", [(f"{DE} {i}", f"{EN} {i}") for i in range(5)])
    with pytest.raises(UserError, match="In dev, the source side"):
        prepare(config(source), tmp_path / "out")


def test_same_text_on_both_sides_is_refused():
    pairs = [(f"{EN} {i}", f"{EN} {i}") for i in range(10)]
    with pytest.raises(UserError, match="10 of 10 source sentences are the same"):
        check_direction(pairs, "en", "de", "train")


@pytest.mark.parametrize(
    ("pairs", "src", "tgt"),
    [
        ([(EN, DE)] * 9, "en", "de"),  # right
        ([(EN, DE)] * 9, "en-GB", "de_AT"),
        ([(DE, EN)], "en", "de"),  # wrong, but one line is thin evidence
        ([(DE, DE)] * 9, "en", "de"),  # one side wrong: not swapped; some corpora are such
        ([(EN, DE), (DE, EN)] * 9, "en", "de"),  # mixed
        ([(DE, EN)] * 9, "xx", "en"),  # a language without a list
        ([(DE, EN)] * 9, "en-GB", "en-US"),
    ],
)
def test_direction_check_is_silent_without_evidence(pairs: list[Pair], src: str, tgt: str):
    check_direction(pairs, src, tgt, "train")


# --- Again, at once, or not at all --------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {p.name: (p.stat().st_ino, p.read_bytes()) for p in folder.iterdir()}


def test_complete_preparation_is_used_again(source: Path, tmp_path: Path):
    out = tmp_path / "out"
    first = prepare(config(source), out)
    before = snapshot(out)
    assert prepare(config(source), out) == first
    assert snapshot(out) == before
    for path in source.iterdir():
        path.unlink()
    assert prepare(config(source), out) == first  # Prepared text needs no source.


@pytest.mark.parametrize("harm", ["cut", "changed", "gone", "manifest", "source", "setting"])
def test_preparation_that_is_not_right_is_made_again(source: Path, tmp_path: Path, harm: str):
    out, data = tmp_path / "out", config(source)
    wanted = prepare(data, out)
    text = (out / "dev.tgt").read_bytes()
    if harm == "cut":
        (out / "dev.tgt").write_bytes(text[:-1])
    elif harm == "changed":
        (out / "dev.tgt").write_bytes(text.replace(b"Satz", b"Sotz"))
    elif harm == "gone":
        (out / "dev.tgt").unlink()
    elif harm == "manifest":
        (out / MANIFEST).write_text((out / MANIFEST).read_text()[:-30])
    elif harm == "source":
        write_pairs(source, "train", [pair(i) for i in range(21)])
        assert prepare(data, out).splits["train"].kept == 21
        return
    else:
        data = dataclasses.replace(data, test_files=())
        assert prepare(data, out).tests == ()
        assert not (out / "test.news.src").exists()
        return
    assert prepare(data, out) == wanted
    assert (out / "dev.tgt").read_bytes() == text


def test_other_files_in_the_folder_stay(source: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    prepare(config(source), out)
    assert (out / "notes.txt").read_text() == "mine"
    assert read(out, "dev") == [pair(i) for i in range(100, 103)]


def test_failed_preparation_leaves_nothing(source: Path, tmp_path: Path):
    write_pairs(source, "train", [pair(1)])
    with (source / "train.de").open("a") as file:
        file.write("one line too many\n")
    with pytest.raises(UserError, match="parallel files must have the same number"):
        prepare(config(source), tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


def test_full_disk_names_the_folder_and_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(aiayn.corpus, "clean_chunk", full)
    with pytest.raises(UserError, match=r"new/out: the disk is full"):
        prepare(config(source), tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


def test_folder_that_cannot_be_is_named(source: Path, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(UserError, match="file is a file"):
            prepare(config(source), out)


def test_killed_preparation_leaves_no_result_and_its_litter_goes(source: Path, tmp_path: Path):
    home = tmp_path / "new"
    code = (
        "import time; from pathlib import Path; import aiayn.corpus as c\n"
        "c.clean_chunk = lambda *_, **__: time.sleep(60)\n"
        f"data = c.DataConfig(corpus='tiny', folder={str(source)!r}, dev_files=('dev.{{lang}}',),\n"
        "                    train_files=('train.{lang}',))\n"
        f"c.prepare_corpus(data, Path({str(home / 'out')!r}))\n"
    )
    root = Path(__file__).parent.parent
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root)
    while not (home / ".out.partial" / "train.src").is_file():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.name for path in home.iterdir()] == [".out.partial"]
    prepare(config(source), home / "out")
    assert [path.name for path in home.iterdir()] == ["out"]


def test_result_does_not_depend_on_the_workers(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    # Chunks of 7 pairs: 43 of them, with duplicates within and across.
    words = [chr(97 + i // 26) + chr(97 + i % 26) for i in range(211)]
    train = [(f"{words[i % 211]} {'x' * (i % 5)}", f"das {words[i % 211]}") for i in range(300)]
    write_pairs(source, "train", train)
    found: list[dict[str, bytes]] = []
    for num_workers, chunk_pairs in ((1, 300), (1, 7), (2, 7)):
        monkeypatch.setattr(aiayn.cleaning, "CHUNK_PAIRS", chunk_pairs)
        out = tmp_path / f"out{num_workers}_{chunk_pairs}"
        data = config(source, dev_files=(), test_files=("n=test.{lang}",), holdout_pairs=1)
        prepare(data, out, num_workers=num_workers)
        found.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert found[0] == found[1] == found[2]


# --- Sources ------------------------------------------------------------------------------------


def test_corpus_without_a_source_says_what_to_set(tmp_path: Path):
    with pytest.raises(UserError, match=r"data\.folder=DIR.*data\.hub=OWNER/NAME"):
        prepare(DataConfig(corpus="mine"), tmp_path / "out")


def test_own_files_under_the_phrasebooks_name_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"--set data\.corpus=NAME"):
        prepare(DataConfig(folder=str(tmp_path)), tmp_path / "out")


def test_phrasebook_is_the_corpus_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from aiayn.phrasebook import generate

    few = partial(generate, num_train=2_000, num_dev=20, num_test=30, num_unseen=10)
    monkeypatch.setattr("aiayn.phrasebook.generate", few)
    manifest = prepare(DataConfig(), tmp_path / "out")
    kept = {name: counts.kept for name, counts in manifest.splits.items()}
    assert kept == {"train": 2_000, "dev": 20, "test.seen": 30, "test.unseen": 10}
    assert manifest.splits["train"].dropped == {}


def test_hub_corpus_without_dev_and_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    words = [chr(97 + i // 26) + chr(97 + i % 26) for i in range(60)]
    rows = [{"translation": {"en": f"the {w} house", "de": f"das {w} Haus"}} for w in words]
    (tmp_path / "books").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "books" / "train.parquet")
    data = DataConfig(corpus="books", hub=str(tmp_path / "books"), num_pairs=(60,), holdout_pairs=5)
    manifest = prepare(data, tmp_path / "out")
    assert {name: counts.kept for name, counts in manifest.splits.items()} == {
        "train": 50,
        "dev": 5,
        "test.test": 5,
    }
    assert manifest.source["name"] == "books"
    assert str(tmp_path) not in (tmp_path / "out" / MANIFEST).read_text()


@pytest.mark.skipif(not (SHARED_DATA / "multi30k").is_dir(), reason="Multi30k is not here")
def test_multi30k(tmp_path: Path):
    data = DataConfig(
        corpus="multi30k",
        folder=str(SHARED_DATA / "multi30k"),
        train_files=("train.{lang}.gz",),
        dev_files=("val.{lang}.gz",),
        test_files=("2016=test_2016_flickr.{lang}.gz", "2018=test_2018_flickr.{lang}.gz"),
    )
    manifest = prepare(data, tmp_path / "out")
    kept = {name: counts.kept for name, counts in manifest.splits.items()}
    assert kept | {"train": 0} == {"train": 0, "dev": 1_014, "test.2016": 1_000, "test.2018": 1_071}
    assert manifest.splits["train"].read == 29_000
    assert 28_000 < kept["train"] <= 29_000

    swapped = tmp_path / "swapped"
    swapped.mkdir()
    for lang, other in (("en", "de"), ("de", "en")):
        shutil.copy(SHARED_DATA / "multi30k" / f"val.{other}.gz", swapped / f"train.{lang}.gz")
    data = config(swapped, train_files=("train.{lang}.gz",), dev_files=(), test_files=())
    with pytest.raises(UserError, match="source side reads like 'de'"):
        prepare(data, tmp_path / "out")
