"""An ablation beside the paper's Table 3: signs, means, order."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from aiayn.evidence.records import AblatedRun, Ablation, Row
from aiayn.evidence.table3 import Difference, differences, rank_correlation, summary, table_rows
from aiayn.system.records import read

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
MINIATURE = read(RESULTS / "ablations/table3_miniature.json", Ablation, "an ablation")
ABOUT = {
    key: getattr(MINIATURE.rows["base"].runs[0], key)
    for key in ("updates", "seconds", "commits", "hardware", "jobs")
}


def _record(**rows):
    def runs(pairs):
        return Row(
            {"model.d_k": 2},
            1_000,
            [
                AblatedRun(**ABOUT, seed=seed, perplexity=perplexity, bleu=bleu)
                for seed, (perplexity, bleu) in enumerate(pairs, 1)
            ],
        )

    return replace(MINIATURE, rows={row: runs(pairs) for row, pairs in rows.items()})


def test_a_seed_is_compared_with_the_base_of_the_same_seed():
    # The seeds differ by 10 BLEU; row B1 is 1 and 3 below, each against its own.
    record = _record(base=[(10.0, 20.0), (5.0, 30.0)], B1=[(20.0, 19.0), (20.0, 27.0)])
    (bleu,) = differences(record, "bleu").values()
    assert bleu.ours == (-1.0, -3.0)
    assert bleu.paper == pytest.approx(25.1 - 25.8)
    assert bleu.mean == -2.0
    assert bleu.spread == pytest.approx(2**0.5)
    (nats,) = differences(record, "nats").values()
    # ln 2 and ln 4, so 1.5 ln 2 in the mean; the paper's is ln(5.16 / 4.92).
    assert nats.mean == pytest.approx(1.0397, abs=1e-4)
    assert nats.paper == pytest.approx(0.04763, abs=1e-5)
    text = "\n".join(" | ".join(row) for row in table_rows(record))
    assert "B1 | d_k 2 | 1,000 | +0.048 | +1.040 ± 0.490 | -0.7 | -2.00 ± 1.41" in text
    assert "perplexity 4.92 | 7.50 | BLEU 25.8 | 25.0\n" in text, "of the base the means"


def test_the_order_of_the_paper_has_rank_correlation_1_and_its_reverse_minus_1():
    for sign in (1, -1):
        # Any rising function keeps the ranks.
        found = {str(d): Difference(d, (sign * d**3, sign * d**3)) for d in (-1.0, -0.5, 0.2, 0.9)}
        assert rank_correlation(found) == pytest.approx(sign)
    # One pair of neighbours changed: 1 - 6 * (1 + 1) / (4 * 15).
    found = {
        str(p): Difference(p, (float(o),)) for p, o in ((1.0, 1), (2.0, 3), (3.0, 2), (4.0, 4))
    }
    assert rank_correlation(found) == pytest.approx(0.8)


def test_a_row_that_the_paper_has_not_is_shown_and_not_ranked():
    paper_rows = {"base": [(10.0, 20.0)], "B1": [(20.0, 19.0)], "C7": [(9.0, 21.0)]}
    alone, record = _record(**paper_rows), _record(**paper_rows, halves=[(99.0, 5.0)])
    assert summary(alone) == summary(record)
    assert next(row for row in table_rows(record) if row[0] == "halves")[3:] == [
        *("–", "+2.293"),  # ln 9.9
        *("–", "-15.00"),
    ]


def test_one_seed_has_no_spread():
    record = _record(base=[(10.0, 20.0)], B1=[(20.0, 19.0)], C7=[(9.0, 21.0)])
    assert "±" not in "\n".join(" | ".join(row) for row in table_rows(record))
    assert "over 1 seeds" not in summary(record)
