import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiayn.config import DataConfig
from aiayn.data.cleaning import Rules, SeenHashes, check_direction, judge
from aiayn.data.corpus import read_split
from aiayn.data.sources.formats import Pair
from aiayn.data.text import clean, normalise
from aiayn.errors import UserError
from tests.support.corpora import (
    DE,
    EN,
    config,
    pair,
    prepare,
    read,
    write_pairs,
    write_texts,
)

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


@settings(max_examples=60)
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


def test_a_holdout_that_nothing_needs_is_refused(source: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"holdout_pairs is 5, but there are a dev set and test"):
        prepare(config(source, holdout_pairs=5), tmp_path / "out")


def test_no_dev_and_no_holdout_is_refused(source: Path, tmp_path: Path):
    with pytest.raises(UserError, match=r"data\.dev_files, or set data\.holdout_pairs"):
        prepare(config(source, dev_files=()), tmp_path / "out")


def test_sums_are_held_out_once_letters_are_used_up(tmp_path: Path):
    sums = [(f"{a} + {b} = {a + b}", f"{a + b} = {a} + {b}") for a in range(6) for b in range(5)]
    write_pairs(tmp_path / "source", "train", [*sums, *sums, ("letters", "Buchstaben")])
    data = config(tmp_path / "source", dev_files=(), test_files=(), holdout_pairs=10)
    manifest = prepare(data, tmp_path / "out")
    sets = {name: read(tmp_path / "out", name) for name in ("train", "dev", "test.test")}
    assert [len(sets[name]) for name in ("dev", "test.test")] == [10, 10]
    assert not set(sets["train"]) & {*sets["dev"], *sets["test.test"]}
    # The only source with letters was taken before all without.
    assert ("letters", "Buchstaben") not in sets["train"]
    assert manifest.splits["train"].kept == 11


def test_the_held_out_sets_of_text_are_those_they_were_with_sums_among_it(tmp_path: Path):
    write_holdout_source(tmp_path / "source", 1)
    data = config(tmp_path / "source", dev_files=(), test_files=(), holdout_pairs=10)
    prepare(data, tmp_path / "out")
    for lang in ("en", "de"):
        with (tmp_path / "source" / f"train.{lang}").open("a") as file:
            file.write("".join(f"{number} + 1\n" for number in range(50)))
    prepare(data, tmp_path / "with")
    for name in ("dev", "test.test"):
        assert read(tmp_path / "with", name) == read(tmp_path / "out", name)


def test_limits_count_words_where_there_are_no_blanks(source: Path, tmp_path: Path):
    chinese = "学生上周买了一顶蓝帽子。"  # as long as six words
    train = [("The student bought a blue hat", chinese), ("The", chinese), ("x " * 9, "y " * 9)]
    write_pairs(source, "train", train)
    manifest = prepare(config(source, max_words=8, max_ratio=2.0), tmp_path / "out")
    assert manifest.splits["train"].dropped == {"max_ratio": 1, "max_words": 1}
    with pytest.raises(UserError, match=r"3 max_words\)\. data\.max_words is 2; where a script"):
        prepare(config(source, max_words=2), tmp_path / "few")


# --- Invisible characters -----------------------------------------------------------------------


def test_what_nobody_sees_is_in_no_split(source: Path, tmp_path: Path):
    for name, number in (("train", 1), ("dev", 100), ("test", 200)):
        src, tgt = pair(number)
        write_pairs(source, name, [(f"\ufeff{src}\u200b", f"{tgt[:3]}\u00ad{tgt[3:]}\u202c")])
    prepare(config(source), tmp_path / "out")
    for name, number in (("train", 1), ("dev", 100), ("test.news", 200)):
        assert read(tmp_path / "out", name) == [pair(number)]


def test_a_sentence_of_dev_is_found_in_train_behind_what_nobody_sees(source: Path, tmp_path: Path):
    src, tgt = pair(100)
    write_pairs(source, "train", [(f"\ufeff{src}", f"{tgt} x"), ("kept", "behalten")])
    assert prepare(config(source), tmp_path / "out").splits["train"].dropped == {
        "in_dev_or_test": 1
    }


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


def test_swapped_sides_are_seen_however_the_languages_are_written():
    with pytest.raises(UserError, match="reads like 'deu_Latn'"):
        check_direction([(DE, EN)] * 9, "eng", "deu_Latn", "train")


def test_one_language_on_both_sides_may_say_the_same(source: Path, tmp_path: Path):
    for name in ("train", "dev", "test"):
        write_pairs(source, name, [(f"{EN} {name} {n}", f"{EN} {name} {n}") for n in range(12)])
        (source / f"{name}.de").rename(source / f"{name}.en-x-simple")
    manifest = prepare(config(source, tgt="en-x-simple"), tmp_path / "out")
    assert manifest.splits["train"].kept == 12


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


# --- Text without a source ----------------------------------------------------------------------


def test_each_reason_to_drop_a_document_is_counted_once(tmp_path: Path):
    train = [
        "Caf\u0065\u0301  ist\u00a0offen ",  # kept: NFC, single blanks
        "Café ist offen",  # the same after cleaning
        " \u2003 ",
        "\u200b",
        "bad \udcff byte",
        "escape \x1b[0m",
        "nul \0",
        "eins zwei drei vier fünf sechs",
        "in  dev",
        "in test",
        "x" * 10_001,  # kept: a document has no length at which it is none
    ]
    data = write_texts(tmp_path, train="\n".join(train), dev="in dev\n\n", news="in test")
    manifest = prepare(replace(data, max_words=5), tmp_path / "out")
    counts = manifest.splits["train"]
    assert counts.dropped == {
        "control": 2,
        "duplicate": 1,
        "empty": 2,
        "in_dev_or_test": 2,
        "invalid_utf8": 1,
        "max_words": 1,
    }
    assert (counts.read, counts.kept, counts.src_words, counts.tgt_words) == (11, 2, 0, 4)
    assert read(tmp_path / "out", "train") == [("", "Café ist offen"), ("", "x" * 10_001)]
    assert manifest.splits["dev"].kept == 1, "an empty line is no document"


def test_cleaning_keeps_the_layout_of_documents(tmp_path: Path):
    paragraphs = [
        "def f(x):\n\tif x:\n        return\u00a0x  ",
        "def f(x):\n\tif x:\n        return x  ",  # the same after cleaning
        "cafe\u0301\n  zu\u200b",
        "a\n b",  # in dev, in other lines
    ]
    data = write_texts(tmp_path, train="\n\n".join(paragraphs), dev="a b")
    data = replace(data, documents="blank_line")
    manifest = prepare(data, tmp_path / "out")
    assert manifest.splits["train"].dropped == {"duplicate": 1, "in_dev_or_test": 1}
    assert manifest.splits["train"].tgt_words == 8
    assert list(read_split(tmp_path / "out", "train", "")) == [
        ("", "def f(x):\n\tif x:\n        return x  "),
        ("", "café\n  zu"),
    ]


def test_documents_are_held_out_and_train_loses_them(tmp_path: Path):
    lines = [f"text of {chr(97 + n // 26)}{chr(97 + n % 26)}\n indented {n}" for n in range(60)]
    data = write_texts(tmp_path, train="\n\n".join([*lines, *lines]))
    data = replace(data, documents="blank_line", holdout_pairs=5)
    manifest = prepare(data, tmp_path / "out")
    assert {name: counts.kept for name, counts in manifest.splits.items()} == {
        "train": 50,
        "dev": 5,
        "test.test": 5,
    }
    assert manifest.splits["train"].dropped == {"duplicate": 50, "in_dev_or_test": 20}
    found = [
        text
        for name in ("train", "dev", "test.test")
        for _, text in read_split(tmp_path / "out", name, "")
    ]
    assert sorted(found) == sorted(lines)
    with pytest.raises(UserError, match=r"train has only 60 distinct usable documents"):
        prepare(replace(data, holdout_pairs=31), tmp_path / "more")
    with pytest.raises(UserError, match=r"the number of documents to take out of train"):
        prepare(replace(data, holdout_pairs=0), tmp_path / "none")


def test_text_of_another_language_is_refused(tmp_path: Path):
    data = write_texts(tmp_path, train=f"{EN}\n" * 9, dev=DE)
    with pytest.raises(UserError, match=r"In train, the text reads like 'en'; wanted .*tgt=de\."):
        prepare(data, tmp_path / "out")
    data = write_texts(tmp_path, train=f"{DE}\n" * 9, dev=DE, news=f"{EN}\n" * 9)
    with pytest.raises(UserError, match=r"In test\.news, the text reads like 'en'"):
        prepare(data, tmp_path / "out")
    for lang in ("de-AT", "xx", "en-x-simple"):  # right; a language without a list
        text = EN if lang.startswith("en") else DE
        check_direction([("", text)] * 9, "", lang, "train")
    check_direction([("", EN)], "", "de", "train")  # thin evidence
