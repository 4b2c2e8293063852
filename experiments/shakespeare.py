"""Tiny Shakespeare: all plays as one text of 1.1 million characters, a small language model.

Run     make train EXPERIMENT=shakespeare ARGS="--set data.folder=DIR", with the files named below
Data    input.txt of karpathy/char-rnn (public domain), cut as nanoGPT does:
        head -c 1003854 input.txt > train.txt; tail -c +1003855 input.txt > dev.txt
Others  nanoGPT's README has 1.88 nats per character on dev.txt for 4 layers of width 128 on a CPU
        (characters, context 64, 2,000 updates of 12 windows), and 1.4697 for its larger model
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="shakespeare",
    task="language_model",
    data=DataConfig(
        corpus="shakespeare",
        src="",
        tgt="en",
        documents="file",
        train_files=("train.txt",),
        dev_files=("dev.txt",),
        vocab_size=1_000,
        row_widths=(64,),
        max_tokens=64,
        tgt_tokens_per_update=768,
    ),
    model=ModelConfig(
        kind="decoder",
        num_layers=4,
        d_model=128,
        d_ff=512,
        num_heads=4,
        d_k=32,
        d_v=32,
        dropout_rate=0.0,
    ),
    train=TrainConfig(
        num_steps=2_000,
        warmup_steps=400,
        label_smoothing=0.0,
        checkpoint_every=200,
        keep_last=5,
    ),
    decode=DecodeConfig(average_last=5),
)
