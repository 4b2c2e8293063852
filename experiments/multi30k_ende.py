"""Multi30k captions, En-De, with a 2.0M-parameter Transformer.

Run     make train EXPERIMENT=multi30k_ende
Local   add ARGS="--set data.folder=DIR", a folder with the files named below
Others  tokenised, lower-cased BLEU 41.0 on test 2016 (Wu et al. 2021, 2.6M parameters); its sizes,
        rate (a peak of 0.005) and number of updates are these, but text is raw and cased here
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="multi30k_ende",
    preset="custom",  # for the rate alone; with the paper's, 2.5 times lower, see LOG.md
    data=DataConfig(
        corpus="multi30k",
        train_files=("train.{lang}.gz",),
        dev_files=("val.{lang}.gz",),
        test_files=(
            "test2016=test_2016_flickr.{lang}.gz",
            "test2017=test_2017_flickr.{lang}.gz",
            "mscoco2017=test_2017_mscoco.{lang}.gz",
        ),
        hub="bentrevett/multi30k",
        revision="37e118600232bb5298ca011a8a7e7a44e863c36a",
        num_pairs=(29_000, 1_014, 1_000),
        vocab_size=5_000,
        row_widths=(64,),
        max_tokens=64,
        src_tokens_per_update=3_400,
        tgt_tokens_per_update=3_400,
    ),
    model=ModelConfig(
        num_layers=4, d_model=128, d_ff=256, num_heads=4, d_k=32, d_v=32, dropout_rate=0.3
    ),
    train=TrainConfig(
        num_steps=8_000,
        warmup_steps=2_000,
        learning_rate_constant=0.005 * (128 * 2_000) ** 0.5,  # so that the peak is 0.005
        checkpoint_every=200,
        keep_last=10,
    ),
    decode=DecodeConfig(average_last=10),
)
