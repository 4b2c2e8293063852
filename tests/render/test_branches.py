"""A tree's picture has each label above the middle of what it holds, and a line to each part."""

import pytest

from aiayn.render.branches import plot_tree
from tests.support.trees import tree

GOLD = tree("(TOP (S (NP (NNP Anna)) (VP (VBD saw) (NP (DT the) (NN $dog$))) (. .)))")


def _drawn(figures, path, *parts):
    plot_tree(*parts, path)
    (axes,) = figures[-1].axes
    return axes, [(t.get_text(), *t.get_position()) for t in axes.texts if t.get_text()]


def test_labels_stand_above_the_middle_of_their_parts(figures, tmp_path):
    axes, texts = _drawn(figures, tmp_path / "tree.png", GOLD.words, GOLD.tags, GOLD.brackets)
    assert (tmp_path / "tree.png").stat().st_size > 0
    words = {text: x for text, x, y in texts if y < 0}
    assert list(words) == ["Anna", "saw", "the", "$dog$", "."], "from left to right, as they are"
    assert sorted(words.values()) == list(words.values())
    labels = [each for each in texts if each[2] > 0]
    assert [(label, height) for label, _, height in labels] == [
        ("S", 3),
        ("NP", 1),
        ("VP", 2),
        ("NP", 1),
    ]
    s, anna, vp, dog = (x for _, x, _ in labels)
    assert anna == words["Anna"]
    assert dog == (words["the"] + words["$dog$"]) / 2
    assert vp == pytest.approx((words["saw"] + dog) / 2)
    assert s == pytest.approx((words["Anna"] + words["."]) / 2)
    # Five tags and three constituents within another.
    assert len(axes.lines) == 5 + 3


def test_any_tree_has_a_picture(figures, tmp_path):
    for text in ("(TOP (NN dog))", "(TOP (NP (NP (NN a))) (NP (NN b)) (. .))"):
        given = tree(text)
        axes, texts = _drawn(figures, tmp_path / "x.png", given.words, given.tags, given.brackets)
        assert len(texts) == 2 * len(given.words) + len(given.brackets)
        assert len(axes.lines) == sum(each.start < each.end for each in given.brackets)
    words = [f"word{number}" for number in range(400)]
    plot_tree(words, ["NN"] * 400, [("S", 0, 400)], tmp_path / "long.png")
    assert figures[-1].get_size_inches()[0] == 40
