import pytest
from matplotlib.figure import Figure

from aiayn.render.plots import INK, curve, panel, save
from tests.support.figures import points


def test_a_curve_is_thinner_and_without_marks_where_it_is_dense():
    axes = Figure().subplots()
    for count in (60, 61):
        curve(axes, dict.fromkeys(range(count), 0.5), INK, marker="o")
    few, many = axes.lines
    assert (len(points(few)), len(points(many))) == (60, 61)
    assert (few.get_marker(), many.get_marker()) == ("o", "")
    assert few.get_linewidth() > many.get_linewidth()
    curve(axes, {}, INK)
    assert len(axes.lines) == 2, "nothing is drawn of nothing"


def test_a_panel_without_values_says_so():
    left, right = Figure().subplots(1, 2)
    panel(left, "loss", {1: 2.0})
    panel(right, "BLEU", {})
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["loss", "BLEU"]
    assert [[text.get_text() for text in axes.texts] for axes in (left, right)] == [
        [],
        ["no values yet"],
    ]


def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save(Figure(), path)
    old = path.read_bytes()
    assert old.startswith(b"\x89PNG")

    def broken(figure, file, **_):
        file.write(b"half")
        raise MemoryError

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(MemoryError):
        save(Figure(), path)
    assert path.read_bytes() == old
