"""A picture of the page at work, for README and docs; Chromium must be there.

python -m aiayn.serve.screenshot experiments/models/phrasebook docs/page.png
"""

import shutil
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from starlette.applications import Starlette

from aiayn.serve.example import TEXT
from aiayn.serve.models import Served, load_served
from aiayn.serve.page import Page

_WIDTH, _HEIGHT = 960, 760
_MILLISECONDS = 120_000
_SHOWN = {"kind": "cross", "layer": 2, "head": 1, "links": "yes"}


@contextmanager
def serving(served: Served) -> Generator[str]:
    """The address of a server with the page alone."""
    app = Starlette(routes=Page({served.name: served}).routes())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def picture(served: Served, out: Path) -> None:
    """Draw what the page shows of a model that translates from English."""
    playwright: Any = import_module("playwright.sync_api")
    with serving(served) as address, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
        page.set_default_timeout(_MILLISECONDS)
        page.goto(f"{address}/#{urlencode({'text': TEXT, **_SHOWN})}")
        page.locator(".stored").wait_for(state="detached")
        page.locator("#attention").wait_for()
        page.locator("#attention").screenshot(path=out)
        browser.close()


if __name__ == "__main__":
    (model,) = load_served([("phrasebook", Path(sys.argv[1]))]).values()
    picture(model, Path(sys.argv[2]))
