import json

import pytest

import aiayn.evidence.page
from aiayn.__main__ import main
from aiayn.evidence.claims import Claim
from aiayn.evidence.table1 import LayerCost
from tests.commands.test_verb import refusal


def test_report_writes_the_ledger_and_fails_with_it(monkeypatch, tmp_path, capsys):
    def ledger(folder, on_claim):
        return [Claim("id", "§1", "text", "1", "2", status, "how") for status in statuses]

    monkeypatch.setattr(aiayn.evidence.page, "ledger", ledger)
    cost = LayerCost({8: 64, 16: 256}, {}, {}, {})
    monkeypatch.setattr(aiayn.evidence.page, "layer_costs", lambda: {"self-attention": cost})
    for statuses, code in ((["holds"], 0), (["holds", "fails"], 1)):
        assert main(["report", "--json", "--out", str(tmp_path)]) == code
        printed = json.loads(capsys.readouterr().out)
        assert [claim["status"] for claim in printed["claims"]] == statuses
    assert {path.name for path in tmp_path.iterdir()} == {
        "claims.html",
        "claims.json",
        "claims.md",
        "table1.png",
    }


@pytest.mark.parametrize("option", ["--seeds", "--jobs"])
def test_ablate_needs_one_run_at_least(option, capsys):
    error = refusal(capsys, "ablate", "table3_miniature", option, 0)
    assert f"{option} is 0; wanted 1 or more" in error


def test_a_record_that_is_not_there_is_named(capsys):
    assert "nowhere.json does not exist" in refusal(
        capsys, "ablate", "table3_miniature", "--record", "nowhere.json"
    )
