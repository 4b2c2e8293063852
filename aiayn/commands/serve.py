"""From trained models to a server: `serve`."""

from argparse import ArgumentParser, ArgumentTypeError
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from aiayn.commands.verb import TRAINED, Verb, existing, positive, trained
from aiayn.errors import UserError

_NEEDED = (
    *("starlette", "uvicorn", "sse_starlette", "python_multipart", "prometheus_client"),
    *("h11", "py3langid"),
)
"""What the extra `serve` installs."""
_NAME = "letters, digits, -, _ and ."


class _Named(NamedTuple):
    name: str
    path: Path


def serve(
    models: list[_Named], host: str, port: int, api_key_file: Path | None, queue: int
) -> None:
    """Serve models over HTTP to clients of LibreTranslate and of OpenAI.

      aiayn serve pb=runs/phrasebook lm=runs/phrasebook_lm
    Each has a name that clients ask for. A model that translates answers /translate, and
    /v1/completions and /v1/chat/completions with the translation of the prompt; a language model
    goes on with the prompt. docs/serving.md has examples for curl, Python and JavaScript.

    /health says ok when all is compiled. SIGTERM lets running requests finish and refuses new ones;
    Ctrl-C ends at once.
    """
    from aiayn.serve.models import load_served
    from aiayn.serve.server import Server, bound, run

    key = None if api_key_file is None else _key(api_key_file)
    listening = bound(host, port)
    port = listening.getsockname()[1]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"Loading {', '.join(each.name for each in models)} for {address} ...", flush=True)
    server = Server(load_served(models), queue, host, key)
    run(server, listening, lambda: print(f"Serving on {address}", flush=True))


def _key(path: Path) -> str:
    from aiayn.system.files import user_os_errors

    with user_os_errors(path):
        try:
            key = path.read_text(encoding="utf-8").strip()
        except UnicodeDecodeError:
            key = ""
    if not key or not key.isprintable() or not key.isascii():  # headers of HTTP are ASCII
        raise UserError(f"{path} holds no key; wanted one line of ASCII.")
    return key


def _named(text: str) -> _Named:
    """The type of NAME=PATH."""
    name, separator, path = text.partition("=")
    if not separator or not path:
        raise UserError(f"{text!r} names no model; wanted NAME=PATH, such as pb=runs/phrasebook.")
    if not name or not all(each.isalnum() or each in "-_." for each in name):
        raise UserError(f"The name {name!r} of {path} is none; wanted {_NAME}.")
    return _Named(name, trained(path))


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() else -1
    if not 0 <= number <= 65_535:
        raise ArgumentTypeError(f"is {text!r}; wanted a number of 0 to 65535")
    return number


def _check(models: list[_Named], **_: object) -> None:
    names = [each.name for each in models]
    if twice := [name for name in names if names.count(name) > 1]:
        paths = [each.path for each in models if each.name == twice[0]]
        raise UserError(f"{twice[0]} names both {paths[0]} and {paths[1]}; wanted different names.")
    if missing := [name for name in _NEEDED if not find_spec(name)]:
        raise UserError(
            f"The server needs {', '.join(missing)}, not installed here; `make serve` installs "
            "all, or in the checkout: pip install -e '.[serve]'"
        )


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "models",
        type=_named,
        nargs="+",
        metavar="NAME=PATH",
        help=f"the name that clients ask for, and {TRAINED}",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="the address to listen on (default: 127.0.0.1, this machine alone)",
    )
    parser.add_argument(
        "--port", type=_port, default=5000, help="the port (default: 5000; 0: any that is free)"
    )
    parser.add_argument(
        "--api-key-file",
        type=existing,
        metavar="FILE",
        help="a file with a key that every client must send (default: none needed)",
    )
    parser.add_argument(
        "--queue",
        type=positive,
        default=256,
        metavar="N",
        help="refuse requests while N of a model wait to begin (default: 256)",
    )


SERVE = Verb("serve", serve, _arguments, _check, large_pages=True)
