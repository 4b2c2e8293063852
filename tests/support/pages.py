"""What README and docs tell a reader to type, cut out of their Markdown."""

import re
import shlex
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "experiments").glob("*/README.md")),
]
"""Those that say what to do; the results and the log say what was done."""

_FENCED = re.compile(r"^```(\{?[\w-]*\}?)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """What stands between two fences."""

    page: str
    kind: str
    text: str


class Command(NamedTuple):
    """A line behind a prompt, those that it goes on with, and what is shown below it."""

    line: str
    output: str


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    found = _FENCED.findall(page.read_text(encoding="utf-8"))
    return [Block(name_of(page), kind, text) for kind, text in found]


def spans(page: Path) -> list[str]:
    """All code inside sentences, each on one line."""
    prose = _FENCED.sub("", page.read_text(encoding="utf-8"))
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose)]


def commands(block: Block) -> list[Command]:
    """The commands of a console block; text that is neither one nor shown below one is refused."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert parts[0] == "", f"{block.page}: {parts[0]!r} stands before the first prompt"
    found: list[Command] = []
    for part in parts[1:]:
        lines = part.splitlines()
        last = next(n for n, line in enumerate(lines) if not line.endswith("\\"))
        output = "".join(f"{line}\n" for line in lines[last + 1 :])
        found.append(Command("\n".join(lines[: last + 1]), output))
    return found


def calls(line: str) -> list[list[str]]:
    """The words of each program that a command line calls, joined by pipes."""
    lexer = shlex.shlex(line.replace("\\\n", " "), posix=True, punctuation_chars="|")
    lexer.whitespace_split = True
    return [list(words) for is_pipe, words in groupby(lexer, "|".__eq__) if not is_pipe]
