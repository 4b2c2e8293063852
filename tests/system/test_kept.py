import jax
import pytest

import aiayn.system.kept
from aiayn.system.kept import kept


@pytest.fixture(autouse=True)
def cache(tmp_path):
    before = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "programs"))
    yield tmp_path / "programs"
    jax.config.update("jax_compilation_cache_dir", before)


class Maker:
    """Counts how often it is asked."""

    def __init__(self, made: bytes = b"made"):
        self.made, self.count = made, 0

    def __call__(self) -> bytes:
        self.count += 1
        return self.made


def test_the_second_time_nothing_is_made():
    make = Maker()
    assert [kept("kind", "about", make) for _ in range(3)] == [b"made"] * 3
    assert make.count == 1


@pytest.mark.parametrize("change", ["kind", "about", "code", "setting"])
def test_what_depends_on_something_else_is_made_anew(change, monkeypatch):
    kept("kind", "about", Maker(b"old"))
    if change == "code":
        monkeypatch.setattr(aiayn.system.kept, "code", lambda: "another version")
    names = {"kind": "kind", "about": "about"} | {change: "another"}
    with jax.default_matmul_precision("highest" if change == "setting" else None):
        assert kept(names["kind"], names["about"], Maker(b"new")) == b"new"


def test_a_changed_module_changes_the_code(tmp_path, monkeypatch):
    (tmp_path / "__init__.py").touch()
    monkeypatch.setattr(aiayn, "__file__", str(tmp_path / "__init__.py"))
    code = aiayn.system.kept.code.__wrapped__
    first = code()
    (tmp_path / "model.py").write_text("x = 1")
    second = code()
    (tmp_path / "model.py").write_text("x = 2")
    assert len({first, second, code()}) == 3


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 100])
def test_a_damaged_file_is_made_anew(cache, damage):
    kept("kind", "about", Maker())
    (path,) = cache.glob("aiayn-*")
    path.write_bytes(damage)
    make = Maker()
    assert kept("kind", "about", make) == b"made"
    assert kept("kind", "about", make) == b"made"
    assert make.count == 1


def test_a_folder_that_cannot_be_written_costs_the_keeping_only(cache):
    cache.write_text("a file in the way")
    make = Maker()
    assert kept("kind", "about", make) == kept("kind", "about", make) == b"made"
    assert make.count == 2


def test_without_a_cache_of_jax_nothing_is_kept():
    jax.config.update("jax_compilation_cache_dir", None)
    make = Maker()
    kept("kind", "about", make)
    kept("kind", "about", make)
    assert make.count == 2


def test_the_number_of_files_is_bounded(cache, monkeypatch):
    monkeypatch.setattr(aiayn.system.kept, "_MOST", 3)
    cache.mkdir()
    (cache / "jit_of_jax-cache").touch()
    for number in range(6):
        kept("kind", str(number), Maker())
    assert len(list(cache.glob("aiayn-*"))) == 3
    assert (cache / "jit_of_jax-cache").is_file()
    make = Maker()
    kept("kind", "5", make)
    assert make.count == 0, "the newest stay"
