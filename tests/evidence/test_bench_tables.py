from aiayn.evidence.bench_tables import render_bench
from tests.support.records import contest_record


def test_a_contest_is_summed_up_in_one_line_above_its_own_table():
    text = render_bench([contest_record()])
    assert "| of XLA's large product |" in text
    # Of 1e11 and 2e11 the best is what shares are of.
    assert "large product: 200 GFLOP/s in the best round, 100 in the worst; a step's" in text
    line = "| Training, workload T1 | hf | 1.10 (0.50–2.00) | – | 2 cores, a CPU | 0123456789ab |"
    assert line in text
    # 1e11 FLOPs in 2 seconds are an eighth of the data sheet's 4e11 a second.
    assert "(MFU) ours has 12.5%" in text
    assert text.index(line) < text.index("## Training, workload T1, beside hf")


def test_a_share_of_old_is_named_as_what_it_was():
    record = contest_record()
    for found in record["contenders"].values():
        found["share_of_ceiling"] = found.pop("share_of_xla_product")
    del record["best_xla_product_flops_per_second"], record["xla_product_flops_per_second"]
    record["ceilings"]["matmul_flops_per_second"] = 2e11
    text = render_bench([record])
    assert "| of XLA's large product, timed once |" in text
    assert "timed once before all rounds: 200 GFLOP/s" in text
    assert "ceiling" not in text
