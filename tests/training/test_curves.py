import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from aiayn.training.curves import plot_curves
from tests.support.figures import points


def test_curves_show_each_series_in_the_order_of_steps(tmp_path: Path, figures: list[Figure]):
    # A run resumed from step 10 says 20 once more: the later value counts.
    metrics = [
        {"step": 10, "loss": 4.0, "learning_rate": 1e-4, "tokens_per_second": 900.0},
        {"step": 20, "loss": 9.0, "learning_rate": 2e-4, "tokens_per_second": 910.0},
        {"step": 20, "loss": 3.0, "learning_rate": 2e-4, "tokens_per_second": 920.0},
        {"step": 20, "dev_loss": math.log(8), "dev_bleu": 12.5},
    ]
    path = tmp_path / "curves.png"
    plot_curves(metrics, path)
    loss, bleu, rate, speed = figures[0].axes
    assert [points(line) for line in loss.lines] == [
        [[10, 4.0], [20, 3.0]],
        [[20, pytest.approx(2.079, abs=1e-3)]],
    ]
    assert "perplexity 8.00" in loss.texts[0].get_text()
    assert points(bleu.lines[0]) == [[20, 12.5]]
    assert points(rate.lines[0]) == [[10, 1e-4], [20, 2e-4]]
    assert "median 910" in speed.texts[0].get_text()
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]
    assert imread(path).shape[2] == 4


def test_curves_of_a_run_without_metrics_say_so(tmp_path: Path, figures: list[Figure]):
    plot_curves([], tmp_path / "curves.png")
    assert [axes.texts[0].get_text() for axes in figures[0].axes] == ["no values yet"] * 4
