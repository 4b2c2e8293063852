"""The models that a server offers, as they lie on disk."""

import json

import pytest

from aiayn.errors import UserError
from aiayn.model.saved import save_model
from aiayn.serve.models import _RECORD, load_served
from aiayn.training.run_folder import RECORD
from tests.support.models import TOKENIZER, language_model
from tests.support.servers import translation_model
from tests.support.trees import random_parser


def test_a_model_is_known_by_its_kind_its_languages_and_its_record(tmp_path):
    save_model(tmp_path / "run/model", translation_model())
    save_model(tmp_path / "text", language_model())
    (tmp_path / "run" / RECORD).write_text(json.dumps({"scores": {}}))
    found = load_served([("b", tmp_path / "run"), ("a", tmp_path / "text")])
    assert list(found) == ["b", "a"]
    assert found["b"].kind == "translation"
    assert found["b"].languages == ("en", "de")
    assert found["b"].record == {"scores": {}}
    assert found["a"].kind == "language_model"
    assert found["a"].record is None
    for each in found.values():
        assert each.tokenizer.model == TOKENIZER.model


def test_the_record_is_that_of_a_run():
    assert _RECORD == RECORD


def test_what_cannot_be_served_is_one_line(tmp_path):
    save_model(tmp_path / "text", language_model())
    with pytest.raises(UserError, match=r"text names both .*; wanted different names"):
        load_served([("text", tmp_path / "text"), ("text", tmp_path / "text")])
    with pytest.raises(UserError, match="wanted a model as `aiayn average` writes it"):
        load_served([("x", tmp_path)])
    save_model(tmp_path / "trees", random_parser())
    with pytest.raises(UserError, match=r"is a parser, .*wanted one that translates"):
        load_served([("trees", tmp_path / "trees")])
    (tmp_path / "text" / RECORD).write_text("{")
    with pytest.raises(UserError, match=r"result\.json is damaged"):
        load_served([("text", tmp_path / "text")])
