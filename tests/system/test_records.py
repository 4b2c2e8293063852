"""Typed records: what is written comes back, and what is wrong is found in the file."""

import json

import msgspec
import pytest

from aiayn.errors import UserError
from aiayn.system import records


class Part(msgspec.Struct):
    value: float | None


class Whole(msgspec.Struct, omit_defaults=True):
    count: int
    share: float
    parts: dict[str, dict[str, list[Part]]]
    later: str = ""
    pairs: list[tuple[int, int]] = []


GOOD = {"count": 1, "share": 0.5, "parts": {"a": {"b": [{"value": None}, {"value": 2.5}], "c": []}}}


def _read(tmp_path, **changes):
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**GOOD, **changes}), encoding="utf-8")
    return records.read(path, Whole, "a test")


def test_a_record_is_written_with_its_folder_and_read_again(tmp_path):
    record = _read(tmp_path)
    assert record == Whole(1, 0.5, {"a": {"b": [Part(None), Part(2.5)], "c": []}})
    path = tmp_path / "new" / "folder" / "y.json"
    records.write(path, record)
    assert json.loads(path.read_text()) == GOOD, "what is missing stays missing"
    assert records.read(path, Whole, "a test") == record
    records.write(path, {"unit": "µs"})
    assert path.read_text(encoding="utf-8") == '{\n "unit": "µs"\n}\n'


def test_keys_of_a_later_version_are_ignored(tmp_path):
    assert _read(tmp_path, of_later=1) == _read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"count": "x"}, "count is 'x'; wanted int"),
        ({"count": True}, "count is True; wanted int"),
        ({"count": None}, "count is None; wanted int"),
        ({"share": 10**400}, "share is 100000000000000000...0000000000000000000; wanted a smaller"),
        ({"share": "\ud800"}, "'utf-8' codec can't encode character"),
        ({"parts": []}, "parts is []; wanted object"),
        (
            {"parts": {"a": {"b": [{"value": 1}, {"value": 10**400}]}}},
            "parts[a][b][1].value is 1000",
        ),
        ({"pairs": [[1, 2, 3]]}, "pairs[0] is [1, 2, 3]; wanted array of length 2"),
        ({"parts": {"a": {"b": [{}]}}}, "parts[a][b][0] lacks value"),
        (
            {"parts": {"a": {"b": [{"value": 1}], "c": [{"value": 2}, {"value": "3"}], "d": 4}}},
            "parts[a][c][1].value is '3'; wanted float | null",
        ),
    ],
)
def test_the_problem_names_the_place_the_value_found_and_the_type_wanted(
    changes, problem, tmp_path
):
    with pytest.raises(UserError) as caught:
        _read(tmp_path, **changes)
    assert str(caught.value).startswith(f"{tmp_path}/x.json is no record of a test: {problem}")


def test_a_missing_field_and_other_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"x.json is no record of a test: it lacks count\.$"):
        records.typed({}, Whole, "a test", tmp_path / "x.json")
    for text, problem in (("[1]", "it holds no table"), ('{"a', "is damaged")):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(UserError, match=problem):
            records.read(tmp_path / "x.json", Whole, "a test")
