import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

import aiayn.__main__
from aiayn.__main__ import main
from aiayn.commands.verb import Verb
from aiayn.errors import LostProcess, Preempted, UserError


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, 0, ""),
        (UserError("x is 1; wanted 2."), 2, "aiayn: x is 1; wanted 2.\n"),
        (Preempted("All is saved."), 0, "aiayn: All is saved. The same command resumes.\n"),
        (KeyboardInterrupt(), 130, "aiayn: interrupted{advice}.\n"),
        (LostProcess("host 2 is gone"), 3, "aiayn: host 2 is gone{advice}.\n"),
        (OSError(28, "full", "a.txt"), 2, "aiayn: a.txt: the disk is full.\n"),
    ],
)
def test_an_end_has_its_status_and_one_line(error, status, said, trains, monkeypatch, capsys):
    def run():
        if error:
            raise error

    monkeypatch.setattr(aiayn.__main__, "stop_on_sigterm", lambda: None)
    verb = Verb("try", run, lambda parser: None, jax=False, trains=trains)
    monkeypatch.setattr(aiayn.__main__, "_VERBS", (verb,))
    assert main(["try"]) == status
    advice = "; the same command resumes from the last checkpoint" if trains else ""
    assert capsys.readouterr().err == said.format(advice=advice)


def test_only_what_trains_stops_on_sigterm(monkeypatch):
    stopped = []
    monkeypatch.setattr(aiayn.__main__, "stop_on_sigterm", lambda: stopped.append(verb.name))
    for trains in (False, True):
        verb = Verb(f"trains-{trains}", lambda: None, lambda parser: None, jax=False, trains=trains)
        monkeypatch.setattr(aiayn.__main__, "_VERBS", (verb,))
        assert main([verb.name]) == 0
    assert stopped == ["trains-True"]


@pytest.mark.parametrize("said", ["print", "Terminal().print"])
@pytest.mark.parametrize("trains", [False, True])
def test_a_reader_that_stops_reading_ends_a_filter_well_and_training_not(said, trains):
    code = (
        "import sys, aiayn.__main__ as m\n"
        "from aiayn.commands.verb import Verb\n"
        "from aiayn.render.terminal import Terminal\n"
        f"run = lambda: {said}('x' * 10**6)\n"
        f"verb = Verb('try', run, lambda parser: None, jax=False, trains={trains})\n"
        "m._VERBS = (verb,)\n"
        "sys.exit(m.main(['try']))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.returncode == trains
    assert done.stderr.startswith(b"aiayn: nobody reads" if trains else b"")
    assert bool(done.stderr) == trains


@pytest.mark.parametrize("arguments", [["--version"], ["info", "--help"], ["f1", "a", "a"]])
def test_what_is_said_in_a_few_lines_is_written_or_ends_as_usual(arguments, tmp_path):
    # Python keeps them until it ends, where nobody would hear of it.
    (tmp_path / "a").write_text("(S (NN a))\n")
    command = [sys.executable, "-m", "aiayn", *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    settings = {"stderr": subprocess.PIPE, "cwd": tmp_path, "env": environment, "check": False}
    reader, writer = os.pipe()
    os.close(reader)
    unread = subprocess.run(command, stdout=writer, **settings)
    os.close(writer)
    assert (unread.returncode, unread.stderr) == (0, b"")
    if not Path("/dev/full").exists():
        return  # of Linux
    with Path("/dev/full").open("w") as full:
        lost = subprocess.run(command, stdout=full, **settings)
    assert lost.returncode == 2
    assert lost.stderr == b"aiayn: standard output: the disk is full.\n"


def test_the_end_of_a_process_looks_through_no_objects(monkeypatch):
    verb = Verb("try", lambda: None, lambda parser: None, jax=False)
    monkeypatch.setattr(aiayn.__main__, "_VERBS", (verb,))
    monkeypatch.setattr(sys, "argv", ["aiayn", "try"])
    threshold, before = gc.get_threshold(), gc.get_freeze_count()
    try:
        main(["try"])
        assert gc.get_freeze_count() == before, "who calls it as a function goes on"
        main()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


def test_a_pipe_that_breaks_elsewhere_is_not_taken_for_a_reader_who_left(monkeypatch):
    def run():
        raise BrokenPipeError("of a connection")

    verb = Verb("break", run, lambda parser: None, jax=False)
    monkeypatch.setattr(aiayn.__main__, "_VERBS", (verb,))
    monkeypatch.setattr(aiayn.__main__, "nobody_reads", lambda: False)
    with pytest.raises(BrokenPipeError, match="of a connection"):
        main(["break"])
