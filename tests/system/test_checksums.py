import hashlib
import json

import pytest

from aiayn.system import checksums
from aiayn.system.checksums import SUMS, find_damage, sha256, sha256_if_small


@pytest.fixture
def folder(tmp_path):
    """Two files and their sums, as hashlib has them, and a file that no sum is of."""
    contents = {"one.bin": b"first", "state/two.bin": b""}
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (tmp_path / SUMS).write_text(json.dumps(sums))
    (tmp_path / "notes").write_text("of somebody else")
    return tmp_path


def test_a_sum_is_that_of_the_standard(tmp_path):
    # The example of FIPS 180-2, B.1.
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb4")


def test_a_whole_folder_has_no_damage(folder):
    assert find_damage(folder) == ""
    (folder / "notes").write_text("changed")
    assert find_damage(folder) == ""


@pytest.mark.parametrize("name", ["one.bin", "state/two.bin"])
def test_a_changed_or_missing_file_is_named(folder, name):
    (folder / name).write_bytes(b"First")
    assert f"{name} does not hold the bytes that were written" in find_damage(folder)
    (folder / name).unlink()
    assert find_damage(folder) == f"{folder}/{name} is missing."
    (folder / name).mkdir()
    assert find_damage(folder) == f"{folder}/{name} is missing."


@pytest.mark.parametrize("text", ["", "{", "[]", '{"one.bin": ', "[" * 100_000, "\udcff"])
def test_sums_that_cannot_be_read_are_damage(folder, text):
    (folder / SUMS).write_bytes(text.encode(errors="surrogateescape"))
    assert f"{folder / SUMS} cannot be used" in find_damage(folder)


def test_missing_sums_are_damage(folder):
    (folder / SUMS).unlink()
    assert find_damage(folder) == f"{folder / SUMS} is missing."


def test_a_long_description_of_an_array_is_damage_though_no_sum_is_of_it(folder):
    array = folder / "state" / "params.x"
    array.mkdir()
    (array / ".zarray").write_text("{}".ljust(4096))
    assert find_damage(folder) == ""
    (array / ".zarray").write_text("{}".ljust(4097))
    assert f"{array / '.zarray'} is too long" in find_damage(folder)


def test_large_files_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    monkeypatch.setattr(checksums, "HASHED_BYTES", 5)
    assert sha256_if_small(path) == hashlib.sha256(b"12345").hexdigest()
    path.write_bytes(b"123456")
    assert sha256_if_small(path) == ""
