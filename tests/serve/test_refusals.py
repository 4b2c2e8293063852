"""What is refused, with what was found and what is wanted."""

import msgspec
import pytest

from aiayn.serve.refusals import Refusal, as_json, check_number, typed


class _Asked(msgspec.Struct):
    name: str
    count: int = 0


def test_json_of_the_right_types_is_a_struct():
    assert typed(b'{"name": "a", "other": 1}', _Asked) == _Asked("a")
    assert typed(b'{"name": "a", "count": 2.0}', _Asked) == _Asked("a", 2)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b'{"name": 1}', "name", "Expected `str`, got `int` - at `$.name`"),
        (b'{"name": "a", "count": 1.5}', "count", "Expected `int`, got `float`"),
        (b"{}", "name", "missing required field `name`"),
        (b"[]", None, "Expected `object`, got `array`"),
        (b"{", None, "The body is no JSON"),
        (b'{"name": "\xff"}', None, "The body is no JSON"),
        (b'{"name": ' + b"[" * 100_000, None, ""),
    ],
)
def test_the_place_of_what_is_wrong_is_named(body, param, message):
    with pytest.raises(Refusal) as refusal:
        typed(body, _Asked)
    assert refusal.value.status == 400
    assert message in refusal.value.message
    assert param is None or refusal.value.param == param


def test_too_many_are_told_with_the_numbers():
    check_number("q", 1_000, 1_000, "texts")
    with pytest.raises(Refusal, match="q has 1,001 texts; wanted at most 1,000"):
        check_number("q", 1_001, 1_000, "texts")


def test_no_number_leaves_that_json_has_not():
    assert as_json({"a": "é"}) == '{"a": "é"}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        as_json({"a": float("nan")})
