"""WMT14 En-De, big model. The recipe of Table 2, "Transformer (big)"; published: BLEU 28.4.

Run     make train EXPERIMENT=wmt14_ende_big
Paper   300,000 steps, 3.5 days on 8 P100; newstest2013 perplexity 4.33, BLEU 26.4 (Table 3)
Smoke   add ARGS="--set train.num_steps=20 --set data.limit=20000 --set data.vocab_size=8000"
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="wmt14_ende_big",
    data=DataConfig(
        corpus="wmt14",
        src="en",
        tgt="de",
        hub="wmt/wmt14",
        hub_config="de-en",
        revision="b199e406369ec1b7634206d3ded5ba45de2fe696",
        num_pairs=(4_508_785, 3_000, 3_003),
        vocab_size=37_000,  # §5.1
        src_tokens_per_update=25_000,  # §5.1
        tgt_tokens_per_update=25_000,
    ),
    model=ModelConfig(d_model=1024, d_ff=4096, num_heads=16, dropout_rate=0.3),
    train=TrainConfig(num_steps=300_000, checkpoint_every=600),  # 10 minutes at 1.0 s/step, §6.1
    decode=DecodeConfig(average_last=20, score_dev=True),  # §6.1; Table 3 is about dev
)
