"""What every request passes: Host, Origin, key, size, readiness; and what is counted of it."""

import asyncio

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

import aiayn.serve.guard
from aiayn.serve.guard import Guard, check_key, is_openai
from aiayn.serve.refusals import MOST_BYTES, Refusal


async def _echo(scope, receive, send):
    """The number of bytes that came."""
    length, more = 0, True
    while more:
        message = await receive()
        length += len(message["body"])
        more = message.get("more_body", False)
    await PlainTextResponse(str(length))(scope, receive, send)


def _guarded(app=_echo, **settings):
    guard = Guard(app, **{"is_ready": lambda: True, **settings})
    return guard, TestClient(guard, base_url="http://127.0.0.1:5000")


@pytest.mark.parametrize(
    ("host", "own", "foreign"),
    [
        ("127.0.0.1", "127.0.0.1 127.0.0.1:5000 localhost:5000 [::1]:5000", "a.org 0.0.0.0:1 x:y"),
        ("::1", "localhost [::1]", "[::2] [ evil.org:5000"),
        ("box.local", "box.local:80 BOX.LOCAL localhost", "a.box.local 10.0.0.1"),
        ("0.0.0.0", "anything.org 10.0.0.1:80", ""),
    ],
)
def test_a_request_for_another_host_is_none_for_us(host, own, foreign):
    _, client = _guarded(host=host)
    for name in own.split():
        assert client.get("/health", headers={"host": name}).status_code == 200, name
    for name in foreign.split():
        found = client.get("/health", headers={"host": name})
        assert found.status_code == 403, name
        assert "Host" in found.json()["error"]
    assert foreign == "" or client.get("/", headers={"host": ""}).status_code == 403


def test_pages_of_other_sites_may_not_ask():
    _, client = _guarded()
    for origin, status in (("http://127.0.0.1:5000", 200), ("http://evil.org", 403), ("null", 403)):
        found = client.post("/translate", headers={"origin": origin})
        assert found.status_code == status, origin
        assert "access-control-allow-origin" not in found.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("origin", ["http://[", "http://evil.org", "null", ""])
def test_a_page_of_another_site_may_not_ask_wherever_the_server_listens(host, origin):
    _, client = _guarded(host=host)
    own = {"host": "localhost:5000", "origin": "http://localhost:5000"}
    assert client.post("/translate", headers=own).status_code == 200
    found = client.post("/translate", headers={**own, "origin": origin})
    assert found.status_code == 403
    assert "other sites" in found.json()["error"]


def test_a_body_is_bounded_with_and_without_its_length():
    _, client = _guarded()
    parts = [b"x" * (MOST_BYTES // 4)] * 4
    assert client.post("/v1/completions", content=iter(parts)).text == str(MOST_BYTES)
    for content in (iter([*parts, b"x"]), b"x" * (MOST_BYTES + 1)):
        found = client.post("/v1/completions", content=content)
        assert found.status_code == 413
        assert "1,048,577 bytes or more; wanted at most 1,048,576" in found.text


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(aiayn.serve.guard, "_BODY_SECONDS", 0.01)
    sent = []

    async def never():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    guard, _ = _guarded()
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost")]}
    asyncio.run(guard(scope, never, send))
    assert sent[0]["status"] == 408


def test_a_body_that_comes_drop_by_drop_has_no_more_time(monkeypatch):
    limits = []

    def timeout_at(when):
        limits.append(when)
        return asyncio.timeout(None)

    monkeypatch.setattr(aiayn.serve.guard.asyncio, "timeout_at", timeout_at)
    _, client = _guarded()
    assert client.post("/v1/completions", content=iter([b"x"] * 5)).text == "5"
    *drops, last = limits
    assert len({*drops, last} - {None}) == 1
    assert None not in drops[:5]


def test_nothing_is_answered_before_all_is_ready_but_whether_it_is():
    ready = []
    guard, client = _guarded(is_ready=lambda: bool(ready))
    found = client.post("/v1/completions")
    assert found.status_code == 503
    assert found.headers["retry-after"] == "1"
    assert client.get("/health").status_code == 200, "which says what it is"
    ready.append(True)
    assert client.post("/v1/completions").status_code == 200
    guard.is_draining = True
    assert client.post("/translate").json() == {"error": "The server is about to end."}
    assert client.get("/health").status_code == 200


def test_a_fault_is_answered_and_logged_without_what_was_asked(capsys):
    async def broken(scope, receive, send):
        raise ValueError("the secret text of a user")

    guard, client = _guarded(broken)
    with pytest.raises(AssertionError):  # of the client: this app answers nothing, Starlette does
        client.get("/secret")
    said = capsys.readouterr().err
    assert said.startswith("aiayn: ValueError at test_guard.py:")
    assert "secret" not in said
    assert guard.num_running == 0


def test_what_is_counted_holds_no_path_that_a_client_made_up():
    guard, client = _guarded()
    client.get("/health?q=secret")
    client.post("/made/up", headers={"host": "evil.org"})
    text = generate_latest(guard.registry).decode()
    found = {
        tuple(sample.labels.values())
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "aiayn_requests_total"
    }
    assert found == {("other", "200"), ("other", "403")}
    assert "secret" not in text


def test_another_key_is_refused_in_the_dialect_of_the_path():
    check_key(None, "", "/translate")
    check_key("key", "key", "/translate")
    for given in ("", "kez", "key ", "clé"):
        with pytest.raises(Refusal) as refusal:
            check_key("key", given, "/v1/models")
        assert refusal.value.status == 401
        with pytest.raises(Refusal) as refusal:
            check_key("key", given, "/translate")
        assert refusal.value.status == 403


def test_each_path_has_its_dialect():
    assert all(map(is_openai, ("/v1/completions", "/v1", "/tokenize", "/tokenizer_info")))
    assert not any(map(is_openai, ("/translate", "/v10", "/", "/health")))
