import pytest

from aiayn.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --workload base --peer hf", "hf has no packed rows, which base is"),
        ("train --peer ctranslate2", "ctranslate2 does not train"),
        ("decode --peer torch", "torch takes part in training only"),
    ],
)
def test_work_that_a_peer_has_not_is_refused(arguments, message, capsys):
    assert main(["bench", *arguments.split()]) == 2
    assert message in capsys.readouterr().err
