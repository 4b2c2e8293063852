"""What comes along is named in its page, can be loaded, and is what its record says."""

import pytest

from aiayn.evidence.included import main, render
from aiayn.evidence.records import Included, load
from aiayn.model.saved import model_of
from aiayn.system import checkout
from tests.support.records import RESULTS

FOUND = load(RESULTS / "models", Included, "a model")


def test_every_model_has_a_record_and_a_place_in_the_page():
    names = [each.experiment for each in FOUND]
    assert names == checkout.included_models()
    assert names, "there is something to try"
    page = (checkout.root() / checkout.MODELS / "README.md").read_text(encoding="utf-8")
    assert render(FOUND) in page
    for name in names:
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("record", FOUND, ids=lambda record: record.experiment)
def test_a_model_is_the_size_of_its_record_and_small(record, monkeypatch, tmp_path):
    folder = checkout.root() / checkout.MODELS / record.experiment
    assert sum(path.stat().st_size for path in folder.iterdir()) == record.bytes < 16_000_000
    monkeypatch.chdir(tmp_path)
    model = model_of(type(tmp_path)(record.experiment))
    assert sum(value.size for value in model.params.values()) == record.parameters
    assert model.experiment.name == record.experiment


def test_what_is_no_finished_run_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert f"{tmp_path} is no run directory" in capsys.readouterr().err
