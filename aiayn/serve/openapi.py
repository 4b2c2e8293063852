"""What the server can be asked, in the words of OpenAPI, from the types of the requests."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import aiayn
from aiayn.serve.libretranslate import Detect, Translate
from aiayn.serve.openai_api import Chat, Completion, Detokenize, Tokenize

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_ANSWER: Mapping[str, Any] = {"type": "object"}
_LIST: Mapping[str, Any] = {"type": "array", "items": _ANSWER}


def openapi(sources: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """The description of all routes, for models that translate from and to these languages."""
    kinds = (Translate, Detect, Completion, Chat, Tokenize, Detokenize)
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    of_kind = dict(zip(kinds, schemas, strict=True))
    translate = components["Translate"]["properties"]
    translate["source"] = {"type": "string", "enum": ["auto", *sources]}
    translate["target"] = {"type": "string", "enum": list(targets)}
    for name in ("Translate", "Detect"):
        a_text = {"type": "string", "minLength": 1}
        some = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        components[name]["properties"]["q"] = {"anyOf": [a_text, some]}
    paths = {
        "/health": _get("Whether the server is ready"),
        "/metrics": _get("Counts for Prometheus", "text/plain"),
        "/translate": _post("Translate a text or a list", of_kind[Translate], (_JSON, _FORM)),
        "/detect": _post("Find the language", of_kind[Detect], (_JSON, _FORM), _LIST),
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
    kinds: Sequence[str] = (_JSON,),
    schema: Mapping[str, Any] = _ANSWER,
) -> dict[str, Any]:
    body = {"required": True, "content": {kind: {"schema": asked} for kind in kinds}}
    return {"post": {"summary": summary, "requestBody": body, "responses": _answers(_JSON, schema)}}
