import errno
import fcntl
import gzip
import hashlib
import io
import json
import os
import random
import re
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece

import aiayn.data.prepare
from aiayn.data.prepare import Begun, find_prepared, fingerprint, prepare
from aiayn.data.tokenizer import TreeTokenizer, train_tokenizer
from aiayn.data.updates import batches
from aiayn.errors import UserError
from aiayn.system import checksums
from tests.support.corpora import config, copy_corpus, pair, write_pairs, write_texts
from tests.support.runs import reverse_experiment
from tests.support.trees import write_treebank


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    copy_corpus(folder, 1_000)
    return folder


def test_prepared_data_is_reused_and_the_same_everywhere(corpus, tmp_path):
    experiment = reverse_experiment(corpus)
    first = prepare(experiment.data, tmp_path / "a", progress=False)
    stamp = (first.folder / "rows/train.32.bin").stat().st_mtime_ns
    again = prepare(experiment.data, tmp_path / "a", progress=False)
    assert (again.folder / "rows/train.32.bin").stat().st_mtime_ns == stamp
    other = prepare(experiment.data, tmp_path / "b", progress=False)
    assert other.fingerprint == first.fingerprint
    rows = [(p.folder / "rows/train.32.bin").read_bytes() for p in (first, other)]
    assert rows[0] == rows[1]


def test_a_corpus_without_a_test_set_is_scored_on_dev(corpus, tmp_path):
    data = reverse_experiment(corpus).data
    assert prepare(data, tmp_path, progress=False).test_sets == {"test": "test.test"}
    alone = replace(data, test_files=())
    assert prepare(alone, tmp_path, progress=False).test_sets == {"dev": "dev"}


def _damages(whole):
    """A file cut short, gone, and with other bytes of the same number in a half of it."""
    half = len(whole) // 2
    return whole[:-2], None, whole[:half] + whole[half:][::-1], b"\xff" * len(whole)


@pytest.mark.parametrize(
    "name", ["rows/train.32.bin", "rows/dev.32.bin", "rows/train.json", "tokenizer.model"]
)
def test_damaged_files_are_made_again_and_named(corpus, tmp_path, capsys, name):
    data = reverse_experiment(corpus).data
    path = prepare(data, tmp_path, progress=False).folder / name
    whole = path.read_bytes()
    for damaged in _damages(whole):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        prepare(data, tmp_path, progress=False)
        assert path.read_bytes() == whole
        assert f"{path} " in capsys.readouterr().err
    assert prepare(data, tmp_path, progress=False).tokenizer
    assert capsys.readouterr().err == ""


def test_a_damaged_stamp_or_one_of_an_earlier_version_costs_no_more_than_rows(corpus, tmp_path):
    data = reverse_experiment(corpus).data
    folder = prepare(data, tmp_path, progress=False).folder
    model, rows = ((folder / name).read_bytes() for name in ("tokenizer.model", "rows/dev.32.bin"))
    found = json.loads((folder / "rows/train.made_from").read_text())
    texts = json.loads((folder / "tokenizer.made_from").read_text())["origin"]
    # As the versions before wrote them: the sums of what a file was made from, one a line.
    (folder / "tokenizer.made_from").write_text("\n".join(texts))
    (folder / "rows/train.made_from").write_text("\n".join(found["origin"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiayn.data.prepare, "train_tokenizer", None)  # another could be the result
        assert prepare(data, tmp_path, progress=False).tokenizer.model == model
    assert json.loads((folder / "rows/train.made_from").read_text()) == found
    for text in ("", "[1]", '{"origin": 3}', "\0"):
        for stamp in ("tokenizer.made_from", "rows/dev.made_from"):
            (folder / stamp).write_text(text)
        prepare(data, tmp_path, progress=False)
        assert (folder / "tokenizer.model").read_bytes() == model
        assert (folder / "rows/dev.32.bin").read_bytes() == rows


def test_rows_that_were_half_made_are_made_again(corpus, tmp_path, monkeypatch):
    data = reverse_experiment(corpus).data
    path = prepare(data, tmp_path, progress=False).folder / "rows/train.32.bin"
    whole, original = path.read_bytes(), aiayn.data.prepare.pack_split

    def killed(*arguments):
        original(*arguments)
        path.write_bytes(bytes(len(whole)))
        raise KeyboardInterrupt

    path.write_bytes(whole[:-2])
    monkeypatch.setattr(aiayn.data.prepare, "pack_split", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(data, tmp_path, progress=False)
    monkeypatch.undo()
    prepare(data, tmp_path, progress=False)
    assert path.read_bytes() == whole


def test_a_changed_line_of_prepared_text_is_found_however_long_the_text(
    corpus, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(checksums, "HASHED_BYTES", 5)  # files of the source past it are not read
    data = reverse_experiment(corpus).data
    path = prepare(data, tmp_path, progress=False).folder / "text/train.src"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"red", b"rod", 1))
    prepare(data, tmp_path, progress=False)
    assert path.read_bytes() == whole
    assert f"{path} does not hold the bytes that were written" in capsys.readouterr().err


def test_rows_of_another_tokenizer_are_packed_anew(corpus, tmp_path):
    data = reverse_experiment(corpus).data
    prepared = prepare(data, tmp_path, progress=False)
    other = train_tokenizer(prepared.lines("dev", "src"), data.vocab_size - 10)
    stamp = prepared.folder / "tokenizer.made_from"
    values = json.loads(stamp.read_text())
    values["sha256"]["tokenizer.model"] = hashlib.sha256(other.model).hexdigest()
    stamp.write_text(json.dumps(values))
    (prepared.folder / "tokenizer.model").write_bytes(other.model)
    again = prepare(data, tmp_path, progress=False)
    assert again.fingerprint != prepared.fingerprint, "which the tokenizer is a part of"
    for split in ("train", "dev"):
        (rows,) = getattr(again, split).classes
        pairs = zip(again.lines(split, "src"), again.lines(split, "tgt"), strict=True)
        lengths = [len(other.encode([s])[0]) + 1 for s, _ in pairs]
        assert rows.src_tokens == sum(lengths)


def test_the_tokenizer_is_trained_on_both_sides_of_train_alone(tmp_path):
    def pairs(word, count):
        return [(f"the {word} number {n}", f"das Wort zz{word} {n}") for n in range(count)]

    for name, word, count in (("train", "quux", 400), ("dev", "kweg", 300), ("test", "xylo", 300)):
        write_pairs(tmp_path, name, pairs(word, count))
    prepared = prepare(config(tmp_path, vocab_size=400), tmp_path / "data", progress=False)
    pieces = {*prepared.tokenizer.pieces(range(prepared.tokenizer.num_words))}
    assert {"▁quux", "▁zzquux"} <= pieces, "which only one side has, each"
    assert not {piece for piece in pieces if "kweg" in piece or "xylo" in piece}


def test_no_pair_of_dev_is_too_long_and_pairs_of_train_are(tmp_path):
    long = " ".join(["word"] * 60)
    for name, first in (("train", 0), ("dev", 1_000), ("test", 2_000)):
        pairs = [(f"a word {n}", f"ein Wort {n}") for n in range(first, first + 200)]
        write_pairs(tmp_path, name, [*pairs, (f"{long} {first}", f"{long} {first}")])
    data = config(tmp_path, vocab_size=300, row_widths=(32,), max_tokens=32)
    prepared = prepare(data, tmp_path / "data", progress=False)
    assert (prepared.train.too_long, prepared.dev.too_long) == (1, 0)
    assert sum(c.num_pairs for c in prepared.train.classes) == 200
    assert sum(c.num_pairs for c in prepared.dev.classes) == 201


def _same(found, wanted):
    """Whether it is the same data; tokenizers are compared by their models."""
    same_model = found.tokenizer.model == wanted.tokenizer.model
    return same_model and replace(found, tokenizer=wanted.tokenizer) == wanted


def _fails(*_, **__):
    raise AssertionError("nothing is to be made")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_enough_if_it_is_whole(
    corpus, tmp_path, monkeypatch, number
):
    data = reverse_experiment(corpus).data
    first = prepare(data, tmp_path, progress=False)

    def refused(path, *_):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(aiayn.data.prepare, "locked", refused)
    monkeypatch.setattr(aiayn.data.prepare, "write_text", refused)
    monkeypatch.setattr(aiayn.data.prepare, "pack_split", lambda *a: refused(a[4]))
    assert _same(prepare(data, tmp_path, progress=False), first)
    (first.folder / "rows/dev.json").unlink()
    with pytest.raises(UserError, match=r"rows: (permission|the file system)"):
        prepare(data, tmp_path, progress=False)


# --- Test sets of a run that has begun ----------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    """Pairs of train, dev and test on disk, and what a run with them was begun with."""
    for name, first in (("train", 0), ("dev", 1_000), ("test", 2_000)):
        write_pairs(tmp_path, name, [pair(n) for n in range(first, first + 100)])
    data = config(tmp_path, vocab_size=300)
    prepared = prepare(data, tmp_path / "data", progress=False)
    return tmp_path, prepared, Begun(data, prepared.fingerprint, prepared.tokenizer.model)


def test_test_sets_are_mended_added_renamed_and_removed_and_training_stays(place, monkeypatch):
    folder, prepared, begun = place
    monkeypatch.setattr(aiayn.data.prepare, "train_tokenizer", _fails)
    monkeypatch.setattr(aiayn.data.prepare, "pack_split", _fails)
    # Sentences 3 and 5 are in train.
    write_pairs(folder, "test", [pair(n) for n in (3_000, 3, 3_001, 5)])
    write_pairs(folder, "more", [pair(n) for n in range(2_000, 2_100)])

    def go_on(*test_files):
        data = replace(begun.data, test_files=test_files)
        found = prepare(data, folder / "data", progress=False, begun=begun)
        assert found.folder == prepared.folder
        assert found.fingerprint == prepared.fingerprint
        assert found.changed == {}
        return found

    mended = go_on("news=test.{lang}")
    assert mended.test_sets == {"news": "test.news"}
    assert mended.lines("test.news", "tgt") == [pair(n)[1] for n in (3_000, 3, 3_001, 5)]
    assert mended.lines("dev", "tgt") == prepared.lines("dev", "tgt")
    assert mended.seen_in_train("test.news") == 2
    added = go_on("old=more.{lang}", "news=test.{lang}")
    assert list(added.test_sets) == ["old", "news"]
    assert added.seen_in_train("test.old") is None, "train was cleaned of it, under another name"
    assert prepared.seen_in_train("test.news") is None
    assert added.test_text("test.old") == prepared.test_text("test.news")
    assert added.test_text("test.news") != prepared.test_text("test.news")
    assert go_on().test_sets == {"dev": "dev"}
    assert go_on().seen_in_train("dev") is None
    (folder / "test.en").unlink()
    with pytest.raises(UserError, match=r"test\.en does not exist; data\.test_files names it"):
        go_on("other=test.{lang}")
    assert _same(go_on("news=test.{lang}"), prepared), "as it was prepared"


def test_the_text_of_a_test_set_is_known_by_its_sum(place):
    _, prepared, _ = place
    text = prepared.test_text("test.news")
    lines = "".join(f"{pair(n)[1]}\n" for n in range(2_000, 2_100))
    assert (text.sentences, text.ref) == (100, hashlib.sha256(lines.encode()).hexdigest())


def test_another_run_is_cleaned_of_mended_test_sets_and_takes_nothing_from_the_first(place):
    folder, prepared, begun = place
    write_pairs(folder, "test", [pair(n) for n in (3_000, 3, 5)])
    second = prepare(begun.data, folder / "data", progress=False)
    assert second.folder != prepared.folder
    assert second.manifest.splits["train"].dropped == {"in_dev_or_test": 2}
    assert second.seen_in_train("test.news") is None
    assert _same(prepare(begun.data, folder / "data", progress=False), second), "found again"
    first = prepare(begun.data, folder / "data", progress=False, begun=begun)
    assert (first.folder, first.fingerprint) == (prepared.folder, prepared.fingerprint)
    assert len(first.lines("train", "src")) == 100
    assert first.lines("test.news", "src") == second.lines("test.news", "src")


def test_a_changed_line_of_train_or_dev_is_named_and_nothing_is_made_anew(place):
    folder, prepared, begun = place
    text = (folder / "train.de").read_bytes()
    (folder / "train.de").write_bytes(text.replace(b"Satz 7 ", b"Satz 7, "))
    found = prepare(begun.data, folder / "data", progress=False, begun=begun)
    assert found.changed == {"train": ["train.de"]}
    assert found.lines("train", "tgt") == prepared.lines("train", "tgt")
    (folder / "train.de").write_bytes(text)
    assert prepare(begun.data, folder / "data", progress=False, begun=begun).changed == {}


def test_the_data_of_a_run_is_found_by_its_fingerprint_whatever_it_was_prepared_for(place):
    folder, prepared, begun = place
    assert find_prepared(begun, folder / "data") == prepared.folder
    assert find_prepared(begun, folder / "elsewhere") is None
    tests = begun._replace(data=replace(begun.data, test_files=(), folder="elsewhere"))
    assert find_prepared(tests, folder / "data") == prepared.folder
    rows = begun._replace(data=replace(begun.data, row_widths=(64, 256)))
    assert find_prepared(rows, folder / "data") is None, "the same text in other rows"
    for other in (begun._replace(fingerprint="0" * 64), begun._replace(tokenizer=b"")):
        assert find_prepared(other, folder / "data") is None
    # As a version before wrote it: with the test sets, and no sum of the settings of training.
    with_tests = fingerprint(prepared.manifest, prepared.tokenizer.model, tests=True)
    assert with_tests != prepared.fingerprint
    manifest = prepared.folder / "text/manifest.json"
    values = json.loads(manifest.read_text())
    del values["training_hash"]
    manifest.write_text(json.dumps(values))
    assert find_prepared(begun._replace(fingerprint=with_tests), folder / "data")
    assert prepared.is_of(with_tests)
    assert prepared.is_of(prepared.fingerprint)
    assert not prepared.is_of("0" * 64)


def test_data_that_is_gone_is_made_anew_with_the_test_sets_that_the_run_began_with(place):
    folder, prepared, begun = place
    write_pairs(folder, "more", [pair(n) for n in (3, 4, 5)])
    data = replace(begun.data, test_files=("more=more.{lang}",))
    again = prepare(data, folder / "new", progress=False, begun=begun)
    assert again.fingerprint == prepared.fingerprint
    assert again.lines("test.more", "src") == [pair(n)[0] for n in (3, 4, 5)]
    (folder / "test.en").unlink()
    other = prepare(data, folder / "newer", progress=False, begun=begun)
    assert other.fingerprint != prepared.fingerprint, "the run is refused, by the text of train"
    assert other.manifest.splits["train"].kept == 97


def test_a_run_keeps_its_tokenizer_when_the_prepared_one_is_damaged(place, monkeypatch):
    folder, prepared, begun = place
    monkeypatch.setattr(aiayn.data.prepare, "train_tokenizer", _fails)
    (prepared.folder / "tokenizer.model").write_bytes(b"")
    found = prepare(begun.data, folder / "data", progress=False, begun=begun)
    assert found.tokenizer.model == begun.tokenizer


def test_test_sets_that_were_held_out_stay_beside_those_that_are_named(tmp_path):
    write_pairs(tmp_path, "train", [pair(n) for n in range(100)])
    words = [chr(97 + n // 26) + chr(97 + n % 26) for n in range(200)]
    write_pairs(tmp_path, "train", [(f"the {w} house", f"das {w} Haus") for w in words])
    write_pairs(tmp_path, "more", [pair(n) for n in range(5)])
    data = config(tmp_path, vocab_size=300, dev_files=(), test_files=(), holdout_pairs=10)
    prepared = prepare(data, tmp_path / "data", progress=False)
    begun = Begun(data, prepared.fingerprint, prepared.tokenizer.model)
    assert _same(prepare(data, tmp_path / "data", progress=False, begun=begun), prepared)
    more = replace(data, test_files=("more=more.{lang}",))
    found = prepare(more, tmp_path / "data", progress=False, begun=begun)
    assert list(found.test_sets) == ["test", "more"]
    assert found.lines("test.test", "src") == prepared.lines("test.test", "src")
    taken = replace(data, test_files=("test=more.{lang}",))
    with pytest.raises(UserError, match="a test set 'test', and the corpus has one of that name"):
        prepare(taken, tmp_path / "data", progress=False, begun=begun)
    # Damaged it is made anew, whatever else is asked: no file has it.
    held_out = prepared.folder / "text/test.test.tgt"
    whole = held_out.read_bytes()
    held_out.write_bytes(b"x" + whole[1:])
    again = prepare(more, tmp_path / "data", progress=False, begun=begun)
    assert list(again.test_sets) == ["test", "more"]
    assert again.fingerprint == prepared.fingerprint
    assert held_out.read_bytes() == whole


def test_a_test_set_that_is_gone_hides_no_other_that_was_mended(place):
    folder, _, _ = place
    write_pairs(folder, "more", [pair(n) for n in range(4_000, 4_010)])
    data = config(folder, vocab_size=300, test_files=("a=test.{lang}", "b=more.{lang}"))
    prepared = prepare(data, folder / "both", progress=False)
    begun = Begun(data, prepared.fingerprint, prepared.tokenizer.model)
    (folder / "test.en").unlink()
    write_pairs(folder, "more", [pair(n) for n in range(5_000, 5_003)])
    found = prepare(data, folder / "both", progress=False, begun=begun)
    assert list(found.test_sets) == ["a", "b"]
    assert found.lines("test.a", "tgt") == prepared.lines("test.a", "tgt")
    assert found.lines("test.b", "src") == [pair(n)[0] for n in range(5_000, 5_003)]


def test_a_large_corpus_tokenizer_is_trained_apart_and_is_the_same(corpus, tmp_path, monkeypatch):
    data = reverse_experiment(corpus).data
    here = prepare(data, tmp_path / "here", progress=False)
    monkeypatch.setattr(aiayn.data.prepare, "_LARGE", 1)
    monkeypatch.setattr(aiayn.data.prepare, "train_tokenizer", None)  # no worker knows of this
    assert prepare(data, tmp_path / "apart", progress=False).tokenizer.model == here.tokenizer.model
    with pytest.raises(UserError, match=r"data\.vocab_size is 30000; the training text allows"):
        prepare(replace(data, vocab_size=30_000), tmp_path, progress=False)


def test_only_one_process_at_a_time_prepares_a_folder(corpus, tmp_path, monkeypatch):
    original = aiayn.data.prepare.prepare_corpus

    def prepare_corpus(data, out, **options):
        with (out.parent / "lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return original(data, out, **options)

    monkeypatch.setattr(aiayn.data.prepare, "prepare_corpus", prepare_corpus)
    prepared = prepare(reverse_experiment(corpus).data, tmp_path, progress=False)
    with (prepared.folder / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def own_model(corpus, path, **ids):
    """A SentencePiece model of 310 pieces as its own program trains it."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((corpus / "train.aa").read_text().splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=310,
        byte_fallback=True,
        minloglevel=2,
        **ids,
    )
    path.write_bytes(model.getvalue())


def test_a_tokenizer_of_ones_own_is_used_and_checked(corpus, tmp_path):
    path, data = tmp_path / "own.model", reverse_experiment(corpus).data
    own_model(corpus, path, pad_id=3)
    data = replace(data, tokenizer=str(path), vocab_size=310)
    first = prepare(data, tmp_path, progress=False)
    assert first.tokenizer.model == path.read_bytes()
    stamp = (first.folder / "rows/train.32.bin").stat().st_mtime_ns
    with pytest.raises(UserError, match=r"has 310 pieces: --set data.vocab_size=310"):
        prepare(replace(data, vocab_size=400), tmp_path, progress=False)

    # As a file it can go; another in its place is another tokenizer, and makes other rows.
    gone = path.rename(tmp_path / "elsewhere.model")
    again = prepare(data, tmp_path, progress=False)
    assert again.fingerprint == first.fingerprint
    assert (again.folder / "rows/train.32.bin").stat().st_mtime_ns == stamp
    own_model(corpus, path, pad_id=2, eos_id=3)
    other = prepare(data, tmp_path, progress=False)
    assert other.tokenizer.model == path.read_bytes() != gone.read_bytes()
    assert (other.folder / "rows/train.32.bin").stat().st_mtime_ns != stamp

    # A run that has begun keeps its own; a damaged copy is known as one.
    begun = Begun(data, first.fingerprint, first.tokenizer.model)
    assert prepare(data, tmp_path, progress=False, begun=begun).fingerprint == first.fingerprint
    path.unlink()
    copy = first.folder / "tokenizer.model"
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{copy} does not hold .* since {path} does not exist"):
        prepare(data, tmp_path, progress=False)


def test_a_tokenizer_without_padding_is_refused_before_anything_is_read(corpus, tmp_path):
    path, data = tmp_path / "own.model", reverse_experiment(corpus).data
    own_model(corpus, path)
    for name, message in (
        (path, r"own\.model: The tokenizer lacks a piece for padding; wanted .* pad_id=0"),
        (tmp_path / "none.model", r"none\.model does not exist"),
        (tmp_path, r"tokenizer\.model does not exist"),
    ):
        asked = replace(data, tokenizer=str(name), folder=str(tmp_path / "no corpus"))
        with pytest.raises(UserError, match=message):
            prepare(asked, tmp_path, progress=False)


# --- Text without a source ----------------------------------------------------------------------


def _play(seed, count):
    """Speeches of some lines, as plays are printed."""
    rng = random.Random(seed)
    words = ["ein", "Haus", "am", "Fluss", "steht", "leer", "und", "kalt", "im", "Wind"]
    return "\n\n".join(
        f"Person {rng.randint(1, 9)}:\n"
        + "\n".join("  " + " ".join(rng.choices(words, k=5)) for _ in range(rng.randint(1, 9)))
        for _ in range(count)
    )


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """Prepared text, whole files and speeches, of files that were the same."""
    folder = tmp_path_factory.mktemp("play")
    texts = {"train": _play(0, 300), "dev": _play(1, 30), "own": _play(2, 20)}
    data = replace(
        write_texts(folder / "source", **texts),
        vocab_size=300,
        row_widths=(32,),
        max_tokens=32,
        tgt_tokens_per_update=400,
    )
    found = {
        how: prepare(replace(data, documents=how), folder / "data", progress=False)
        for how in ("file", "blank_line")
    }
    return texts, data, found


def test_documents_come_back_as_they_were_in_their_files(play):
    texts, _, found = play
    assert found["file"].test_sets == {"own": "test.own"}
    for split, name in (("dev", "dev"), ("test.own", "own")):
        assert found["file"].lines(split, "tgt") == [texts[name]]
        speeches = found["blank_line"].lines(split, "tgt")
        assert speeches == texts[name].split("\n\n")
        assert found["blank_line"].lines(split, "src") == [""] * len(speeches)
    assert found["file"].first_pairs(2) == [("", texts["train"])]
    assert found["file"].test_text("dev").sentences == 1
    assert found["blank_line"].seen_in_train("dev") is None
    for prepared in found.values():
        lines = prepared.lines("dev", "tgt")
        assert prepared.tokenizer.decode(prepared.tokenizer.encode(lines)) == lines


def test_rows_of_text_hold_all_of_it_in_pieces_that_end_with_lines(play):
    texts, _, found = play
    tokenizer = found["file"].tokenizer
    for split, name in ((found["file"].dev, "dev"), (found["file"].train, "train")):
        pieces = []
        for rows in batches(split, 10_000, tokenizer.bos, 1):
            assert rows.src_BS.shape[1] == 0
            for ids, segments in zip(rows.tgt_out_BT, rows.tgt_segments_BT, strict=True):
                pieces += [ids[segments == n].tolist() for n in range(1, segments.max() + 1)]
        # Every line is shorter than a row, so none is cut; one piece ends the document.
        ends = Counter(piece[-1] for piece in pieces)
        assert ends == {tokenizer.eos: 1, tokenizer.line_break: len(pieces) - 1}
        assert 16 < max(map(len, pieces)) <= 32
        texts_of_pieces = "".join(tokenizer.decode(pieces))
        assert Counter("".join(texts_of_pieces.split())) == Counter("".join(texts[name].split()))


@pytest.mark.parametrize("ending", ["txt.gz", "jsonl", "jsonl.gz", "parquet"])
def test_the_same_documents_are_the_same_rows_whatever_files_they_are_in(play, tmp_path, ending):
    texts, data, found = play
    for name, text in texts.items():
        path, cells = tmp_path / f"{name}.{ending}", [{"text": t} for t in text.split("\n\n")]
        if ending == "parquet":
            pq.write_table(pa.Table.from_pylist(cells), path)
            continue
        lines = text if ending == "txt.gz" else "\n".join(map(json.dumps, cells))
        path.write_bytes(gzip.compress(lines.encode()) if path.suffix == ".gz" else lines.encode())
    named = {f"{name}_files": (f"{name}.{ending}",) for name in ("train", "dev")}
    named["test_files"] = (f"own=own.{ending}",)
    other = replace(data, documents="blank_line", folder=str(tmp_path), **named)
    prepared, plain = prepare(other, tmp_path / "data", progress=False), found["blank_line"]
    assert prepared.manifest.files == plain.manifest.files, "sizes and sums of the text"
    assert prepared.tokenizer.model == plain.tokenizer.model
    for name in ("train", "dev"):
        rows = [(each.folder / f"rows/{name}.32.bin").read_bytes() for each in (prepared, plain)]
        assert rows[0] == rows[1]


def test_prepared_text_is_found_again_under_its_corpus_and_language(play, capsys):
    _, data, found = play
    for how, prepared in found.items():
        assert re.fullmatch("texts-de-[0-9a-f]{10}", prepared.folder.name)
        own, root = replace(data, documents=how), prepared.folder.parent
        begun = Begun(own, prepared.fingerprint, prepared.tokenizer.model)
        assert find_prepared(begun, root) == prepared.folder
        stamps = {path: path.stat().st_mtime_ns for path in prepared.folder.rglob("*.bin")}
        assert prepare(own, root, progress=False).fingerprint == prepared.fingerprint
        assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert capsys.readouterr().err == ""


def test_test_sets_of_text_named_later_are_documents_too(play, tmp_path):
    _, data, found = play
    seen = found["blank_line"].first_pairs(1)[0][1]
    text = "Person 1:\n  ein Haus\n\nPerson 2:\n  am Fluss"
    (tmp_path / "new.txt").write_text(f"{text}\n\n{seen}\n")
    for how, wanted in (
        ("file", [f"{text}\n\n{seen}"]),
        ("blank_line", [*text.split("\n\n"), seen]),
    ):
        own, prepared = replace(data, documents=how), found[how]
        begun = Begun(own, prepared.fingerprint, prepared.tokenizer.model)
        later = replace(own, test_files=(f"new={tmp_path}/new.txt",))
        with_new = prepare(later, prepared.folder.parent, progress=False, begun=begun)
        assert with_new.folder == prepared.folder
        assert with_new.lines("test.new", "tgt") == wanted
        assert with_new.seen_in_train("test.new") == (how == "blank_line")


def test_trees_are_prepared_as_pairs_are_and_told_apart_by_their_words(tmp_path):
    data = write_treebank(tmp_path / "trees", train=60, dev=6, test=5)
    folder, tree = tmp_path / "trees", "(TOP (NP (DT the) (NN dog) (. .)))\n"
    first_of_dev = (folder / "dev.mrg").read_text().splitlines(keepends=True)[0]
    with (folder / "train.mrg").open("a", encoding="utf-8") as file:
        # Twice the same, another tree over its words, one of dev, two that are none.
        file.write(2 * tree + tree.replace("NP", "S") + first_of_dev)
        file.write("(TOP (NP (DT the)\n(TOP (NP))\n")
    prepared = prepare(data, tmp_path / "data", progress=False)
    counts = prepared.manifest.splits["train"]
    assert counts.read == 60 + 6
    assert counts.dropped == {"duplicate": 1, "in_dev_or_test": 1, "malformed_tree": 2}
    # That a tree of dev has the same symbols is no reason: few symbols spell many sentences.
    symbols = {line for split in ("dev", "test.test") for line in prepared.lines(split, "tgt")}
    train = list(prepared.first_pairs(99))
    assert symbols & {tgt for _, tgt in train}
    assert ("the dog .", "(NP DT NN . )NP") in train
    assert prepared.tokenizer.num_words == data.vocab_size
    assert isinstance(prepared.tokenizer, TreeTokenizer)
    assert set(prepared.tokenizer.symbols) >= {"(S", ")S", "NN", "."}
    for rows in batches(prepared.train, 4_000, prepared.tokenizer.bos, 1):
        assert (rows.tgt_out_BT < 128).all()
        assert (rows.src_BS[rows.src_segments_BS > 0] != prepared.tokenizer.unknown).all()
    assert prepared.seen_in_train("test.test") is None


def test_what_is_no_tree_is_refused_in_dev_by_file_and_line(tmp_path):
    data = write_treebank(tmp_path / "trees", train=30, dev=4)
    with (tmp_path / "trees" / "dev.mrg").open("a", encoding="utf-8") as file:
        file.write("(TOP (NP (DT the)\n")
    with pytest.raises(UserError, match=r"dev has 1 trees .*dev\.mrg, line 5 \(.*malformed tree"):
        prepare(data, tmp_path / "data", progress=False)


def test_trees_are_held_out_where_there_is_no_dev(tmp_path):
    data = write_treebank(tmp_path / "trees", train=60)
    data = replace(data, holdout_pairs=5)
    prepared = prepare(data, tmp_path / "data", progress=False)
    train = {src for src, _ in prepared.first_pairs(99)}
    for split in ("dev", "test.test"):
        held = prepared.lines(split, "src")
        assert len(held) == 5
        assert not train & {*held}
