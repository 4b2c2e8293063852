"""The description of the server is that of its routes."""

import asyncio
import re

import pytest

from aiayn.serve.libretranslate import Translate, Translations
from aiayn.serve.openapi import openapi
from aiayn.serve.refusals import Refusal


def _references(values):
    if isinstance(values, dict):
        for name, value in values.items():
            yield from [value] if name == "$ref" else _references(value)
    elif isinstance(values, list):
        for value in values:
            yield from _references(value)


def test_every_route_but_the_pages_is_described_and_no_other(server, client):
    described = {
        (path, method.upper())
        for path, methods in client.get("/openapi.json").json()["paths"].items()
        for method in methods
    }
    routes = {
        (re.sub(":path", "", route.path), method)
        for route in server._routes()
        if route.path != "/" and not route.path.startswith("/page/")
        for method in route.methods - {"HEAD"}
    }
    assert described == routes - {("/openapi.json", "GET")}


def test_every_type_that_is_named_is_there(client):
    found = client.get("/openapi.json").json()
    names = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    assert set(_references(found)) <= names
    translate = found["components"]["schemas"]["Translate"]
    assert translate["required"] == ["q", "source", "target"]
    assert translate["properties"]["source"]["enum"] == ["auto", "en"]


def test_a_server_that_translates_nothing_offers_no_language(text):
    found = openapi(Translations([text]), [text])["components"]["schemas"]["Translate"]
    assert "enum" not in found["properties"]["target"], "an empty list of values is none"
    asked = Translate(q="one", source="auto", target="de")
    with pytest.raises(Refusal, match="no model here translates"):
        asyncio.run(Translations([text]).translate(asked))


def test_the_limits_are_those_of_the_models(client, pair):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    (count, none) = schemas["Translate"]["properties"]["alternatives"]["anyOf"]
    assert (count["maximum"], none["type"]) == (pair.most_outputs - 1, "null")
    asked = {"q": "one", "source": "en", "target": "de"}
    for alternatives, status in ((count["maximum"], 200), (count["maximum"] + 1, 400)):
        found = client.post("/translate", json={**asked, "alternatives": alternatives})
        assert found.status_code == status
    last = schemas["Detokenize"]["properties"]["tokens"]["items"]["maximum"]
    for token, status in ((last, 200), (last + 1, 400)):
        assert client.post("/detokenize", json={"tokens": [token]}).status_code == status
