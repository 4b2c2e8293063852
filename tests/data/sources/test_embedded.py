"""What is built in comes as any other source: as pairs, with one hash of all that makes it."""

from functools import partial

import pytest

from aiayn.config import DataConfig
from aiayn.data.corpus import changed_source, prepare_corpus, read_split
from aiayn.data.sources import treebook
from aiayn.data.sources.embedded import EMBEDDED
from aiayn.data.trees import restore
from aiayn.errors import UserError

TREES = DataConfig(corpus="treebook", tgt="trees", trees="tags")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    small = partial(treebook.generate, num_train=60, num_dev=5, num_seen=6, num_deep=4)
    monkeypatch.setattr(treebook, "generate", small)


def test_the_treebook_is_prepared_as_pairs_of_words_and_symbols(tmp_path):
    manifest = prepare_corpus(TREES, tmp_path / "out", progress=False)
    assert {name: counts.kept for name, counts in manifest.splits.items()} == {
        "train": 60,
        "dev": 5,
        "test.seen": 6,
        "test.deep": 4,
    }
    assert manifest.splits["train"].dropped == {}
    for words, symbols in read_split(tmp_path / "out", "test.deep", "en"):
        assert treebook.depth(restore(symbols.split(), words.split())) > treebook.DEEPEST
    assert changed_source(TREES, manifest) == {}


def test_terminals_are_as_the_settings_say():
    data = DataConfig(corpus="treebook", tgt="trees", trees="xx")
    pairs = [*EMBEDDED["treebook"].open(data).train.pairs(None)]
    symbols = {symbol for _, target in pairs for symbol in target.split()}
    assert {s for s in symbols if s[0] not in "()"} <= {"XX", ".", ",", "``", "''"}


def test_another_grammar_is_another_source(tmp_path, monkeypatch):
    manifest = prepare_corpus(TREES, tmp_path / "out", progress=False)
    changed = EMBEDDED["treebook"]._replace(details=lambda: {"kind": "treebook", "sha256": "x"})
    monkeypatch.setattr("aiayn.data.corpus.EMBEDDED", {"treebook": changed})
    assert changed_source(TREES, manifest) == {"train": ["the treebook"]}


def test_what_the_treebook_has_no_use_for_is_refused(tmp_path):
    for settings, wrong in (
        ({"src": "de"}, "data.src is 'de'; wanted 'en'"),
        ({"folder": "x"}, "data.folder is set, but data.corpus is 'treebook', which is built in"),
    ):
        with pytest.raises(UserError, match=wrong):
            prepare_corpus(
                DataConfig(corpus="treebook", tgt="trees", trees="tags", **settings),
                tmp_path / "out",
                progress=False,
            )
