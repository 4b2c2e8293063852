import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aiayn.evaluation.validation
from aiayn.data.prepare import prepare
from aiayn.data.rows import make_rows
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.evaluation.scores import Headline
from aiayn.evaluation.validation import validator
from aiayn.model.saved import Model
from aiayn.model.structure import build
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.log import read_metrics
from aiayn.training.mesh import data_mesh
from aiayn.training.step import TrainState, evaluation_step
from tests.support.runs import diverging, reverse_experiment, straight_experiment, train_here


def test_a_state_that_is_not_finite_on_dev_is_not_kept(corpus, data_dir, tmp_path, one_device):
    experiment = reverse_experiment(corpus, num_steps=4, checkpoint_every=1)
    broken = diverging(experiment)
    with pytest.raises(UserError, match="The loss on dev is nan after step 1, which is not kept"):
        train_here(broken, tmp_path / "run", data_dir)
    with pytest.raises(UserError, match="holds no complete checkpoint"):
        Checkpoints.open(tmp_path / "run")


def test_the_loss_on_dev_is_that_of_one_of_its_tokens(corpus, data_dir, straight):
    # Scoring each pair by itself adds up to the same.
    experiment = straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    (last,) = (r for r in read_metrics(straight / "metrics.jsonl")[-1:] if "dev_loss" in r)
    checkpoints = Checkpoints.open(straight)
    model = Model(experiment, prepared.tokenizer, checkpoints.params(checkpoints.newest()))
    checkpoints.close()
    pairs = list(zip(*(prepared.lines("dev", side) for side in ("src", "tgt")), strict=True))
    scored = Translator(model).score(pairs)
    per_token = -sum(log_prob for log_prob, _ in scored) / sum(tokens for _, tokens in scored)
    assert last["dev_loss"] == pytest.approx(per_token, rel=1e-4)
    assert last["dev_perplexity"] == pytest.approx(math.exp(per_token), rel=1e-3)


class Backwards:
    """A translator that knows the language."""

    def __init__(self, model, decode, params):
        assert decode == replace(model.experiment.decode, beam_size=1)

    def best(self, sources, on_done):
        return [" ".join(reversed(source.split())) for source in sources]


def test_the_figures_of_dev_are_those_of_all_its_rows_at_once(
    corpus, data_dir, straight, monkeypatch
):
    # One batch of every row, whatever validation cuts them into; its tokens counted in the text.
    monkeypatch.setattr(aiayn.evaluation.validation, "Translator", Backwards)
    experiment = straight_experiment(corpus)
    prepared = prepare(experiment.data, data_dir, progress=False)
    checkpoints = Checkpoints.open(straight)
    params = jax.tree.map(jnp.asarray, checkpoints.params(checkpoints.newest()))
    checkpoints.close()
    graphdef = build(experiment.model, prepared.tokenizer.num_words)
    (row_class,) = prepared.dev.classes
    arrays = [np.asarray(array) for array in prepared.dev.arrays(row_class)]
    rows = make_rows(*arrays, bos=prepared.tokenizer.bos)
    step = jax.vmap(partial(evaluation_step, graphdef=graphdef), (None, 0), axis_name="data")
    (total,), (tokens,) = step(params, jax.tree.map(lambda field: jnp.asarray(field)[None], rows))
    references = prepared.lines("dev", "tgt")
    ids = prepared.tokenizer.encode_target(references)
    assert int(tokens) == sum(len(sentence) + 1 for sentence in ids)  # each with its end

    scored = []

    def headline(*arguments):
        scored.append(arguments)
        return Headline(12.5, "", 1.0)

    mesh = data_mesh(jax.devices()[:1])
    validate = validator(experiment, prepared, graphdef, mesh, headline)
    found = validate(TrainState(params, (), jnp.int32(12)), lambda: None)
    assert found["dev_loss"] == pytest.approx(float(total) / int(tokens), rel=1e-5)
    assert found["dev_perplexity"] == math.exp(found["dev_loss"])
    assert found["dev_bleu"] == 12.5
    assert scored == [(references[:5], references[:5], "bb")]
