import json
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiayn.config import (
    PRESETS,
    DataConfig,
    Experiment,
    ModelConfig,
    TrainConfig,
    all_keys,
    data_hash,
    training_hash,
)
from aiayn.errors import UserError
from aiayn.evidence.gpt_checks import GPT1
from aiayn.experiments import load_experiment


def test_json_brings_back_the_same_experiment():
    experiment = Experiment("x", model=ModelConfig(d_k=16), data=DataConfig(row_widths=(64, 256)))
    again = Experiment.from_dict(json.loads(json.dumps(experiment.to_dict())))
    assert again == experiment
    assert again.hash() == experiment.hash()


def test_the_hash_is_of_what_decides_the_result_not_of_a_folders_place():
    a, b = (Experiment("x", data=DataConfig(folder=f)) for f in ("/here", "/there"))
    assert a.hash() == b.hash()
    assert a.hash() != a.with_overrides(["train.seed=2"]).hash()


@pytest.mark.parametrize("key", ["name", "data.corpus", "data.hub", "data.src"])
def test_a_setting_is_text_and_only_names_of_files_may_be_other_bytes(key):
    # Found before any data are read: what is no text cannot be written into a manifest or a record.
    with pytest.raises(UserError, match=rf"{key} is 'a\\udcff'; wanted UTF-8\."):
        Experiment("x").with_overrides([f"{key}=a\udcff"])
    for file in ("data.folder", "data.train_files", "data.tokenizer"):
        Experiment("x").with_overrides([f"{file}=a\udcff"])


def test_settings_that_came_later_change_no_hash_unless_they_are_set():
    # What was written under the name of an experiment before there were such settings.
    assert Experiment("x").hash() == (
        "38933a6cb63a5801cf5551ccab91dfcc0352b7de6ba049765302c5b1b11a28cd"
    )
    assert data_hash(DataConfig()) == (
        "2f60533c2ad187c5e23a7794abf50f43ee40c52cf5c05e9a3db5cd988ddff592"
    )
    for key in ("data.tokenizer", "train.initial"):
        changed = Experiment("x").with_overrides([f"{key}=model"])
        assert changed.hash() != Experiment("x").hash()
        # The place of a local file is not what decides the result; its name may be.
        assert changed.hash() == Experiment("x").with_overrides([f"{key}=/runs/model"]).hash()
        assert changed.hash() != Experiment("x").with_overrides([f"{key}=other"]).hash()
        assert changed.is_same(changed.portable())
        assert data_hash(changed.data) != data_hash(DataConfig())
    custom = Experiment("x", preset="custom")
    for assignment in (
        "decode.length_penalty_form=length",
        "task=translation_of_tokens",
        "model.initializer=normal",
    ):
        changed = custom.with_overrides([assignment])
        assert changed.hash() != custom.hash()
        assert changed.is_same(changed.to_dict())
    started = Experiment("x").with_overrides(["train.initial=model"])
    assert started.with_overrides(["train.initial_layers=0"]).hash() != started.hash()
    earlier = Experiment("x").to_dict()
    del earlier["decode"]["length_penalty_form"]
    del earlier["train"]["initial_layers"]
    assert Experiment("x").is_same(earlier)


def test_the_tokenizer_follows_the_model_that_training_starts_from():
    first = Experiment("x").with_overrides(["train.initial=a"])
    assert first.data.tokenizer == "a"
    assert Experiment.from_dict(first.to_dict()) == first
    assert first.with_overrides(["train.initial=b"]).data.tokenizer == "b"
    assert first.with_overrides(["train.initial="]) == Experiment("x")
    own = first.with_overrides(["data.tokenizer=own"])
    assert own.with_overrides(["train.initial=b"]).data.tokenizer == "own"


def test_a_model_and_another_ones_tokenizer_of_the_same_name_are_told_apart():
    paths = ["train.initial=runs/a/model", "data.tokenizer=runs/b/model"]
    both = Experiment("x").with_overrides(paths)
    assert both.is_same(both.portable())
    assert both.hash() != Experiment("x").with_overrides(paths[:1]).hash()


def test_layers_of_no_model_are_refused():
    with pytest.raises(UserError, match=r"initial_layers is 2; wanted 1,000, since train.initial"):
        Experiment("x").with_overrides(["train.initial_layers=2"])


def test_columns_count_in_the_hashes_once_they_are_set():
    experiment = Experiment("x")
    changed = experiment.with_overrides(["data.columns=2,3"])
    assert changed.data.columns == ("2", "3")
    assert changed.hash() != experiment.hash()
    assert data_hash(changed.data) != data_hash(experiment.data)
    earlier = experiment.to_dict()
    del earlier["data"]["columns"]
    assert experiment.is_same(earlier)


def test_text_has_no_settings_of_a_source():
    text = DataConfig(src="", columns=("text",), documents="file", tgt_tokens_per_update=800)
    assert (text.tokens_per_update, DataConfig().tokens_per_update) == (800, 50_000)
    assert data_hash(text) != data_hash(replace(text, documents="line"))
    for setting, wanted in (
        ({"columns": ("a", "b")}, "columns is ('a', 'b'); wanted one or none"),
        ({"max_ratio": 2.0}, "max_ratio is 2.0; wanted 0.0, since data.src is empty"),
        ({"src_tokens_per_update": 800}, "src_tokens_per_update is 800; wanted 25000"),
        ({"src": "en", "columns": ()}, "documents is 'file'; wanted 'line', since data.src is set"),
    ):
        with pytest.raises(UserError, match=re.escape(f"data.{wanted}")):
            replace(text, **setting)


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
        ("preset=papr", "Unknown preset 'papr'. Did you mean 'paper'?"),
        (
            "data.src=",
            "data.src is ''; wanted the source language",
        ),
        ("data.vocab_size=299", "wanted 300 to 65,535"),
        ("data.vocab_size=65536", "wanted 300 to 65,535"),
        ("data.row_widths=", "wanted at least one width"),
        ("data.row_widths=256,12", "data.row_widths is 12; wanted multiples of 8"),
        ("data.row_widths=0,256", "data.row_widths is 0; wanted a positive number"),
        ("data.row_widths=256,64", "is (256, 64); wanted rising widths"),
        ("data.row_widths=256,256", "wanted rising widths"),
        ("data.test_files=a=x,b", "data.test_files is 'b'; wanted NAME=PATTERN"),
        ("data.columns=1", "data.columns is ('1',); wanted two, source first, or none"),
        ("data.columns=2,2", "wanted two different ones"),
        ("data.documents=page", "wanted one of line, blank_line, file"),
        ("data.limit=-1", "wanted zero or more"),
        ("data.max_ratio=-0.1", "wanted zero or more"),
        ("model.d_model=7", "wanted an even number"),
        ("model.d_model=0", "wanted a positive number"),
        ("model.dropout_rate=1", "model.dropout_rate is 1.0; wanted 0 <= rate < 1"),
        ("model.dropout_rate=nan", "wanted 0 <= rate < 1"),
        ("model.layer_norm_epsilon=0", "wanted a positive number"),
        ("train.adam_eps=inf", "wanted a positive number"),
        ("train.adam_eps=1e-50", "wanted a positive number that float32 holds"),
        ("train.num_steps=1.5", "wanted a whole number"),
        ("decode.length_penalty=inf", "wanted 0 to 10"),
        ("decode.length_penalty=10.5", "wanted 0 to 10"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(override, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Experiment("x").with_overrides([override])


def test_a_test_set_may_be_called_dev_where_dev_itself_is_not_scored():
    named = Experiment("x").with_overrides(["data.test_files=dev=x.{lang}"])
    with pytest.raises(UserError, match=r"score_dev is True; wanted false, since a test set in"):
        named.with_overrides(["decode.score_dev=true"])


NO_SIZES = {"data.num_pairs", "data.max_tokens"}
"""Pairs are compared only; no sentence is longer than the widest row."""


@pytest.mark.parametrize("key", sorted({*all_keys(Experiment)} - NO_SIZES))
def test_every_setting_that_sizes_memory_or_time_has_a_bound(key):
    # No machine computes with a million million of anything but pairs, and none reads more pairs.
    section, _, name = key.rpartition(".")
    values = Experiment("x", preset="custom").to_dict()
    table = values[section] if section else values
    if isinstance(table[name], bool) or not isinstance(table[name], int):
        return
    table[name] = 10**12 + 2
    with pytest.raises(
        UserError, match=rf"^{key} is 1000000000002; wanted (at most|300 to) [\d,]+\.$"
    ):
        Experiment.from_dict(values)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decode.max_extra_tokens=1000000000", "wanted at most 10,000"),
        ("decode.beam_size=1001", "wanted at most 1,000"),
        ("model.num_layers=1001", "wanted at most 1,000"),
        ("model.d_model=65538", "wanted at most 65,536"),
        ("train.seed=4294967296", "wanted at most 4,294,967,295"),
        ("data.row_widths=256,16392", "data.row_widths is 16392; wanted at most 16,384"),
        (f"data.row_widths={','.join(str(8 * n) for n in range(1, 34))}", "at most 32 widths"),
    ],
)
def test_a_value_past_its_bound_is_refused_with_the_bound(override, message):
    with pytest.raises(UserError, match=message):
        Experiment("x").with_overrides([override])


def test_what_decides_the_training_data_is_not_its_place_nor_the_test_sets():
    data = DataConfig(corpus="x", folder="a", test_files=("n=t",))
    moved = DataConfig(corpus="x", folder="b", test_files=("m=t", "n=u"))
    assert training_hash(data) == training_hash(moved)
    for other in (DataConfig(corpus="y"), DataConfig(corpus="x", row_widths=(256,))):
        assert training_hash(data) != training_hash(other)


def test_values_on_the_bounds_are_settings():
    changed = Experiment("x", preset="custom").with_overrides(
        [
            *("data.vocab_size=300", "data.row_widths=8", "data.max_tokens=8", "data.limit=0"),
            *("model.d_model=2", "model.dropout_rate=0", "train.adam_b1=0.999", "train.seed=0"),
            *("train.keep_last=1", "decode.average_last=1", "decode.length_penalty=0"),
        ]
    )
    assert changed.with_overrides(["data.vocab_size=65535"]).data.vocab_size == 65_535
    assert changed.model.d_model == 2


def test_learned_positions_reach_to_the_end_of_the_longest_output():
    # A source that fills the widest row twice over, and 50 tokens more: 2 x 256 + 50.
    learned = ["model.positions=learned", "model.max_positions=562"]
    assert Experiment("x").with_overrides(learned).model.max_positions == 562
    with pytest.raises(UserError, match=r"model.max_positions is 561; wanted at least 562"):
        Experiment("x").with_overrides([*learned, "model.max_positions=561"])


def test_an_earlier_versions_settings_are_the_same_if_what_came_later_has_its_default():
    experiment = Experiment("x")
    earlier = experiment.to_dict()
    del earlier["train"]["slots_per_device"]
    assert experiment.is_same(earlier)
    assert not experiment.with_overrides(["train.slots_per_device=8"]).is_same(earlier)
    assert not experiment.is_same({**earlier, "gone": 1})


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


usual = settings(max_examples=50, database=None, suppress_health_check=list(HealthCheck))
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


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        (["data.tgt=de"], "data.tgt is 'de'; wanted 'trees', since data.trees is 'tags'"),
        (["data.src="], "data.src is ''; wanted the language of the words"),
        (["data.hub=a/b"], "data.hub is 'a/b'; wanted nothing"),
        (["data.columns=a,b"], "data.columns is"),
        (["data.max_ratio=2"], "data.max_ratio is 2.0; wanted 0"),
        (["data.corpus=phrasebook"], "data.corpus is 'phrasebook'; wanted a name of yours"),
        (["data.trees=none"], "data.tgt is 'trees'; wanted a language"),
        (["data.trees=none", "data.tgt=de"], "data.trees is 'none'; wanted tags, xx or"),
        (["task=translation"], "data.trees is 'tags'; wanted none"),
        (["model.num_outputs=0"], "model.num_outputs is 0; wanted 128 or more"),
        (["model.num_outputs=100"], "model.num_outputs is 100; wanted a multiple of 128"),
        (["model.logits_bias=true"], "model.logits_bias is True; wanted false"),
        (["model.positions=learned"], "model.positions is 'learned'; wanted sinusoids, since"),
        (["decode.max_extra_tokens=1"], "decode.max_extra_tokens is 1; wanted 2 or more"),
    ],
)
def test_settings_of_trees_go_together(changes, wrong):
    parser = load_experiment("craft_parsing").with_overrides(["data.trees=tags", "preset=custom"])
    with pytest.raises(UserError, match=re.escape(wrong)):
        parser.with_overrides(changes)


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        (
            ["data.trees=none", "data.tgt=de", "model.num_outputs=0", "task=translation"],
            "'treebook'; w",
        ),
        (["model.positions=halves"], "the preset 'paper_parsing' means 'interleaved'"),
        (["train.adam_b2=0.9"], "the preset 'paper_parsing' means 0.98"),
    ],
)
def test_the_treebook_is_for_parsers_and_their_preset_leaves_open_what_the_paper_tuned(
    changes, wrong
):
    parser = load_experiment("treebook").with_overrides(["preset=paper_parsing"])
    tuned = parser.with_overrides(
        ["train.learning_rate_constant=2", "model.attention_dropout_rate=0.1"]
    )
    with pytest.raises(UserError, match=r"0\.1, but the preset 'paper' means"):
        tuned.with_overrides(["train.learning_rate_constant=1", "preset=paper"])
    with pytest.raises(UserError, match=re.escape(wrong)):
        parser.with_overrides(changes)


def test_a_translator_predicts_all_words():
    with pytest.raises(UserError, match=r"num_outputs is 128; wanted 0, since the task is"):
        Experiment("x").with_overrides(["model.num_outputs=128"])


NOT_GPT_1 = {
    "model.kind=encoder_decoder": "'decoder'",
    "model.positions=interleaved": "'learned'",
    "model.activation=relu": "'gelu'",
    "model.scale_embedding=true": "False",
    "model.layer_norm_epsilon=1e-6": "1e-05",
    "model.dropout_rate=0": "0.1",
    "model.attention_dropout_rate=0": "0.1",
    "model.relu_dropout_rate=0.1": "0.0",
    "model.logits_bias=true": "False",
    "model.initializer=t2t": "'normal' or 'glorot'",
    "train.label_smoothing=0.1": "0.0",
}


@pytest.mark.parametrize(("change", "meant"), NOT_GPT_1.items())
def test_the_preset_of_gpt_1_holds_an_experiment_to_its_paper(change, meant):
    gpt_1 = Experiment(
        "gpt",
        "gpt1",
        DataConfig(src="", row_widths=(512,)),
        replace(GPT1, initializer="normal"),
        TrainConfig(label_smoothing=0.0),
        task="language_model",
    )
    with pytest.raises(UserError, match=f"but the preset 'gpt1' means {meant}. Keep it"):
        gpt_1.with_overrides([change])
    assert {each.partition("=")[0] for each in NOT_GPT_1} == PRESETS["gpt1"].keys()
    # Of another size or schedule it is the same recipe.
    gpt_1.with_overrides(["model.num_layers=2", "train.warmup_steps=2000", "train.adam_b2=0.999"])
