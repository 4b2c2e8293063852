"""Tatoeba sentence pairs, En-De: short everyday sentences, 164,105 pairs for training.

Run     make train EXPERIMENT=tatoeba_ende ARGS="--set data.folder=DIR", with the files named below
Data    the selection of manythings.org/anki of 2018-05-13 (CC BY 2.0 FR), NFC, blanks collapsed, no
        pair twice. Split: distinct English sentences of 3 and more words by the SHA-256 of the
        lower-cased sentence without digits and punctuation; the first 2,000 are test, the next dev,
        each with its first translation, and train has no sentence of either
Others  no published figure on this split; near duplicates across it make BLEU high
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="tatoeba_ende",
    data=DataConfig(
        corpus="tatoeba",
        train_files=("train.en-de.{lang}.gz",),
        dev_files=("dev.en-de.{lang}.gz",),
        test_files=("test=test.en-de.{lang}.gz",),
        vocab_size=8_000,
        row_widths=(64,),
        max_tokens=64,
        src_tokens_per_update=2_000,
        tgt_tokens_per_update=2_000,
    ),
    model=ModelConfig(num_layers=3, d_model=256, d_ff=1024, num_heads=4),
    train=TrainConfig(num_steps=9_600, warmup_steps=1_000, checkpoint_every=250),
    decode=DecodeConfig(average_last=5),
)
