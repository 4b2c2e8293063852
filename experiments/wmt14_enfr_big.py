"""WMT14 En-Fr, big model. The recipe of Table 2, "Transformer (big)"; published: BLEU 41.8.

Run     make train EXPERIMENT=wmt14_enfr_big
Paper   300,000 steps, 3.5 days on 8 P100; the text of §6.1 says 41.0
Data    the Hub holds 40,836,715 pairs; the paper trained on 36M of them and does not say which
Smoke   add ARGS="--set train.num_steps=20 --set data.limit=20000 --set data.vocab_size=8000"
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="wmt14_enfr_big",
    data=DataConfig(
        corpus="wmt14",
        src="en",
        tgt="fr",
        hub="wmt/wmt14",
        hub_config="fr-en",
        revision="b199e406369ec1b7634206d3ded5ba45de2fe696",
        num_pairs=(40_836_715, 3_000, 3_003),
        vocab_size=32_000,  # §5.1
        src_tokens_per_update=25_000,  # §5.1
        tgt_tokens_per_update=25_000,
    ),
    model=ModelConfig(d_model=1024, d_ff=4096, num_heads=16, dropout_rate=0.1),
    train=TrainConfig(num_steps=300_000, checkpoint_every=600),  # 10 minutes at 1.0 s/step, §6.1
    decode=DecodeConfig(average_last=20),  # §6.1
)
