import io
import json
from itertools import pairwise

import pytest
from rich.console import Console

from aiayn.bench import grammar
from aiayn.bench.grammar import FREE, WITHIN, bench_grammar, figures
from aiayn.decoding.parser import Parser
from aiayn.errors import UserError
from aiayn.evidence.bench_tables import render_bench
from aiayn.model.saved import save_model
from tests.support.trees import random_parser


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Measured by a clock that goes on by a second with each symbol or EOS."""
    save_model(tmp_path / "model", random_parser())
    (tmp_path / "words.txt").write_text("the dog sleeps .\n\nshe runs .\n")
    now, searched = [0.0], []

    class Timed(Parser):
        def parse(self, sentences, *more, **options):
            searched.append(FREE if self._is_free else WITHIN)
            for found in super().parse(sentences, *more, **options):
                now[0] += len(found[0].symbols) + 1
                yield found

    monkeypatch.setattr(grammar, "Parser", Timed)
    monkeypatch.setattr(grammar.time, "perf_counter", lambda: now[0])
    console = Console(file=io.StringIO())
    record = bench_grammar(tmp_path / "model", tmp_path / "words.txt", tmp_path, console)
    return tmp_path, record, searched


def test_both_searches_take_turns_over_all_sentences(measured):
    folder, record, searched = measured
    assert json.loads((folder / "grammar-parses.json").read_text()) == record
    assert len(searched) == 2 * 8, "seven rounds, after one that is not counted"
    assert all(one != next_one for one, next_one in pairwise(searched))
    assert (record["sentences"], record["words"]) == (2, 7)
    for found in record["searches"].values():
        assert found["seconds"] == [found["symbols"]] * 7


def test_a_ratio_is_of_the_same_round_and_of_a_symbol(measured):
    _, record, _ = measured
    symbols = {name: found["symbols"] for name, found in record["searches"].items()}
    assert symbols[WITHIN] != symbols[FREE], "or nothing is seen here"
    assert record["ratios"] == [symbols[WITHIN] / symbols[FREE]] * 7
    assert record["ratios_of_symbols"] == pytest.approx([1.0] * 7)


def test_a_record_is_shown_a_row_for_each_search(measured):
    _, record, _ = measured
    head, within, free = figures(record)
    assert (within[0], free[0]) == (WITHIN, FREE)
    assert within[4] == "1.00 (1.00–1.00)"
    assert free[3:] == ["", ""]
    assert len(head) == len(within) == len(free)
    assert "parses of 2 updates: words.txt, 2 sentences of 4 words, beam 2" in render_bench(
        [record]
    )


def test_a_text_without_a_sentence_is_refused(tmp_path):
    save_model(tmp_path / "model", random_parser())
    (tmp_path / "words.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"words.txt is empty; wanted a sentence a line."):
        bench_grammar(tmp_path / "model", tmp_path / "words.txt", tmp_path, Console())
