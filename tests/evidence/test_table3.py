"""An ablation beside the paper's Table 3: signs, means, order."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from aiayn.evidence.records import AblatedRun, Ablation, Row
from aiayn.evidence.table3 import (
    OPEN,
    OTHER,
    SAME,
    Difference,
    differences,
    signs,
    summary,
    table_rows,
)
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
    text = "\n".join(" | ".join(row) for row in table_rows({"ours": record}))
    wanted = "+0.048 | +1.040 ± 0.490 open | -0.7 | -2.00 ± 1.41 open"
    assert f"B1 | d_k 2 | 1,000 | 3 | {wanted}" in text
    assert "perplexity 4.92 | 7.50 | BLEU 25.8 | 25.0\n" in text, "of the base the means"


def test_a_sign_by_hand():
    # Of three seeds Student's t is 4.303: a mean is told from 0 beyond 4.303 / √3 = 2.484 times the
    # standard deviation. That of 1, 2 and 3 is 1.
    def ours(mean):
        return mean - 1.0, mean, mean + 1.0

    assert Difference(0.1, ours(2.48)).sign == OPEN
    assert Difference(0.1, ours(2.49)).sign == SAME
    assert Difference(-0.1, ours(2.49)).sign == OTHER
    assert Difference(-0.1, ours(-2.49)).sign == SAME
    assert Difference(0.1, ours(-2.48)).sign == OPEN
    # Of two seeds it is 12.706, and with as many as ten 2.262.
    assert Difference(0.1, (8.9, 9.9)).sign == SAME  # 9.4 > 12.706 · 0.7071 / √2 = 6.35
    assert Difference(0.1, (4.9, 7.7)).sign == OPEN  # 6.3 < 12.706 · 1.98 / √2 = 17.8
    ten = tuple(0.7 + sign for sign in (1.0, -1.0) for _ in range(5))  # deviation 1.054
    assert Difference(0.1, ten).sign == OPEN  # 0.7 < 2.262 · 1.054 / √10 = 0.754
    assert Difference(0.1, tuple(one + 0.06 for one in ten)).sign == SAME


def test_one_seed_leaves_a_sign_open_and_seeds_that_agree_do_not():
    assert Difference(0.1, (5.0,)).sign == OPEN
    assert Difference(0.1, (5.0, 5.0)).sign == SAME
    assert Difference(0.1, (0.0, 0.0)).sign == OPEN
    assert Difference(0.0, (5.0, 5.0)).sign == ""
    assert Difference(None, (5.0, 5.0)).sign == ""


def test_signs_are_counted_of_the_rows_that_have_one():
    known = {"A1": (0.1, 5.0), "A2": (0.1, -5.0), "A3": (0.1, 0.0), "B1": (-1.0, -5.0)}
    found = {row: Difference(paper, (mean, mean)) for row, (paper, mean) in known.items()}
    found |= {"E": Difference(0.0, (5.0, 5.0)), "halves": Difference(None, (5.0, 5.0))}
    assert signs(found) == "2 of 4 the same, 1 the other, 1 open"


def test_a_row_that_the_paper_has_not_is_shown_and_not_counted():
    paper_rows = {"base": [(10.0, 20.0)] * 2, "B1": [(20.0, 19.0)] * 2}
    alone, record = _record(**paper_rows), _record(**paper_rows, halves=[(99.0, 5.0)] * 2)
    assert summary(alone) == summary(record)
    assert next(row for row in table_rows({"x": record}) if row[0] == "halves")[4:] == [
        *("–", "+2.293 ± 0.000"),  # ln 9.9
        *("–", "-15.00 ± 0.00"),
    ]


def test_records_of_several_sizes_are_side_by_side():
    small = _record(base=[(10.0, 20.0)] * 2, B1=[(20.0, 19.0)] * 2, C7=[(9.0, 21.0)] * 2)
    large = _record(base=[(5.0, 30.0)] * 2, B1=[(10.0, 28.0)] * 2)
    large.rows["B1"].changes["model.d_k"] = 16
    large.rows["B1"].parameters = 2_000
    head, base, b1, c7 = table_rows({"small": small, "large": large})
    assert head[4:] == [
        f"Δ {m}, {x}" for m in ("nats", "BLEU") for x in ("paper", "small", "large")
    ]
    assert base[4:] == ["perplexity 4.92", "10.00", "5.00", "BLEU 25.8", "20.0", "30.0"]
    assert b1[:4] == ["B1", "d_k 2; 16", "1,000; 2,000", "3; 3"]
    assert b1[5:7] == ["+0.693 ± 0.000 same"] * 2
    assert b1[8:] == ["-1.00 ± 0.00 same", "-2.00 ± 0.00 same"]
    assert c7[6] == c7[9] == "–"


def test_one_seed_has_no_spread():
    record = _record(base=[(10.0, 20.0)], B1=[(20.0, 19.0)], C7=[(9.0, 21.0)])
    assert "±" not in "\n".join(" | ".join(row) for row in table_rows({"x": record}))
    assert summary(record) == "One seed, which says nothing of signs."
