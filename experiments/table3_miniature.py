"""Table 3 in miniature, base row: captions of Multi30k, En-De, an eighth of the paper's widths.

Run     aiayn ablate table3_miniature, every row with three seeds; not timed yet
Local   add --set data.folder=DIR, a folder with the files of multi30k_ende
Others  none; the paper's differences stand beside ours
"""

from dataclasses import replace

from aiayn.config import DecodeConfig, Experiment, ModelConfig, TrainConfig
from aiayn.experiments import load_experiment

config = Experiment(
    name="table3_miniature",
    data=replace(
        load_experiment("multi30k_ende").data,
        limit=10_000,
        vocab_size=2_000,
        src_tokens_per_update=1_000,
        tgt_tokens_per_update=1_000,
    ),
    model=ModelConfig(
        num_layers=3, d_model=64, d_ff=256, num_heads=8, d_k=8, d_v=8, matmul_dtype="float32"
    ),
    train=TrainConfig(
        num_steps=1_000,
        warmup_steps=300,
        checkpoint_every=500,
        validate_sentences=0,
        keep_last=1,
        keep_best=0,
    ),
    decode=DecodeConfig(average_last=1),  # Table 3 is without averaging
)
