import sys

import pytest

from aiayn.__main__ import main
from aiayn.config import Experiment
from aiayn.errors import UserError
from aiayn.interop.ctranslate2 import export
from aiayn.model.saved import Model, save_model
from aiayn.model.structure import flatten
from tests.support.models import MODEL, TOKENIZER, transformer

# That what is written is right, the engine itself tells: tests/parity.


@pytest.fixture
def model():
    _, params = transformer(num_words=TOKENIZER.num_words)
    return Model(Experiment("small", model=MODEL), TOKENIZER, flatten(params))


def test_without_the_engine_the_error_says_what_to_install(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    monkeypatch.setitem(sys.modules, "ctranslate2.specs", None)
    save_model(tmp_path / "model", model)
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "out")]) == 2
    assert "pip install ctranslate2" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_a_folder_that_is_there_is_left_alone(model, tmp_path):
    with pytest.raises(UserError, match="exists already"):
        export(model, tmp_path)
