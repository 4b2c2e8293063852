"""The page to play with models: its files, and the routes that it asks for what it draws."""

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route

from aiayn.errors import UserError
from aiayn.serve import beams, inspection, space, words
from aiayn.serve.hangups import while_connected
from aiayn.serve.models import Served
from aiayn.serve.refusals import Refusal

_WEB = Path(__file__).parent / "web"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_MOST_BYTES = 64 * 1024
"""Of a request."""
_MOST_WAITING = 16
"""Requests for one model; the next is told to come again."""
_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)

_Found = TypeVar("_Found", bound=msgspec.Struct)


class _Asked(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    model: str


class _Tokens(_Asked, frozen=True):
    source: str
    target: str = ""


class _Attention(_Asked, frozen=True):
    source: str
    target: str | None = None


class _Beam(_Asked, frozen=True):
    source: str
    prefix: list[int] = []


class _Words(_Asked, frozen=True):
    source: str
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None


class _Space(_Asked, frozen=True):
    sources: list[str]
    positions: bool = True


class _Answer(_Asked, frozen=True):
    source: str
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0


class Models(msgspec.Struct, frozen=True):
    """The models to choose from."""

    models: list[inspection.Card]
    streams: bool
    """Whether the server writes text as it grows, at `/v1/completions`."""


class Page:
    """The page of some models, and the threads that compute for it."""

    def __init__(self, served: Mapping[str, Served]):
        self._served = served
        self._workers = {name: _Worker(each) for name, each in served.items()}

    def routes(self) -> list[BaseRoute]:
        """The page at `/`, its files under `/page/`, and what it asks for under `/page/api/`."""
        computed = (
            Route(f"/{name}", partial(_computed, self._workers, *what), methods=["POST"])
            for name, what in _COMPUTED.items()
        )
        api = Starlette(
            routes=[Route("/models", partial(_models, self._served)), *computed],
            exception_handlers={
                HTTPException: _refused,
                Refusal: _given_up,
                ClientDisconnect: _gone,
                UserError: _mistaken,
                Exception: _failed,
            },
        )
        files = {
            str(path.relative_to(_WEB)): path.read_bytes()
            for path in _WEB.rglob("*")
            if path.is_file()
        }
        policy = _policy(files["index.html"].decode())
        return [
            Route("/", partial(_file, files, policy, "index.html")),
            Mount("/page/api", api),
            Route("/page/{name:path}", partial(_file, files, policy, None)),
        ]

    def warm_up(self) -> None:
        """Begin to compile all that any text may need, in the threads that compute."""
        for worker in self._workers.values():
            worker.warm_up()

    @property
    def is_ready(self) -> bool:
        """Whether nothing is left to compile."""
        return all(worker.is_ready for worker in self._workers.values())

    def close(self) -> None:
        """Compile no more; what is computed now is the last."""
        for worker in self._workers.values():
            worker.close()


_COMPUTED: Mapping[str, tuple[type[_Asked], Callable[[Served, Any], msgspec.Struct]]] = {
    "tokens": (_Tokens, lambda served, a: inspection.tokens(served, a.source, a.target)),
    "attention": (_Attention, lambda served, a: inspection.attention(served, a.source, a.target)),
    "beam": (_Beam, lambda served, a: beams.beam(served, a.source, a.prefix)),
    "words": (
        _Words,
        lambda served, a: words.next_words(
            served,
            a.source,
            temperature=a.temperature,
            top_k=a.top_k,
            top_p=a.top_p,
            min_p=a.min_p,
        ),
    ),
    "space": (_Space, lambda served, a: space.space(served, a.sources, a.positions)),
    "pieces": (_Asked, lambda served, a: space.pieces(served)),
    "answer": (
        _Answer,
        lambda served, a: inspection.answer(
            served,
            a.source,
            temperature=a.temperature,
            top_k=a.top_k,
            top_p=a.top_p,
            min_p=a.min_p,
            seed=a.seed,
        ),
    ),
}
"""By the name of the route: what is asked, and what is found for it."""


class _Worker:
    """Computes for one model in a thread of its own, one thing at a time."""

    def __init__(self, served: Served):
        self._served = served
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="page")
        self._waiting = 0
        self._warming: list[Future[None]] = []

    def warm_up(self) -> None:
        """Begin to compile all that the page may need of this model."""
        self._warming = [
            self._pool.submit(module.warm_up, self._served, width)
            for width in inspection.widths(self._served)
            for module in (inspection, beams, words, space)
        ]

    @property
    def is_ready(self) -> bool:
        """Whether that is done. What cannot be compiled is told to whoever asks for it."""
        return all(each.done() for each in self._warming)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def compute(self, function: Callable[[Served, Any], _Found], asked: _Asked) -> _Found:
        """What a function finds. One that has not begun when nobody waits any more never does.

        Raises:
            HTTPException: too many wait already.
        """
        if self._waiting >= _MOST_WAITING:
            detail = f"{self._waiting} requests wait for {asked.model}; wanted fewer. Try again."
            raise HTTPException(429, detail, headers={"Retry-After": "1"})
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, function, self._served, asked)
        finally:
            self._waiting -= 1


async def _models(served: Mapping[str, Served], request: Request) -> Response:
    asked = {"type": "http", "path": "/v1/completions", "method": "POST", "root_path": ""}
    outermost = request.scope["router"].routes
    streams = any(route.matches(asked)[0] == Match.FULL for route in outermost)
    return _json(Models([inspection.card(each) for each in served.values()], streams))


async def _computed(
    workers: Mapping[str, _Worker],
    kind: type[_Asked],
    function: Callable[[Served, Any], msgspec.Struct],
    request: Request,
) -> Response:
    asked = await _read(request, kind)
    if asked.model not in workers:
        known = ", ".join(workers)
        raise HTTPException(404, f"There is no model {asked.model!r}; wanted one of {known}.")
    worker = workers[asked.model]
    return _json(await while_connected(request, worker.compute(function, asked)))


async def _read(request: Request, kind: type[_Asked]) -> _Asked:
    """What is asked.

    Raises:
        HTTPException: it is too long, or no JSON of that kind.
    """
    # A foreign page can send other types without being asked whether it may.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "The request has another type; wanted application/json.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise HTTPException(413, f"The request is over {_MOST_BYTES:,} bytes long.")
    try:
        return msgspec.json.decode(bytes(body), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(400, f"The request cannot be read: {error}.") from None


async def _file(
    files: Mapping[str, bytes], policy: str, name: str | None, request: Request
) -> Response:
    """A file of the page; names are looked up and never opened, so none leads out of them."""
    name = name or str(request.path_params["name"])
    content = files.get(name)
    if content is None:
        return _json({"error": f"The page has no file {name!r}."}, 404)
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        **_SAFE,
        "Content-Security-Policy": policy,
        "Content-Type": _TYPES.get(Path(name).suffix, "text/plain; charset=utf-8"),
        "Cache-Control": "no-cache",
        "ETag": tag,
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers)


def _policy(index: str) -> str:
    """Everything from this server alone; the map of imports, which browsers read only where it
    stands in the page, is allowed by its hash."""
    maps = (map_.encode() for map_ in _IMPORT_MAP.findall(index))
    hashes = (base64.b64encode(hashlib.sha256(each).digest()).decode() for each in maps)
    scripts = " ".join(["script-src 'self'", *(f"'sha256-{each}'" for each in hashes)])
    return f"default-src 'self'; {scripts}; base-uri 'none'; frame-ancestors 'none'"


_SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = msgspec.json.encode(value)
    more = {**_SAFE, "Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(content, status, headers={**more, **(headers or {})})


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code, error.headers)


async def _given_up(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _json({"error": error.message}, error.status)


async def _gone(request: Request, error: Exception) -> Response:
    return _json({"error": "The client has hung up."}, 499)


async def _mistaken(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 400)


async def _failed(request: Request, error: Exception) -> Response:
    return _json({"error": "The server failed to compute this; its log says why."}, 500)
