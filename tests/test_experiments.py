import re
from pathlib import Path

import pytest

import aiayn
from aiayn.config import ModelConfig, TrainConfig
from aiayn.errors import UserError
from aiayn.experiments import list_experiments, load_experiment
from aiayn.system.checkout import COPY


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


def test_the_parsers_of_table_4_are_the_papers():
    alone, semi = load_experiment("wsj_parsing"), load_experiment("wsj_parsing_semi")
    for experiment in (alone, semi):
        model, decode = experiment.model, experiment.decode
        assert (model.num_layers, model.d_model, model.d_ff, model.num_heads) == (4, 1024, 2048, 8)
        assert (decode.beam_size, decode.length_penalty, decode.max_extra_tokens) == (21, 0.3, 300)
        assert experiment.data.src_tokens_per_update == 25_000
        assert experiment.train == TrainConfig()
    assert (alone.data.vocab_size, semi.data.vocab_size) == (16_000, 32_000)


def test_tensor2tensors_parsers_are_those_of_its_presets():
    base, big = load_experiment("wsj_parsing_t2t"), load_experiment("wsj_parsing_semi_t2t")
    assert (base.data.vocab_size, big.data.vocab_size) == (2**14, 2**15)
    assert (base.model.dropout_rate, big.model.dropout_rate) == (0.2, 0.1)
    assert (base.train.warmup_steps, big.train.warmup_steps) == (16_000, 4_000)
    assert (big.model.d_ff, big.model.num_heads, big.model.d_k) == (4096, 16, 64)
    for experiment in (base, big):
        assert (experiment.model.num_layers, experiment.model.d_model) == (6, 1024)
        assert experiment.preset == "t2t_parsing"
        assert experiment.train.learning_rate_constant == 5.0
        assert experiment.data.max_tokens == 512


def test_an_unknown_experiment_names_the_known_ones():
    with pytest.raises(UserError, match="Did you mean 'phrasebook'"):
        load_experiment("frasebook")


def test_a_file_without_a_config_is_refused(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(UserError, match="defines no"):
        load_experiment(str(path))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"Unknown experiment '.*mine\.py'"):
        load_experiment(str(tmp_path / "mine.py"))


def test_a_file_may_lie_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    text = 'from aiayn.config import Experiment\nconfig = Experiment("mine")\n'
    (tmp_path / "own.py").write_text(text, encoding="utf-8")
    assert load_experiment("~/own.py").name == "mine"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working directory with an experiment of its own, and one that has a name of ours."""
    folder = tmp_path / "experiments"
    (folder / "accelerator").mkdir(parents=True)
    for name, about in (("mine", "Mine."), ("phrasebook", "Mine too."), ("accelerator/far", "Far")):
        text = (
            f'"""{about}"""\nfrom aiayn.config import Experiment\nconfig = Experiment("{name}!")\n'
        )
        (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return folder


def test_those_of_the_working_directory_are_found_before_those_that_came_along(elsewhere):
    listed = list_experiments()
    assert (listed["mine"], listed["phrasebook"], listed["far"]) == ("Mine.", "Mine too.", "Far")
    assert "Table 2" in listed["wmt14_ende_base"]
    assert [*listed] == sorted(listed)
    for name in ("mine", "phrasebook", "accelerator/far"):
        assert load_experiment(name.rpartition("/")[2]).name == f"{name}!"
    assert load_experiment("wmt14_ende_base").name == "wmt14_ende_base"


def test_other_peoples_files_do_not_keep_help_from_answering(elsewhere):
    (elsewhere / "latin.py").write_bytes(b"# caf\xe9\n")
    (elsewhere / "folder.py").mkdir()
    (elsewhere / "nowhere.py").symlink_to(elsewhere / "gone")
    (elsewhere / "screen.py").write_text("# \x1b[2Jnew\n")
    listed = list_experiments()
    assert listed["latin"] == "# caf\ufffd"
    assert listed["screen"] == "# [2Jnew"
    assert not {"folder", "nowhere"} & listed.keys()


def test_a_wheel_without_its_experiments_says_what_is_missing(elsewhere, monkeypatch):
    package = elsewhere.parent / "site" / "aiayn"
    (package / COPY).mkdir(parents=True)
    monkeypatch.setattr(aiayn, "__file__", str(package / "__init__.py"))
    assert load_experiment("mine").name == "mine!"
    with pytest.raises(UserError, match=r"site/aiayn/_checkout/experiments is missing"):
        load_experiment("wmt14_ende_base")


def test_a_file_that_raises_anything_is_refused_on_one_line(tmp_path):
    path = tmp_path / "raises.py"
    for raised, said in (
        ("SystemExit(0)", "SystemExit: 0."),
        ("ValueError('a\\nb')", "Error: a b."),
    ):
        path.write_text(f"raise {raised}\n", encoding="utf-8")
        with pytest.raises(
            UserError, match=f"raises.py defines no experiment: .*{re.escape(said)}$"
        ):
            load_experiment(str(path))
