"""The German side of the Tatoeba pairs En-De, as text: a language model of everyday sentences.

Run     make train EXPERIMENT=tatoeba_de_lm ARGS="--set data.folder=DIR", with the files named below
Data    as tatoeba_ende says; each German sentence is a document, and
        those that several English ones have are kept once
Others  an interpolated Kneser-Ney model of 5-grams, of the same pieces and split:
        aiayn bench ngrams --model runs/tatoeba_de_lm
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="tatoeba_de_lm",
    task="language_model",
    data=DataConfig(
        corpus="tatoeba",
        src="",
        train_files=("train.en-de.{lang}.gz",),
        dev_files=("dev.en-de.{lang}.gz",),
        test_files=("test=test.en-de.{lang}.gz",),
        vocab_size=8_000,
        row_widths=(64,),
        max_tokens=64,
        tgt_tokens_per_update=2_000,
    ),
    model=ModelConfig(kind="decoder", num_layers=3, d_model=256, d_ff=1024, num_heads=4),
    train=TrainConfig(
        num_steps=6_000,
        warmup_steps=1_000,
        label_smoothing=0.0,
        checkpoint_every=250,
    ),
    decode=DecodeConfig(average_last=5),
)
