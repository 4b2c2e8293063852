"""What is computed for a reader who hangs up is given up."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from starlette.requests import Request

from aiayn.serve.refusals import Refusal


async def while_connected(request: Request, answer: Awaitable[Any]) -> Any:
    """The answer, unless its reader hangs up before: then it is given up.

    Raises:
        Refusal: the reader has hung up; nobody will read this either.
    """
    task = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Refusal(499, "The client has hung up.")
    finally:
        for each in (task, gone):
            if not each.done():
                each.cancel()
                with suppress(asyncio.CancelledError):
                    await each


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
