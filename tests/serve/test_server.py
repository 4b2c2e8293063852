"""The server as a whole: its routes, its key, its limits, its beginning and its end."""

import asyncio
import gc
import json
import signal
import socket
import threading
import urllib.request
import weakref
from functools import partial
from urllib.error import HTTPError

import pytest
import uvicorn
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from uvicorn.server import ServerState

from aiayn.errors import UserError
from aiayn.serve import server as served_by
from aiayn.serve.engine import Engine, Full
from aiayn.serve.server import PatientHTTP, Server, bound
from tests.support.servers import running, served

ASKED = {"q": "one two", "source": "en", "target": "de"}
PROMPT = {"model": "text", "prompt": "one", "max_tokens": 5, "seed": 1}


def test_it_is_healthy_when_all_is_compiled(client):
    assert client.get("/health").json() == {"status": "ok"}


def test_before_that_it_says_so(monkeypatch):
    monkeypatch.setattr(Engine, "start", lambda engine: None)
    server = Server(served())
    with TestClient(server.app, base_url="http://127.0.0.1") as client:
        found = client.get("/health")
        assert found.status_code == 503
        assert found.json() == {"status": "loading"}
        for post in ("/translate", "/v1/completions"):
            assert client.post(post, json={}).status_code == 503
        server.engines["pair"].fault = UserError("memory is used up")
        assert client.get("/health").json() == {
            "error": "The model pair cannot be served: memory is used up"
        }


def test_the_page_is_at_the_address_and_streams_unless_a_key_is_wanted(server, client):
    found = client.get("/")
    assert found.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in found.headers["content-security-policy"]
    models = client.get("/page/api/models").json()
    assert models["streams"]
    assert [card["name"] for card in models["models"]] == ["pair", "text"]
    closed = Server(server.served, key="a key")
    paths = [route.path for route in closed._routes() if isinstance(route, Route | Mount)]
    assert "/translate" in paths
    assert not any(path.startswith("/page") for path in paths)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/nowhere", 404),
        ("GET", "/page/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404),
        ("GET", "/translate", 405),
        ("POST", "/languages", 405),
        ("DELETE", "/v1/models", 405),
        ("OPTIONS", "/v1/completions", 405),
    ],
)
def test_what_is_not_there_is_said_in_the_dialect_of_the_path(client, method, path, status):
    found = client.request(method, path)
    assert found.status_code == status
    error = found.json()["error"]
    assert isinstance(error, dict if path.startswith("/v1") else str)
    assert status != 405 or found.headers["allow"]


def test_a_full_queue_is_429_with_the_time_to_come_again(client, server, monkeypatch):
    def full(*_):
        raise Full

    for engine in server.engines.values():
        monkeypatch.setattr(engine, "submit", full)
    for path, asked in (
        ("/translate", ASKED),
        ("/v1/completions", PROMPT),
        ("/v1/completions", {**PROMPT, "stream": True}),
    ):
        found = client.post(path, json=asked)
        assert found.status_code == 429
        assert found.headers["retry-after"] == "1"
        assert "error" in found.json()


def test_a_fault_of_ours_is_500_and_the_next_request_is_answered(
    client, server, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        patch.setattr(server.engines["text"], "submit", lambda *_: 1 // 0)
        found = client.post("/v1/completions", json=PROMPT)
        assert found.status_code == 500
        assert found.json()["error"]["type"] == "server_error"
        assert "ZeroDivisionError" in capsys.readouterr().err
    assert client.post("/v1/completions", json=PROMPT).status_code == 200


def test_metrics_count_requests_by_route_and_programs_compiled_since(client):
    client.post("/v1/completions", json=PROMPT)
    client.get("/v1/models/secret")
    text = client.get("/metrics").text
    assert 'aiayn_requests_total{route="/v1/completions",status="200"}' in text
    assert 'aiayn_requests_total{route="/v1/models/{name:path}",status="404"}' in text
    assert 'aiayn_compilations_total{model="pair"} 0.0' in text
    assert "secret" not in text


def test_a_key_is_asked_for_where_each_dialect_sends_it(server):
    with_key = Server(server.served, key="a key")
    with_key.engines = server.engines
    with_key.app.is_ready = lambda: True
    client = TestClient(with_key.app, base_url="http://127.0.0.1")
    for headers, status in (({}, 401), ({"Authorization": "Bearer other"}, 401)):
        for path in ("/v1/models", "/tokenizer_info"):
            assert client.get(path, headers=headers).status_code == status
    good = {"Authorization": "Bearer a key"}
    assert client.get("/v1/models", headers=good).status_code == 200
    assert client.get("/metrics").status_code == 403
    assert client.post("/detect", json={"q": "one"}).json() == {"error": "Invalid API key"}
    assert client.post("/translate", json={**ASKED, "api_key": "other"}).status_code == 403
    assert client.post("/detect", json={"q": "one", "api_key": "a key"}).status_code == 200
    assert client.get("/health").status_code == 200
    assert client.get("/frontend/settings").json()["keyRequired"] is True


def test_a_port_in_use_is_a_line_that_names_it():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1, port {port}: Address already in use"):
            bound("127.0.0.1", port)
    with pytest.raises(UserError, match=r"cannot listen on no\.such\.host\.invalid"):
        bound("no.such.host.invalid", 0)


async def _said_to(head, then=b""):
    """What a client reads that sends some bytes, and others after the answer to those; whether its
    connection is held afterwards, and whether small parts of an answer wait for those before to be
    acknowledged."""
    held, delays = weakref.WeakSet(), []

    class Watched(PatientHTTP):
        def connection_made(self, transport):
            super().connection_made(transport)
            held.add(self)
            connection = transport.get_extra_info("socket")
            delays.append(not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def greet(scope, receive, send):
        headers = [(b"content-length", b"6")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"Hello."})

    config = uvicorn.Config(greet, http=Watched, log_level="critical")
    config.load()
    state, place = ServerState(), bound("127.0.0.1", 0)
    make = partial(Watched, config, state, {})
    async with await asyncio.get_running_loop().create_server(make, sock=place):
        reader, writer = await asyncio.open_connection(*place.getsockname())
        writer.write(head)
        if then:
            await reader.readuntil(b"Hello.")
            writer.write(then)
        read = await reader.read()
        writer.close()
        await writer.wait_closed()
        while state.connections:
            await asyncio.sleep(0)
    gc.collect()
    return read, bool(held), any(delays)


def test_a_client_that_does_not_end_its_head_is_cut_off(monkeypatch):
    monkeypatch.setattr(served_by, "HEADER_SECONDS", 0.01)
    assert asyncio.run(_said_to(b"GET / HTTP")) == (b"", False, False)


HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
KEPT = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_client_that_does_not_end_its_second_head_is_cut_off_too(monkeypatch):
    monkeypatch.setattr(served_by, "HEADER_SECONDS", 0.05)
    assert asyncio.run(_said_to(KEPT, b"GET / HTTP")) == (b"", False, False)


def test_a_client_that_keeps_its_connection_is_answered_again():
    read, _, _ = asyncio.run(_said_to(KEPT, HEAD))
    assert read.endswith(b"\r\n\r\nHello.")


def test_a_connection_that_is_over_is_forgotten_before_its_time_for_a_head_is(monkeypatch):
    monkeypatch.setattr(served_by, "HEADER_SECONDS", 3_600)
    read, is_held, _ = asyncio.run(_said_to(HEAD))
    assert read.endswith(b"\r\n\r\nHello.")
    assert not is_held


def test_no_part_of_an_answer_waits_until_the_one_before_is_acknowledged():
    _, _, is_delayed = asyncio.run(_said_to(HEAD))
    assert not is_delayed


def test_the_page_begins_nothing_more_after_ctrl_c_either(monkeypatch):
    # Uvicorn then leaves out the end of the application's life.
    async def serve(program, sockets):
        signal.raise_signal(signal.SIGINT)
        while not program.force_exit:
            await asyncio.sleep(0)

    monkeypatch.setattr(served_by._Uvicorn, "serve", serve)
    for name in ("abandon", "join"):
        monkeypatch.setattr(Engine, name, lambda engine: None)
    server, closed = Server(served()), []
    monkeypatch.setattr(server._page, "close", lambda: closed.append(True))
    with bound("127.0.0.1", 0) as listening, pytest.raises(KeyboardInterrupt):
        served_by.run(server, listening, lambda: None)
    assert closed == [True]


# --- A server of its own ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    """The program as it is started, and the address that it prints."""
    with running(tmp_path_factory.mktemp("served")) as found:
        yield found


def _post(address, path, values):
    body, headers = json.dumps(values).encode(), {"content-type": "application/json"}
    request = urllib.request.Request(f"{address}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=60) as found:
        return json.load(found)


@pytest.mark.slow
def test_a_client_that_hangs_up_is_not_worked_for(process):
    _, address = process
    host, _, port = address.removeprefix("http://").partition(":")
    asked = {"q": ["one two three " * 60] * 40, "source": "en", "target": "de"}
    body = json.dumps(asked).encode()
    head = f"POST /translate HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        _wait_until(address, lambda taken: taken > 0)
    _wait_until(address, lambda taken: taken == 0)
    assert _metric(address, 'aiayn_requests_total{route="/translate",status="499"}') == 1


def _wait_until(address, holds):
    """Until something holds of the slots taken; between two looks the engine takes some turns, in
    which it translates a sentence for us."""
    while not holds(_metric(address, 'aiayn_slots_taken{model="pair"}')):
        _post(address, "/translate", ASKED)


def _metric(address, name):
    with urllib.request.urlopen(f"{address}/metrics", timeout=60) as found:
        text = found.read().decode()
    values = [line.split()[-1] for line in text.splitlines() if line.startswith(name)]
    return float(values[0]) if values else 0.0


@pytest.mark.slow
def test_sigterm_lets_running_requests_finish_and_refuses_new_ones(process):
    started, address = process
    wanted = _post(address, "/translate", ASKED)
    many = {**ASKED, "q": ["one two three " * 60] * 20}
    found = []
    running = threading.Thread(target=lambda: found.append(_post(address, "/translate", many)))
    running.start()
    _wait_until(address, lambda taken: taken > 0)
    started.send_signal(signal.SIGTERM)
    status = 200
    while status == 200:
        try:
            assert _post(address, "/translate", ASKED) == wanted
        except HTTPError as refused:
            status = refused.code
    assert status == 503
    running.join()
    assert len(found[0]["translatedText"]) == 20
    assert started.wait(60) == 0
    assert started.stderr.read() == ""
