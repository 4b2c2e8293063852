"""What is plainly no text of sentences: subword markers, SGML tags.

Figures taken on such references would mislead, so a corpus that holds them is refused before it is
trained on.
"""

import re
from collections.abc import Sequence

from aiayn.errors import UserError

_NOT_PLAIN = {
    "subword markers": re.compile("▁|@@(?: |$)"),
    "SGML tags": re.compile(r"^\s*</?(?:seg|doc|p|hl|refset|srcset|tstset)\b"),
}


def check_plain(name: str, lines: Sequence[str], tokens: bool = False) -> list[str]:
    """What a reader should know of a few lines that are no plain sentences, or no whole `tokens`.

    Raises:
        UserError: more than a tenth of the lines are none.
    """
    warnings: list[str] = []
    for what, pattern in _NOT_PLAIN.items():
        found = [number for number, line in enumerate(lines, 1) if pattern.search(line)]
        if not found:
            continue
        first = f"line {found[0]}, {lines[found[0] - 1].strip()[:60]!r}"
        message = f"{len(found)} of {len(lines)} {name} hold {what}, the first in {first}"
        if 10 * len(found) > len(lines):
            wanted = "whole tokens" if tokens else "plain, detokenised sentences"
            raise UserError(f"{message}; wanted {wanted}.")
        warnings.append(f"{message}.")
    return warnings
