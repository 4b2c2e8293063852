"""CRAFT, biomedical articles with trees: constituency parsing (§6.3) in miniature.

Run     make train EXPERIMENT=craft_parsing ARGS="--set data.folder=DIR"
        a folder with the files named below, one tree a line or indented over several
Paper   no such experiment; sizes and schedule are those of a small model for 19,000 trees, and
        the tags are marked, as in wsj_sample_parsing
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="craft_parsing",
    preset="paper_parsing",
    task="parsing",
    data=DataConfig(
        corpus="craft",
        tgt="trees",
        trees="marked",
        train_files=("train.mrg.gz",),
        dev_files=("dev.mrg.gz",),
        test_files=("test=test.mrg.gz",),
        vocab_size=8_000,
        row_widths=(64, 128, 256),
        max_tokens=256,
        src_tokens_per_update=1_300,
        tgt_tokens_per_update=2_300,
    ),
    model=ModelConfig(
        num_layers=3,
        d_model=128,
        d_ff=512,
        num_heads=4,
        d_k=32,
        d_v=32,
        dropout_rate=0.1,
        attention_dropout_rate=0.0,
        num_outputs=384,
    ),
    train=TrainConfig(
        num_steps=12_000,
        warmup_steps=800,
        learning_rate_constant=1.0,
        checkpoint_every=500,
        keep_last=10,
    ),
    decode=DecodeConfig(
        max_extra_tokens=300,  # §6.3
        beam_size=8,  # the search takes a beam's square
        length_penalty=0.3,
        average_last=10,
        score_dev=True,
    ),
)
