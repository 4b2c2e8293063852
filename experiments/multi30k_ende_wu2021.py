"""Multi30k En-De on the text and with the recipe of Wu et al. 2021, `transformer_tiny`.

Run     make train EXPERIMENT=multi30k_ende_wu2021 ARGS="--set data.folder=DIR"
Data    data/multi30k-en-de of github.com/LividWo/Revisit-MMT at commit dc368d0 (normalised, Moses'
        tokens, lower-cased), without its subword marks: train, valid, test.2016, test.2017 and
        test.coco, as train.en.gz, train.de.gz and so on
Others  41.02 BLEU of the tokens as they are, on test 2016, by fairseq
Theirs  sizes, dropout, rate (a peak of 0.005 after 2,000 updates), 8,000 updates, beam 5, the mean
        of the last 10 epochs; at most 4,096 tokens, padding included, on each of 2 GPUs
fairseq where they state nothing its defaults or usual recipe: label smoothing 0.1, β₂ 0.98,
        ε 1e-8, sines before cosines, score divided by length
Ours    what differs is in experiments/DEVIATIONS.md
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="multi30k_ende_wu2021",
    preset="custom",
    task="translation_of_tokens",
    data=DataConfig(
        corpus="multi30k-wu2021",
        train_files=("train.{lang}.gz",),
        dev_files=("valid.{lang}.gz",),
        test_files=(
            "test2016=test.2016.{lang}.gz",
            "test2017=test.2017.{lang}.gz",
            "mscoco2017=test.coco.{lang}.gz",
        ),
        deduplicate=False,
        vocab_size=10_000,
        row_widths=(64,),
        max_tokens=64,
        src_tokens_per_update=6_800,
        tgt_tokens_per_update=6_800,
    ),
    model=ModelConfig(
        num_layers=4,
        d_model=128,
        d_ff=256,
        num_heads=4,
        d_k=32,
        d_v=32,
        dropout_rate=0.3,
        positions="halves",
    ),
    train=TrainConfig(
        num_steps=8_000,
        warmup_steps=2_000,
        learning_rate_constant=0.005 * (128 * 2_000) ** 0.5,  # so that the peak is 0.005
        adam_eps=1e-8,
        checkpoint_every=64,  # an epoch
        keep_last=10,
    ),
    decode=DecodeConfig(
        beam_size=5, length_penalty=1.0, length_penalty_form="length", average_last=10
    ),
)
