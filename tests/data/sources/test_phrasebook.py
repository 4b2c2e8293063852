import datetime
import itertools
import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from importlib import resources

import pytest

from aiayn.data.sources import phrasebook
from aiayn.data.sources.phrasebook import (
    KINDS,
    LANGUAGES,
    Splits,
    fill,
    generate,
    held_out,
    join,
    load_templates,
    parse_template,
    render,
)
from aiayn.errors import UserError

SMALL = {"num_train": 600, "num_dev": 20, "num_test": 40, "num_unseen": 50}


def generate_elsewhere(src, tgt, seed, sizes, hash_seed):
    """The splits from a process of its own, where no call is checked against its annotations."""
    code = (
        "import json\n"
        "from aiayn.data.sources.phrasebook import generate\n"
        f"print(json.dumps(generate({src!r}, {tgt!r}, {seed}, **{sizes})))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    text = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    return Splits(*([(a, b) for a, b in split] for split in json.loads(text)))


@pytest.fixture(scope="module")
def full():
    return generate_elsewhere("en", "de", 1, {}, "1")


@pytest.fixture(scope="module")
def sentences():
    """Sentences of all splits, by language."""
    splits = [*generate("en", "de", 2, **SMALL), *generate("fr", "pt", 2, **SMALL)]
    first, second = splits[:4], splits[4:]
    return {
        "en": [pair[0] for split in first for pair in split],
        "de": [pair[1] for split in first for pair in split],
        "fr": [pair[0] for split in second for pair in split],
        "pt": [pair[1] for split in second for pair in split],
    }


def english_pattern(template):
    """Matches whatever the template can say in English, where nothing contracts."""
    pieces, tail = template.lines["en"]
    return "".join(re.escape(text + word) + ".+" for text, word, _, _ in pieces) + re.escape(tail)


# Splits


def test_sizes_are_those_asked_for(full):
    assert [len(split) for split in full] == [66_000, 500, 1_000, 500]


@pytest.mark.parametrize("side", [0, 1])
def test_no_sentence_stands_twice_on_either_side(full, side):
    all_sentences = [pair[side] for split in full for pair in split]
    assert len(set(all_sentences)) == len(all_sentences)


def test_unseen_templates_never_occur_in_the_other_splits(full):
    unseen, _ = held_out(load_templates())
    pattern = re.compile("|".join(english_pattern(template) for template in unseen), re.IGNORECASE)
    assert all(pattern.fullmatch(src) for src, _ in full.test_unseen)
    for split in (full.train, full.dev, full.test_seen):
        assert not [src for src, _ in split if pattern.fullmatch(src)]


def test_every_seen_template_is_taught_before_it_is_asked():
    # With one training pair per template, train must hold each template once, so none that dev and
    # test_seen show is new.
    _, seen = held_out(load_templates())
    splits = generate("en", "de", 3, len(seen), num_dev=50, num_test=50, num_unseen=0)
    for template in seen:
        pattern = re.compile(english_pattern(template), re.IGNORECASE)
        assert any(pattern.fullmatch(src) for src, _ in splits.train), template.english


def test_held_out_templates_are_a_twelfth_of_all_and_of_every_topic():
    templates = load_templates()
    unseen, seen = held_out(templates)
    assert abs(len(unseen) - len(templates) / 12) < 1
    assert {template.topic for template in unseen} == {template.topic for template in templates}
    assert {t.english for t in unseen}.isdisjoint(t.english for t in seen)
    assert held_out(templates[::-1]) == (unseen, seen)  # the order of the files plays no part


def test_same_seed_gives_same_bytes_in_any_process():
    first = generate_elsewhere("pt", "fr", 7, SMALL, "1")
    assert first == generate_elsewhere("pt", "fr", 7, SMALL, "2")
    # This process has written other values before: what its caches hold must not matter either.
    assert first == generate("pt", "fr", 7, **SMALL)
    assert first != generate("pt", "fr", 8, **SMALL)


def test_every_ordered_pair_shows_the_same_sentences():
    columns = {}
    for src, tgt in itertools.permutations(LANGUAGES, 2):
        splits = generate(src, tgt, 4, num_train=300, num_dev=10, num_test=10, num_unseen=10)
        for language, side in ((src, 0), (tgt, 1)):
            column = [[pair[side] for pair in split] for split in splits]
            assert columns.setdefault(language, column) == column
    assert len(columns) == 4


def test_train_is_shuffled(full):
    # Were it in rounds over the templates, the same ones would follow each other in every round.
    openings = [src.split()[0] for src, _ in full.train]
    _, seen = held_out(load_templates())
    rounds = [openings[i : i + len(seen)] for i in range(0, 20 * len(seen), len(seen))]
    agreeing = sum(a == b for a, b in zip(rounds[0], rounds[1], strict=True))
    assert agreeing < len(seen) / 2


@pytest.mark.parametrize(("src", "tgt"), [("en", "es"), ("nl", "de")])
def test_unknown_language_is_refused_with_the_four_known(src, tgt):
    with pytest.raises(UserError, match="en, de, fr, pt"):
        generate(src, tgt, 1)


def test_impossible_sizes_and_equal_languages_are_refused():
    with pytest.raises(UserError, match="another language"):
        generate("de", "de", 1)
    with pytest.raises(UserError, match="one per template"):
        generate("en", "de", 1, num_train=10)


def test_more_pairs_than_the_templates_give_are_refused(monkeypatch):
    # Twelve templates, eleven of them for training, with four seasons each: 44 sentences.
    lines = "en: {season}\nde: {season}\nfr: {season}\npt: {season}"
    templates = [parse_template("time", lines.replace("}", f"}} {n}.")) for n in range(12)]
    monkeypatch.setattr(phrasebook, "load_templates", lambda: templates)
    sizes = {"num_dev": 2, "num_test": 2, "num_unseen": 4}
    splits = generate("en", "de", 1, num_train=40, **sizes)
    assert [len(split) for split in splits] == [40, 2, 2, 4]
    with pytest.raises(UserError, match="45 phrasebook pairs are wanted; its templates give 44"):
        generate("en", "de", 1, num_train=41, **sizes)


# Templates


def test_every_template_has_four_languages_with_the_same_slots():
    folder = resources.files("aiayn.data.sources") / "phrasebook_templates"
    for file in folder.iterdir():
        if file.name == "words.txt":
            continue
        for block in file.read_text(encoding="utf-8").strip().split("\n\n"):
            lines = block.split("\n")
            assert [line[:4] for line in lines] == ["en: ", "de: ", "fr: ", "pt: "], block
            slots = [sorted(re.findall(r"\{([a-z_]+(?:\.\d)?)", line)) for line in lines]
            assert slots[0], block
            assert slots[0] == slots[1] == slots[2] == slots[3], block


def test_english_lines_differ():
    english = [template.english for template in load_templates()]
    assert len(set(english)) == len(english) >= 260


def test_every_kind_of_slot_is_used():
    slots = [slot for template in load_templates() for slot in template.slots]
    lists = {slot.argument for slot in slots if slot.kind == "list"}
    assert {slot.kind for slot in slots} | lists == set(KINDS)


@pytest.mark.parametrize(
    "block",
    [
        "en: {city}\nde: {city}\nfr: {city}",
        "en: {city}\nde: {city}\npt: {city}\nfr: {city}",
        "en: {city}\nde: {city}\nfr: {country}\npt: {city}",
        "en: {city}\nde: {city} {city}\nfr: {city}\npt: {city}",
    ],
)
def test_incomplete_templates_are_refused(block):
    with pytest.raises(ValueError, match="city"):
        parse_template("travel", block)


def test_a_template_worked_by_hand():
    template = parse_template(
        "travel",
        "en: {country} is {n.2:2..9} hours from {place}, not {n.1:2..9}.\n"
        "de: Von {place/dat} sind es {n.2} Stunden nach {country}, nicht {n.1}.\n"
        "fr: La {country} est à {n.2} heures de {place}, et non à {n.1}.\n"
        "pt: {country} fica a {n.2} horas de {place}, e não a {n.1}.",
    )
    assert [slot.name for slot in template.slots] == ["country", "n.1", "n.2", "place"]
    station = next(row for row in KINDS["place"].values("") if row[0] == "the station")
    values = ["IT", Decimal(3), Decimal(5), station]
    assert fill(template, values) == (
        "Italy is 5 hours from the station, not 3.",
        "Vom Bahnhof sind es 5 Stunden nach Italien, nicht 3.",
        "L'Italie est à 5 heures de la gare, et non à 3.",
        "A Itália fica a 5 horas da estação, e não a 3.",
    )


def test_every_form_that_a_template_asks_for_exists():
    asked = set()
    for template in load_templates():
        kinds = {slot.name: slot.kind for slot in template.slots}
        for language, (pieces, _) in template.lines.items():
            asked |= {(kinds[name], language, form) for _, _, name, form in pieces if form}
    assert {form for _, _, form in asked} == {"acc", "dat", "bare", "every"}
    for kind, language, form in sorted(asked):
        for value in KINDS[kind].values(""):
            assert render(kind, value, language, form)


def test_numbered_slots_rise_and_words_differ(full):
    english = [src for src, _ in full.train]
    price = re.compile(r"The price has been reduced from €([\d.]+) to €([\d.]+)\.")
    colors = re.compile(r"Do you also have this in (\w+) or in (\w+)\?")
    prices = [match.groups() for s in english if (match := price.fullmatch(s))]
    pairs = [match.groups() for s in english if (match := colors.fullmatch(s))]
    assert len(prices) > 10
    assert len(pairs) > 10
    assert all(Decimal(old) > Decimal(new) for old, new in prices)
    assert all(first != second for first, second in pairs)
    assert any(first > second for first, second in pairs)  # words may come in either order


# Sentences


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_are_clean(sentences, language):
    for sentence in sentences[language]:
        assert not re.search(r"[{}\u00a0\u202f\u2009\n]|  | $|^ | [.,]", sentence), sentence
        assert sentence[-1] in ".?", sentence
        assert not sentence[0].islower(), sentence


@pytest.mark.parametrize(
    ("language", "wrong"),
    [
        ("de", r"\b([Zz]u|[Vv]on|[Bb]ei|[Ii]n|[Aa]n) dem |\b[Zz]u der "),
        ("fr", r"\b([Dd]e|[Qq]ue|[Ll]e|[Ll]a) (?!onz)[aeéêiou]|\b([Dd]e|[Àà]) les? "),
        ("pt", r"\b([Dd]e|[Ee]m|[Pp]or) [oa] "),
    ],
)
def test_prepositions_and_articles_have_contracted(sentences, language, wrong):
    assert not [sentence for sentence in sentences[language] if re.search(wrong, sentence)]


@pytest.mark.parametrize(
    ("word", "value", "language", "joined"),
    [
        ("zu ", "der Kirche", "de", "zur Kirche"),
        ("in ", "das Haus", "de", "ins Haus"),
        ("neben ", "dem Park", "de", "neben dem Park"),
        ("À ", "le marché", "fr", "au marché"),
        ("de ", "la gare", "fr", "de la gare"),
        ("de ", "l'église", "fr", "de l'église"),
        ("de ", "oignons", "fr", "d'oignons"),
        ("de ", "yaourt", "fr", "de yaourt"),
        ("de ", "histoire", "fr", "d'histoire"),
        ("la ", "onzième", "fr", "la onzième"),
        ("La ", "Italie", "fr", "L'Italie"),
        ("que ", "Anna", "fr", "qu'Anna"),
        ("de ", "o museu", "pt", "do museu"),
        ("a ", "a estação", "pt", "à estação"),
        ("em ", "a França", "pt", "na França"),
        ("para ", "a França", "pt", "para a França"),
        ("de ", "abril", "pt", "de abril"),
        ("to ", "the church", "en", "to the church"),
        ("", "o museu", "pt", "o museu"),
    ],
)
def test_word_and_value_contract_where_they_meet(word, value, language, joined):
    assert join(word, value, language) == joined


# Values. Each answer is how the language writes it, worked out by hand.


@pytest.mark.parametrize(
    ("kind", "value", "texts"),
    [
        (
            "date",
            datetime.date(2024, 3, 5),
            ["March 5, 2024", "5. März 2024", "5 mars 2024", "5 de março de 2024"],
        ),
        (
            "fulldate",
            datetime.date(2024, 3, 5),
            [
                "Tuesday, March 5, 2024",
                "Dienstag, 5. März 2024",
                "mardi 5 mars 2024",
                "terça-feira, 5 de março de 2024",
            ],
        ),
        ("date_short", datetime.date(2024, 3, 5), ["3/5/24", "05.03.24", *["05/03/2024"] * 2]),
        ("md", datetime.date(2024, 3, 5), ["March 5", "5. März", "5 mars", "5 de março"]),
        ("time", datetime.time(15, 45), ["3:45 PM", "15:45", "15:45", "15:45"]),
        ("time", datetime.time(9, 5), ["9:05 AM", "09:05", "09:05", "09:05"]),
        ("n", Decimal(12_500), ["12,500", "12.500", "12 500", "12.500"]),
        ("n", Decimal("3.5"), ["3.5", "3,5", "3,5", "3,5"]),
        ("percent", Decimal("4.5"), ["4.5%", "4,5 %", "4,5 %", "4,5%"]),
        (
            "price",
            (Decimal("1250.5"), "EUR"),
            ["€1,250.50", "1.250,50 €", "1 250,50 €", "€ 1.250,50"],
        ),
        ("sum", (Decimal(1250), "USD"), ["$1,250", "1.250 $", "1 250 $US", "US$ 1.250"]),
        (
            "money",
            (Decimal(350), "CHF"),
            [
                "350 Swiss francs",
                "350 Schweizer Franken",
                "350 francs suisses",
                "350 francos suíços",
            ],
        ),
        # One and a half is a plural in English and German, a singular in French and Portuguese.
        ("hour", Decimal(1), ["1 hour", "1 Stunde", "1 heure", "1 hora"]),
        ("hour", Decimal("1.5"), ["1.5 hours", "1,5 Stunden", "1,5 heure", "1,5 hora"]),
        ("hour", Decimal(2), ["2 hours", "2 Stunden", "2 heures", "2 horas"]),
        ("temp", Decimal(-5), ["-5°C", "-5 °C", "-5 °C", "-5 °C"]),
        (
            "words",
            Decimal(16),
            ["sixteen", "sechzehn", "seize", "dezesseis"],  # dezasseis in Portugal
        ),
        (
            "words",
            Decimal(81),
            ["eighty-one", "einundachtzig", "quatre-vingt-un", "oitenta e um"],
        ),
        ("ordinal", Decimal(3), ["third", "dritte", "troisième", "terceiro"]),
        (
            "year_words",
            Decimal(1985),
            [
                "nineteen eighty-five",
                "neunzehnhundertfünfundachtzig",
                "mille neuf cent quatre-vingt-cinq",
                "mil novecentos e oitenta e cinco",
            ],
        ),
        ("country", "IT", ["Italy", "Italien", "Italie", "a Itália"]),
        ("language", "de", ["German", "Deutsch", "allemand", "alemão"]),
        (
            "list",
            ("language", "de", "fr", "it"),
            [
                "German, French, and Italian",
                "Deutsch, Französisch und Italienisch",
                "allemand, français et italien",
                "alemão, francês e italiano",
            ],
        ),
        (
            "quarter",
            datetime.date(2024, 4, 1),
            ["2nd quarter", "2. Quartal", "2e trimestre", "2º trimestre"],
        ),
    ],
)
def test_values_are_written_as_each_language_writes_them(kind, value, texts):
    assert [render(kind, value, language) for language in LANGUAGES] == texts


def test_forms_of_days_and_cases():
    monday, sunday = datetime.date(2024, 1, 1), datetime.date(2024, 1, 7)
    assert render("day", monday, "pt") == "a segunda-feira"
    assert render("day", sunday, "pt", "every") == "todo domingo"
    assert render("day", sunday, "pt", "bare") == render("day", sunday, "pt")[2:] == "domingo"
    neighbor = next(row for row in KINDS["relative"].values("") if row[0] == "my neighbor")
    cases = [render("relative", neighbor, "de", form) for form in ("", "acc", "dat")]
    assert cases == ["mein Nachbar", "meinen Nachbarn", "meinem Nachbarn"]


def test_equal_numbers_are_written_alike():
    # 3 and 3.0 share one entry of the cache; which came first must not show.
    for kind in ("n", "percent", "hour", "words"):
        for language in LANGUAGES:
            values = (Decimal(3), Decimal("3.0"))
            assert len({KINDS[kind].render(value, language, "") for value in values}) == 1
