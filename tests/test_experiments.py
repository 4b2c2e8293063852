from pathlib import Path

import pytest

from aiayn.config import ModelConfig, TrainConfig
from aiayn.errors import UserError
from aiayn.experiments import list_experiments, load_experiment


@pytest.mark.parametrize("name", sorted(list_experiments()))
def test_every_experiment_loads_and_is_named_as_its_file(name):
    experiment = load_experiment(name)
    assert experiment.name == name
    (path,) = Path("experiments").rglob(f"{name}.py")
    assert load_experiment(str(path)) == experiment


def test_the_experiments_of_table_2_are_the_papers():
    for pair in ("ende", "enfr"):
        base, big = (load_experiment(f"wmt14_{pair}_{size}") for size in ("base", "big"))
        assert base.model == ModelConfig()
        assert (big.model.d_model, big.model.d_ff, big.model.num_heads) == (1024, 4096, 16)
        assert (base.train.num_steps, big.train.num_steps) == (100_000, 300_000)
        assert (base.decode.average_last, big.decode.average_last) == (5, 20)
        for experiment in (base, big):
            assert experiment.preset == "paper"
            assert experiment.data.src_tokens_per_update == 25_000
            assert experiment.data.tgt_tokens_per_update == 25_000
            assert experiment.train == TrainConfig(
                num_steps=experiment.train.num_steps,
                checkpoint_every=experiment.train.checkpoint_every,
            )
    assert load_experiment("wmt14_ende_big").model.dropout_rate == 0.3
    assert load_experiment("wmt14_enfr_big").model.dropout_rate == 0.1


def test_an_unknown_experiment_names_the_known_ones():
    with pytest.raises(UserError, match="Did you mean 'phrasebook'"):
        load_experiment("frasebook")


def test_a_file_without_a_config_is_refused(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(UserError, match="defines no"):
        load_experiment(str(path))
