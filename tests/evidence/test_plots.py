from pathlib import Path

import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import imread
from msgspec.structs import replace

from aiayn.evidence.plots import plot_ablation, plot_sweep
from aiayn.evidence.records import Point, Sweep
from aiayn.evidence.table3 import Difference
from aiayn.render import plots
from aiayn.system.records import read
from tests.support.figures import points
from tests.support.records import RESULTS


def test_an_ablation_shows_each_row_at_its_two_differences(tmp_path: Path, figures: list[Figure]):
    found = {"A1": Difference(0.07, (0.1, 0.3)), "B1": Difference(-0.5, (0.2,))}
    found["halves"] = Difference(None, (0.0,))  # no point: the paper has none
    path = tmp_path / "ablation.png"
    plot_ablation("Table 3", {"nats": ("signs: 1", found), "BLEU": ("", found)}, path)
    for axes in figures[0].axes:
        zero_lines, marks = axes.lines[:2], axes.lines[2:]
        assert [line.get_color() for line in zero_lines] == [plots.MUTED] * 2
        assert [points(line) for line in marks] == [
            [[0.07, pytest.approx(0.2)]],
            [[-0.5, pytest.approx(0.2)]],
        ]
        assert [line.get_markerfacecolor() for line in marks] == ["white"] * 2  # both are open
        (bar,) = axes.collections  # one seed has no spread
        assert isinstance(bar, LineCollection)
        low, high = (y for _, y in bar.get_segments()[0])
        assert high - low == pytest.approx(2 * 0.02**0.5)  # ± the deviation of 0.1 and 0.3
        assert {"A1", "B1"} <= {text.get_text() for text in axes.texts}
    assert imread(path).shape[2] == 4


def test_a_sweep_of_a_parser_shows_its_beams_without_the_grammar_too(
    tmp_path: Path, figures: list[Figure]
):
    own = read(RESULTS / "sweeps/multi30k_ende.json", Sweep, "a sweep")
    beams = {"1": Point(60.0, 1.0, 50.0), "4": Point(70.0, 1.0, 51.0)}
    series = {**own.series, "beam_size": beams}
    plot_sweep(replace(own, measure="F1", series=series), tmp_path / "sweep.png")
    averaged, beam, penalty = figures[0].axes
    with_grammar, without, ring = beam.lines
    assert points(with_grammar) == [[1, 60.0], [4, 70.0]]
    assert points(without) == [[1, 50.0], [4, 51.0]]
    assert points(ring) == [[4, 70.0]]
    assert beam.get_legend() is not None
    assert [len(axes.lines) for axes in (averaged, penalty)] == [2, 2]
