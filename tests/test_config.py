import json
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiayn.config import DataConfig, Experiment, ModelConfig, all_keys
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


usual = settings(
    max_examples=50, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@usual
@given(json_values, st.sampled_from(["", "data", "model", "train", "decode"]), st.data())
def test_any_json_is_an_experiment_or_is_refused(value, section, data):
    values = Experiment("small").to_dict()
    table = values[section] if section else values
    table[data.draw(st.sampled_from(sorted(table)))] = value
    for found in (values, value):
        with suppress(UserError):
            experiment = Experiment.from_dict(found)
            assert experiment.is_same(json.loads(json.dumps(experiment.to_dict())))


@usual
@given(
    st.lists(
        st.text()
        | st.builds("{}={}".format, st.sampled_from(sorted(all_keys(Experiment))), st.text()),
        max_size=3,
    )
)
def test_any_text_after_set_is_a_setting_or_is_refused(assignments):
    with suppress(UserError):
        Experiment("small").with_overrides(assignments).hash()
