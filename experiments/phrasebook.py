"""The embedded phrasebook, En-De: a laptop proves in minutes that the machine learns.

Run     make train
Paper   no such experiment; the recipe is the paper's, the model and the schedule are small
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="phrasebook",
    data=DataConfig(
        corpus="phrasebook",
        vocab_size=3_000,
        split_digits=True,
        row_widths=(96,),
        max_tokens=64,
        src_tokens_per_update=2_000,
        tgt_tokens_per_update=2_000,
    ),
    model=ModelConfig(num_layers=2, d_model=128, d_ff=512, num_heads=4, d_k=32, d_v=32),
    train=TrainConfig(
        num_steps=1_000,
        warmup_steps=300,
        checkpoint_every=100,
        keep_last=5,
        log_every=50,
    ),
    decode=DecodeConfig(average_last=5),
)
