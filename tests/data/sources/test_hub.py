"""The Hub's part is played by a folder of Parquet files, which `datasets` loads in the same way."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aiayn.config import DataConfig
from aiayn.data.sources.formats import Skipped
from aiayn.data.sources.hub import open_hub
from aiayn.errors import UserError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def make_dataset(root: Path, sizes: dict[str, int], nested: bool = True, card: bool = True) -> Path:
    folder = root / "de-en"
    folder.mkdir(parents=True)
    for split, size in sizes.items():
        sides = [{"de": f"{split} Satz {i}", "en": f"{split} sentence {i}"} for i in range(size)]
        rows: list[Any] = [{"translation": side} for side in sides] if nested else sides
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-0.parquet")
    if card:
        files = "".join(f"  - {{split: {s}, path: de-en/{s}-*}}\n" for s in sizes)
        text = f"---\nconfigs:\n- config_name: de-en\n  data_files:\n{files}---\n"
        (root / "README.md").write_text(text)
    return root


@pytest.mark.parametrize("nested", [True, False])
def test_splits_come_under_our_names_in_the_wanted_direction(tmp_path: Path, nested: bool):
    root = make_dataset(tmp_path / "hub", {"train": 11, "validation": 3, "test": 2}, nested)
    data = DataConfig(corpus="c", hub=str(root), hub_config="de-en", num_pairs=(11, 3, 2))
    source = open_hub(data)
    assert source.dev is not None
    assert source.train.total == 11
    first = ("train sentence 0", "train Satz 0")
    assert next(source.train.pairs(Skipped())) == first
    assert next(source.train.pairs(Skipped())) == first  # Each call starts anew.
    assert len(list(source.dev.pairs(Skipped()))) == 3
    assert {k: list(s.pairs(Skipped())) for k, s in source.tests.items()} == {
        "test": [(f"test sentence {i}", f"test Satz {i}") for i in range(2)]
    }
    assert str(tmp_path) not in str(source.details)


def test_folder_stands_in_for_a_configuration_that_is_not_described(tmp_path: Path):
    # So are the datasets that the Hub has converted to Parquet on its own.
    root = make_dataset(tmp_path / "hub", {"train": 5}, card=False)
    (root / "fr-en").mkdir()
    pq.write_table(pa.table({"fr": ["x"], "en": ["y"]}), root / "fr-en" / "train-0.parquet")
    source = open_hub(DataConfig(corpus="c", hub=str(root), hub_config="de-en", num_pairs=(5,)))
    assert source.train.total == 5
    assert source.dev is None
    assert source.tests == {}


def test_other_counts_are_refused_with_both_numbers(tmp_path: Path):
    root = make_dataset(tmp_path / "hub", {"train": 11, "validation": 3, "test": 2})
    data = DataConfig(
        corpus="c", hub=str(root), hub_config="de-en", num_pairs=(4_508_785, 3_000, 3_003)
    )
    with pytest.raises(UserError, match=r"has 11 / 3 / 2 pairs.*expects 4,508,785 / 3,000 / 3,003"):
        open_hub(data)


def test_languages_that_are_not_there_are_named(tmp_path: Path):
    root = make_dataset(tmp_path / "hub", {"train": 2})
    with pytest.raises(UserError, match=r"columns translation, translation\.de, translation\.en"):
        open_hub(DataConfig(corpus="c", hub=str(root), tgt="fr"))


def test_columns_of_other_names_are_chosen_and_a_copy_may_lie_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "hub").mkdir()
    rows = [{"input": f"sentence {i}", "output": f"Satz {i}"} for i in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hub" / "train.parquet")
    monkeypatch.setenv("HOME", str(tmp_path))
    data = DataConfig(corpus="c", hub="~/hub", columns=("output", "input"))
    source = open_hub(data)
    assert next(source.train.pairs(Skipped())) == ("Satz 0", "sentence 0")
    assert source.details["name"] == "hub"
    with pytest.raises(UserError, match=r"input, output; wanted 'en' and 'de'\. Say which"):
        open_hub(DataConfig(corpus="c", hub=str(tmp_path / "hub")))


def test_unreachable_hub_names_the_dataset_and_the_way_around(monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach 'wmt/wmt14' on the Hub\nand much more")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    data = DataConfig(
        corpus="wmt14", hub="wmt/wmt14", hub_config="de-en", train_files=("train.{lang}.gz",)
    )
    with pytest.raises(UserError) as caught:
        open_hub(data)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("'wmt/wmt14' (de-en)", "--set data.folder=DIR", "train.en.gz, train.de.gz"):
        assert part in message


@pytest.mark.parametrize("hub_config", ["", "de-en"])
def test_the_hub_is_asked_for_the_revision(monkeypatch: pytest.MonkeyPatch, hub_config: str):
    asked: list[tuple[str, Any]] = []

    def load(name: str, *_: object, revision: str | None = None, **__: object) -> None:
        asked.append((name, revision))
        raise ValueError("no such configuration")  # so that it is asked in every way there is

    monkeypatch.setattr(datasets, "load_dataset", load)
    for revision, wanted in ((COMMIT, COMMIT), ("main", "main"), ("", None)):
        asked.clear()
        with pytest.raises(UserError, match="could not be downloaded"):
            open_hub(DataConfig(corpus="c", hub="a/b", hub_config=hub_config, revision=revision))
        assert asked == [("a/b", wanted)] * (2 if hub_config else 1)


def cached_copy(tmp_path: Path, commit: str) -> None:
    """A dataset in the cache as the Hub's "someone/corpus" at a commit would be."""
    root = make_dataset(tmp_path / "corpus", {"train": 7, "validation": 2})
    loaded: Any = datasets.load_dataset(str(root), "de-en")
    written = Path(loaded["train"].cache_files[0]["filename"]).parent
    target = tmp_path / "cache" / "someone___corpus" / "de-en" / "0.0.0" / commit
    shutil.copytree(written, target)


def test_cached_dataset_is_used_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cached_copy(tmp_path, COMMIT)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    data = DataConfig(corpus="c", hub="someone/corpus", hub_config="de-en", revision=COMMIT)
    source = open_hub(data)
    assert next(source.train.pairs(Skipped())) == ("train sentence 0", "train Satz 0")
    assert source.details["revision"] == COMMIT


def test_other_commit_in_the_cache_is_no_substitute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    cached_copy(tmp_path, COMMIT[::-1])
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    data = DataConfig(corpus="c", hub="someone/corpus", hub_config="de-en", revision=COMMIT)
    with pytest.raises(UserError, match=f"holds commit {COMMIT[::-1]}.*expects {COMMIT}"):
        open_hub(data)


def test_offline_and_not_cached_is_one_clear_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="'someone/else' could not be downloaded"):
        open_hub(DataConfig(corpus="c", hub="someone/else"))


def test_the_column_of_text_of_a_dataset(tmp_path: Path):
    root = make_dataset(tmp_path / "pairs", {"train": 2}, card=False)
    data = DataConfig(corpus="c", src="", hub=str(root / "de-en"), num_pairs=(2,))
    wanted = [("", "train Satz 0"), ("", "train Satz 1")]
    assert list(open_hub(data).train.pairs(Skipped())) == wanted
    (tmp_path / "wiki").mkdir()
    rows = [{"title": "A", "text": "Ein Tag.\n\nEin Haus.\n"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "wiki" / "train.parquet")
    wiki = replace(data, hub=str(tmp_path / "wiki"), num_pairs=(1,))
    for how, texts in (
        ("line", ["Ein Tag.", "", "Ein Haus.", ""]),
        ("file", ["Ein Tag.\u2028\u2028Ein Haus."]),
    ):
        source = open_hub(replace(wiki, documents=how))
        assert [text for _, text in source.train.pairs(Skipped())] == texts
    with pytest.raises(UserError, match=r"has 1 rows in train; data\.num_pairs expects 2"):
        open_hub(replace(wiki, num_pairs=(2,)))
    with pytest.raises(UserError, match=r"has the columns title, text; wanted 'body'"):
        open_hub(replace(wiki, columns=("body",)))
