from aiayn.evidence.bench_tables import render_bench
from tests.support.records import contest_record


def test_a_contest_is_summed_up_in_one_line_above_its_own_table():
    text = render_bench([contest_record()])
    assert "| of the ceiling |" in text
    line = "| Training, workload T1 | hf | 1.10 (0.50–2.00) | – | 2 cores, a CPU | 0123456789ab |"
    assert line in text
    # 1e11 FLOPs in 2 seconds are an eighth of the data sheet's 4e11 a second.
    assert "(MFU) ours has 12.5%" in text
    assert text.index(line) < text.index("## Training, workload T1, beside hf")
