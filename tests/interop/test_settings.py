from pathlib import Path

import pytest

from aiayn.errors import UserError
from aiayn.interop.settings import Known, Settings

WHERE = Path("folder") / "config.json"
KNOWN = Known(
    defaults={"width": 12, "rate": 0.1},
    fixed={"tied": True, "pruned": {}},
    harmless=frozenset({"seed"}),
    aliases={"size": "width"},
)


def settings(**given):
    return Settings(given, WHERE, KNOWN)


def test_an_absent_setting_has_its_default_and_an_alias_is_the_setting():
    assert (settings()["width"], settings(size=7)["width"], settings(width=7)["width"]) == (
        12,
        7,
        7,
    )
    with pytest.raises(UserError, match=r"width is 7; wanted size, 8"):
        settings(width=7, size=8)


@pytest.mark.parametrize(
    "given", [{}, {"seed": 5}, {"tied": True, "pruned": None}, {"odd": None}, {"odd": []}]
)
def test_settings_that_change_nothing_pass(given):
    settings(**given).check_keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tied": False}, "config.json: tied is False; wanted True"),
        ({"pruned": {"0": [1]}}, "pruned is .*; wanted {}"),
        ({"odd": 3}, "odd is 3, which is not known here and may change what the model says"),
    ],
)
def test_what_could_change_an_output_unheeded_is_refused(given, message):
    with pytest.raises(UserError, match=message):
        settings(**given).check_keys()


@pytest.mark.parametrize("odd", [0, -1, 2.0, "3", True, None])
def test_numbers_are_of_their_kind(odd):
    with pytest.raises(UserError, match=r"width is .*; wanted a whole number, 1 or more"):
        settings(width=odd).whole("width")
    with pytest.raises(UserError, match=r"rate is .*; wanted 0 <= rate < 1"):
        settings(rate=float("nan")).rate("rate")
