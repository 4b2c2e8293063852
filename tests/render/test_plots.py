import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager

from aiayn.render.plots import INK, _characters, curve, panel, save
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


def test_words_in_any_script_have_a_font_where_there_is_one(tmp_path, monkeypatch, capsys):
    usual = _characters(findfont(FontProperties(family="DejaVu Sans")))
    entry = next(each for each in fontManager.ttflist if each.name == "STIXGeneral")
    there = min(c for c in _characters(entry.fname) - usual if c.isprintable())
    figure = Figure()
    text = figure.text(0, 0, f"a {there} $b$ $c$")
    keys = "text.parse_math", "font.family"
    before = [matplotlib.rcParams[key] for key in keys]
    save(figure, tmp_path / "a.png")
    assert text.get_fontfamily()[0] == "DejaVu Sans"
    files = {findfont(FontProperties(family=each)) for each in text.get_fontfamily()}
    assert any(there in _characters(file) for file in files)
    assert not text.get_parse_math(), "dollars are no formula"
    assert [matplotlib.rcParams[key] for key in keys] == before, "others' pictures are as before"
    assert capsys.readouterr().err == ""
    usual = [each for each in fontManager.ttflist if each.name == "DejaVu Sans"]
    monkeypatch.setattr(fontManager, "ttflist", usual)
    save(figure, tmp_path / "a.png")
    assert f"no font here has {there}, drawn as boxes in {tmp_path}" in capsys.readouterr().err


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
