"""What the server can be asked, in the words of OpenAPI, from the types of the requests."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import aiayn
from aiayn.serve.asked import Chat, Completion, Detokenize, Tokenize
from aiayn.serve.engine import Engine
from aiayn.serve.libretranslate import Detect, Translate, Translations

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_ANSWER: Mapping[str, Any] = {"type": "object"}
_COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 0}
_LIST: Mapping[str, Any] = {"type": "array", "items": _ANSWER}


def openapi(translations: Translations, engines: Sequence[Engine]) -> dict[str, Any]:
    """The description of all routes, with the limits that every model keeps."""
    kinds = (Translate, Detect, Completion, Chat, Tokenize, Detokenize)
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    of_kind = dict(zip(kinds, schemas, strict=True))
    translate = components["Translate"]["properties"]
    translate["source"] = {"type": "string", "enum": ["auto", *translations.sources]}
    targets = {"enum": translations.targets} if translations.targets else {}
    translate["target"] = {"type": "string", **targets}
    pairs = (each for each in engines if each.served.kind == "translation")
    most = min((each.most_outputs - 1 for each in pairs), default=0)
    translate["alternatives"] = {"anyOf": [{**_COUNT, "maximum": most}, {"type": "null"}]}
    of_form = dict[type, Mapping[str, Any]]()
    a_text = {"type": "string", "minLength": 1}
    some = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    for kind in (Translate, Detect):
        properties = components[kind.__name__]["properties"]
        # A list of one empty text cannot be told from an empty text in a form.
        of_form[kind] = {**components[kind.__name__], "properties": {**properties, "q": a_text}}
        properties["q"] = {"anyOf": [a_text, some]}
    last = min(each.served.tokenizer.num_words for each in engines) - 1
    components["Detokenize"]["properties"]["tokens"]["items"] = {**_COUNT, "maximum": last}
    paths = {
        "/health": _get("Whether the server is ready"),
        "/metrics": _get("Counts for Prometheus", "text/plain"),
        "/translate": _post("Translate a text or a list", of_kind[Translate], of_form[Translate]),
        "/detect": _post("Find the language", of_kind[Detect], of_form[Detect], _LIST),
        "/languages": _get("The languages served", schema=_LIST),
        "/frontend/settings": _get("What a page needs to know"),
        "/v1/models": _get("The models served"),
        "/v1/models/{name}": _get("One model", parameter="name"),
        "/v1/completions": _post("Go on with a prompt, or translate it", of_kind[Completion]),
        "/v1/chat/completions": _post("Answer in a chat", of_kind[Chat]),
        "/tokenize": _post("The tokens of a text", of_kind[Tokenize]),
        "/detokenize": _post("The text of tokens", of_kind[Detokenize]),
        "/tokenizer_info": _get("The names of special tokens"),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "aiayn", "version": aiayn.__version__},
        "paths": paths,
        "components": {"schemas": components},
    }


def _answers(kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {kind: {"schema": schema}}
    if kind == _JSON:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    good = {"description": "The answer", "content": content}
    refused = {"description": "A refusal", "content": {_JSON: {"schema": _ANSWER}}}
    return {"200": good, "4XX": refused, "5XX": refused}


def _get(
    summary: str,
    kind: str = _JSON,
    schema: Mapping[str, Any] = _ANSWER,
    parameter: str = "",
) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": summary, "responses": _answers(kind, schema)}
    if parameter:
        text = {"type": "string", "minLength": 1}
        found["parameters"] = [{"name": parameter, "in": "path", "required": True, "schema": text}]
    return {"get": found}


def _post(
    summary: str,
    asked: Mapping[str, Any],
    form: Mapping[str, Any] | None = None,
    schema: Mapping[str, Any] = _ANSWER,
) -> dict[str, Any]:
    content = {_JSON: {"schema": asked}, **({_FORM: {"schema": form}} if form else {})}
    body = {"required": True, "content": content}
    return {"post": {"summary": summary, "requestBody": body, "responses": _answers(_JSON, schema)}}
