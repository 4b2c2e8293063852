"""Tiny Shakespeare with 11 million parameters, for one GPU; text and split are shakespeare's.

Run     aiayn train shakespeare_large --set data.folder=DIR, with the files of shakespeare
Others  nanoGPT's README has 1.4697 nats per character on dev.txt for 6 layers of width 384 (10.65
        million parameters; characters, context 256, 5,000 updates of 64 windows, 82 passes)

The text is 424,833 pieces, so that the updates here are 77 passes.
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

small = load_experiment("shakespeare")
config = replace(
    small,
    name="shakespeare_large",
    data=replace(small.data, row_widths=(256,), max_tokens=256, tgt_tokens_per_update=16_384),
    model=replace(
        small.model,
        num_layers=6,
        d_model=384,
        d_ff=1_536,
        num_heads=6,
        d_k=64,
        d_v=64,
        dropout_rate=0.2,
    ),
    train=replace(small.train, num_steps=2_000, warmup_steps=800),
)
