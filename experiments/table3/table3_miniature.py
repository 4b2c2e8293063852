"""Table 3 in miniature, base row: captions of Multi30k, En-De, an eighth of the paper's widths.

Two million tokens a run are what two cores have time for. Captions and warm-up are as many as it
takes for wide rows to learn at all: see the log.

Run     aiayn ablate table3_miniature, every row with three seeds; see the record
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
        src_tokens_per_update=500,
        tgt_tokens_per_update=500,
    ),
    model=ModelConfig(
        num_layers=3, d_model=64, d_ff=256, num_heads=8, d_k=8, d_v=8, matmul_dtype="float32"
    ),
    train=TrainConfig(
        num_steps=2_000,
        warmup_steps=1_000,
        checkpoint_every=1_000,
        validate_sentences=0,
        keep_last=1,
        keep_best=0,
    ),
    decode=DecodeConfig(average_last=1),  # Table 3 is without averaging
)
