"""IWSLT 2017 (TED talks), En-De, 206,112 pairs for training.

Run     make train EXPERIMENT=iwslt17_ende
Others  on the neighbouring IWSLT14 De-En set, 33.7 BLEU lower-cased (joeynmt, 19M parameters)
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="iwslt17_ende",
    data=DataConfig(
        corpus="iwslt17",
        hub="IWSLT/iwslt2017",
        hub_config="iwslt2017-en-de",
        revision="6f0407e07fa16a7014157cc4a66039c8d17b776f",
        vocab_size=10_000,
        src_tokens_per_update=4_000,
        tgt_tokens_per_update=4_000,
    ),
    model=ModelConfig(d_ff=1024, num_heads=4, d_k=128, d_v=128, dropout_rate=0.3),
    train=TrainConfig(num_steps=50_000),
    decode=DecodeConfig(average_last=5),
)
