"""The embedded treebook: a parser (§6.3) proves in minutes that it learns, without a treebank.

Run     make train EXPERIMENT=treebook
Paper   no such experiment; the recipe is the paper's, the model and the schedule are small
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="treebook",
    task="parsing",
    data=DataConfig(
        corpus="treebook",
        tgt="trees",
        trees="tags",
        vocab_size=1_600,
        row_widths=(128,),
        max_tokens=128,
        src_tokens_per_update=1_100,
        tgt_tokens_per_update=2_800,
    ),
    model=ModelConfig(
        num_layers=2, d_model=128, d_ff=512, num_heads=4, d_k=32, d_v=32, num_outputs=128
    ),
    train=TrainConfig(
        num_steps=2_000,
        warmup_steps=300,
        checkpoint_every=200,
        keep_last=5,
        log_every=50,
    ),
    decode=DecodeConfig(
        length_penalty=0.3,  # §6.3
        max_extra_tokens=300,  # §6.3
        average_last=5,
    ),
)
