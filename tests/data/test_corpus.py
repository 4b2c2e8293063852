import dataclasses
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import aiayn.data.corpus
import aiayn.data.text
from aiayn.config import DataConfig
from aiayn.data.corpus import (
    MANIFEST,
    Manifest,
    changed_source,
    open_pairs,
    read_test_files,
)
from aiayn.data.sources.formats import Pair, Source, Split
from aiayn.data.sources.opening import LONGEST_LINE
from aiayn.errors import UserError
from tests.support.corpora import config, pair, prepare, read, write_pairs, write_texts

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


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

    monkeypatch.setattr(aiayn.data.corpus, "clean_chunk", full)
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
        "from pathlib import Path; import aiayn.data.corpus as c\n"
        "c.clean_chunk = lambda *_, **__: [print(flush=True), input()]\n"
        f"data = c.DataConfig(corpus='tiny', folder={str(source)!r}, dev_files=('dev.{{lang}}',),\n"
        "                    train_files=('train.{lang}',))\n"
        f"c.prepare_corpus(data, Path({str(home / 'out')!r}))\n"
    )
    root = Path(__file__).parents[2]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, **pipes) as process:
        assert process.stdout
        assert process.stdout.readline(), "it is cleaning"
        process.send_signal(signal.SIGKILL)
    assert (home / ".out.partial" / "train.src").is_file()
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
        monkeypatch.setattr(aiayn.data.text, "CHUNK_PAIRS", chunk_pairs)
        out = tmp_path / f"out{num_workers}_{chunk_pairs}"
        data = config(source, dev_files=(), test_files=("n=test.{lang}",), holdout_pairs=1)
        prepare(data, out, num_workers=num_workers)
        found.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("change", [{"limit": 5}, {"deduplicate": False}])
def test_other_settings_of_the_same_source_are_prepared_anew(
    source: Path, tmp_path: Path, change: dict[str, int]
):
    write_pairs(source, "train", [pair(i) for i in (*range(20), 3, 4)])
    first = prepare(config(source), tmp_path / "out")
    second = prepare(config(source, **change), tmp_path / "out")
    assert second == prepare(config(source, **change), tmp_path / "alone")
    assert second.splits["train"] != first.splits["train"]


def test_a_pair_that_comes_twice_is_kept_once_unless_asked_for(source: Path, tmp_path: Path):
    # One of 20 pairs again, and its source with another translation, which is another pair.
    pairs = [*(pair(i) for i in range(20)), pair(3), (pair(3)[0], "anders")]
    write_pairs(source, "train", pairs)
    once = prepare(config(source), tmp_path / "once")
    assert read(tmp_path / "once", "train") == [*pairs[:20], pairs[21]]
    assert (once.splits["train"].kept, once.splits["train"].dropped) == (21, {"duplicate": 1})
    twice = prepare(config(source, deduplicate=False), tmp_path / "twice")
    assert read(tmp_path / "twice", "train") == pairs
    assert (twice.splits["train"].kept, twice.splits["train"].dropped) == (22, {})


@pytest.mark.parametrize("name", ["train", "dev", "test"])
@pytest.mark.parametrize("line", ["Satz ei@@ nes Tex@@ tes", '<seg id="1">Satz</seg>'])
def test_text_that_no_figure_can_be_taken_of_is_refused_before_training(
    source: Path, tmp_path: Path, name: str, line: str
):
    pairs = read_source(source, name)
    write_pairs(source, name, [(pairs[0][0], line), *pairs[1:3]])
    with pytest.raises(UserError, match=f"1 of [23] .* of .*{name}.* hold .*wanted plain"):
        prepare(config(source), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def read_source(source: Path, name: str) -> list[tuple[str, str]]:
    sides = [(source / f"{name}.{lang}").read_text().splitlines() for lang in ("en", "de")]
    return list(zip(*sides, strict=True))


def test_what_has_changed_in_the_source_is_named_by_split_and_file(source: Path, tmp_path: Path):
    data = config(source)
    manifest = prepare(data, tmp_path / "out")
    assert changed_source(data, manifest) == {}
    write_pairs(source, "test", [pair(i) for i in range(300, 304)])
    assert changed_source(data, manifest) == {"test.news": ["test.en", "test.de"]}
    text = (source / "train.de").read_bytes()
    (source / "train.de").write_bytes(text.replace(b"Satz 7 ", b"Satz 8 "))
    assert changed_source(data, manifest)["train"] == ["train.de"]
    more = config(source, test_files=("news=test.{lang}", "more=dev.{lang}"))
    assert changed_source(more, manifest)["test.more"] == ["dev.en", "dev.de"]
    (source / "test.de").unlink()
    assert changed_source(data, manifest) == {"train": ["train.de"]}, "what is gone is no change"
    (source / "train.en").unlink()
    assert changed_source(data, manifest) == {}


def test_test_sets_are_read_without_a_file_of_train(source: Path, tmp_path: Path):
    for name in ("train", "dev"):
        for lang in ("en", "de"):
            (source / f"{name}.{lang}").unlink()
    data = config(source)
    assert read_test_files(data) == {"news": [pair(200), pair(201)]}
    write_pairs(source, "test", [])
    with pytest.raises(UserError, match=r"test\.news holds no pairs"):
        read_test_files(data)


# --- Sources ------------------------------------------------------------------------------------


def test_corpus_without_a_source_says_what_to_set(tmp_path: Path):
    with pytest.raises(UserError, match=r"data\.folder=DIR.*data\.hub=OWNER/NAME"):
        prepare(DataConfig(corpus="mine"), tmp_path / "out")


def test_own_files_under_the_phrasebooks_name_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"--set data\.corpus=NAME"):
        prepare(DataConfig(folder=str(tmp_path)), tmp_path / "out")


def test_phrasebook_is_the_corpus_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from aiayn.data.sources.phrasebook import generate

    few = partial(generate, num_train=2_000, num_dev=20, num_test=30, num_unseen=10)
    monkeypatch.setattr("aiayn.data.sources.phrasebook.generate", few)
    manifest = prepare(DataConfig(), tmp_path / "out")
    kept = {name: counts.kept for name, counts in manifest.splits.items()}
    assert kept == {"train": 2_000, "dev": 20, "test.seen": 30, "test.unseen": 10}
    assert manifest.splits["train"].dropped == {}


@pytest.mark.parametrize("codes", [("en", "de"), ("eng", "DE"), ("en-US", "deu_Latn")])
def test_the_phrasebook_is_asked_for_languages(codes, tmp_path, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, str]] = []

    def generate(src: str, tgt: str, seed: int):
        asked.append((src, tgt))
        raise UserError("enough")

    monkeypatch.setattr("aiayn.data.sources.phrasebook.generate", generate)
    with pytest.raises(UserError, match="enough"):
        prepare(DataConfig(src=codes[0], tgt=codes[1]), tmp_path / "out")
    assert asked == [("en", "de")]


@pytest.fixture
def small_phrasebook(monkeypatch: pytest.MonkeyPatch):
    """A phrasebook of 20 pairs, with one test set of its own."""

    class Small(NamedTuple):
        train: list[Pair]
        dev: list[Pair]
        test_own: list[Pair]

    made = Small([pair(i) for i in range(20)], [pair(50)], [pair(60)])
    monkeypatch.setattr("aiayn.data.sources.phrasebook.generate", lambda *_, **__: made)


def test_test_sets_of_ones_own_are_scored_beside_those_of_the_phrasebook(
    small_phrasebook, source: Path, tmp_path: Path, capsys
):
    data = DataConfig(test_files=(f"news={source}/test.{{lang}}",))
    manifest = prepare(data, tmp_path / "out")
    assert manifest.tests == ("own", "news")
    assert read(tmp_path / "out", "test.news") == [pair(200), pair(201)]
    assert changed_source(data, manifest) == {}
    # Mended, it is another; the phrasebook is the same.
    write_pairs(source, "test", [pair(3), pair(201)])
    assert changed_source(data, manifest) == {"test.news": ["test.en", "test.de"]}
    assert prepare(data, tmp_path / "out").splits["train"].kept == 19, "one is a test sentence now"
    taken = replace(data, test_files=(f"own={source}/test.{{lang}}",))
    with pytest.raises(UserError, match="a test set 'own', and the corpus has one of that name"):
        prepare(taken, tmp_path / "other")
    missing = replace(data, test_files=("news=gone.{lang}",))
    with pytest.raises(UserError, match=r"gone\.en does not exist; data\.test_files names it"):
        prepare(missing, tmp_path / "other")
    assert capsys.readouterr().err == ""


def test_test_sets_of_ones_own_are_scored_beside_that_of_the_hub(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    train, dev, test = (
        Split(lambda _, numbers=numbers: map(pair, numbers)) for numbers in (range(20), [50], [60])
    )
    hub = Source({"kind": "hub"}, train, dev, {"test": test})
    monkeypatch.setattr("aiayn.data.corpus.open_hub", lambda _: hub)
    # Relative to the working directory, as nothing else is named; or wherever they are.
    monkeypatch.chdir(source)
    for number, (files, named) in enumerate(
        (((), "news=test.{lang}"), (("train.{lang}",), f"news={source}/test.{{lang}}"))
    ):
        data = DataConfig(corpus="c", hub="a/b", train_files=files, test_files=(named,))
        manifest = prepare(data, tmp_path / str(number))
        assert manifest.tests == ("test", "news")
        assert changed_source(data, manifest) == {}
        assert capsys.readouterr().err == ""
    # Files that stand for the dataset where data.folder has them are not there without it.
    data = DataConfig(
        corpus="c",
        hub="a/b",
        train_files=("train.{lang}",),
        test_files=("news=test.{lang}", "more=more.{lang}"),
    )
    assert prepare(data, tmp_path / "own").tests == ("test",)
    assert "2 of data.test_files are relative to data.folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("folder", "x"),
        ("train_files", ("x.tsv",)),
        ("dev_files", ("x.tsv",)),
        ("hub", "a/b"),
        ("hub_config", "x"),
        ("revision", "x"),
        ("num_pairs", (1, 2)),
        ("columns", ("1", "2")),
    ],
)
def test_a_setting_that_a_corpus_does_not_have_is_refused_by_name(setting, value):
    with pytest.raises(UserError, match=rf"data\.{setting} is set, but data\.corpus is 'phr"):
        open_pairs(DataConfig(**{setting: value}))
    if setting in ("hub_config", "revision", "num_pairs"):
        for folder in ("", "x"):
            with pytest.raises(UserError, match=rf"data\.{setting} is set, but data\.hub, which"):
                open_pairs(DataConfig(corpus="c", folder=folder, **{setting: value}))


def test_the_phrasebook_has_one_kind_of_portuguese(tmp_path):
    with pytest.raises(UserError, match=r"data\.tgt is 'pt-PT'; wanted one of"):
        prepare(DataConfig(tgt="pt-PT"), tmp_path / "out")


def test_a_folder_may_be_beside_the_users_home(source: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(source.parent))
    place = f"~/{source.name}"
    data = config(Path(place), dev_files=(f"{place}/dev.{{lang}}",))
    assert prepare(data, tmp_path / "out").splits["train"].kept == 20
    with pytest.raises(UserError, match="~nobody-here"):
        prepare(config(Path("~nobody-here/x")), tmp_path / "none")


@pytest.mark.parametrize("name", ["train.csv", "train.tsv.zip", "train.{lang}.zst", "train.json"])
def test_files_that_are_not_read_are_refused_with_what_to_do(source: Path, tmp_path: Path, name):
    with pytest.raises(UserError, match=r"as TSV|unzip|zstd -d|jq -c"):
        prepare(config(source, train_files=(name,)), tmp_path / "out")


def test_dev_in_another_encoding_is_refused_with_the_command(source: Path, tmp_path: Path):
    (source / "dev.de").write_bytes("grün\n".encode("latin-1") * 3)
    with pytest.raises(UserError, match=r"dev\.de: 3 of 3 lines .* iconv -f ISO-8859-1 -t UTF-8"):
        prepare(config(source), tmp_path / "out")


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


# --- Text without a source ----------------------------------------------------------------------


def test_text_is_written_as_targets_of_no_sources(tmp_path: Path):
    data = write_texts(tmp_path, train="eins zwei\ndrei\n", dev="vier\u2028fünf", news="sechs")
    manifest = prepare(data, tmp_path / "out")
    names = {f"{n}.{s}" for n in ("train", "dev", "test.news") for s in ("src", "tgt")}
    assert manifest.files.keys() == names
    assert (manifest.src, manifest.tgt, manifest.tests) == ("", "de", ("news",))
    assert read(tmp_path / "out", "train") == [("", "eins zwei"), ("", "drei")]
    assert read(tmp_path / "out", "dev") == [("", "vier fünf")]
    train = manifest.splits["train"]
    assert (train.read, train.kept, train.src_words, train.tgt_words) == (2, 2, 0, 3)
    assert changed_source(data, manifest) == {}
    (tmp_path / "news.txt").write_text("sieben")
    assert changed_source(data, manifest) == {"test.news": ["news.txt"]}
    assert read_test_files(data) == {"news": [("", "sieben")]}
    # By file: dev as it is, its line breaks as one character.
    data = replace(data, documents="file")
    prepare(data, tmp_path / "file")
    assert read(tmp_path / "file", "train") == [("", "eins zwei\u2028drei")]
    assert read(tmp_path / "file", "dev") == [("", "vier\u2028fünf")]


def test_the_target_side_of_the_phrasebook_is_text(tmp_path: Path, monkeypatch):
    asked: list[tuple[str, str]] = []

    class Small(NamedTuple):
        train: list[Pair]
        dev: list[Pair]
        test_seen: list[Pair]

    def generate(src: str, tgt: str, seed: int) -> Small:
        asked.append((src, tgt))
        return Small([pair(1), pair(2)], [pair(50)], [pair(60)])

    monkeypatch.setattr("aiayn.data.sources.phrasebook.generate", generate)
    manifest = prepare(DataConfig(src="", tgt="de-DE"), tmp_path / "out")
    assert manifest.tests == ("seen",)
    assert read(tmp_path / "out", "train") == [("", pair(1)[1]), ("", pair(2)[1])]
    prepare(DataConfig(src="", tgt="en"), tmp_path / "en")
    assert asked == [("en", "de"), ("de", "en")]
    with pytest.raises(UserError, match=r"data\.documents is 'file'; wanted 'line', as the phrase"):
        prepare(DataConfig(src="", documents="file"), tmp_path / "file")


@pytest.mark.parametrize("how", ["line", "blank_line", "file"])
def test_text_that_is_none_is_refused_with_its_place(tmp_path: Path, how):
    def refused(**splits: str) -> str:
        data = write_texts(tmp_path / "source", **({"train": "eins", "dev": "zwei"} | splits))
        with pytest.raises(UserError) as error:
            prepare(replace(data, documents=how), tmp_path / "out")
        return str(error.value)

    assert refused(train="").startswith("Nothing of train is left (")
    assert refused(dev=" \n\n") == "dev holds no documents."
    train = refused(train="a\0b")
    assert train.startswith("Nothing of train is left (1 control; the first is ")
    assert train.endswith("train.txt, line 1: control).")
    dev = refused(dev="drei\n\n\nvier\na\0b")
    assert dev.startswith("dev has 1 documents that cannot be used; the first is ")
    assert "dev.txt, line 5: control. A set that measures models" in dev
    bytes_of = refused(dev="drei\n\nvier \udcff")
    assert "dev.txt, line 3: invalid utf8. A set that measures models" in bytes_of
    endless = refused(dev="x" * (LONGEST_LINE + 1))
    assert "dev.txt, line 1: too long. A set that measures models" in endless
    assert "wanted plain, detokenised sentences" in refused(train="Satz ei@@ nes Tex@@ tes\n" * 3)


def test_a_line_in_ten_of_one_document_may_be_no_plain_text(tmp_path: Path):
    # One document of many lines, of which one looks like a subword marker.
    text = "@@ -1 +1 @@\n" + "ein Satz\n" * 20
    data = write_texts(tmp_path / "source", train=text, dev="zwei")
    assert prepare(replace(data, documents="file"), tmp_path / "out").splits["train"].kept == 1
