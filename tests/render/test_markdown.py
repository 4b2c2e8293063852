from aiayn.render.markdown import (
    duration,
    hardware_text,
    markdown_table,
    number,
    short_commit,
)
from aiayn.system.records import Hardware


def test_a_table_has_a_line_below_its_head():
    table = "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"
    assert markdown_table([["a", "b"], ["1", "2"], ["3", "4"]]) == table


def test_what_was_not_taken_is_a_dash_and_zero_is_not():
    assert [number(value) for value in (None, 0.0, 27.349)] == ["–", "0.00", "27.35"]
    assert number(0.5, ".0%") == "50%"


def test_durations_change_their_unit_at_two_minutes_and_two_hours():
    assert [duration(s) for s in (119.0, 120.0, 7_199.0, 7_200.0)] == [
        "119 s",
        "2 min",
        "120 min",
        "2.0 h",
    ]


def test_a_machine_is_its_cores_or_its_devices():
    found = [
        hardware_text(Hardware(platform, "a GPU", 8, 1, "a CPU", cpu_count=2))
        for platform in ("cpu", "gpu")
    ]
    assert found == ["2 cores, a CPU", "8 × a GPU"]


def test_a_commit_keeps_its_first_digits_and_says_whether_it_was_changed():
    digits = "0123456789abcdef"
    assert short_commit(digits) == "0123456789ab"
    assert short_commit(f"{digits}-dirty") == "0123456789ab-dirty"
