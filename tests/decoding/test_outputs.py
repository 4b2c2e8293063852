import pytest

from aiayn.decoding.outputs import Detailed, joined_line, one_line


def test_a_line_in_pieces_has_the_sum_of_the_scores_and_all_tokens():
    first = Detailed("Eins.", -1.0, ("▁Eins.", "</s>"), (-0.5, -0.25), "eos")
    second = Detailed("Zwei.", -2.0, ("▁Zwei.", "</s>"), (-1.5, -0.75), "limit")
    (found,) = joined_line("One. Two.", [[first, second], [second]], "de")
    assert found == Detailed(
        "Eins. Zwei.",
        -3.0,
        ("▁Eins.", "</s>", "▁Zwei.", "</s>"),
        (-0.5, -0.25, -1.5, -0.75),
        "limit",
    )
    assert joined_line("One.", [[first, second]], "de") == [first, second]
    (both,) = joined_line("One. One.", [[first], [first]], "de")
    assert both.ended == "eos"


def test_a_line_without_text_is_its_own_translation():
    assert joined_line(" ", [], "de") == [Detailed("", 0.0, (), (), "empty")]


@pytest.mark.parametrize("mark", ["\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_output_has_a_second_line(mark):
    assert one_line(f"one{mark}two") == "one two"
