import io

from rich.console import Console

from aiayn.render.terminal import Terminal
from aiayn.training.progress import TrainingProgress

ROW = {
    "step": 640,
    "loss": 1.512,
    "perplexity": 1.21,
    "learning_rate": 3.4e-3,
    "tokens_per_second": 12_972.0,
    "padding": 0.033,
    "seconds": 90.0,
}


def test_all_figures_fit_into_eighty_columns():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, record=True)
    progress = TrainingProgress(console, num_steps=1_000, start=639)
    with progress:
        progress.advance()
        progress.show({"step": 600, "dev_perplexity": 1.11, "dev_bleu": 93.6, "dev_loss": 0.1})
        progress.show(ROW)
    shown = console.export_text().rstrip().splitlines()[-3:]
    assert "640/1000" in shown[0]
    assert "ETA" in shown[0]
    assert shown[1].rstrip() == "dev ppl 1.11  dev BLEU 93.6"
    assert shown[2].rstrip() == ("loss 1.512  ppl 1.21  lr 3.40e-03  12,972 tok/s  padding 3.3%")


def test_without_a_terminal_each_report_is_a_line():
    written = io.StringIO()
    console = Terminal(file=written, width=20)
    with TrainingProgress(console, num_steps=1_000, start=0) as progress:
        progress.show(ROW)
    (line,) = written.getvalue().splitlines()
    assert line.startswith("step 640/1,000  1.5 min  loss 1.512")
    assert "waiting" not in line


def test_a_loop_that_waits_for_its_rows_says_so():
    written = io.StringIO()
    with TrainingProgress(Console(file=written, width=200), num_steps=1_000, start=0) as progress:
        progress.show({**ROW, "waiting_for_rows": 0.004})
        progress.show({**ROW, "waiting_for_rows": 0.21})
    quick, slow = written.getvalue().splitlines()
    assert "waiting" not in quick
    assert slow.endswith("padding 3.3%  21% waiting for rows")
