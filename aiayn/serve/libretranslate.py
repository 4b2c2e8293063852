"""The dialect of LibreTranslate: texts in, their translations out."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request

from aiayn.data import languages
from aiayn.serve.answers import Answer, Translation, Wanted, answered
from aiayn.serve.detection import Detector
from aiayn.serve.engine import Engine
from aiayn.serve.refusals import MOST_CHARACTERS, MOST_TEXTS, Refusal, check_number, typed
from aiayn.serve.text import document

_MISSING = re.compile(r"Object missing required field `(\w+)`")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([^"';\s]*)""", re.IGNORECASE)
_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")
_MOST_ALTERNATIVES = 127
"""However many outputs the model has places for."""


_Code = Annotated[str, Meta(max_length=50)]


class Translate(msgspec.Struct, kw_only=True):
    """A request for translations."""

    q: str | list[str]
    source: _Code
    target: _Code
    format: Literal["text", "html"] | None = None
    alternatives: Annotated[int, Meta(ge=0, le=_MOST_ALTERNATIVES)] | None = None
    api_key: str | None = None


class Detect(msgspec.Struct, kw_only=True):
    """A request for the language of a text."""

    q: str | list[str]
    api_key: str | None = None


def error(refusal: Refusal) -> dict[str, Any]:
    """A refusal in this dialect."""
    return {"error": refusal.message}


async def asked_for(request: Request, kind: type[Any]) -> Any:
    """A request as JSON, a form, or in the address."""
    content = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content == "application/json" or content.endswith("+json"):
        body = await request.body()
        try:
            return typed(body, kind)
        except Refusal as refusal:
            raise _in_its_words(refusal) from None
    charset = _CHARSET.search(request.headers.get("content-type", ""))
    if charset and charset[1].lower() not in _CHARSETS:
        raise Refusal(400, f"Invalid request: charset is {charset[1][:50]}; wanted utf-8")
    given = [*request.query_params.multi_items()]
    if content in ("application/x-www-form-urlencoded", "multipart/form-data"):
        async with request.form(max_files=0, max_fields=MOST_TEXTS + 10) as form:
            given += [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    values: dict[str, Any] = dict(given)
    texts = [value for name, value in given if name == "q"]
    if len(texts) > 1:
        values["q"] = texts
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as fault:
        raise _in_its_words(Refusal(400, f"Invalid request: {fault}")) from None


def _in_its_words(refusal: Refusal) -> Refusal:
    if found := _MISSING.search(refusal.message):
        refusal.message = f"Invalid request: missing {found[1]} parameter"
    return refusal


class Translations:
    """The pairs of languages that are served, and what translates each."""

    def __init__(self, engines: Sequence[Engine]):
        self._pairs: dict[tuple[str, str], Engine] = {}
        for engine in engines:
            if engine.served.kind == "translation":
                self._pairs.setdefault(engine.served.languages, engine)
        self.sources = list(dict.fromkeys(source for source, _ in self._pairs))
        self.targets = list(dict.fromkeys(target for _, target in self._pairs))
        self._detector = Detector()

    def languages(self) -> list[dict[str, Any]]:
        """Each language with what it is translated into."""
        return [
            {
                "code": code,
                "name": languages.english_name(code),
                "targets": [target for source, target in self._pairs if source == code],
            }
            for code in dict.fromkeys([*self.sources, *self.targets])
        ]

    def settings(self, needs_key: bool) -> dict[str, Any]:
        """What a page needs to know; it begins with the first pair."""
        (source, target) = next(iter(self._pairs), ("", ""))
        named = {
            side: {"code": code, "name": languages.english_name(code)}
            for side, code in (("source", source), ("target", target))
        }
        return {
            "apiKeys": needs_key,
            "charLimit": MOST_CHARACTERS,
            "filesTranslation": False,
            "frontendTimeout": 500,
            "keyRequired": needs_key,
            "language": named,
            "suggestions": False,
            "supportedFilesFormat": [],
        }

    def detect(self, asked: Detect) -> list[dict[str, Any]]:
        """The languages served that a text may be in, likeliest first."""
        text = " ".join(_texts(asked.q))
        return self._detector.detect(text, list(dict.fromkeys([*self.sources, *self.targets])))

    async def translate(self, asked: Translate) -> dict[str, Any]:
        """The translation of a text, or of each of a list, and more if alternatives are wanted."""
        texts = _texts(asked.q)
        detected: list[dict[str, Any]] = []
        by_source = self._into(asked.target)
        if asked.source == "auto":
            detected = await asyncio.to_thread(self._detected, texts, list(by_source))
            chosen = [by_source[each["language"]] for each in detected]
        else:
            chosen = [self._engine(by_source, asked.source, asked.target)] * len(texts)
        by_engine: dict[Engine, list[int]] = {}
        for number, engine in enumerate(chosen):
            by_engine.setdefault(engine, []).append(number)
        found: list[list[Answer]] = [[] for _ in texts]
        for engine, numbers in by_engine.items():
            wanted = Wanted(num_outputs=1 + (asked.alternatives or 0))
            is_html = asked.format == "html"
            works = [_translation(engine, texts[number], is_html, wanted) for number in numbers]
            for number, answers in zip(numbers, await answered(engine, works), strict=True):
                found[number] = answers
        values: dict[str, Any] = {"translatedText": [answers[0].text for answers in found]}
        if asked.alternatives:
            values["alternatives"] = [[each.text for each in answers[1:]] for answers in found]
        if detected:
            values["detectedLanguage"] = detected
        if isinstance(asked.q, str):
            values = {name: value[0] for name, value in values.items()}
        return values

    def _into(self, target: str) -> dict[str, Engine]:
        """What translates into a language, by its source. Raises Refusal if nothing does."""
        if not self._pairs:
            raise Refusal(400, "no model here translates")
        offered = _offered(target, self.targets)
        return {code: engine for (code, into), engine in self._pairs.items() if into == offered}

    def _detected(self, texts: Sequence[str], sources: Sequence[str]) -> list[dict[str, Any]]:
        """The likeliest of these languages for each text."""
        return [self._detector.detect(text, sources)[0] for text in texts]

    def _engine(self, by_source: Mapping[str, Engine], source: str, target: str) -> Engine:
        """Raises Refusal for a pair that is not served."""
        _offered(source, self.sources)
        try:
            return by_source[_offered(source, list(by_source))]
        except Refusal:
            message = f"{target} is not available as a target language from {source}"
            raise Refusal(400, message) from None


def _offered(code: str, codes: Sequence[str]) -> str:
    """The language served that a request means. Raises Refusal if there is none."""
    place = languages.find(code, codes)
    if place is not None:
        return codes[place]
    for each in codes:
        if languages.same_language(code, each):
            return each
    raise Refusal(400, f"{code[:50]} is not supported")


def _texts(q: str | list[str]) -> list[str]:
    if not q:
        raise Refusal(400, "Invalid request: missing q parameter")
    texts = [q] if isinstance(q, str) else q
    check_number("q", len(texts), MOST_TEXTS, "texts")
    total = sum(map(len, texts))
    if total > MOST_CHARACTERS:
        message = f"Invalid request: request ({total}) exceeds text limit ({MOST_CHARACTERS})"
        raise Refusal(400, message)
    return texts


def _translation(engine: Engine, text: str, is_html: bool, wanted: Wanted) -> Translation:
    if wanted.num_outputs > engine.most_outputs:
        message = (
            f"Invalid request: alternatives is {wanted.num_outputs - 1}; wanted at most "
            f"{engine.most_outputs - 1}"
        )
        raise Refusal(400, message)
    return Translation(engine.served.translator, document(text, is_html), wanted)
