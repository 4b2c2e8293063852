"""What a pre-trained decoder is worth to a translator from 2,000, 10,000 and 50,000 pairs, En-De.

Run     aiayn ablate pretraining --set data.folder=DIR, with the files that tatoeba_ende names
Paper   Radford et al. (2018): without pre-training the mean of their tasks is 14.8 points lower,
        and each layer that is moved helps (Table 5, Figure 2); there classifiers, here translators
Cost    three language models and 27 translators of 1,600 updates; hours on two cores, of which a
        third can be had at a time: --seeds 1, then --seeds 2 with the --record of the first
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="pretraining",
    data=DataConfig(
        corpus="tatoeba",
        train_files=("train.en-de.{lang}.gz",),
        dev_files=("dev.en-de.{lang}.gz",),
        vocab_size=4_000,
        row_widths=(64,),
        max_tokens=64,
        src_tokens_per_update=1_000,
        tgt_tokens_per_update=1_000,
    ),
    model=ModelConfig(num_layers=3, d_model=128, d_ff=512, num_heads=4),
    train=TrainConfig(
        num_steps=1_600,
        warmup_steps=500,
        checkpoint_every=200,
        keep_last=5,
        validate_sentences=0,
    ),
    decode=DecodeConfig(average_last=5),
)
