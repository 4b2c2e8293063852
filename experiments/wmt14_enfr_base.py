"""WMT14 En-Fr, base model. The recipe of Table 2, "Transformer (base model)"; published: BLEU 38.1.

Run     make train EXPERIMENT=wmt14_enfr_base
Paper   100,000 steps, 12 hours on 8 P100
Data    the Hub holds 40,836,715 pairs; the paper trained on 36M of them and does not say which
Smoke   add ARGS="--set train.num_steps=20 --set data.limit=20000 --set data.vocab_size=8000"
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="wmt14_enfr_base",
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
    model=ModelConfig(),  # the defaults are Table 3, row "base"
    train=TrainConfig(num_steps=100_000, checkpoint_every=1_500),  # 10 minutes at 0.4 s/step, §6.1
    decode=DecodeConfig(average_last=5),  # §6.1
)
