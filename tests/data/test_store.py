import pytest

from aiayn.data.store import PackedSplit
from aiayn.errors import UserError


def test_it_loads_as_it_was_packed(packed):
    _, split = packed
    assert PackedSplit.load(split.folder, "train") == split


def test_a_cut_off_file_is_refused(packed, tmp_path):
    _, split = packed
    row_class = split.classes[0]
    name = f"train.{row_class.tgt_width}.bin"
    (tmp_path / name).write_bytes((split.folder / name).read_bytes()[:-2])
    with pytest.raises(UserError, match=name):
        PackedSplit(tmp_path, "train", split.classes, 0).arrays(row_class)


def test_it_names_all_that_it_is_read_from(packed):
    _, split = packed
    widths = [row_class.tgt_width for row_class in split.classes]
    assert split.files == ["train.json", *(f"train.{width}.bin" for width in widths)]
    assert {*split.files} == {path.name for path in split.folder.iterdir()}
