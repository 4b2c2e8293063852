import fcntl
import io
from dataclasses import replace

import pytest
import sentencepiece

import aiayn.data.prepare
from aiayn.data.prepare import prepare
from aiayn.errors import UserError
from tests.support.corpora import copy_corpus
from tests.support.runs import reverse_experiment


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


def test_damaged_rows_are_made_again(corpus, tmp_path):
    data = reverse_experiment(corpus).data
    rows = prepare(data, tmp_path, progress=False).folder / "rows"
    whole = (rows / "train.32.bin").read_bytes()
    for damage in (
        lambda: (rows / "train.32.bin").write_bytes(whole[:-2]),
        (rows / "train.32.bin").unlink,
        (rows / "train.json").unlink,
    ):
        damage()
        prepare(data, tmp_path, progress=False)
        assert (rows / "train.32.bin").read_bytes() == whole


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
