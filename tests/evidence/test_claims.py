from pathlib import Path

import pytest
from msgspec.structs import replace

from aiayn.evaluation.record import Record
from aiayn.evaluation.scores import Score, Scores
from aiayn.evidence import claims, paper
from aiayn.evidence.claims import Claim, counts, entries, ledger
from aiayn.evidence.records import Ablation, Row
from aiayn.experiments import load_experiment
from aiayn.system.records import Hardware, read

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
ENTRIES = {entry.id: entry for entry in entries({}, {})}


@pytest.fixture(scope="module")
def every():
    return ledger(RESULTS)


def test_no_claim_fails_and_each_has_an_id_of_its_own(every):
    assert [claim for claim in every if claim.status == "fails"] == []
    assert len({claim.id for claim in every}) == len(every)
    assert sum(counts(every).values()) == len(every)


def test_every_number_of_the_tables_is_in_the_ledger(every):
    shown = {claim.id: claim.paper for claim in every}
    for row, variant in paper.TABLE_3.items():
        assert shown[f"perplexity-{row}"] == f"{variant.perplexity:.2f}"
        assert shown[f"bleu-{row}"] == f"{variant.bleu}"
        assert (f"parameters-{row}" in shown) == (variant.parameters is not None)
    for size, name in (("base", paper.BASE), ("big", paper.BIG)):
        system = paper.TABLE_2[name]
        assert shown[f"bleu-ende-{size}"].startswith(f"{system.ende_bleu}")
        assert shown[f"bleu-enfr-{size}"].startswith(f"{system.enfr_bleu}")
        assert float(shown[f"flops-{size}"]) == system.ende_flops
    assert {shown["parsing-wsj"], shown["parsing-semi-supervised"]} == {"91.3", "92.7"}


def test_what_was_not_run_names_a_command_and_its_cost(every):
    (claim,) = (claim for claim in every if claim.id == "bleu-A1")
    assert claim.status == "not run here"
    assert "make train EXPERIMENT=table3_a1" in claim.how
    # 100,000 steps of 25,000 + 25,000 tokens at 381 MFLOP a pair of tokens are 9.5e17.
    assert "9.5e+17 FLOPs" in claim.how
    # C5, of 168 million parameters, costs more, and the paper's hours are not its.
    (wide,) = (claim for claim in every if claim.id == "bleu-C5")
    assert "9.5e+17" not in wide.how
    assert "P100" not in wide.how


def test_a_check_that_breaks_is_a_claim_that_fails(monkeypatch):
    def broken():
        raise ZeroDivisionError("by zero")

    claim = claims._checked(("x", "", "", ""), broken).decide()
    assert (claim.status, claim.ours) == ("fails", "ZeroDivisionError: by zero")


# --- Records ------------------------------------------------------------------------------------


def _record(**changes):
    def rows(bleu):
        return Scores("en", "de", 1, (Score("compound-split", bleu, "signature", ""),))

    about = {
        "experiment": "wmt14_ende_base",
        "config": load_experiment("wmt14_ende_base").to_dict(),
        "config_hash": "abc",
        "commit": "0123456789abcdef",
        "seconds": 7_200.0,
        "hardware": Hardware("gpu", "a GPU", 8, 1, "a CPU", 2),
        "dev": {"dev_perplexity": 4.9},
        "scores": {
            "test": {"last": rows(27.0), "average of 5": rows(27.4)},
            "dev": {"last": rows(25.7), "average of 5": rows(26.0)},
        },
    }
    return replace(read(RESULTS / "phrasebook.json", Record, "a run"), **{**about, **changes})


def _with_record(record) -> dict[str, Claim]:
    found = {entry.id: entry for entry in entries({record.experiment: record}, {})}
    wanted = ("batch-wmt14_ende_base", "bleu-ende-base", "bleu-base", "perplexity-base")
    return {id: found[id].decide() for id in wanted}


def test_a_recorded_run_is_shown_with_all_that_it_takes_to_trust_it():
    found = _with_record(_record())
    assert {claim.status for claim in found.values()} == {"measured"}
    # Table 2 is about the average and the test set, Table 3 about the last checkpoint and dev.
    assert found["bleu-ende-base"].ours == "27.40 (signature)"
    assert found["bleu-base"].ours == "25.70 (signature)"
    assert found["perplexity-base"].ours == "4.90"
    for part in ("commit 0123456789ab", "config abc", "seed 1", "2.0 h on 8 × a GPU"):
        assert part in found["bleu-base"].how


def test_a_record_of_a_changed_experiment_is_stale():
    config = load_experiment("wmt14_ende_base").with_overrides(["train.seed=2"]).to_dict()
    assert "STALE" in _with_record(_record(config=config))["bleu-base"].how


def test_a_record_without_the_score_says_so():
    scores = {"test": _record().scores["test"]}
    claim = _with_record(_record(scores=scores))["bleu-base"]
    assert (claim.status, claim.ours) == ("not run here", "–")
    assert "not scored by the run" in claim.how


def test_a_miniature_stands_beside_what_the_paper_concludes_from_table_3():
    miniature = read(RESULTS / "ablations/table3_miniature.json", Ablation, "an ablation")
    (run, *_) = miniature.rows["base"].runs
    run = replace(run, commits=["0123456789abcdef"])

    def runs(perplexity, *scores):
        return Row({}, 1, [replace(run, perplexity=perplexity, bleu=bleu) for bleu in scores])

    rows = {row: runs(10.0, 20.0, 22.0) for row in paper.TABLE_3}
    record = replace(miniature, rows={**rows, "B1": runs(20.0, 19.0, 20.0)})
    (entry,) = (e for e in entries({}, {"table3_miniature": record}) if e.id == "small-keys")
    claim = entry.decide()
    assert claim.paper == "B1 -0.7 BLEU, B2 -0.4 BLEU"  # 25.1 and 25.4 after 25.8
    # One and two points below the base of the same seed; ln 2.
    assert claim.ours.startswith(
        "table3_miniature: B1 -1.50 ± 0.71 BLEU, +0.693 ± 0.000 nats, B2 +0.00 ± 0.00 BLEU"
    )
    assert claim.status == "measured"
    assert "ablations/table3_miniature.json, commit 0123456789ab" in claim.how
    assert ENTRIES["small-keys"].decide().status == "not run here"
