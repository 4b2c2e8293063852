import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aiayn.config import Experiment
from aiayn.errors import UserError
from aiayn.model.saved import MODEL as FOLDER
from aiayn.model.saved import Model, check_fit, load_model, model_of, read_tensors, save_model
from aiayn.model.structure import flatten, params_sha256
from aiayn.system.checkout import included_models
from tests.support.models import MODEL, TOKENIZER, transformer

EXPERIMENT = Experiment("small", model=MODEL)


def test_loading_a_model_needs_neither_orbax_nor_training():
    code = "import sys, aiayn.model.saved; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "aiayn.model.saved" in modules
    unwanted = ("orbax", "tensorstore", "aiayn.training", "aiayn.decoding", "aiayn.evaluation")
    assert [name for name in modules if name.startswith(unwanted)] == []


@pytest.fixture
def model(tmp_path):
    _, params = transformer(num_words=TOKENIZER.num_words)
    model = Model(EXPERIMENT.with_overrides(["data.folder=/private"]), TOKENIZER, flatten(params))
    save_model(tmp_path / "model", model)
    return tmp_path / "model", model


def test_an_exported_model_comes_back_without_the_folder_of_this_machine(model):
    folder, written = model
    read = load_model(folder)
    assert read.experiment == EXPERIMENT
    assert params_sha256(read.params) == params_sha256(written.params)
    assert read.tokenizer.model == TOKENIZER.model
    assert "/private" not in (folder / "config.json").read_text(encoding="utf-8")


def test_a_small_model_is_a_quarter_of_the_size_and_near_the_same(model, tmp_path):
    _, written = model
    save_model(tmp_path / "small", written, small=True)
    read = load_model(tmp_path / "small").params
    assert read.keys() == written.params.keys()
    for name, value in written.params.items():
        assert (read[name].dtype, read[name].shape) == (np.float32, value.shape)
        if value.ndim < 2:
            np.testing.assert_array_equal(read[name], value)
    stored = read_tensors(tmp_path / "small" / "weights.safetensors")
    matrices = {name: value for name, value in written.params.items() if value.ndim == 2}
    scales = sum(value.shape[name != "embedding"] for name, value in matrices.items())
    fewer = sum(value.nbytes for value in written.params.values()) - sum(
        value.nbytes for value in stored.values()
    )
    assert fewer == 3 * sum(value.size for value in matrices.values()) - 4 * scales
    # It stays what it is, however often it is passed on.
    save_model(tmp_path / "again", load_model(tmp_path / "small"), small=True)
    assert params_sha256(load_model(tmp_path / "again").params) == params_sha256(read)


def test_a_model_that_comes_along_is_found_by_its_name(model, tmp_path, monkeypatch):
    _, written = model
    checkout, here = tmp_path / "checkout", tmp_path / "here"
    (checkout / "experiments").mkdir(parents=True)
    here.mkdir()
    monkeypatch.setattr("aiayn.system.checkout.root", lambda: checkout)
    monkeypatch.chdir(here)
    with pytest.raises(UserError, match="mine does not exist"):
        model_of(Path("mine"))
    save_model(checkout / "experiments/models/mine", written)
    assert included_models() == ["mine"]
    assert params_sha256(model_of(Path("mine")).params) == params_sha256(written.params)
    (here / "mine").mkdir()  # what is here goes before it
    with pytest.raises(UserError, match="mine holds no"):
        model_of(Path("mine"))


def test_writing_again_replaces_the_whole_model(model):
    folder, written = model
    (folder / "stray").touch()
    save_model(folder, written)
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json",
        "sha256.json",
        "tokenizer.model",
        "weights.safetensors",
    ]


@pytest.mark.parametrize("found", [0, 2, None])
def test_a_model_of_another_format_is_refused(model, found):
    path = model[0] / "config.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**about, "format": found}), encoding="utf-8")
    with pytest.raises(UserError, match=f"config.json is of format {found}; .* reads format 1"):
        load_model(model[0])


@pytest.mark.parametrize("name", ["tokenizer.model", "weights.safetensors"])
def test_a_flipped_bit_of_a_model_is_found(model, name):
    path = model[0] / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=f"{name} does not hold the bytes that were written"):
        load_model(model[0])


def test_a_config_that_was_changed_is_found(model):
    path = model[0] / "config.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"max_extra_tokens": 50', '"max_extra_tokens": 51'))
    with pytest.raises(UserError, match=r"config\.json does not hold the bytes that were written"):
        load_model(model[0])


def test_a_model_of_an_earlier_version_whose_sums_lack_the_config_is_read(model):
    folder, _ = model
    sums = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
    del sums["config.json"]
    (folder / "sha256.json").write_text(json.dumps(sums), encoding="utf-8")
    assert load_model(folder).experiment == EXPERIMENT


@pytest.mark.parametrize(
    "name", ["config.json", "sha256.json", "tokenizer.model", "weights.safetensors"]
)
def test_a_missing_or_cut_off_file_is_named(model, name):
    path = model[0] / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=name):
        load_model(model[0])
    path.unlink()
    with pytest.raises(UserError, match=name):
        load_model(model[0])


def test_a_tokenizer_of_another_model_is_refused(model, tmp_path):
    folder, written = model
    _, params = transformer(num_words=2_000)
    save_model(folder, Model(written.experiment, TOKENIZER, flatten(params)))
    with pytest.raises(UserError, match="The tokenizer belongs to another model"):
        load_model(folder)


def test_weights_of_another_config_are_refused_and_the_tensor_named(model, tmp_path):
    _, written = model
    params = dict(written.params)

    def refusal(experiment=written.experiment, **changes):
        changed = {**params, **{name.replace("__", "."): x for name, x in changes.items()}}
        given = {name: value for name, value in changed.items() if value is not None}
        with pytest.raises(UserError) as refused:
            check_fit(experiment, TOKENIZER, given, tmp_path)
        return str(refused.value)

    check_fit(written.experiment, TOKENIZER, params, tmp_path)
    bias = params["encoder.0.self_norm.bias"]
    wanted = "the config needs encoder.0.self_norm.bias of shape (12,), but the weights hold "
    assert wanted + "None" in refusal(encoder__0__self_norm__bias=None)
    assert wanted + "(11,)" in refusal(encoder__0__self_norm__bias=bias[:11])
    for bad in (bias.astype(np.int32), np.where(bias == bias.max(), np.nan, bias)):
        said = refusal(encoder__0__self_norm__bias=bad)
        assert "values in encoder.0.self_norm.bias that are no numbers" in said
    assert "the config knows no more, which" in refusal(more=bias)
    many = replace(written.experiment, model=replace(MODEL, num_layers=1_000))
    assert "needs 1,000 layers" in refusal(many), "and it is not built to find that out"


def test_a_model_is_found_in_its_run_or_in_its_own_folder(model, tmp_path):
    folder, written = model
    assert folder.name == FOLDER
    for path in (tmp_path, folder):
        assert params_sha256(model_of(path).params) == params_sha256(written.params)
    with pytest.raises(UserError, match="does not exist"):
        model_of(tmp_path / "nowhere")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no averaged model yet; run: aiayn average"):
        model_of(tmp_path / "run")
