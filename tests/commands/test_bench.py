import pytest

from aiayn.commands.bench import _computes_here, _workload
from tests.commands.test_verb import refusal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian", "what is 'trian'; wanted one of 'train'"),
        ("decode --workload T1", "to decode, wanted one of D1tiny, D1base, base32"),
        ("generate --workload T1", "to generate, wanted one of G1, tiny."),
        ("prompt --workload G1", "to prompt, wanted one of P1, tiny."),
        ("choices --workload L1", "to choices, wanted one of T1, T2, base, big, tiny."),
        ("train --workload D1tiny", "to train, wanted one of T1, T2"),
        ("data --workload T1", "--workload is not for data"),
        ("growth --workload T1", "--workload is not for growth"),
        ("scaling --workload T1", "--workload is not for scaling"),
        (
            "serving --model tests --src tests",
            "serving needs --model, --src and --ref; found --model and --src.",
        ),
        ("serving", "--src and --ref; found none of its files."),
        ("decode --model tests", "decode is measured without --model."),
        ("start --model tests --src tests", "start is measured without --model and --src."),
        ("ngrams", "ngrams needs --model; found none of its files."),
        ("nano", "nano needs --model; found none of its files."),
        ("pcfg --model tests --ref tests", "pcfg needs --model; found --model and --ref."),
        ("grammar --model tests", "grammar needs --model and --src; found --model."),
        ("toolkits --peer hf", "toolkits needs --model; found none of its files."),
        ("toolkits --model tests", "toolkits needs --peer hf or fairseq; found none."),
        (
            "toolkits --model tests --peer torch",
            "toolkits needs --peer hf or fairseq; found torch.",
        ),
        ("scaling --profile", "--profile is for train and decode, not for scaling"),
        ("data --profile", "--profile is for train and decode, not for data"),
        ("choices --profile", "--profile is for train and decode, not for choices"),
        ("generate --profile", "--profile is for train and decode, not for generate"),
        (
            "start --peer hf",
            "--peer is for train, decode, generate, serve and toolkits, not for start",
        ),
        (
            "prompt --peer hf",
            "--peer is for train, decode, generate, serve and toolkits, not for prompt",
        ),
        ("train --peer libretranslate", "libretranslate is for serve, and it alone"),
        ("serve --model tests --src tests --peer hf", "--peer is hf; libretranslate is for serve"),
        ("serve --model tests", "serve needs --model and --src; found --model."),
        ("train --peer hf --profile", "not allowed with argument --peer"),
        ("data --pairs 10 0", "--pairs is 0; wanted 1 or more"),
        ("train --pairs 10", "--pairs is for data, not for train."),
        ("growth --out Makefile", "Makefile: a file is in the way."),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message, capsys):
    assert message in refusal(capsys, "bench", *arguments.split())


def test_each_stage_has_its_usual_workload():
    stages = ("train", "choices", "start", "decode", "generate", "prompt")
    usual = ["T1", "T1", "T2", "D1tiny", "G1", "P1"]
    assert [_workload(what, None) for what in stages] == usual
    assert _workload("decode", "base32") == "base32"


def test_large_pages_are_for_what_computes_in_this_process():
    own = [
        what
        for what in (
            *("train", "choices", "decode", "generate", "prompt", "serving", "ngrams", "nano"),
            *("pcfg", "grammar", "toolkits", "serve", "start", "growth", "data", "scaling"),
        )
        if _computes_here({"what": what, "profile": False})
    ]
    assert own == ["choices", "serving", "ngrams", "nano", "pcfg", "grammar", "growth"]
    assert _computes_here({"what": "train", "profile": True})
