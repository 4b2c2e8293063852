import json

import pytest

from aiayn.errors import UserError
from aiayn.interop.huggingface import read_huggingface
from tests.faults import folders, readers
from tests.support import gpt


def test_the_model_type_decides_who_reads(tmp_path):
    readers.write(tmp_path / "marian", folders.marian_folder())
    gpt.write(tmp_path / "gpt", gpt.files())
    found = {name: read_huggingface(tmp_path / name) for name in ("marian", "gpt")}
    assert {name: model.experiment.task for name, model in found.items()} == {
        "marian": "translation",
        "gpt": "language_model",
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "gpt2"}, "'gpt2'; wanted 'marian' or 'openai-gpt', since GPT-2 has its"),
        ({"model_type": "llama", "architectures": ["L"]}, r"wanted 'marian' or 'openai-gpt' \(L\)"),
        ({"model_type": ["marian"]}, r"model_type is \['marian'\]; wanted"),
        ({}, "has no model_type; wanted the config.json of MarianMTModel or OpenAIGPTLMHead"),
        ({"format": 3, "data": {}, "model": {}}, "is of a model of aiayn's own"),
    ],
)
def test_a_model_of_another_kind_is_refused_for_what_it_is(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        read_huggingface(tmp_path)
