"""Records: typed values, each in a JSON file of its own, checked as they are read."""

import json
import re
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aiayn.errors import UserError
from aiayn.system.files import read_json, user_os_errors, write_text

Kind = TypeVar("Kind")


class Hardware(msgspec.Struct, frozen=True):
    """The devices that computed, and the host's processor."""

    platform: str
    device: str
    num_devices: int
    num_processes: int
    cpu: str
    cpu_count: int | None


class Environment(msgspec.Struct, kw_only=True):
    """The code that ran, and the machine that it ran on."""

    commit: str
    versions: dict[str, str]
    """Of this program, Python and the packages that decide the results."""
    hardware: Hardware


def write(path: Path, record: object) -> None:
    """Write a record, and make its folder where there is none."""
    with user_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(msgspec.to_builtins(record), indent=1, ensure_ascii=False)
        write_text(path, text + "\n")


def read(path: Path, kind: type[Kind], of: str) -> Kind:
    """The record in a file; `of` says in messages whose record it should be.

    Raises:
        UserError: the file is missing or damaged, or holds something else.
    """
    return typed(read_json(path), kind, of, path)


def typed(values: dict[str, Any], kind: type[Kind], of: str, path: Path) -> Kind:
    """As `read`, from the values that were read from `path`. Keys that are not known are ignored:
    a newer version may have written them.
    """
    try:
        return msgspec.convert(values, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # half a surrogate pair
        text = str(error)
        problem = _problem(values, text) if isinstance(error, msgspec.ValidationError) else text
        raise UserError(f"{path} is no record of {of}: {problem}.") from None


_NAMES = {
    **{kind: kind.__name__ for kind in (str, bool, int, float)},
    **{type(None): "null", list: "array", dict: "object"},
}


def _inside(value: Any) -> Iterable[tuple[Any, Any]]:
    """The keys and values of a table, the numbers and values of an array."""
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _problem(values: dict[str, Any], message: str) -> str:
    """msgspec's message with what it leaves out: the keys of tables, and the value found."""
    about, _, path = message.partition(" - at ")
    places: list[tuple[str, Any]] = [("", values)]
    for key, index in re.findall(r"\.(\w+)|\[(\d+|\.{3})\]", path):
        places = [
            (f"{at}[{name}]" if index else f"{at}.{name}".lstrip("."), value)
            for at, around in places
            for name, value in _inside(around)
            if index == "..." or str(name) == key + index
        ]
    if missing := re.fullmatch("Object missing required field `(.*)`", about):
        at = next(at for at, value in places if missing[1] not in value)
        return f"{at or 'it'} lacks {missing[1]}"
    about = about.replace("Number out of range", "Expected a smaller number")
    wanted, _, found = about.removeprefix("Expected ").replace("`", "").partition(", got ")
    fitting = (p for p in places if _NAMES.get(type(p[1]), found) == found or not found)
    at, value = next(fitting, places[0])  # of an array's length none says so
    return f"{at} is {reprlib.repr(value)}; wanted {wanted}"
