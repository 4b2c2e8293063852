"""LibreOffice help and user interface, En-De: 39,232 pairs of software instructions.

Run     make train EXPERIMENT=libreoffice_ende ARGS="--set data.folder=DIR", files as named below
Data    Debian 12's packages libreoffice-help-{en-us,de} and libreoffice-l10n-de, 4:7.4.7-1+deb12u14
        (MPL-2.0): paragraphs and messages of the same id, 3 to 100 words, split by hash
Others  no published figure
"""

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig

config = Experiment(
    name="libreoffice_ende",
    data=DataConfig(
        corpus="libreoffice",
        train_files=("train.en-de.{lang}.gz",),
        dev_files=("dev.en-de.{lang}.gz",),
        test_files=("test=test.en-de.{lang}.gz",),
        vocab_size=8_000,
        row_widths=(128, 256),
        src_tokens_per_update=4_000,
        tgt_tokens_per_update=4_000,
    ),
    model=ModelConfig(num_layers=3, d_model=256, d_ff=1024, num_heads=4, dropout_rate=0.3),
    train=TrainConfig(num_steps=5_000, warmup_steps=1_000, checkpoint_every=250),
    decode=DecodeConfig(average_last=10),
)
