"""XLA_FLAGS: XLA ends a process at a flag that it does not know, with a message of C++."""

import os
import re
import subprocess
import sys

from aiayn.errors import UserError
from aiayn.system.kept import kept

_READ = (
    "from jaxlib.xla_client import CompileOptions\n"
    "CompileOptions().executable_build_options.debug_options"
)
"""Has XLA read the variable, and nothing else: no device is looked for."""


def check_flags() -> None:
    """Raises UserError if XLA would not take what is in XLA_FLAGS, before it ends this process.

    Another process tries it, the first time that these flags are set.
    """
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if not flags:
        return
    # Else it is the name of a file, which may change.
    said = kept("flags", flags, _complaint) if flags.startswith("-") else _complaint()
    if said:
        raise UserError(
            f"XLA does not take the variable XLA_FLAGS: {said.decode(errors='replace')} Mend it, "
            "or unset it."
        )


def _complaint() -> bytes:
    """What XLA says of the flags, on one line; nothing where it takes them."""
    command = [sys.executable, "-c", _READ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    found = re.search(rb"^[EF]\d{4} .*?\] (.*?)\.?$", done.stderr, re.MULTILINE)
    return found[1] + b"." if done.returncode and found else b""
