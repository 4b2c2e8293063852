"""The German of the embedded phrasebook, as text: a language model small enough for a laptop.

Run     make train EXPERIMENT=phrasebook_lm
Paper   no such experiment; the model is the paper's decoder without attention to an encoder, and
        the schedule is small
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="phrasebook_lm",
    task="language_model",
    data=DataConfig(
        corpus="phrasebook",
        src="",
        vocab_size=2_000,
        split_digits=True,
        row_widths=(96,),
        max_tokens=64,
        tgt_tokens_per_update=2_000,
    ),
    model=ModelConfig(
        kind="decoder", num_layers=2, d_model=128, d_ff=512, num_heads=4, d_k=32, d_v=32
    ),
    train=TrainConfig(
        num_steps=1_000,
        warmup_steps=300,
        checkpoint_every=100,
        keep_last=5,
        log_every=50,
    ),
    decode=DecodeConfig(average_last=5),
)
