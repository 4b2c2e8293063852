"""One server of tiny models for all tests of a worker, since compiling it takes seconds."""

import asyncio
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def server():
    """Ready, with a translator `pair` and a language model `text`; no socket is opened."""
    from starlette.testclient import TestClient

    from aiayn.serve.server import Server, _watch
    from tests.support.servers import served

    made = Server(served(), queue=8)
    with TestClient(made.app, base_url="http://127.0.0.1"):
        ready = []
        asyncio.run(_watch(made, SimpleNamespace(), lambda: ready.append(True)))
        assert ready, [engine.fault for engine in made.engines.values()]
        yield made


@pytest.fixture(scope="session")
def client(server):
    """Who speaks to it; faults of the server are its answers, as for any client."""
    from starlette.testclient import TestClient

    return TestClient(server.app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture(scope="session")
def pair(server):
    """The engine of the translator."""
    return server.engines["pair"]


@pytest.fixture(scope="session")
def text(server):
    """The engine of the language model."""
    return server.engines["text"]
