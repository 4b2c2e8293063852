import errno
import fcntl
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aiayn.errors import UserError
from aiayn.system.files import locked, new_folder, place, user_os_errors, write_text


def test_a_tilde_at_the_start_of_a_path_is_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert place("~") == tmp_path
    assert place("~/a b/~") == tmp_path / "a b" / "~"
    assert place(Path("~/a")) == tmp_path / "a"
    assert place("a/~") == Path("a/~")
    with pytest.raises(UserError, match="'~nobody-here/x'"):
        place("~nobody-here/x")


def test_text_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "new\n")
    assert path.read_text(encoding="utf-8") == "new\n"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_of_what_could_not_be_written_to_its_end(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    for error in (OSError(errno.ENOSPC, "no"), KeyboardInterrupt()):

        def stopped(descriptor, error=error):
            raise error

        monkeypatch.setattr(os, "fsync", stopped)
        with pytest.raises(type(error)):
            write_text(path, "new")
        assert path.read_text(encoding="utf-8") == "old"
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "here/file"),
            "here/file: the disk is full",
        ),
        (PermissionError(errno.EACCES, "no"), "there: permission is denied"),
        (ValueError('RESOURCE_EXHAUSTED: Error writing "params/0"'), "there: the disk is full"),
        (
            ValueError("RESOURCE_EXHAUSTED: Failed to open: Too many [os_error_code='24']"),
            "there: too many files are open",
        ),
        (OSError(errno.EMFILE, "no", "a/b"), "a/b: too many files are open"),
        (OSError(errno.EIO, "no", "a/b"), "a/b: the disk cannot be read or written"),
    ],
)
def test_a_disk_that_refuses_is_said_plainly(error, reason):
    with pytest.raises(UserError, match=reason), user_os_errors(Path("there")):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDOM, "x"),
        ValueError("1 is not 2"),
        ValueError("RESOURCE_EXHAUSTED: [os_error_code='22']"),
    ],
)
def test_other_errors_pass(error):
    with pytest.raises(type(error)), user_os_errors(Path("there")):
        raise error


# --- Locks --------------------------------------------------------------------------------------


def test_a_folder_is_replaced_once_all_of_the_new_one_is_written(tmp_path):
    for text in ("old", "new"):
        with new_folder(tmp_path / "deep/model") as building:
            assert list(building.iterdir()) == [], "whatever a killed process left"
            (building / text).touch()
    (tmp_path / "deep/model.tmp").mkdir()  # somebody's own
    with pytest.raises(UserError, match=r"half: it is a folder"):
        _write_half(tmp_path / "deep/model")
    assert {path.name for path in (tmp_path / "deep/model").iterdir()} == {"new"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"model", "model.tmp"}
    with new_folder(tmp_path / "deep/model") as building:
        assert list(building.iterdir()) == []
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"model", "model.tmp"}


def test_a_folder_is_not_written_by_two_at_once(tmp_path):
    with new_folder(tmp_path / "model") as building:
        (building / "weights").touch()
        with pytest.raises(UserError, match=r"\.model\.part is being written by another process"):
            _write_half(tmp_path / "model")
        assert (building / "weights").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_process_left_of_a_folder_is_not_in_the_next(tmp_path):
    (tmp_path / ".model.part/deep").mkdir(parents=True)
    (tmp_path / ".model.part/half").touch()
    with new_folder(tmp_path / "model") as building:
        assert list(building.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_several_may_write_one_file_at_once(tmp_path):
    path, texts = tmp_path / "x", [f"{n} " * 50_000 for n in range(8)]
    path.with_name("x.tmp").write_text("left by a killed process")
    with ThreadPoolExecutor(len(texts)) as pool:
        for _ in range(20):
            list(pool.map(write_text, [path] * len(texts), texts))
            assert path.read_text() in texts
    assert [found.name for found in tmp_path.iterdir()] == ["x"]


def test_where_the_system_has_no_locks_files_and_folders_are_written_all_the_same(
    tmp_path, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.ENOTSUP, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with new_folder(tmp_path / "model") as building:
        write_text(building / "x", "new")
    assert (tmp_path / "model/x").read_text() == "new"


def _write_half(folder):
    with new_folder(folder) as building:
        (building / "half").mkdir()
        (building / "half").write_text("")


def test_where_a_folder_is_a_link_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "disk/old").mkdir(parents=True)
    (tmp_path / "model").symlink_to(tmp_path / "disk")
    with new_folder(tmp_path / "model") as building:
        (building / "new").touch()
    assert (tmp_path / "model").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["new"]


def test_a_folder_that_was_taken_away_is_said_plainly(tmp_path):
    gone = tmp_path / "gone/x"
    said = r"gone/x\.tmp: it is not there any more"
    with pytest.raises(UserError, match=said), user_os_errors(tmp_path):
        write_text(gone, "")


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path/lock` until it is told to end."""
    code = (
        "import sys, pathlib; from aiayn.system.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print(flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout
        assert process.stdout.readline() == "\n"
        yield process
        process.kill()


def test_a_lock_that_is_held_names_its_holder_and_is_not_waited_for(tmp_path, holder):
    wanted = rf"{tmp_path} is in use by process {holder.pid} on {platform.node()}; wait for its end"
    with pytest.raises(UserError, match=wanted), locked(tmp_path / "lock", wait=False):
        raise AssertionError("held twice")


def test_a_lock_is_waited_for_and_goes_with_the_process(tmp_path, holder, monkeypatch):
    said = []

    def kill_once_it_waits(text, file):
        said.append((text, file))
        holder.kill()  # which leaves no time to release anything
        holder.wait()

    monkeypatch.setattr("aiayn.system.files.print", kill_once_it_waits, raising=False)
    with locked(tmp_path / "lock"):
        with (tmp_path / "lock").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        text = (tmp_path / "lock").read_text()
    assert text == f"process {os.getpid()} on {platform.node()}"
    by = f"process {holder.pid} on {platform.node()}"
    assert said == [(f"{tmp_path} is in use by {by}; waiting ...", sys.stderr)]


def test_where_a_file_system_has_no_locks_that_is_said(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    wanted = rf"^{tmp_path}: the file system has no locks\.$"
    with (
        pytest.raises(UserError, match=wanted),
        user_os_errors(tmp_path),
        locked(tmp_path / "lock"),
    ):
        raise AssertionError("not locked")
