import subprocess

import pytest

import aiayn
from aiayn.errors import UserError
from aiayn.system.checkout import COPY, commit, root, shipped


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in a folder of its own, which this program takes for its own."""
    folder = tmp_path / "a place" / "aiayn"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("x = 1\n")
    monkeypatch.setattr(aiayn, "__file__", str(folder / "__init__.py"))
    return folder


def git(folder, *arguments):
    names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def committed(package):
    """The same, as the only commit of a checkout."""
    git(package.parent, "init", "--quiet")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "--quiet", "--message", "one")
    return package


def test_files_are_beside_the_package_or_in_the_copy_of_a_wheel(package):
    (package.parent / "experiments").mkdir()
    assert root() == package.parent
    assert shipped("experiments") == package.parent / "experiments"
    (package / COPY / "experiments").mkdir(parents=True)
    assert root() == package / COPY
    assert shipped("experiments") == package / COPY / "experiments"


def test_a_missing_file_is_named(package):
    with pytest.raises(UserError, match=r"a place/experiments/results is missing"):
        shipped("experiments/results")
    (package / COPY).mkdir()
    with pytest.raises(UserError, match=r"aiayn/_checkout/experiments/results is missing"):
        shipped("experiments/results")


def test_the_commit_of_a_checkout_says_whether_its_code_is_that_of_the_commit(committed):
    head = git(committed, "rev-parse", "HEAD")
    assert commit() == head
    (committed.parent / "notes.txt").write_text("not a part of the program\n")
    assert commit() == head
    (committed / "new.py").write_text("y = 2\n")
    assert commit() == f"{head}-dirty"
    (committed / "new.py").unlink()
    (committed / "__init__.py").write_text("x = 2\n")
    assert commit() == f"{head}-dirty"


def test_in_a_checkout_of_another_project_the_commit_is_unknown(package):
    assert commit() == "unknown"
    git(package.parents[1], "init", "--quiet")
    git(package.parents[1], "commit", "--quiet", "--allow-empty", "--message", "theirs")
    assert commit() == "unknown"


def test_a_wheel_knows_the_commit_that_it_was_built_from(committed):
    (committed / COPY).mkdir()
    (committed / COPY / "commit.txt").write_text("abc-dirty\n")
    assert commit() == "abc-dirty"
