import io
import json

import msgspec
from rich.console import Console

from aiayn.evaluation.bleu import score
from aiayn.evaluation.scores import Scores, table


def test_scores_come_back_from_json():
    found = score(["a b c", ""], ["a b d", "e"], src="en", tgt="de")
    assert found.warnings
    assert msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(found))), Scores) == found


def test_table_fits_a_terminal_and_shows_signatures_and_warnings():
    before = score(["a b c d e x"], ["a b c d e f"], src="en", tgt="de")
    after = score([""], ["a b c d e f"], src="en", tgt="de")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table({"newstest2014": {"last checkpoint": before, "average of 5": after}}))
    shown = console.export_text()
    assert "75.98" in shown
    assert "…" not in shown
    assert before["sacrebleu"].how in shown
    assert "newstest2014: 1 of 1 hypotheses are empty." in shown
