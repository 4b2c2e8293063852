"""The harness of hostile inputs can lose: readers that break a promise are found and replayed."""

import os
from pathlib import Path
from unittest import mock

import pytest
from rich.console import Console

from aiayn.data.sources import formats
from aiayn.errors import UserError
from tests.faults import fuzz, readers
from tests.faults.inputs import Files

THREE = b"cat\tKatze\ndog\tHund\nbird\tVogel\n"


def three_pairs(_) -> Files:
    return {"a.tsv": THREE}


def _over(reader, folder):
    """The real check, over another reader of TSV."""
    with mock.patch.dict(formats.READERS, {".tsv": reader}):
        return readers.check_tsv(folder)


def _without_the_second(path, src, tgt, skipped):
    for number, pair in enumerate(formats._read_tsv(path, src, tgt, skipped)):
        if number != 1:
            yield pair


def drops_a_pair(folder):
    return _over(_without_the_second, folder)


def _raising(error):
    def read(*_):
        raise error

    return read


def raises_another_error(folder):
    return _over(_raising(ValueError("no such column")), folder)


def refuses_without_a_name(folder):
    return _over(_raising(UserError("This is not what I wanted.")), folder)


def loops(folder):
    while True:
        pass


def waits(folder):
    os.read(os.pipe()[0], 1)


def ends_the_process(folder):
    os.abort()


def refuses(folder):
    raise UserError(f"{folder / 'a.tsv'} is not what I wanted.")


def found(check, tmp_path, seconds=10):
    """What the harness says of a reader after two inputs."""
    reader = fuzz.Reader(three_pairs, check, 1, seconds)
    return [outcome for _, outcome in fuzz.outcomes("tsv", reader, 0, range(2), tmp_path)]


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (drops_a_pair, "the counts differ: Counts(given=3, returned=2, reported=0)"),
        (raises_another_error, "ValueError: no such column"),
        (refuses_without_a_name, "the refusal names no file: This is not what I wanted."),
        (loops, "its processor time is used up"),
        (ends_the_process, "the process ended with status -6"),
    ],
)
def test_a_broken_promise_is_found_on_every_input(check, reason, tmp_path):
    outcomes = found(check, tmp_path, seconds=1)
    assert len(outcomes) == 2
    assert all(reason in outcome.lost for outcome in outcomes)


def test_a_reader_that_waits_for_ever_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "WAITS", 1)
    monkeypatch.setattr(fuzz, "WAIT_SECONDS", 2)
    assert [outcome.lost for outcome in found(waits, tmp_path)] == ["waits for ever"] * 2


def test_a_kept_promise_and_a_refusal_by_name_survive(tmp_path):
    counts = readers.Counts(given=3, returned=3)
    assert found(readers.check_tsv, tmp_path) == [fuzz.Outcome(counts)] * 2
    assert found(refuses, tmp_path) == [fuzz.Outcome(refused=True)] * 2


def test_what_was_lost_is_kept_and_can_be_replayed(tmp_path, capsys):
    broken = {"tsv": fuzz.Reader(three_pairs, drops_a_pair, 1)}
    tallies = fuzz.fuzz(broken, 2, 0, tmp_path / "kept", Console(width=200))
    assert tallies == {"tsv": fuzz.Tally(tried=2)}
    kept = tmp_path / "kept" / "tsv-1"
    assert f"{fuzz.REPLAY} {kept}" in capsys.readouterr().out
    assert (kept / "input" / "a.tsv").read_bytes() == THREE
    assert "the counts differ" in (kept / "why.txt").read_text()
    assert "the counts differ" in fuzz.replay(broken, kept, Console()).lost
    # With the reader that there is, the same input survives.
    assert fuzz.main(["--replay", str(kept)]) == 0
    with pytest.raises(UserError, match="is no kept input; wanted a folder such as"):
        fuzz.replay(broken, tmp_path / "nothing-1", Console())


def test_the_same_seed_makes_the_same_inputs(tmp_path):
    reader, same = readers.READERS["jsonl"], []
    for _ in range(2):
        list(fuzz.outcomes("jsonl", reader, 7, range(5), tmp_path))
        same.append((tmp_path / "input" / "a.jsonl").read_bytes())
    assert same[0] == same[1]


def test_the_command_shows_what_it_tried(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fuzz.main(["--inputs", "40", "--reader", "lines", "--reader", "tmx"]) == 0
    assert capsys.readouterr().out.count("│") > 20
    assert list(Path().iterdir()) == []  # nothing lost, and no record of some readers alone


def test_a_record_counts_what_survived():
    tallies = {"tsv": fuzz.Tally(10, 9, 1, 20, 18, 2), "tmx": fuzz.Tally(5, 5)}
    record = fuzz.record(tallies, seed=3, seconds=1.25)
    assert (record["tried"], record["survived"], record["lost"], record["seed"]) == (15, 14, 1, 3)
    assert record["details"]["tsv"]["survived"] == 9
    assert record["commit"]
