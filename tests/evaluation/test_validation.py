import math

import pytest

from aiayn.data.prepare import prepare
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.model.saved import Model
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.log import read_metrics
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
