import os
import subprocess
import sys

import pytest

_CODE = """
import os, sys
from aiayn.system.streams import open_streams

open_streams()
with open(sys.argv[1], "w") as file:
    assert file.fileno() > 2, "a file would get what is printed"
    assert sys.stdin.read() == ("" if {closed} == 0 else "in")
    print("out → é \\udcff")
    print("err → é", file=sys.stderr)
"""


def run(tmp_path, closed=-1, encoding="utf-8"):
    def close():
        if closed >= 0:
            os.close(closed)

    return subprocess.run(
        [sys.executable, "-c", _CODE.replace("{closed}", str(closed)), str(tmp_path / "file")],
        input=b"in",
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        preexec_fn=close,
        check=True,
    )


@pytest.mark.parametrize("closed", [-1, 0, 1, 2])
def test_a_closed_stream_is_an_empty_one(tmp_path, closed):
    done = run(tmp_path, closed)
    assert done.stdout.decode() == ("" if closed == 1 else "out → é \\udcff\n")
    assert done.stderr.decode() == ("" if closed == 2 else "err → é\n")
    assert not (tmp_path / "file").read_bytes()


@pytest.mark.parametrize(
    ("encoding", "line"),
    [("ascii", b"out \\u2192 \\xe9 \\udcff\n"), ("latin-1", b"out \\u2192 \xe9 \\udcff\n")],
)
def test_what_a_terminal_cannot_show_is_spelled_out(tmp_path, encoding, line):
    assert run(tmp_path, encoding=encoding).stdout == line


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_whether_the_reader_of_the_output_is_there(leaves, stream):
    code = (
        "import sys; from aiayn.system.streams import nobody_reads;"
        "sys.stdin.read(); sys.exit(40 + nobody_reads())"
    )
    reads, writes = os.pipe()
    outputs = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: writes}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, **outputs
    ) as process:
        os.close(writes)
        if leaves:
            os.close(reads)
        process.communicate(b"")
    if not leaves:
        os.close(reads)
    assert process.returncode == 40 + (leaves and stream == "stdout")


def test_notices_that_nobody_reads_stop_no_work():
    code = (
        "import sys; from aiayn.system.streams import open_streams;"
        "from aiayn.render.terminal import Terminal;"
        "open_streams(); sys.stdin.read();"
        "print('a notice', file=sys.stderr); Terminal(stderr=True).print('another');"
        "print('the work')"
    )
    reads, writes = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=writes,
    ) as process:
        os.close(writes)
        os.close(reads)
        output, _ = process.communicate(b"")
    assert (output, process.returncode) == (b"the work\n", 0)
