"""The pictures are looked at by people; here, that they hold what they were given."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.image import imread

from aiayn.render import heads as attention_plots
from tests.support.figures import points


def shown(axes: Axes) -> np.ndarray:
    return np.asarray(axes.collections[0].get_array())


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
