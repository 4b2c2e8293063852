import json
import os
import subprocess
import sys

import pytest

from aiayn.system import memory

CODE = """
import json, os, sys
from aiayn.system.memory import use_large_pages
use_large_pages()
print(json.dumps([os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], sys.flags.optimize]))
"""


def started(*arguments, **environment):
    """What the program sees once `use_large_pages` returns, and what it has written by then."""
    kept = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-O", "-c", CODE, *arguments]
    done = subprocess.run(
        command, env=kept | environment, capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_a_process_starts_over_once_with_its_arguments_and_options():
    arguments = ["translate", "a model", ""]
    assert started(*arguments) == ["glibc.malloc.hugetlb=1", arguments, 1]


def test_the_users_own_setting_is_kept():
    assert started(GLIBC_TUNABLES="glibc.malloc.check=0")[0] == "glibc.malloc.check=0"


def test_nothing_starts_over_where_the_setting_is_made(monkeypatch):
    def refuse(*_):
        raise AssertionError("started over")

    monkeypatch.setattr(os, "execv", refuse)
    for name, value in memory.LARGE_PAGES.items():
        monkeypatch.setenv(name, value)
    memory.use_large_pages()
    monkeypatch.setattr(memory, "LARGE_PAGES", {})  # as on other systems
    memory.use_large_pages()
