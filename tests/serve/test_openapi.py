"""The description of the server is that of its routes."""

import re

from aiayn.serve.openapi import openapi


def _references(values):
    if isinstance(values, dict):
        for name, value in values.items():
            yield from [value] if name == "$ref" else _references(value)
    elif isinstance(values, list):
        for value in values:
            yield from _references(value)


def test_every_route_but_the_pages_is_described_and_no_other(server):
    described = {
        (path, method.upper())
        for path, methods in openapi(["en"], ["de"])["paths"].items()
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
