from pathlib import Path

import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from aiayn.evidence.plots import plot_ablation
from aiayn.evidence.table3 import Difference
from aiayn.render import plots
from tests.support.figures import points


def test_an_ablation_shows_each_row_at_its_two_differences(tmp_path: Path, figures: list[Figure]):
    found = {"A1": Difference(0.07, (0.1, 0.3)), "B1": Difference(-0.5, (0.2,))}
    found["halves"] = Difference(None, (0.0,))  # no point: the paper has none
    path = tmp_path / "ablation.png"
    plot_ablation("Table 3", {"nats": ("rank 1", found), "BLEU": ("", found)}, path)
    for axes in figures[0].axes:
        zero_lines, marks = axes.lines[:2], axes.lines[2:]
        assert [line.get_color() for line in zero_lines] == [plots.MUTED] * 2
        assert [points(line) for line in marks] == [
            [[0.07, pytest.approx(0.2)]],
            [[-0.5, pytest.approx(0.2)]],
        ]
        (bar,) = axes.collections  # one seed has no spread
        assert isinstance(bar, LineCollection)
        low, high = (y for _, y in bar.get_segments()[0])
        assert high - low == pytest.approx(2 * 0.02**0.5)  # ± the deviation of 0.1 and 0.3
        assert {"A1", "B1"} <= {text.get_text() for text in axes.texts}
    assert imread(path).shape[2] == 4
