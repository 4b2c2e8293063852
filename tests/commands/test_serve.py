"""`aiayn serve`: what it refuses before a model is read."""

import subprocess
import sys

import pytest

import aiayn.commands.serve
from aiayn.__main__ import main


@pytest.fixture
def refused(capsys):
    def refused(*arguments):
        assert main(["serve", *map(str, arguments)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return refused


def test_a_model_needs_a_name_and_a_path_that_is_there(refused, tmp_path):
    assert "names no model; wanted NAME=PATH" in refused("runs/phrasebook")
    assert "'x=' names no model" in refused("x=")
    assert "The name 'a b'" in refused(f"a b={tmp_path}")
    assert "The name ''" in refused(f"={tmp_path}")
    assert f"{tmp_path / 'none'} does not exist" in refused(f"x={tmp_path / 'none'}")


def test_two_equal_names_are_refused(refused, tmp_path):
    line = refused(f"x={tmp_path}", f"y={tmp_path}", f"x={tmp_path / '.'}")
    assert line.startswith(f"aiayn: x names both {tmp_path} and")


@pytest.mark.parametrize("port", ["-1", "65536", "http", "5000.5"])
def test_a_port_is_a_number(refused, tmp_path, port):
    assert f"--port is {port!r}; wanted a number of 0 to 65535" in refused(
        f"x={tmp_path}", f"--port={port}"
    )


def test_a_queue_is_one_or_more(refused, tmp_path):
    assert "--queue is 0; wanted 1 or more" in refused(f"x={tmp_path}", "--queue", 0)


@pytest.mark.parametrize("content", [b"", b" \n", b"two\nlines", b"\xff", "schlüssel".encode()])
def test_a_file_without_a_key_is_refused(refused, tmp_path, content):
    (tmp_path / "key").write_bytes(content)
    line = refused(f"x={tmp_path}", "--api-key-file", tmp_path / "key")
    assert line == f"aiayn: {tmp_path / 'key'} holds no key; wanted one line of ASCII."


def test_a_missing_extra_is_named_with_what_installs_it(refused, tmp_path, monkeypatch):
    monkeypatch.setattr(aiayn.commands.serve, "find_spec", lambda name: name != "uvicorn")
    line = refused(f"x={tmp_path}")
    assert "needs uvicorn, not installed here; `make serve` installs all, or in the" in line


def test_a_folder_without_a_model_is_said_after_the_port_is_taken(refused, tmp_path, capsys):
    line = refused(f"x={tmp_path}", "--port", 0)
    assert str(tmp_path) in line


def test_nothing_else_imports_what_a_server_needs():
    rare = {"starlette", "uvicorn", "sse_starlette", "prometheus_client", "py3langid"}
    modules = "aiayn.__main__, aiayn.interface, aiayn.evaluation.evaluate, aiayn.evidence.tables"
    code = f"import sys, {modules}; print(sorted(sys.modules.keys() & {rare}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
