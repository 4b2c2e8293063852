"""OPUS Books, En-De: 51,467 pairs of literature, of which 2,000 each are held out for dev and test.

Run     make train EXPERIMENT=opus_books_ende
Others  no published figure on this split
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="opus_books_ende",
    data=DataConfig(
        corpus="opus_books",
        hub="Helsinki-NLP/opus_books",
        hub_config="de-en",
        revision="1f9f6191d0e91a3c539c2595e2fe48fc1420de9b",
        num_pairs=(51_467,),
        holdout_pairs=2_000,
        vocab_size=8_000,
        src_tokens_per_update=4_000,
        tgt_tokens_per_update=4_000,
    ),
    model=ModelConfig(num_layers=3, d_model=256, d_ff=1024, num_heads=4, dropout_rate=0.3),
    train=TrainConfig(num_steps=10_000),
    decode=DecodeConfig(average_last=5),
)
