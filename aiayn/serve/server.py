"""The server: routes of both dialects, health and metrics, its beginning and its end."""

import asyncio
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import h11
import uvicorn
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from aiayn.errors import UserError
from aiayn.serve import libretranslate, openai_api, page
from aiayn.serve.choices import READ_SECONDS
from aiayn.serve.engine import Broken, Closed, Engine, Full
from aiayn.serve.guard import ROUTE, Guard, check_key, refused
from aiayn.serve.hangups import while_connected
from aiayn.serve.models import Served
from aiayn.serve.openapi import openapi
from aiayn.serve.refusals import RETRY_AFTER, Refusal, as_json

HEADER_SECONDS = 10
"""In which a client must have sent the head of a request."""
_Answer = Callable[[Request], Awaitable[Response]]


class Server:
    """All models of a process and the application that serves them."""

    def __init__(
        self,
        served: Mapping[str, Served],
        queue: int = 256,
        host: str = "127.0.0.1",
        key: str | None = None,
    ):
        self.served, self._key = served, key
        self.engines = {name: Engine(each, queue) for name, each in served.items()}
        self._translations = libretranslate.Translations(list(self.engines.values()))
        # A browser sends no key.
        self._page = page.Page(served if key is None else {})
        registry = CollectorRegistry()
        registry.register(_Engines(self.engines))
        inner = Starlette(
            routes=self._routes(),
            lifespan=self._lifespan,
            exception_handlers={
                Refusal: _on_refusal,
                UserError: _on_user_error,
                Full: _on_full,
                Closed: _on_closed,
                Broken: _on_broken,
                ClientDisconnect: _on_gone,
                HTTPException: _on_http,
                Exception: _on_fault,
            },
        )
        self.app = Guard(inner, self.is_ready, host, key, registry)
        self.drain: asyncio.Future[None] | None = None
        """Held, or nothing would keep it from being collected."""

    def is_ready(self) -> bool:
        """Whether all programs of all models are compiled, and those of the page."""
        return all(engine.is_ready for engine in self.engines.values()) and self._page.is_ready

    def _routes(self) -> list[BaseRoute]:
        post, get = partial(_route, self._key, "POST"), partial(_route, self._key, "GET")
        routes: list[BaseRoute] = [
            get("/health", self._health, needs_key=False),
            get("/metrics", self._metrics),
            get("/openapi.json", self._openapi),
            post("/translate", self._translate, key_in_body=True),
            post("/detect", self._detect, key_in_body=True),
            get("/languages", self._languages, needs_key=False),
            get("/frontend/settings", self._settings, needs_key=False),
            get("/v1/models", self._models),
            get("/v1/models/{name:path}", self._model),
            post("/v1/completions", partial(self._generated, openai_api.complete)),
            post("/v1/chat/completions", partial(self._generated, openai_api.chat)),
            post("/tokenize", partial(self._tokens, openai_api.tokenize)),
            post("/detokenize", partial(self._tokens, openai_api.detokenize)),
            get("/tokenizer_info", self._tokenizer_info),
        ]
        return routes if self._key is not None else [*routes, *self._page.routes()]

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        for engine in self.engines.values():
            engine.start()
        self._page.warm_up()
        yield
        self._page.close()
        for engine in self.engines.values():
            engine.close()
        for engine in self.engines.values():
            await asyncio.to_thread(engine.join)

    def abandon(self) -> None:
        """Begin nothing more, as at Ctrl-C."""
        self._page.close()
        for engine in self.engines.values():
            engine.abandon()

    async def _health(self, request: Request) -> Response:
        for name, engine in self.engines.items():
            if engine.fault:
                raise Refusal(500, f"The model {name} cannot be served: {engine.fault}")
        if self.app.is_draining or not self.is_ready():
            status = "ending" if self.app.is_draining else "loading"
            return _json({"status": status}, 503, RETRY_AFTER)
        return _json({"status": "ok"})

    async def _metrics(self, request: Request) -> Response:
        return Response(generate_latest(self.app.registry), media_type="text/plain; version=0.0.4")

    async def _openapi(self, request: Request) -> Response:
        return _json(openapi(self._translations, [*self.engines.values()]))

    async def _translate(self, request: Request) -> Response:
        asked = await libretranslate.asked_for(request, libretranslate.Translate)
        check_key(self._key, asked.api_key or "", request.url.path)
        return _json(await while_connected(request, self._translations.translate(asked)))

    async def _detect(self, request: Request) -> Response:
        asked = await libretranslate.asked_for(request, libretranslate.Detect)
        check_key(self._key, asked.api_key or "", request.url.path)
        return _json(await asyncio.to_thread(self._translations.detect, asked))

    async def _languages(self, request: Request) -> Response:
        return _json(self._translations.languages())

    async def _settings(self, request: Request) -> Response:
        return _json(self._translations.settings(self._key is not None))

    async def _models(self, request: Request) -> Response:
        return _json({"object": "list", "data": openai_api.models(self.engines)})

    async def _model(self, request: Request) -> Response:
        engine = openai_api.engine_of(request.path_params["name"], self.engines)
        return _json(openai_api.models({engine.served.name: engine})[0])

    async def _generated(
        self, answer: Callable[..., Awaitable[Response]], request: Request
    ) -> Response:
        body = await request.body()
        try:
            return await while_connected(request, answer(body, self.engines))
        except UserError as fault:
            raise openai_api.refusal_of(fault) from None

    async def _tokens(self, answer: Callable[..., dict[str, Any]], request: Request) -> Response:
        return _json(answer(await request.body(), self.engines))

    async def _tokenizer_info(self, request: Request) -> Response:
        return _json(openai_api.tokenizer_info(self.engines))


def _route(
    key: str | None,
    method: str,
    path: str,
    answer: _Answer,
    needs_key: bool = True,
    key_in_body: bool = False,
) -> Route:
    async def endpoint(request: Request) -> Response:
        request.scope[ROUTE] = path
        if needs_key and not key_in_body:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            check_key(key, given, request.url.path)
        return await answer(request)

    return Route(path, endpoint, methods=[method])


def _json(values: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(as_json(values), status, headers, media_type="application/json")


async def _on_refusal(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, Refusal)
    return refused(request.url.path, fault)


async def _on_user_error(request: Request, fault: Exception) -> Response:
    return refused(request.url.path, Refusal(400, str(fault)))


async def _on_full(request: Request, _: Exception) -> Response:
    message = "As many requests wait as may; ask again later."
    return refused(request.url.path, Refusal(429, message, "overloaded", headers=RETRY_AFTER))


async def _on_closed(request: Request, _: Exception) -> Response:
    refusal = Refusal(503, "The server is about to end.", headers=RETRY_AFTER)
    return refused(request.url.path, refusal)


async def _on_broken(request: Request, fault: Exception) -> Response:
    return refused(request.url.path, Refusal(500, str(fault)))


async def _on_gone(request: Request, _: Exception) -> Response:
    return refused(request.url.path, Refusal(499, "The client has hung up."))


async def _on_http(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)
    headers = dict(fault.headers or {})
    return refused(request.url.path, Refusal(fault.status_code, fault.detail, headers=headers))


async def _on_fault(request: Request, _: Exception) -> Response:
    return refused(request.url.path, Refusal(500, "The server has a fault; its log says where."))


class _Engines(Collector):
    """What the engines do, read when it is asked for."""

    def __init__(self, engines: Mapping[str, Engine]):
        self._engines = engines

    def collect(self) -> Generator[GaugeMetricFamily | CounterMetricFamily]:
        about = {
            "aiayn_requests_waiting": "Requests that have not begun",
            "aiayn_slots_taken": "Texts that are searched",
        }
        waiting, taken = (
            GaugeMetricFamily(name, text, labels=["model"]) for name, text in about.items()
        )
        compiled = CounterMetricFamily(
            "aiayn_compilations", "Programs compiled since the server is ready", labels=["model"]
        )
        for name, engine in self._engines.items():
            waiting.add_metric([name], engine.num_waiting)
            taken.add_metric([name], engine.num_inside)
            compiled.add_metric([name], engine.compilations)
        yield from (waiting, taken, compiled)


class PatientHTTP(H11Protocol):
    """HTTP that waits for the head of a request, but not for ever: on a connection that was kept,
    from its first bytes on."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._be_patient()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._patience is None:
            self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()  # the timer would hold the connection until its end
        super().connection_lost(exc)

    def _be_patient(self) -> None:
        self._patience = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class _Uvicorn(uvicorn.Server):
    """Uvicorn that leaves signals to us."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UserError: the port is in use, or there is no such address.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Named as TCP's, or asyncio would not switch Nagle's delay off: 40 ms a request.
        found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except (OSError, OverflowError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise UserError(
            f"The server cannot listen on {host}, port {port}: {reason}. Choose another by --host "
            "or --port."
        ) from None
    return found


def run(server: Server, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until SIGTERM, which lets running requests finish, or Ctrl-C, which does not.

    `on_ready` is called when all is compiled.

    Raises:
        UserError: a model cannot be served.
        KeyboardInterrupt: Ctrl-C.
    """
    asyncio.run(_run(server, listening, on_ready))


async def _run(server: Server, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    config = uvicorn.Config(
        server.app,
        http=PatientHTTP,
        ws="none",
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=READ_SECONDS,  # of those who still read their answer
    )
    program, loop = _Uvicorn(config), asyncio.get_running_loop()
    interrupted: list[None] = []

    def interrupt() -> None:
        interrupted.append(None)
        program.should_exit = program.force_exit = True

    loop.add_signal_handler(signal.SIGTERM, _begin_drain, server, program)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    watching = asyncio.ensure_future(_watch(server, program, on_ready))
    try:
        await program.serve(sockets=[listening])
    finally:
        watching.cancel()
        server.abandon()
        for engine in server.engines.values():
            await asyncio.to_thread(engine.join)
    for engine in server.engines.values():
        if engine.fault:
            raise engine.fault
    if interrupted:
        raise KeyboardInterrupt


async def _watch(server: Server, program: uvicorn.Server, on_ready: Callable[[], None]) -> None:
    while not server.is_ready():
        if any(engine.fault for engine in server.engines.values()):
            program.should_exit = True
            return
        await asyncio.sleep(0.05)
    on_ready()


def _begin_drain(server: Server, program: uvicorn.Server) -> None:
    if not server.app.is_draining:
        server.app.is_draining = True
        server.drain = asyncio.ensure_future(_drain(server, program))


async def _drain(server: Server, program: uvicorn.Server) -> None:
    while server.app.num_running:
        await asyncio.sleep(0.05)
    program.should_exit = True
