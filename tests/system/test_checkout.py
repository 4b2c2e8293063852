import os
import subprocess

import pytest

import aiayn
from aiayn.errors import UserError
from aiayn.system.checkout import COPY, commit, commits_since, root, shipped
from tests.support.checkouts import git


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package in a folder of its own, which this program takes for its own."""
    folder = tmp_path / "a place" / "aiayn"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("x = 1\n")
    monkeypatch.setattr(aiayn, "__file__", str(folder / "__init__.py"))
    return folder


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


def test_the_commit_of_another_users_checkout_is_known(committed, monkeypatch):
    head = git(committed, "rev-parse", "HEAD")
    version = git(committed, "--version").split()[2].split(".")
    if [*map(int, version[:2])] < [2, 38]:
        pytest.skip("an older Git takes this setting from files alone")
    for place in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{place}", os.devnull)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError):
        git(committed, "rev-parse", "HEAD")
    assert commit() == head


def test_in_a_checkout_of_another_project_the_commit_is_unknown(package):
    assert commit() == "unknown"
    git(package.parents[1], "init", "--quiet")
    git(package.parents[1], "commit", "--quiet", "--allow-empty", "--message", "theirs")
    assert commit() == "unknown"


def test_a_wheel_knows_the_commit_that_it_was_built_from(committed):
    (committed / COPY).mkdir()
    (committed / COPY / "commit.txt").write_text("abc-dirty\n")
    assert commit() == "abc-dirty"


def test_commits_count_that_changed_the_files_meant(committed):
    first, folder = git(committed, "rev-parse", "HEAD"), committed.parent
    assert commits_since(first, ["aiayn"]) == 0
    for number, name in enumerate(("aiayn/a.py", "notes.txt", "aiayn/a.py", "experiments/x.py")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"{number}\n")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", name)
    assert commits_since(first, ["aiayn"]) == 2
    assert commits_since(f"{first}-dirty", ["aiayn/a.py", "experiments/x.py"]) == 3
    assert commits_since(first, ["experiments", "gone"]) == 1
    assert commits_since(git(folder, "rev-parse", "HEAD~1"), ["aiayn", "experiments"]) == 1
    # Changes that are not committed are none yet.
    (folder / "notes.txt").write_text("more\n")
    assert commits_since(first, ["notes.txt"]) == 1


def test_where_history_is_missing_the_commits_since_are_not_known(committed, tmp_path, monkeypatch):
    first, folder = git(committed, "rev-parse", "HEAD"), committed.parent
    for other in ("unknown", "0" * 40, "--all", ""):
        assert commits_since(other, ["aiayn"]) is None
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "two")
    git(folder, "checkout", "--quiet", "--orphan", "other")
    git(folder, "commit", "--quiet", "--message", "no child of the first")
    assert commits_since(first, ["aiayn"]) is None
    git(folder, "checkout", "--quiet", "-B", "main", first)
    git(folder, "commit", "--quiet", "--allow-empty", "--message", "two")
    git(tmp_path, "clone", "--quiet", "--depth=1", folder.as_uri(), "shallow")
    head = git(folder, "rev-parse", "HEAD")
    assert commits_since(head, ["aiayn"]) == 0
    monkeypatch.setattr(aiayn, "__file__", str(tmp_path / "shallow/aiayn/__init__.py"))
    assert commits_since(head, ["aiayn"]) is None
    monkeypatch.setattr(aiayn, "__file__", str(committed / "__init__.py"))
    (committed / COPY).mkdir()
    (committed / COPY / "commit.txt").write_text(f"{head}\n")
    assert commits_since(head, ["aiayn"]) is None
