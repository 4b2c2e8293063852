from collections import Counter

import pytest

from aiayn.decoding.outputs import Detailed, as_drawn, joined_line, one_line


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


def test_samples_of_a_line_are_made_of_those_in_the_same_place_the_best_first():
    def sample(text, score):
        return Detailed(text, score, (), (), "eos")

    one = [sample("a", -1.0), sample("b", -5.0), sample("c", -3.0)]
    two = [sample("d", -9.0), sample("e", -1.0), sample("f", -2.0)]
    found = joined_line("One. Two.", [one, two], "de", 3)
    assert [(each.text, each.score) for each in found] == [("c f", -5), ("b e", -6), ("a d", -10)]


def test_samples_of_pieces_meet_each_other_by_chance():
    pairs = Counter((as_drawn(2, seed)[0], as_drawn(2, seed + 1_000)[0]) for seed in range(1_000))
    assert sorted(as_drawn(5, 7)) == [*range(5)]
    assert as_drawn(5, 7) == as_drawn(5, 7)
    # Of a thousand each pair comes 250 times; four deviations are 55.
    assert len(pairs) == 4
    assert all(abs(count - 250) < 55 for count in pairs.values())


def test_links_of_pieces_are_of_the_words_of_the_line():
    # The words of the source are counted through the line already, those of each text from 0.
    first = Detailed("Eins zwei.", 0.0, (), (), "eos", ((0, 1), (1, 0)))
    second = Detailed("Drei.", 0.0, (), (), "eos", ((2, 0),))
    empty = Detailed("", 0.0, (), (), "eos", ())
    (found,) = joined_line("", [[first], [empty], [second]], "de")
    assert found.alignment == ((0, 1), (1, 0), (2, 2))
    # Without blanks "ab" is one word, which the first piece has linked.
    parts = [first._replace(text=text, alignment=((n, 0),)) for n, text in enumerate("a\u4f60ab")]
    (found,) = joined_line("", [[part] for part in parts], "zh")
    assert (found.text, found.alignment) == ("a\u4f60ab", ((0, 0), (1, 1), (2, 2)))


def test_a_line_without_text_is_its_own_translation():
    assert joined_line(" ", [], "de") == [Detailed("", 0.0, (), (), "empty")]


@pytest.mark.parametrize("mark", ["\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_no_output_has_a_second_line(mark):
    assert one_line(f"one{mark}two") == "one two"
