import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from aiayn.config import Experiment, TrainConfig
from aiayn.data.prepare import prepare
from aiayn.errors import UserError
from aiayn.evaluation.average import average_run
from aiayn.model.saved import Model, load_model, save_model
from aiayn.model.structure import build, flatten, params_sha256, unflatten
from aiayn.render.terminal import Terminal
from aiayn.training import loop
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.feed import Feed
from aiayn.training.initial import check_initial, read_initial, start_from
from aiayn.training.log import read_metrics
from aiayn.training.mesh import data_mesh, replicated
from aiayn.training.optim import learning_rate, optimizer
from aiayn.training.step import initial_state
from tests.support.models import TOKENIZER, drawn_by_numpy, language_model
from tests.support.runs import (
    assert_bit_equal,
    copied,
    straight_experiment,
    train_here,
    train_on_one_device,
)

pytestmark = pytest.mark.usefixtures("one_device")


@pytest.fixture(scope="module")
def base(straight, tmp_path_factory):
    """A run of three checkpoints, averaged."""
    run_dir = copied(straight, tmp_path_factory.mktemp("base") / "run")
    average_run(run_dir)
    return run_dir


def params(run_dir, step):
    checkpoints = Checkpoints.open(run_dir)
    return checkpoints.params(step)


def fine_tuning(corpus, base, **train):
    return straight_experiment(corpus, **train).with_overrides([f"train.initial={base}"])


def started(experiment, prepared, run_dir):
    """The weights at step 0, and what was said."""
    said = io.StringIO()
    drawn = drawn_by_numpy(experiment.model, prepared.tokenizer.num_words)[1]
    run_dir.mkdir()
    console = Terminal(file=said)
    return start_from(experiment, prepared.tokenizer, drawn, run_dir, console), said.getvalue()


def test_training_starts_from_the_weights_and_the_tokenizer_of_the_model(
    corpus, data_dir, base, tmp_path
):
    experiment = fine_tuning(corpus, base)
    prepared = prepare(experiment.data, data_dir, progress=False)
    assert prepared.tokenizer.model == (base / "tokenizer.model").read_bytes()
    found, said = started(experiment, prepared, tmp_path / "run")
    model = load_model(base / "model").params
    assert_bit_equal(flatten(found), dict(model))
    assert f"Starting from {base}: {len(model)} of its {len(model)} tensors." in said
    about = json.loads((tmp_path / "run/initial.json").read_text())
    assert about["taken"] == sorted(model)
    assert about["path"] == str(base)
    wanted = {"params_sha256": params_sha256(model), "drawn": [], "left_out": []}
    assert read_initial(tmp_path / "run") == wanted
    assert read_initial(base) is None


@pytest.fixture(scope="module")
def tuned(corpus, data_dir, base, tmp_path_factory):
    """Two updates from a copy of that model with a checkpoint each: the experiment, its run."""
    folder = tmp_path_factory.mktemp("tuned")
    initial = shutil.copytree(base, folder / "initial")
    experiment = fine_tuning(corpus, initial, num_steps=2, checkpoint_every=1)
    with pytest.MonkeyPatch.context() as patch:
        train_on_one_device(patch)
        train_here(experiment, folder / "run", data_dir)
    return experiment, folder / "run"


def test_the_first_update_is_one_step_from_those_weights(tuned, data_dir):
    experiment, run_dir = tuned
    prepared = prepare(experiment.data, data_dir, progress=False)
    mesh, num_words = data_mesh(jax.devices()[:1]), prepared.tokenizer.num_words
    adam = optimizer(experiment.model, experiment.train)
    state = initial_state(experiment.model, num_words, 1, adam)
    model = load_model(Path(experiment.train.initial) / "model")
    state = replicated(state._replace(params=unflatten(model.params)), mesh)
    rows = next(Feed.of(experiment, prepared, mesh).ahead(0, 1))
    graphdef = build(experiment.model, num_words)
    update = loop.mapped_train_step(graphdef, experiment.train, adam, mesh)
    state, _ = update(state, rows, jax.random.key(experiment.train.seed))
    assert_bit_equal(params(run_dir, 1), flatten(state.params))
    # The schedule begins anew, as do Adam's moments.
    row = read_metrics(run_dir / "metrics.jsonl")[0]
    assert row["learning_rate"] == pytest.approx(float(learning_rate(1, 64, 100)))


def test_weights_and_dropout_are_drawn_by_the_seed(corpus, data_dir, tmp_path, monkeypatch):
    seeds, keys = [], []
    initial_state, mapped_train_step = loop.initial_state, loop.mapped_train_step

    def drawn(model, num_words, seed, adam):
        seeds.append(seed)
        return initial_state(model, num_words, seed, adam)

    def watched(*arguments):
        update = mapped_train_step(*arguments)

        def shown(state, rows, key):
            keys.append(jax.random.key_data(key).tolist())
            return update(state, rows, key)

        return shown

    monkeypatch.setattr(loop, "initial_state", drawn)
    monkeypatch.setattr(loop, "mapped_train_step", watched)
    experiment = straight_experiment(corpus, num_steps=1, checkpoint_every=1, seed=2)
    train_here(experiment, tmp_path / "run", data_dir)
    assert seeds == [2]
    assert keys == [jax.random.key_data(jax.random.key(2)).tolist()]


def test_a_run_resumes_whatever_has_become_of_its_model(tuned, data_dir, tmp_path):
    experiment, straight = tuned
    run_dir = copied(straight, tmp_path / "run", newest=1)
    initial = Path(experiment.train.initial)
    moved = initial.rename(tmp_path / "moved")
    try:
        check_initial(experiment, run_dir)
        train_here(experiment, run_dir, data_dir)
        assert_bit_equal(params(run_dir, 2), params(straight, 2))
        assert read_initial(run_dir) == read_initial(straight)
        with pytest.raises(UserError, match=r"initial does not exist; wanted a run directory"):
            check_initial(experiment, tmp_path / "new")
    finally:
        moved.rename(initial)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 32, "d_ff": 64}, r"--set model\.d_model=64 --set model\.d_ff=128$"),
        # Of the same shapes, and yet not the same.
        ({"num_heads": 2, "d_k": 32, "d_v": 32}, r"--set model\.num_heads=4 --set model\.d_k=16"),
        ({"positions": "halves"}, r"wanted the same: --set model\.positions=interleaved$"),
        ({"activation": "swish"}, r"--set model\.activation=relu"),
        ({"layer_norm_epsilon": 1e-3}, r"--set model\.layer_norm_epsilon="),
    ],
)
def test_a_model_of_other_sizes_is_refused_with_its_own(corpus, base, tmp_path, changes, message):
    experiment = fine_tuning(corpus, base)
    other = replace(experiment, preset="custom", model=replace(experiment.model, **changes))
    with pytest.raises(UserError, match=message):
        check_initial(other, tmp_path / "run")


def test_a_model_that_is_to_be_started_from_may_lie_at_home(corpus, base, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(base.parent))
    check_initial(fine_tuning(corpus, f"~/{base.name}"), tmp_path / "run")
    with pytest.raises(UserError, match="~nobody-here"):
        check_initial(fine_tuning(corpus, "~nobody-here/x"), tmp_path / "run")


def test_a_model_of_another_vocabulary_is_refused(corpus, data_dir, base, tmp_path):
    experiment = straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    _, drawn = drawn_by_numpy(experiment.model, TOKENIZER.num_words)
    save_model(tmp_path / "model", Model(experiment, TOKENIZER, flatten(drawn)))
    other = replace(experiment.train, initial=str(tmp_path / "model"))
    asked = replace(experiment, data=replace(experiment.data, tokenizer=str(base)), train=other)
    with pytest.raises(UserError, match=r"tokenizer has other pieces than that of the data"):
        started(asked, prepared, tmp_path / "run")
    # Its own tokenizer would be used, but it has 300 pieces.
    asked = fine_tuning(corpus, tmp_path / "model")
    with pytest.raises(UserError, match=r"data\.vocab_size is 320; .* has 300 pieces: --set data"):
        prepare(asked.data, data_dir, progress=False)


def test_tensors_that_only_one_of_both_has_are_named(corpus, data_dir, base, tmp_path):
    experiment = fine_tuning(corpus, base)
    prepared = prepare(experiment.data, data_dir, progress=False)
    biased = replace(experiment.model, logits_bias=True, num_layers=2)
    larger = replace(experiment, preset="custom", model=biased)
    found, said = started(larger, prepared, tmp_path / "larger")
    own = flatten(drawn_by_numpy(biased, prepared.tokenizer.num_words)[1])
    model = load_model(base / "model").params
    assert_bit_equal(flatten(found), own | dict(model))
    assert "Drawn anew: decoder.1.cross_attention.key.bias" in said.replace("\n", " ")
    about = read_initial(tmp_path / "larger")
    assert about is not None
    assert "logits_bias" in about["drawn"]

    save_model(tmp_path / "model", Model(larger, prepared.tokenizer, own))
    smaller = fine_tuning(corpus, tmp_path / "model")
    found, said = started(smaller, prepared, tmp_path / "smaller")
    assert flatten(found).keys() == model.keys()
    assert "Left out: decoder.1" in said
    np.testing.assert_array_equal(found["embedding"], own["embedding"])


def test_a_language_model_begins_the_decoder_of_a_translator(tmp_path):
    pretrained = language_model()
    save_model(tmp_path / "writer/model", pretrained)
    sizes = replace(pretrained.experiment.model, kind="encoder_decoder")
    initial = TrainConfig(initial=str(tmp_path / "writer"))
    experiment = Experiment("translator", model=sizes, train=initial)
    drawn = drawn_by_numpy(sizes, TOKENIZER.num_words, seed=9)[1]
    console = Terminal(file=io.StringIO())
    found = flatten(start_from(experiment, TOKENIZER, drawn, tmp_path, console))
    for name, value in flatten(drawn).items():
        wanted = pretrained.params.get(name, value)
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)
        is_new = name.startswith("encoder.") or ".cross_" in name
        assert is_new == (name not in pretrained.params)
    about = read_initial(tmp_path)
    assert about
    assert about["left_out"] == []
    several = replace(experiment, train=replace(initial, initial_layers=0))
    found = flatten(start_from(several, TOKENIZER, drawn, tmp_path, console))
    for name, value in flatten(drawn).items():
        wanted = value if name.startswith("decoder.") else pretrained.params.get(name, value)
        np.testing.assert_array_equal(found[name], wanted, err_msg=name)
    about = read_initial(tmp_path)
    assert about
    assert "decoder.0.self_norm.scale" in about["left_out"]
    assert "decoder.0.self_norm.scale" in about["drawn"]
    unscaled = replace(experiment, preset="custom", model=replace(sizes, scale_embedding=False))
    with pytest.raises(UserError, match=r"--set model\.scale_embedding=True"):
        check_initial(unscaled, tmp_path / "run")
