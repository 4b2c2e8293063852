"""What every request passes on its way in and out, whatever it asks for.

Its sender's Host and Origin, its key, the size of its body, whether the server is ready or about to
end; and its place in the metrics, which hold no text, address or key.
"""

import asyncio
import hmac
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aiayn.serve import libretranslate, openai_api
from aiayn.serve.refusals import MOST_BYTES, RETRY_AFTER, Refusal, as_json

_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))
_ANY_ADDRESS = frozenset(("0.0.0.0", "::", ""))
_ALWAYS = ("/health", "/metrics")
"""What is answered while models are loaded, and while the last requests finish."""
_BODY_SECONDS = 30
"""In which a body must have come as a whole."""
ROUTE = "aiayn.route"
"""In a scope: the path of the route that answers, with names in the place of what varies."""
_OPENAI = ("/v1/", "/tokenize", "/detokenize", "/tokenizer_info")


@dataclass
class Guard:
    """A server behind its checks, as an ASGI application."""

    app: ASGIApp
    is_ready: Callable[[], bool]
    host: str = "127.0.0.1"
    """Where it listens: requests must be meant for it, or for loopback."""
    key: str | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    is_draining: bool = False
    num_running: int = 0

    def __post_init__(self):
        registry = self.registry
        self._requests = Counter(
            "aiayn_requests", "Requests answered", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "aiayn_request_seconds",
            "From a request to the end of its answer",
            ["route"],
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.num_running += 1
        try:
            self._check(scope)
            await self.app(scope, _bounded(receive), sent)
        except Refusal as refusal:
            await refused(scope["path"], refusal)(scope, receive, sent)
        except Exception as fault:  # which Starlette has answered; a trace may hold a user's text
            place = traceback.extract_tb(fault.__traceback__)[-1]
            where = f"{place.filename.rpartition('/')[2]}:{place.lineno}"
            print(f"aiayn: {type(fault).__name__} at {where}", file=sys.stderr)
        finally:
            self.num_running -= 1
            route = scope.get(ROUTE, "other")
            self._requests.labels(route, str(status)).inc()
            self._seconds.labels(route).observe(time.perf_counter() - began)

    def _check(self, scope: Scope) -> None:
        """Raises Refusal for a request that is not for this server, or not now."""
        headers = Headers(scope=scope)
        if not self._is_own(headers.get("host", "")):
            raise Refusal(403, "The Host of the request is not this server.")
        origin = headers.get("origin")
        if origin is not None and not self._is_same(origin, headers.get("host", "")):
            raise Refusal(403, "Pages of other sites may not ask this server.")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MOST_BYTES:
            raise _too_large(int(length))
        if scope["path"] in _ALWAYS:
            return
        if self.is_draining:
            raise Refusal(503, "The server is about to end.", headers=RETRY_AFTER)
        if not self.is_ready():
            raise Refusal(503, "The models are being loaded.", headers=RETRY_AFTER)

    def _is_same(self, origin: str, host: str) -> bool:
        """Whether a page is this server's own, by whatever name it was asked for."""
        try:
            netloc = urlsplit(origin).netloc
        except ValueError:
            return False
        return netloc == host or (self.host not in _ANY_ADDRESS and self._is_own(netloc))

    def _is_own(self, netloc: str) -> bool:
        if self.host in _ANY_ADDRESS:
            return True
        try:
            name = urlsplit(f"//{netloc}").hostname or ""
        except ValueError:
            return False
        return name in _LOOPBACK or name == self.host.lower()


def check_key(wanted: str | None, given: str, path: str) -> None:
    """Raises Refusal for another key than the server's, which takes equally long to find."""
    if wanted is not None and not hmac.compare_digest(given.encode(), wanted.encode()):
        if is_openai(path):
            raise Refusal(401, "Incorrect API key provided.", "invalid_api_key")
        raise Refusal(403, "Invalid API key")


def is_openai(path: str) -> bool:
    """Whether a path is of OpenAI's dialect, else it is of LibreTranslate's."""
    return path == "/v1" or path.startswith(_OPENAI)


def refused(path: str, refusal: Refusal) -> Response:
    """A refusal in the dialect of the path."""
    values: Mapping[str, Any] = (
        openai_api.error(refusal) if is_openai(path) else libretranslate.error(refusal)
    )
    return Response(as_json(values), refusal.status, refusal.headers, media_type="application/json")


def _too_large(length: int) -> Refusal:
    return Refusal(413, f"The body has {length:,} bytes or more; wanted at most {MOST_BYTES:,}.")


def _bounded(receive: Receive) -> Receive:
    """The body, as long as it is neither too large nor too slow, whatever its headers say."""
    length, is_whole = 0, False
    until = asyncio.get_running_loop().time() + _BODY_SECONDS

    async def bounded() -> Message:
        nonlocal length, is_whole
        try:
            async with asyncio.timeout_at(None if is_whole else until):
                message = await receive()
        except TimeoutError:
            message = f"The body did not come within {_BODY_SECONDS} seconds."
            raise Refusal(408, message) from None
        length += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if length > MOST_BYTES:
            raise _too_large(length)
        return message

    return bounded
