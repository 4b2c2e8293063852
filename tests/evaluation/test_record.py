"""Records of runs: committed ones are read without loss, damaged ones are named."""

import json
import re
from pathlib import Path

import pytest

from aiayn.__main__ import main
from aiayn.errors import UserError
from aiayn.evaluation.record import Record, read_record
from aiayn.system import records

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
OF_RUNS = sorted(RESULTS.glob("*.json"))


@pytest.fixture
def damaged(tmp_path):
    """A run whose record was changed by a function; the folder."""

    def write(change):
        values = json.loads((RESULTS / "phrasebook.json").read_text(encoding="utf-8"))
        change(values)
        (tmp_path / "result.json").write_text(json.dumps(values), encoding="utf-8")
        (tmp_path / "config.json").touch()
        return tmp_path

    return write


@pytest.mark.parametrize("path", OF_RUNS, ids=lambda path: path.stem)
def test_what_is_read_from_a_committed_record_is_written_as_the_same_values(path, tmp_path):
    records.write(tmp_path / "again.json", records.read(path, Record, "a run"))
    wanted = json.loads(path.read_text(encoding="utf-8"))
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf-8")) == wanted


def test_what_later_versions_measure_is_missing_from_older_records():
    waiting = {path.stem: records.read(path, Record, "a run").waiting_for_rows for path in OF_RUNS}
    assert waiting["multi30k_ende"] is None, "of a version that did not measure it"
    assert waiting["phrasebook"] is not None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda r: r.update(updates="x"), "updates is 'x'; wanted int"),
        (lambda r: r["data"].pop("pairs"), "data lacks pairs"),
        (lambda r: r["sessions"][0].update(from_step=None), r"sessions\[0\].from_step is None; "),
        (
            lambda r: r["scores"]["unseen"]["average of 5"]["entries"][2].update(value=[3]),
            r"scores\[unseen\]\[average of 5\].entries\[2\].value is \[3\]; wanted float \| null",
        ),
    ],
)
def test_a_damaged_record_is_a_line_that_names_the_value_found_and_wanted(
    change, problem, damaged, capsys
):
    folder = damaged(change)
    with pytest.raises(UserError, match=f"^{folder}/result.json is no record of a run: {problem}"):
        read_record(folder)
    assert main(["info", str(folder)]) == UserError.status
    assert capsys.readouterr().err.count("\n") == 1


def test_info_of_a_record_without_figures_says_so(damaged, capsys):
    def without(record):
        record["scores"]["unseen"]["average of 5"]["entries"] = []

    folder = damaged(without)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert main(["info", str(folder)]) == 0
    assert "unseen, average of 5: no figures" in capsys.readouterr().out


def test_info_names_the_tokeniser_of_bleu_where_it_is_not_the_usual_one(damaged, capsys):
    def in_chinese(record):
        for entry in record["scores"]["unseen"]["average of 5"]["entries"]:
            entry["how"] = entry["how"].replace("tok:13a", "tok:zh")

    folder = damaged(in_chinese)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert main(["info", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (others,) = (line for line in lines if line.startswith("  unseen, last checkpoint"))
    (chinese,) = (line for line in lines if line.startswith("  unseen, average of 5"))
    assert ": BLEU zh " in chinese
    assert re.search(r": BLEU \d", others)
