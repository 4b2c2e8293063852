from pathlib import Path

from matplotlib.figure import Figure

from aiayn.bench.plots import plot_data
from tests.support.figures import points


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
