"""What memory a process has held, and memory in large pages, for processes that train on CPU.

XLA on CPU allocates its buffers anew in every step; with pages of 4 KiB a quarter of the processor
time of a small model's step goes to page faults. glibc reads the setting at start only.
"""

import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

LARGE_PAGES: Mapping[str, str] = (
    {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} if sys.platform == "linux" else {}
)
"""What the environment of such a process holds, unless the user has set it."""


def use_large_pages() -> None:
    """Start this process over with that environment, where it has not got it."""
    if not LARGE_PAGES.keys() <= os.environ.keys():
        os.environ.update(LARGE_PAGES)
        os.execv(sys.executable, sys.orig_argv)


def peak_bytes() -> int:
    """The most resident memory that this program has held; `ru_maxrss` would begin with its
    parent's."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
