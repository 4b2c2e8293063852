from types import SimpleNamespace

import numpy as np
import pytest

from aiayn.config import DataConfig, Experiment
from aiayn.data.sources.phrasebook import generate, parse_template
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.evidence import alignment
from aiayn.evidence.alignment import (
    Gold,
    gold,
    head_links,
    main,
    measure,
    pattern,
    rendered,
    slots,
)
from aiayn.evidence.records import HeadLinks, Links
from aiayn.model.saved import Model, save_model
from aiayn.model.structure import flatten
from aiayn.system import records
from aiayn.system.environment import environment
from tests.support.models import MODEL, TOKENIZER, drawn_by_numpy

TEMPLATE = parse_template(
    "travel",
    "en: {country} is {n.2:2..9} hours from {place}, not {n.1:2..9}.\n"
    "de: Von {place/dat} sind es {n.2} Stunden nach {country}, nicht {n.1}.\n"
    "fr: La {country} est \u00e0 {n.2} heures de {place}, et non \u00e0 {n.1}.\n"
    "pt: {country} fica a {n.2} horas de {place}, e n\u00e3o a {n.1}.",
)


@pytest.mark.parametrize(
    ("language", "sentence", "wanted"),
    [
        (
            "en",
            "Italy is 5 hours from the station, not 3.",
            {"Italy": 0, "5": 2, "the": 3, "station,": 3, "3.": 1},
        ),
        (
            "de",
            "Vom Bahnhof sind es 5 Stunden nach Italien, nicht 3.",
            {"Bahnhof": 3, "5": 2, "Italien,": 0, "3.": 1},
        ),
        (
            "fr",
            "L'Italie est \u00e0 5 heures de la gare, et non \u00e0 3.",
            {"L'Italie": 0, "5": 2, "la": 3, "gare,": 3, "3.": 1},
        ),
    ],
)
def test_slots_of_a_sentence_worked_by_hand(language, sentence, wanted):
    match = pattern(TEMPLATE, language).fullmatch(sentence)
    words = sentence.split()
    assert {words[n]: slot for n, slot in slots(TEMPLATE, language, match).items()} == wanted


@pytest.mark.parametrize("languages", [("en", "de"), ("fr", "pt")])
def test_the_template_of_nearly_every_sentence_is_known(languages):
    pairs = generate(*languages, 2, num_train=600, num_dev=2, num_test=60, num_unseen=10).test_seen
    known = gold(pairs, *languages)
    assert len(known) >= 0.95 * len(pairs)
    for each in known:
        assert set(each.source_slots.values()) == set(each.target_slots.values())
    assert gold([("No template says so.", "Das sagt keine Vorlage.")], "en", "de") == []


@pytest.fixture(scope="module")
def model():
    _, params = drawn_by_numpy(num_words=TOKENIZER.num_words)
    data = DataConfig(corpus="phrasebook", src="en", tgt="de", max_tokens=64)
    return Model(Experiment("small", data=data, model=MODEL), TOKENIZER, flatten(params))


def test_each_head_is_judged_by_its_own_weights(model, monkeypatch):
    one = Gold("one two three", "four five six", {1: 0}, {1: 0})
    translator = Translator(model)
    assert {each.right <= 1 for each in head_links(translator, [one])} == {True}
    # Head 2 of layer 2 looks at "two" once the last piece of "five" is read, else at the end, which
    # is no word. As it is predicted, that weight is of "six", and "five" has none.
    src, tgt = TOKENIZER.encode([one.source, one.target])
    before = len(TOKENIZER.encode(["one"])[0])
    after = len(TOKENIZER.encode(["four five"])[0])
    cross = np.zeros((2, 2, len(tgt) + 1, len(src) + 1))
    cross[..., -1] = 1.0
    cross[1, 1, after] = np.eye(len(src) + 1)[before]
    monkeypatch.setattr(translator, "forced", lambda pairs, score: [cross])
    found = {
        (each.layer, each.head): (each.right, each.right_after)
        for each in head_links(translator, [one])
    }
    knowing = {(0, 0), (2, 0), (2, 2)}  # the mean of the upper half, of the layer, the head itself
    ignorant = {(1, 0), (1, 1), (1, 2), (2, 1)}
    assert found == dict.fromkeys(knowing, (0, 1)) | dict.fromkeys(ignorant, (0, 0))


def test_the_table_begins_with_what_translating_uses():
    heads = [(0, 0, 3, 1), (1, 0, 2, 2), (1, 1, 4, 3), (1, 2, 0, 2)]
    record = Links(
        **environment(),
        **{"experiment": "phrasebook", "params_sha256": "", "test_set": "seen"},
        **{"pairs": 3, "known": 2, "words": 4, "heads": [HeadLinks(*each) for each in heads]},
    )
    assert rendered(record).splitlines() == [
        "| layer | mean of heads | head 1 | head 2 |",
        "| --- | --- | --- | --- |",
        "| used by --align | 75.0% (25.0%) | – | – |",
        "| 1 | 50.0% (50.0%) | 100.0% (75.0%) | 0.0% (50.0%) |",
        "",
        "4 words in slots of 2 of the 3 pairs of seen.",
    ]


def test_what_is_printed_is_kept(model, tmp_path, capsys, monkeypatch):
    pairs = generate("en", "de", 2, num_train=275, num_dev=2, num_test=9, num_unseen=2).test_seen
    seen = SimpleNamespace(pairs=lambda skipped: iter([*pairs, ("No template.", "Keine.")]))
    monkeypatch.setattr(alignment, "open_pairs", lambda data: SimpleNamespace(tests={"seen": seen}))
    save_model(tmp_path / "model", model)
    assert main([str(tmp_path / "model"), "--record", str(tmp_path / "record.json")]) == 0
    found = records.read(tmp_path / "record.json", Links, "links")
    assert capsys.readouterr().out.strip() == rendered(found)
    assert (found.experiment, found.pairs, found.known) == ("small", 10, 9)
    assert found.words > 9
    assert [(each.layer, each.head) for each in found.heads[:2]] == [(0, 0), (1, 0)]


def test_other_corpora_have_no_slots(model):
    data = DataConfig(corpus="own", src="en", tgt="de")
    other = Model(Experiment("mine", data=data), model.tokenizer, model.params)
    with pytest.raises(UserError, match=r"data\.corpus of mine is .*; wanted 'phrasebook'"):
        measure(other)
