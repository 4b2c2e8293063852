"""The embedded default corpus: sentence templates in four languages, filled from CLDR.

It exists so that a laptop can show in minutes that the machine learns, without any download; it
is no benchmark. English is American, Portuguese is Brazilian. The templates and word lists lie
beside this file under `phrasebook_templates/`; dates, times, numbers, currencies, units, lists,
countries and languages come from CLDR through Babel, numbers in words from num2words.

A template is four lines, `en: …` to `pt: …`. The English line declares the slots,
`{kind.index:argument}`; the others refer to them by `{kind.index}`. Any line may ask for a form of
the value, `{relative/dat}`. One value is drawn per slot and rendered in every language, so the
corpus is parallel in all four at once. Two slots of one kind and argument get two values: words
merely differ, everything that has an order rises with the index, so `from {time.1} to {time.2}`
makes sense.

Text is as a person would type it: the no-break spaces of CLDR become plain ones.
"""

import datetime
import hashlib
import itertools
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any, Literal, NamedTuple

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time
from babel.lists import format_list
from babel.numbers import format_currency, format_decimal, format_percent, get_currency_name
from babel.units import format_unit
from num2words import num2words

from aiayn.errors import UserError

LANGUAGES = ("en", "de", "fr", "pt")

Pair = tuple[str, str]
Row = tuple[str, ...]
"""One sentence in every language, in the order of LANGUAGES."""


class Splits(NamedTuple):
    """Pairs of (source, target) sentences; no sentence of either side is in two splits."""

    train: list[Pair]
    dev: list[Pair]
    test_seen: list[Pair]
    """Templates of train, filled with other values."""
    test_unseen: list[Pair]
    """Templates that neither train nor dev ever shows."""


def generate(
    src: str,
    tgt: str,
    seed: int,
    num_train: int = 66_000,
    num_dev: int = 500,
    num_test: int = 1_000,
    num_unseen: int = 500,
) -> Splits:
    """The phrasebook from one language into another.

    The same arguments give the same bytes, as long as Babel and num2words keep their versions.
    Pairs are spread evenly over the templates; one with few fillings gives what it has. For one
    seed and one set of sizes the splits hold the same sentences whatever the pair of languages.

    Raises:
        UserError: an unknown language, the same one twice, fewer training pairs than templates,
            or more pairs than the templates can give.
    """
    for name, language in (("data.src", src), ("data.tgt", tgt)):
        if language not in LANGUAGES:
            raise UserError(f"{name} is {language!r}; wanted one of {', '.join(LANGUAGES)}.")
    if src == tgt:
        raise UserError(f"data.tgt is {tgt!r}; wanted another language than data.src.")
    unseen, seen = held_out(load_templates())
    if num_train < len(seen):
        raise UserError(f"num_train is {num_train}; wanted {len(seen)}, one per template.")
    used: list[set[str]] = [set() for _ in LANGUAGES]
    rows = _draw(seen, num_train + num_dev + num_test, seed, used)
    # The first round holds every template once and goes to train, so that what dev and test_seen
    # show has been taught.
    rest = rows[len(seen) :]
    random.Random(f"{seed} split").shuffle(rest)
    train = rows[: len(seen)] + rest[num_dev + num_test :]
    random.Random(f"{seed} train").shuffle(train)
    dev, test_seen = rest[:num_dev], rest[num_dev : num_dev + num_test]
    splits = (train, dev, test_seen, _draw(unseen, num_unseen, seed, used))
    i, j = LANGUAGES.index(src), LANGUAGES.index(tgt)
    return Splits(*([(row[i], row[j]) for row in split] for split in splits))


# Templates


class Slot(NamedTuple):
    """A place to be filled; its name is the same in every language."""

    name: str
    kind: str
    argument: str


Line = tuple[tuple[tuple[str, str, str, str], ...], str]
"""Pieces (text, the word before the slot, the slot's name, form), and the text after the last."""


@dataclass(frozen=True)
class Template:
    """One sentence with slots, in every language."""

    topic: str
    english: str
    slots: tuple[Slot, ...]
    """In the order of their names."""
    lines: Mapping[str, Line]


SLOT = re.compile(r"([^\s{}]+ )?\{(([a-z_]+)(?:\.\d)?)(?::([^/}]+))?(?:/([a-z]+))?\}")


def parse_template(topic: str, block: str) -> Template:
    """A template from its four lines.

    Raises:
        ValueError: other lines than the four languages in their order, or slots that differ.
    """
    texts = [line.split(": ", 1) for line in block.splitlines()]
    if [text[0] for text in texts] != list(LANGUAGES):
        raise ValueError(f"Wanted the lines {', '.join(LANGUAGES)} in this order:\n{block}")
    english = texts[0][1]
    slots = tuple(sorted(Slot(*groups[1:4]) for groups in SLOT.findall(english)))
    lines: dict[str, Line] = {}
    for language, text in texts:
        parts = [part or "" for part in SLOT.split(text)]  # text, then five groups and text again
        pieces = tuple(zip(parts[:-1:6], parts[1::6], parts[2::6], parts[5::6], strict=True))
        if sorted(name for _, _, name, _ in pieces) != [slot.name for slot in slots]:
            raise ValueError(f"The slots of {language!r} are not those of 'en':\n{block}")
        lines[language] = pieces, parts[-1]
    return Template(topic, english, slots, lines)


@cache
def load_templates() -> tuple[Template, ...]:
    """All templates, by topic and then as the files have them."""
    return tuple(
        parse_template(topic, block)
        for topic, text in sorted(_data_files().items())
        if topic != "words"
        for block in text.strip().split("\n\n")
    )


def held_out(templates: Sequence[Template]) -> tuple[list[Template], list[Template]]:
    """The templates kept for `test_unseen`, every twelfth, and the others.

    The order is that of topics, and of a digest of the English text within a topic: every topic of
    a dozen templates gives one, and which one depends on nothing but the texts.
    """

    def order(template: Template) -> tuple[str, str]:
        return template.topic, hashlib.sha256(template.english.encode()).hexdigest()

    ordered = sorted(templates, key=order)
    return ordered[5::12], [t for i, t in enumerate(ordered) if i % 12 != 5]


@cache
def _data_files() -> dict[str, str]:
    folder = resources.files("aiayn.data.sources") / "phrasebook_templates"
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".txt")]
    return {file.name.removesuffix(".txt"): file.read_text(encoding="utf-8") for file in files}


# Drawing


def _draw(templates: Sequence[Template], num: int, seed: int, used: list[set[str]]) -> list[Row]:
    """Rows from all templates in turn, one each, until there are enough; `used` gains them."""
    tries = 8 * num // len(templates) + 64
    running = [_fillings(template, tries, seed, used) for template in templates]
    rows: list[Row] = []
    while running and len(rows) < num:
        for fillings in tuple(running[: num - len(rows)]):
            row = next(fillings, None)
            if row is None:
                running.remove(fillings)
            else:
                rows.append(row)
    if len(rows) < num:
        raise UserError(f"{num} phrasebook pairs are wanted; its templates give {len(rows)}.")
    return rows


def _fillings(template: Template, tries: int, seed: int, used: list[set[str]]) -> Iterator[Row]:
    """New rows of one template in random order, each from another combination of values."""
    pools = [_values(slot.kind, slot.argument) for slot in template.slots]
    total = math.prod(len(pool) for pool in pools)
    rng = random.Random(f"{seed} {template.english}")
    for number in rng.sample(range(total), min(total, tries)):
        places: list[int] = []
        for pool in pools:
            number, place = divmod(number, len(pool))
            places.append(place)
        if not _makes_sense(template.slots, places):
            continue
        values = [pool[place] for pool, place in zip(pools, places, strict=True)]
        row = fill(template, values)
        if not any(sentence in taken for sentence, taken in zip(row, used, strict=True)):
            for sentence, taken in zip(row, used, strict=True):
                taken.add(sentence)
            yield row


def _makes_sense(slots: Sequence[Slot], places: Sequence[int]) -> bool:
    """Whether slots of one kind and argument rise in their order, or differ where there is none."""
    for (slot, place), (other, later) in itertools.combinations(zip(slots, places, strict=True), 2):
        if slot[1:] == other[1:] and (place == later or (place > later and KINDS[slot.kind].rises)):
            return False
    return True


def fill(template: Template, values: Sequence[Any]) -> Row:
    """The sentence in every language; one value per slot, in the order of `template.slots`."""
    by_name = {slot.name: (slot.kind, v) for slot, v in zip(template.slots, values, strict=True)}
    row: list[str] = []
    for language in LANGUAGES:
        pieces, tail = template.lines[language]
        parts = [
            text + _joined(word, *by_name[name], language, form)
            for text, word, name, form in pieces
        ]
        sentence = "".join(parts) + tail
        row.append(sentence[0].upper() + sentence[1:])
    return tuple(row)


@cache
def _joined(word: str, kind: str, value: Any, language: str, form: str) -> str:
    return join(word, render(kind, value, language, form), language)


CONTRACTIONS: dict[str, dict[str, str]] = {
    "en": {},
    "de": {"an dem": "am", "bei dem": "beim", "in dem": "im", "in das": "ins", "von dem": "vom",
           "zu dem": "zum", "zu der": "zur"},
    "fr": {"à le": "au", "à les": "aux", "de le": "du", "de les": "des"},
    "pt": {"a a": "à", "a o": "ao", "de a": "da", "de o": "do", "em a": "na", "em o": "no",
           "por a": "pela", "por o": "pelo"},
}  # fmt: skip
# Vowels, but neither "onze" nor "yaourt"; of the mute h the lists hold only "histoire".
ELIDES = re.compile(r"(?!onz)[aàâeéèêiîoôuûœAÀÂEÉÈÊIÎOÔUÛ]|histoire")


def join(word: str, value: str, language: str) -> str:
    """A word (with its space) and a value: "de le" contracts to "du", "la Italie" to "l'Italie"."""
    article, _, rest = value.partition(" ")
    contracted = CONTRACTIONS[language].get(f"{word.lower()}{article}")
    if contracted:
        return f"{contracted} {rest}"
    if language == "fr" and word.lower() in ("de ", "la ", "le ", "que ") and ELIDES.match(value):
        return f"{word[:-2]}'{value}"
    return word + value


# Slot kinds: the values of a slot, and how each language writes them


@dataclass(frozen=True)
class Kind:
    values: Callable[[str], Sequence[Any]]
    """From the slot's argument to the values, in their natural order. They are hashable."""
    render: Callable[[Any, str, str], str]
    """(value, language, form) -> text, the same for 3 and 3.0: to the cache they are one value."""
    rises: bool = True
    """Whether two slots of this kind rise with their index; else they only differ."""


@cache
def _values(kind: str, argument: str) -> Sequence[Any]:
    return KINDS[kind].values(argument)


def render(kind: str, value: Any, language: str, form: str = "") -> str:
    """A value as the language writes it, in the form that the template asks for."""
    text = KINDS[kind].render(value, language, form)
    return text.replace("\u00a0", " ").replace("\u202f", " ")


def _numbers(argument: str) -> list[Decimal]:
    """`lo..hi` or `lo..hi..step`, both ends included."""
    low, high, step = [Decimal(part) for part in (*argument.split(".."), "1")][:3]
    return [low + step * i for i in range(int((high - low) / step) + 1)]


def _in_words(to: str) -> Kind:
    def words(value: Decimal, language: str, form: str) -> str:
        text = str(num2words(int(value), to=to, lang="pt_BR" if language == "pt" else language))
        return text.replace(",", "")  # nobody writes the comma of "mil, novecentos"

    return Kind(_numbers, words)


def _unit(name: str, length: Literal["long", "short"]) -> Kind:
    def with_unit(value: Decimal, language: str, form: str) -> str:
        # A whole number goes in as int: CLDR's rules make 1.0 a plural, but it is printed as 1.
        number = int(value) if value == int(value) else value
        return format_unit(number, name, length, locale=language)

    return Kind(_numbers, with_unit)


def _price(*currencies: str, style: Literal["cents", "whole", "named"] = "cents") -> Kind:
    def price(value: tuple[Decimal, str], language: str, form: str) -> str:
        pattern = Locale.parse(language).currency_formats["standard"].pattern
        if style != "named":
            pattern = pattern.replace(".00", "") if style == "whole" else pattern
            return format_currency(*value, pattern, locale=language, currency_digits=False)
        name = get_currency_name(value[1], int(value[0]), locale=language)
        # CLDR capitalises the names in Portuguese, running text does not.
        name = name.lower() if language == "pt" else name
        return f"{format_decimal(value[0], locale=language)} {name}"

    return Kind(lambda argument: list(itertools.product(_numbers(argument), currencies)), price)


def _times(argument: str) -> list[datetime.time]:
    """Every five minutes from the first hour to the end of the last; by default from 6 to 22."""
    low, high = (argument or "6..22").split("..")
    return [datetime.time(h, m) for h in range(int(low), int(high) + 1) for m in range(0, 60, 5)]


def _days(first: int, last: int) -> list[datetime.date]:
    """All days from the first year to the last, but no first of a month: "1er" and "1º" differ."""
    start, end = datetime.date(first, 1, 1).toordinal(), datetime.date(last, 12, 31).toordinal()
    days = [datetime.date.fromordinal(n) for n in range(start, end + 1)]
    return [day for day in days if day.day > 1]


def _date(pattern: str, dates: Sequence[datetime.date]) -> Kind:
    return Kind(lambda _: dates, lambda v, lang, _: format_date(v, pattern, locale=lang))


def _weekday(value: datetime.date, language: str, form: str) -> str:
    name = format_date(value, "EEEE", locale=language)
    if language != "pt" or form == "bare":
        return name
    article = {"": ("o", "a"), "every": ("todo", "toda")}[form][name.endswith("-feira")]
    return f"{article} {name}"


# Feminine in French and in Portuguese, without article in German, so that one template fits all.
COUNTRIES = "AR AT AU BE BG CN CO DE EE ES FI FR GR HR HU ID IE IN IS IT LT LV NO NZ PL RO SE SI"
SPOKEN = "ar bg cs da de el en es fi fr hi hr hu it ja ko nl no pl pt ro ru sv tr uk zh"


def _country(value: str, language: str, form: str) -> str:
    name = Locale.parse(language).territories[value]
    return f"a {name}" if language == "pt" and form != "bare" else name


def _word(value: Row, language: str, form: str) -> str:
    cases = value[LANGUAGES.index(language)].split(" / ")
    return cases[0] if len(cases) == 1 else cases[("", "acc", "dat").index(form)]


def _word_kinds() -> Iterator[tuple[str, Kind]]:
    for block in _data_files()["words"].split("\n\n"):
        name, *entries = block.strip().splitlines()
        if name.startswith("["):
            rows = [tuple(entry.split(" | ")) for entry in entries]
            yield name.strip("[]"), Kind(lambda _, rows=rows: rows, _word, rises=False)


def _lists(argument: str) -> list[tuple[Any, ...]]:
    """Two or three different values of the kind that the argument names; it comes first."""
    values = _values(argument, "")
    return [(argument, *items) for n in (2, 3) for items in itertools.permutations(values, n)]


def _list(value: tuple[Any, ...], language: str, form: str) -> str:
    kind, *items = value
    return format_list([render(kind, item, language, form) for item in items], locale=language)


def _code(*texts: str) -> Kind:
    """A value that every language writes alike."""
    return Kind(lambda _: texts, lambda v, lang, form: v, rises=False)


UNITS = (
    "temperature-celsius", "length-kilometer", "length-meter", "length-millimeter",
    "area-square-meter", "volume-liter", "volume-milliliter", "mass-kilogram", "mass-gram",
    "duration-hour", "duration-minute", "energy-kilowatt-hour", "digital-gigabyte",
)  # fmt: skip
DAYS = _days(2020, 2029)
# CLDR's plain "pt" is Brazilian, "en" American; num2words must be told.
KINDS: dict[str, Kind] = {
    "n": Kind(_numbers, lambda v, lang, _: format_decimal(v, locale=lang)),
    "digits": Kind(_numbers, lambda v, lang, _: str(v)),
    "words": _in_words("cardinal"),
    "ordinal": _in_words("ordinal"),
    "year": Kind(_numbers, lambda v, lang, _: str(v)),
    "year_words": _in_words("year"),
    "percent": Kind(
        _numbers,
        lambda v, lang, _: format_percent(v / 100, locale=lang, decimal_quantization=False),
    ),
    "price": _price("EUR", "GBP", "USD"),
    "eur": _price("EUR"),
    "sum": _price("EUR", "GBP", "USD", style="whole"),
    "money": _price("CHF", "EUR", "USD", style="named"),
    "time": Kind(_times, lambda v, lang, _: format_time(v, "short", locale=lang)),
    "date": _date("long", DAYS),
    "date_short": _date("short", DAYS),
    "date_medium": _date("medium", DAYS),
    "fulldate": _date("full", DAYS),
    "md": Kind(
        lambda _: _days(2024, 2024),
        lambda v, lang, _: format_skeleton("MMMMd", v, locale=lang),
    ),
    "month": _date("MMMM", [datetime.date(2024, month, 1) for month in range(1, 13)]),
    "quarter": _date("QQQQ", [datetime.date(2024, month, 1) for month in (1, 4, 7, 10)]),
    "day": Kind(lambda _: [datetime.date(2024, 1, n) for n in range(1, 8)], _weekday),
    "country": Kind(lambda _: COUNTRIES.split(), _country, rises=False),
    "language": Kind(
        lambda _: SPOKEN.split(), lambda v, lang, _: Locale.parse(lang).languages[v], rises=False
    ),
    "list": Kind(_lists, _list, rises=False),
    "seat": _code(*(f"{row}{letter}" for row in range(3, 39) for letter in "ABCDEF")),
    "gate": _code(*(f"{letter}{n}" for letter in "ABCD" for n in range(2, 40))),
    "flight": _code(*(f"{code} {n}" for code in ("QX", "VK", "ZR") for n in range(101, 999))),
    "phone": _code(*(f"0{area} {n}" for area in range(30, 90, 7) for n in range(1207, 9999, 31))),
    **{unit.split("-", 1)[1].replace("-", "_"): _unit(unit, "long") for unit in UNITS},
    "temp": _unit("temperature-celsius", "short"),
    "cm": _unit("length-centimeter", "short"),
    "kmh": _unit("speed-kilometer-per-hour", "short"),
    **dict(_word_kinds()),
}
