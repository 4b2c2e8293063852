import re
from pathlib import Path

import pytest

from aiayn.config import ModelConfig, TrainConfig
from aiayn.evidence.paper import (
    BASE,
    BIG,
    NUM_GPUS,
    SUSTAINED_FLOPS,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TOKENS_PER_UPDATE,
    TRAINING,
)
from aiayn.experiments import load_experiment

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
NAMES = {"base": "wmt14_ende_base", "big": "wmt14_ende_big"}


@pytest.mark.parametrize("row", TABLE_3)
def test_every_row_of_table_3_is_an_experiment_that_changes_what_the_row_changes(row):
    name = NAMES.get(row, f"table3_{row.lower()}")
    base, varied = (load_experiment(n).to_dict() for n in ("wmt14_ende_base", name))
    of_size = {"name", "checkpoint_every", "average_last", "keep_last"}  # minutes, not the recipe
    changes = {
        f"{section}.{key}": value
        for section in ("data", "model", "train", "decode")
        for key, value in varied[section].items()
        if value != base[section][key] and key not in of_size
    }
    assert changes == TABLE_3[row].changes
    assert varied["preset"] == "paper"
    assert varied["decode"]["score_dev"], "Table 3 is about newstest2013"
    about = re.search(r"perplexity (\d+\.\d+), BLEU (\d+\.\d+)", _docstring(name))
    assert about
    assert (float(about[1]), float(about[2])) == (TABLE_3[row].perplexity, TABLE_3[row].bleu)


@pytest.mark.parametrize("size", ["base", "big"])
def test_the_experiments_of_table_2_name_its_scores(size):
    system = TABLE_2[{"base": BASE, "big": BIG}[size]]
    for pair, score in (("ende", system.ende_bleu), ("enfr", system.enfr_bleu)):
        name = f"wmt14_{pair}_{size}"
        assert f"BLEU {score}" in _docstring(name)
        data = load_experiment(name).data
        assert {data.src_tokens_per_update, data.tgt_tokens_per_update} == {TOKENS_PER_UPDATE}
        assert load_experiment(name).train.num_steps == TRAINING[size].num_steps


def _docstring(name):
    (path,) = EXPERIMENTS.rglob(f"{name}.py")
    return path.read_text(encoding="utf-8").split('"""')[1]


def test_the_defaults_are_the_base_model_and_its_recipe():
    # §3.1 to §3.3, §5.2 to §5.4, read in the paper.
    model, train = ModelConfig(), TrainConfig()
    assert (model.num_layers, model.d_model, model.d_ff) == (6, 512, 2048)
    assert (model.num_heads, model.d_k, model.d_v, model.dropout_rate) == (8, 64, 64, 0.1)
    assert (train.num_steps, train.warmup_steps, train.label_smoothing) == (100_000, 4_000, 0.1)
    assert (train.adam_b1, train.adam_b2, train.adam_eps) == (0.9, 0.98, 1e-9)


def test_table_2_states_training_costs_by_the_rule_of_the_paper():
    # Time x GPUs x what a P100 sustains: 12 h x 8 x 9.5e12 = 3.28e18, 3.5 days give 2.30e19.
    for system, size in ((BASE, "base"), (BIG, "big")):
        flops = TRAINING[size].hours * 3_600 * NUM_GPUS * SUSTAINED_FLOPS["P100"]
        assert flops == pytest.approx(TABLE_2[system].ende_flops, rel=0.01)


def test_table_2_is_the_papers_row_by_row():
    # The table as printed: BLEU of EN-DE and EN-FR; each row has its own pair.
    printed = """
        23.75 -     ByteNet
        -     39.2  Deep-Att + PosUnk
        24.6  39.92 GNMT + RL
        25.16 40.46 ConvS2S
        26.03 40.56 MoE
        -     40.4  Deep-Att + PosUnk ensemble
        26.30 41.16 GNMT + RL ensemble
        26.36 41.29 ConvS2S ensemble
        27.3  38.1  Transformer (base model)
        28.4  41.8  Transformer (big)
    """
    rows = [line.split(maxsplit=2) for line in printed.strip().splitlines()]
    wanted = {
        name: tuple(None if bleu == "-" else float(bleu) for bleu in pair) for *pair, name in rows
    }
    assert {name: (s.ende_bleu, s.enfr_bleu) for name, s in TABLE_2.items()} == wanted


def test_bleu_of_table_3_is_the_papers_row_by_row():
    printed = """
        base 25.8   A1 24.9   A2 25.5   A3 25.8   A4 25.4   B1 25.1   B2 25.4
        C1 23.7   C2 25.3   C3 25.5   C4 24.5   C5 26.0   C6 25.4   C7 26.2
        D1 24.6   D2 25.5   D3 25.3   D4 25.7   E 25.7   big 26.4
    """
    words = printed.split()
    wanted = dict(zip(words[::2], map(float, words[1::2]), strict=True))
    assert {row: variant.bleu for row, variant in TABLE_3.items()} == wanted


def test_table_4_is_the_papers_row_by_row():
    printed = """
        Vinyals & Kaiser et al. (2014)   WSJ only         88.3
        Petrov et al. (2006)             WSJ only         90.4
        Zhu et al. (2013)                WSJ only         90.4
        Dyer et al. (2016)               WSJ only         91.7
        Transformer (4 layers)           WSJ only         91.3
        Zhu et al. (2013)                semi-supervised  91.3
        Huang & Harper (2009)            semi-supervised  91.3
        McClosky et al. (2006)           semi-supervised  92.1
        Vinyals & Kaiser et al. (2014)   semi-supervised  92.1
        Transformer (4 layers)           semi-supervised  92.7
        Luong et al. (2015)              multi-task       93.0
        Dyer et al. (2016)               generative       93.3
    """
    rows = [re.split(r"\s{2,}", line.strip()) for line in printed.strip().splitlines()]
    found = [(name.split(", ")[0], row.training, f"{row.f1}") for name, row in TABLE_4.items()]
    assert found == [tuple(row) for row in rows]
