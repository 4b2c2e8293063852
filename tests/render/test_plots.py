"""The pictures are looked at by people; here, that they hold what they were given."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D

from aiayn.bench.plots import plot_data
from aiayn.evidence.plots import plot_ablation
from aiayn.evidence.table3 import Difference
from aiayn.render import heads as attention_plots
from aiayn.render import plots
from aiayn.training.curves import plot_curves


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Each figure as it was saved."""
    saved: list[Figure] = []
    original = Figure.savefig

    def savefig(figure: Figure, *args, **kwargs) -> None:
        saved.append(figure)
        original(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved


def points(line: Line2D) -> list[list[float]]:
    return np.asarray(line.get_xydata()).tolist()


def shown(axes: Axes) -> np.ndarray:
    return np.asarray(axes.collections[0].get_array())


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


def test_attention_shows_the_mean_and_every_head_with_its_tokens(
    tmp_path: Path, figures: list[Figure]
):
    # Two heads, three target tokens, five source tokens. Head 1 looks at token t, head 2 at t + 1,
    # so the mean has 1/2 at both and a row's dot stands at the first of them.
    weights = np.zeros((2, 3, 5))
    for target in range(3):
        weights[0, target, target] = weights[1, target, target + 1] = 1
    src_tokens, tgt_tokens = ["▁a", "b", "$c_1$", "d", "</s>"], ["▁A", "B", "</s>"]
    attention_plots.plot_attention(weights, tgt_tokens, src_tokens, tmp_path / "a.png", "Layer 1")

    mean, _, *heads, _ = figures[0].axes  # a colour bar after the mean and one after the heads
    np.testing.assert_array_equal(shown(mean), weights.mean(axis=0))
    np.testing.assert_array_equal([shown(axes) for axes in heads], weights)
    src_labels = [label.get_text() for label in mean.get_xticklabels()]
    assert src_labels == ["_a", "b", "$c_1$", "d", "</s>"]
    assert [label.get_text() for label in mean.get_yticklabels()] == ["_A", "B", "</s>"]
    assert mean.yaxis_inverted()  # reads downwards
    assert points(mean.lines[0]) == [[0.5, 0.5], [1.5, 1.5], [2.5, 2.5]]


@pytest.mark.parametrize(("num_heads", "num_tgt", "num_src"), [(1, 1, 1), (3, 2, 60), (16, 40, 3)])
def test_attention_takes_any_shape(tmp_path: Path, num_heads: int, num_tgt: int, num_src: int):
    weights = np.full((num_heads, num_tgt, num_src), 1 / num_src, np.float32)
    path = tmp_path / "a.png"
    tokens = ["y"] * num_tgt, ["x"] * num_src
    attention_plots.plot_attention(weights, *tokens, path, "")
    assert max(imread(path).shape) <= 160 * attention_plots._LONGEST_SIDE
    attention_plots.plot_links(weights, *tokens, path, "", heads=range(1, num_heads + 1))
    assert max(imread(path).shape) <= 160 * attention_plots._LONGEST_SIDE


def test_links_are_as_dark_as_weights_and_coloured_by_head(tmp_path: Path, figures: list[Figure]):
    # Heads 5 and 6 of two tokens that look at three; only the second of them looks.
    weights = np.array([[[1, 0, 0], [0.2, 0.3, 0.5]], [[0, 1, 0], [0.0, 0.9, 0.1]]])
    path = tmp_path / "a.png"
    attention_plots.plot_links(
        weights, ["▁a", "b"], ["c", "d", "e"], path, "", heads=(5, 6), looking=(1,)
    )
    fifth, sixth = figures[0].axes[0].collections
    assert isinstance(fifth, LineCollection)
    assert isinstance(sixth, LineCollection)
    assert [line.tolist() for line in fifth.get_segments()] == [
        [[0, 1.5], [1, 0.5]],
        [[0, 1.5], [1, 1.5]],
        [[0, 1.5], [1, 2.5]],
    ]
    np.testing.assert_allclose(np.asarray(fifth.get_colors())[:, 3], [0.2, 0.3, 0.5], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(sixth.get_colors())[:, 3], [0.0, 0.9, 0.1], rtol=1e-6)
    assert not np.allclose(
        np.asarray(fifth.get_colors())[0, :3], np.asarray(sixth.get_colors())[0, :3]
    )
    assert [text.get_text() for text in figures[0].axes[0].texts] == ["_a", "b", "c", "d", "e"]
    assert {"head 5", "head 6"} <= {text.get_text() for text in figures[0].texts}


def test_attention_refuses_tokens_that_the_weights_are_not_for(tmp_path: Path):
    with pytest.raises(ValueError, match="2 tokens that look at 3; given are 3 and 2"):
        attention_plots.plot_attention(
            np.ones((1, 2, 3)), ["a"] * 3, ["b"] * 2, tmp_path / "a.png", ""
        )


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


def test_a_corpus_growth_is_drawn_with_its_exponents(tmp_path: Path, figures: list[Figure]):
    def run(pairs: int) -> dict:
        held = {"text": 3_000_000_000, "tokenizer": 10**6 * pairs, "rows": 0}
        stages = {"text": pairs / 10, "tokenizer": 7.0, "rows": pairs / 5}
        return {"pairs": pairs, "stages": stages, "peak_own_bytes": held}

    growth = {
        "text": {"stages": 1.0, "peak_own_bytes": 0.0},
        "tokenizer": {"stages": 0.0, "peak_own_bytes": 1.0},
        "rows": {"stages": 1.0},
    }
    record = {"runs": [run(100), run(1_000), run(10_000)], "growth": growth}
    plot_data(record, tmp_path / "data.png")
    seconds, memory = figures[0].axes
    assert [points(line) for line in seconds.lines] == [
        [[100, 10], [1_000, 100], [10_000, 1_000]],
        [[100, 7], [1_000, 7], [10_000, 7]],
        [[100, 20], [1_000, 200], [10_000, 2_000]],
    ]
    assert [points(line) for line in memory.lines] == [
        [[100, 3_000], [1_000, 3_000], [10_000, 3_000]],
        [[100, 100], [1_000, 1_000], [10_000, 10_000]],
    ], "what was not measured is not drawn"
    legend = memory.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["text, 0.00", "tokenizer, 1.00"]
