import json
import subprocess
import sys

import pytest

from aiayn.config import DataConfig, Experiment, ModelConfig
from aiayn.errors import UserError


def test_json_brings_back_the_same_experiment():
    experiment = Experiment("x", model=ModelConfig(d_k=16), data=DataConfig(row_widths=(64, 256)))
    again = Experiment.from_dict(json.loads(json.dumps(experiment.to_dict())))
    assert again == experiment
    assert again.hash() == experiment.hash()


def test_the_hash_is_of_what_decides_the_result_not_of_a_folders_place():
    a, b = (Experiment("x", data=DataConfig(folder=f)) for f in ("/here", "/there"))
    assert a.hash() == b.hash()
    assert a.hash() != a.with_overrides(["train.seed=2"]).hash()


def test_overrides_take_the_type_of_the_setting():
    changed = Experiment("x").with_overrides(
        [
            "train.num_steps=20",
            "data.row_widths=32, 64",
            "data.max_tokens=50",
            "data.deduplicate=false",
            "model.dropout_rate=0",
            "data.folder=a=b",
            "data.train_files=",
        ]
    )
    assert changed.train.num_steps == 20
    assert changed.data.row_widths == (32, 64)
    assert changed.data.deduplicate is False
    assert changed.model.dropout_rate == 0.0
    assert changed.data.folder == "a=b"
    assert changed.data.train_files == ()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.num_step=3", "Did you mean 'train.num_steps'"),
        ("trian.seed=3", "Did you mean 'train.seed'"),
        ("train.num_steps", "no '='"),
        ("train.num_steps=many", "train.num_steps is 'many'; wanted a whole number"),
        ("train.num_steps=0", "wanted a positive number"),
        ("data.deduplicate=maybe", "wanted true or false"),
        ("model.positions=rotary", "wanted one of interleaved, halves"),
        ("model=3", "Unknown key"),
        ("data.max_tokens=1000", "at most the widest row"),
        ("data.tgt=en", "another language"),
        ("decode.average_last=50", "train.keep_last is 20"),
        ("model.positions=halves", "preset 'paper' means 'interleaved'"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(override, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        Experiment("x").with_overrides([override])


def test_settings_in_python_are_checked_and_made_the_same_as_in_json():
    # In another process: here beartype refuses wrong types before we do.
    code = """
from aiayn.config import DataConfig, Experiment, ModelConfig, data_hash
lists = Experiment("x", data=DataConfig(row_widths=[64, 256], max_ratio=2))
tuples = Experiment("x", data=DataConfig(row_widths=(64, 256), max_ratio=2.0))
assert lists == tuples
assert lists.hash() == tuples.hash()
assert data_hash(lists.data) == data_hash(tuples.data)
ModelConfig(d_ff="2048")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UserError: model.d_ff is '2048'; wanted a whole number." in done.stderr


def test_unknown_keys_in_a_file_are_refused():
    values = Experiment("x").to_dict()
    values["model"]["num_layer"] = 3
    with pytest.raises(UserError, match=r"model.num_layer'. Did you mean 'model.num_layers'"):
        Experiment.from_dict(values)
    with pytest.raises(UserError, match="name is missing"):
        Experiment.from_dict({})
