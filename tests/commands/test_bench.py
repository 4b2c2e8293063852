import pytest

from aiayn.commands.bench import _computes_here, _workload
from tests.commands.test_verb import refusal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "what is 'trian'; wanted one of 'train'"),
        ("decode --workload T1", "to decode, wanted one of D1tiny, D1base, base32"),
        ("train --workload D1tiny", "to train, wanted one of T1, T2"),
        ("data --workload T1", "--workload is not for data"),
        ("growth --workload T1", "--workload is not for growth"),
        ("scaling --workload T1", "--workload is not for scaling"),
        ("serving --model tests --src tests", "serving, which needs all three"),
        ("serving", "serving, which needs all three"),
        ("decode --model tests", "--model, --src and --ref are for serving"),
        ("scaling --profile", "--peer and --profile are for train and decode, not for scaling"),
        ("data --profile", "--peer and --profile are for train and decode, not for data"),
        ("choices --profile", "--peer and --profile are for train and decode, not for choices"),
        ("start --peer hf", "--peer and --profile are for train and decode, not for start"),
        ("train --peer hf --profile", "not allowed with argument --peer"),
        ("data --pairs 10 0", "--pairs is 0; wanted 1 or more"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message, capsys):
    assert message in refusal(capsys, "bench", *arguments.split())


def test_each_stage_has_its_usual_workload():
    assert [_workload(what, None) for what in ("train", "choices", "start", "decode")] == [
        *("T1", "T1", "T2", "D1tiny"),
    ]
    assert _workload("decode", "base32") == "base32"


def test_large_pages_are_for_what_computes_in_this_process():
    own = [
        what
        for what in ("train", "choices", "decode", "serving", "start", "growth", "data", "scaling")
        if _computes_here({"what": what, "profile": False})
    ]
    assert own == ["choices", "serving", "growth"]
    assert _computes_here({"what": "train", "profile": True})
