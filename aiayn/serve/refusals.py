"""What a server refuses, and what it may be asked for at most; each dialect has its own words."""

import json
import re
from typing import Any, cast

import msgspec

MOST_BYTES = 1 << 20
"""Of the body of a request."""
MOST_CHARACTERS = 50_000
"""Of all texts of a request."""
MOST_TEXTS = 1_000
MOST_STOPS = 16
MOST_BANS = 64
MOST_OF_A_BAN = 256
"""Characters of a banned word."""
RETRY_AFTER = {"Retry-After": "1"}
"""Seconds after which a client may ask again."""


class Refusal(Exception):  # noqa: N818, a refusal is none of our errors
    """A request that is not answered as asked."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        """`code` and `param` are told where the dialect has a place for them."""
        super().__init__(message)
        self.status, self.message = status, message
        self.code, self.param, self.headers = code, param, headers


def check_number(name: str, found: int, most: int, what: str) -> None:
    """Raises Refusal for more than `most` of something."""
    if found > most:
        message = f"{name} has {found:,} {what}; wanted at most {most:,}."
        raise Refusal(400, message, param=name)


def typed(body: bytes, kind: type[Any]) -> Any:
    """JSON as a struct.

    Raises:
        Refusal: it is no JSON, or has a value of another type, whose place the message names.
    """
    try:
        return msgspec.convert(_whole(msgspec.json.decode(body)), kind)
    except msgspec.ValidationError as error:
        place = re.search(r"\$\.(\w+)|field `(\w+)`", str(error))
        param = place and (place[1] or place[2])
        raise Refusal(400, f"Invalid request: {error}", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"The body is no JSON: {error}") from None


def _whole(value: Any) -> Any:
    """With whole numbers for those written like 1.0, which are the same in JSON."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return int(value)
    if isinstance(value, list):
        return [_whole(each) for each in cast(list[Any], value)]
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in cast(dict[str, Any], value).items()}
    return value


def as_json(values: object) -> bytes:
    """In bytes that any client reads: numbers that JSON lacks are no numbers here."""
    return json.dumps(values, ensure_ascii=False, allow_nan=False).encode()
