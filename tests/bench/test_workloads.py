import pytest

from aiayn.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --workload base --peer hf", "hf has no packed rows, which base is"),
        ("train --peer ctranslate2", "ctranslate2 does not train"),
        ("train --workload L1 --peer torch", "torch trains no language model, which L1 is"),
        ("decode --peer torch", "torch takes part in training only"),
        ("generate --peer fairseq", "fairseq writes no text"),
    ],
)
def test_work_that_a_peer_has_not_is_refused(arguments, message, capsys):
    assert main(["bench", *arguments.split()]) == 2
    assert message in capsys.readouterr().err
