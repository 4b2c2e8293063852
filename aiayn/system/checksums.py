"""SHA-256 of files, and what is damaged by them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

SUMS = "sha256.json"
"""Checksums of what a checkpoint's folders hold; the files beside it are Orbax's notes, which it
writes last and does without."""
_MOST_ABOUT_ARRAY = 4096
"""Bytes of a `.zarray`, the type and shape of an array; ours have some 200. TensorStore follows the
brackets of a long one until the stack is full."""


def find_damage(checkpoint: Path) -> str:
    """What is wrong with the files of a checkpoint, or nothing."""
    try:
        sums: dict[str, str] = json.loads((checkpoint / SUMS).read_text(encoding="utf-8"))
        if damage := damaged(checkpoint, dict(sums.items())):
            return damage
        for about in checkpoint.glob("*/*/.zarray"):  # in the sums or not
            if about.stat().st_size > _MOST_ABOUT_ARRAY:
                return f"{about} is too long for what is said of an array."
    except FileNotFoundError as error:
        return f"{error.filename} is missing."
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return f"{checkpoint / SUMS} cannot be used: {error}."
    return ""


def damaged(folder: Path, sums: Mapping[str, str]) -> str:
    """The first of some files in a folder that is missing or has another SHA-256; or nothing."""
    for name, wanted in sums.items():
        if not (folder / name).is_file():  # nor a device without an end
            return f"{folder}/{name} is missing."
        if sha256(folder / name) != wanted:
            return f"{folder / name} does not hold the bytes that were written."
    return ""


HASHED_BYTES = 64 << 20
"""Files up to this size are compared by their content, larger ones by their size."""


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_if_small(path: Path) -> str:
    """SHA-256 of a file, or nothing where reading it would take a while."""
    return "" if path.stat().st_size > HASHED_BYTES else sha256(path)
