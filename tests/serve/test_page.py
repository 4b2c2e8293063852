"""The routes of the page: what they send, and what they refuse."""

import asyncio
import base64
import hashlib
import json
import re
import threading
from pathlib import Path

import jax
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import aiayn.serve.page
from aiayn.serve import example, inspection, page
from tests.support.served import translator, writer

WEB = Path(aiayn.serve.page.__file__).parent / "web"
MODELS = {"pair": translator(), "text": writer()}


def client_of(*more):
    return TestClient(Starlette(routes=[*more, *page.Page(MODELS).routes()]))


@pytest.fixture(scope="module")
def client():
    return client_of()


def ask(client, name, **asked):
    return client.post(f"/page/api/{name}", json={"model": "pair", **asked})


def test_every_file_of_the_page_is_served_as_it_is_and_safe(client):
    files = [path for path in WEB.rglob("*") if path.is_file()]
    for path in files:
        found = client.get(f"/page/{path.relative_to(WEB)}")
        assert found.status_code == 200
        assert found.content == path.read_bytes()
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["content-security-policy"].startswith("default-src 'self';")
    assert client.get("/").content == (WEB / "index.html").read_bytes()
    assert client.head("/").status_code == 200
    for name, wanted in (
        ("index.html", "text/html"),
        ("app.js", "text/javascript"),
        ("vendor/preact.mjs", "text/javascript"),
        ("style.css", "text/css"),
        ("example.json", "application/json"),
        ("icon.svg", "image/svg+xml"),
    ):
        assert client.get(f"/page/{name}").headers["content-type"].startswith(wanted)


def test_a_file_that_has_not_changed_is_not_sent_again(client):
    tag = client.get("/page/app.js").headers["etag"]
    again = client.get("/page/app.js", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


def test_the_one_script_in_the_page_is_the_one_that_its_policy_allows(client):
    found = client.get("/")
    (map_,) = re.findall(r"<script(?![^>]*src)[^>]*>(.*?)</script>", found.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(map_.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}'" in found.headers["content-security-policy"]
    for path in json.loads(map_)["imports"].values():
        assert client.get(path).status_code == 200
    assert not re.search(r"\son\w+=|<style|\sstyle=", found.text)


@pytest.mark.parametrize(
    "path",
    [
        "/page/%2e%2e/page.py",
        "/page/..%2fpage.py",
        "/page/vendor/%2e%2e/%2e%2e/models.py",
        "/page//etc/passwd",
        "/page/",
        "/page/nothing.js",
        "/page/api/nothing",
    ],
)
def test_nothing_outside_the_page_is_served(client, path):
    found = client.get(path)
    assert found.status_code == 404
    assert "error" in found.json()


def test_the_page_asks_no_other_host_and_is_small():
    own = list(WEB.glob("*.js"))
    assert sum(len(path.read_text().splitlines()) for path in own) <= 1_500
    assert sum(path.stat().st_size for path in WEB.rglob("*") if path.is_file()) <= 150_000
    for path in (*own, WEB / "index.html", WEB / "style.css"):
        text = path.read_text()
        assert not re.search(r"https?://|//\w+\.\w+/", text), path.name
        assert "innerHTML" not in text, "text of users is only ever text"


def test_what_others_made_is_as_they_made_it():
    lines = (WEB / "vendor/SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in map(str.split, lines)}
    notes = {"README.md", "SHA256SUMS"}
    assert sums.keys() == {path.name for path in (WEB / "vendor").iterdir()} - notes
    for name, digest in sums.items():
        assert hashlib.sha256((WEB / "vendor" / name).read_bytes()).hexdigest() == digest
    assert {"preact.LICENSE", "htm.LICENSE"} <= sums.keys()


def test_the_stored_example_is_an_answer_of_each_kind():
    found = msgspec.json.decode((WEB / "example.json").read_bytes(), type=example.Example)
    assert found.beam.source == found.attention.source == example.TEXT
    assert found.beam.best[0].text == found.attention.target
    assert tuple(found.space.texts) == example.PAIR
    for heads in found.attention.kinds:
        for row in (row for layer in heads.weights for head in layer for row in head):
            assert sum(row) == pytest.approx(1.0, abs=0.001 * len(row))
    assert example.as_json(found) == (WEB / "example.json").read_bytes().strip()


def test_the_models_and_whether_the_server_writes_text_as_it_grows(client):
    found = client.get("/page/api/models").json()
    assert [model["name"] for model in found["models"]] == ["pair", "text"]
    assert not found["streams"]
    route = Route("/v1/completions", lambda request: PlainTextResponse(""), methods=["POST"])
    assert client_of(route).get("/page/api/models").json()["streams"]


def test_routes_give_what_is_found_with_exact_numbers(client):
    found = ask(client, "attention", source="one two", target="three").json()
    looks = MODELS["pair"].model.attention("one two", "three")
    for heads in found["kinds"]:
        assert heads["weights"] == looks.of(heads["kind"]).tolist()
    tokens = ask(client, "tokens", source="one two").json()
    assert tokens["target"] == []
    stages = ask(client, "space", sources=["one two", "two one"]).json()["stages"]
    assert [len(stage["places"]) for stage in stages] == [2] * 4
    words = ask(client, "words", model="text", source="one", top_k=1).json()
    assert (words["num_kept"], words["words"][0]["chosen"]) == (1, 1.0)


@pytest.mark.parametrize(
    ("name", "asked", "status", "message"),
    [
        (
            "tokens",
            {"model": "none", "source": "a"},
            404,
            "no model 'none'; wanted one of pair, te",
        ),
        ("tokens", {}, 400, "`source`"),
        ("tokens", {"source": 3}, 400, "`$.source`"),
        ("tokens", {"source": "a", "more": 1}, 400, "`more`"),
        ("tokens", {"source": "a" * 1_001}, 400, "1,001 characters; wanted at most 1,000"),
        ("tokens", {"source": "a" * 70_000}, 413, "over 65,536 bytes"),
        ("attention", {"source": "", "target": "one"}, 400, "0 tokens; wanted 1 to 39"),
        ("beam", {"source": "one", "prefix": [-1]}, 400, "the id -1"),
        ("beam", {"source": "one", "prefix": [2**70]}, 400, "the id 11805"),
        ("beam", {"model": "text", "source": "one"}, 400, "is a language model"),
        ("words", {"model": "text", "source": "one", "top_p": 0}, 400, "top_p is 0"),
        ("words", {"model": "text", "source": "one", "temperature": 1e39}, 400, "temperature is"),
        ("space", {"sources": []}, 400, "0 texts; wanted one or two"),
    ],
)
def test_what_cannot_be_done_is_said_in_json(client, name, asked, status, message):
    found = ask(client, name, **asked)
    assert found.status_code == status
    assert message in found.json()["error"]
    assert found.headers["content-type"] == "application/json"
    assert ask(client, "tokens", source="one").status_code == 200, "it still answers"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b"[" * 60_000, b'{"model": "\\ud800"}']
)
def test_what_is_no_request_is_refused(client, body):
    headers = {"Content-Type": "application/json"}
    found = client.post("/page/api/tokens", content=body, headers=headers)
    assert found.status_code == 400
    assert "cannot be read" in found.json()["error"]


def test_other_types_and_methods_are_refused(client):
    found = client.post("/page/api/tokens", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (found.status_code, found.json()["error"][:11]) == (415, "The request")
    wrong = client.get("/page/api/tokens")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert "error" in wrong.json()


def test_a_defect_is_told_without_its_trace(monkeypatch):
    def broken(served, source, target):
        raise ZeroDivisionError("/a/path")

    monkeypatch.setattr(inspection, "tokens", broken)
    client = TestClient(Starlette(routes=page.Page(MODELS).routes()), raise_server_exceptions=False)
    found = ask(client, "tokens", source="one")
    assert found.status_code == 500
    assert found.json() == {"error": "The server failed to compute this; its log says why."}


def test_a_page_that_is_warm_compiles_nothing_whatever_the_text():
    compiled = []

    def count(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration" and is_warm:
            compiled.append(duration)

    is_warm = False
    shown = page.Page(MODELS)
    shown.warm_up()
    for worker in shown._workers.values():
        for each in worker._warming:
            each.result(120)
    assert shown.is_ready
    is_warm = True
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        with TestClient(Starlette(routes=shown.routes())) as client:
            for text in ("one " * length for length in (1, 31, 32, 39)):
                for name in ("tokens", "attention"):
                    assert ask(client, name, source=text, target="one").status_code == 200
                assert ask(client, "beam", source=text, prefix=[5]).status_code == 200
                for positions in (True, False):
                    asked = {"sources": [text, "one"], "positions": positions}
                    assert ask(client, "space", **asked).status_code == 200
            for text in ("one " * length for length in (1, 30)):
                for name in ("words", "attention"):
                    assert ask(client, name, model="text", source=text).status_code == 200
                assert ask(client, "space", model="text", sources=[text]).status_code == 200
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert compiled == []


def test_each_model_has_one_thread_and_few_may_wait_for_it(monkeypatch):
    begun, go_on, threads = threading.Event(), threading.Event(), set()

    def slow(served, source, target):
        threads.add((served.name, threading.current_thread()))
        if served.name == "pair":
            begun.set()
            assert go_on.wait(60)
        return inspection.Tokens([], [])

    monkeypatch.setattr(inspection, "tokens", slow)
    monkeypatch.setattr(page, "_MOST_WAITING", 1)
    with client_of() as client:
        statuses: list[int] = []
        first = threading.Thread(
            target=lambda: statuses.append(ask(client, "tokens", source="a").status_code)
        )
        first.start()
        assert begun.wait(60)
        found = ask(client, "tokens", source="b")
        assert (found.status_code, found.headers["retry-after"]) == (429, "1")
        assert ask(client, "tokens", model="text", source="b").status_code == 200
        go_on.set()
        first.join()
        assert ask(client, "tokens", source="b").status_code == 200
    assert statuses == [200]
    assert len(threads) == 2


def test_what_a_reader_has_left_before_it_began_is_never_computed(monkeypatch):
    begun, go_on, computed = threading.Event(), threading.Event(), []

    def slow(served, source, target):
        computed.append(source)
        begun.set()
        assert go_on.wait(60)
        return inspection.Tokens([], [])

    monkeypatch.setattr(inspection, "tokens", slow)
    app = Starlette(routes=page.Page(MODELS).routes())

    async def asked(source, leaves):
        """The status that a reader gets who leaves when `leaves` is set."""
        body = json.dumps({"model": "pair", "source": source}).encode()
        coming = iter([{"type": "http.request", "body": body}])

        async def receive():
            for message in coming:
                return message
            await leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            statuses.setdefault(source, message.get("status"))

        await app({**_SCOPE}, receive, send)

    async def main():
        stays, leaves = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(asked("first", stays))
        while not begun.is_set():
            await asyncio.sleep(0)
        second = asyncio.create_task(asked("second", leaves))
        third = asyncio.create_task(asked("third", stays))
        leaves.set()
        await second
        go_on.set()
        await asyncio.gather(first, third)

    statuses: dict[str, int] = {}
    asyncio.run(main())
    assert statuses == {"first": 200, "second": 499, "third": 200}
    assert computed == ["first", "third"]


_SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/page/api/tokens",
    "root_path": "",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
}
