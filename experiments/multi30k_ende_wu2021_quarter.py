"""The first quarter of `multi30k_ende_wu2021`: what it takes other toolkits to come as far.

Run     make train EXPERIMENT=multi30k_ende_wu2021_quarter ARGS="--set data.folder=DIR"
        make peers RUN=runs/multi30k_ende_wu2021_quarter
Others  none; a quarter of the updates is enough for 35 BLEU on dev
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("multi30k_ende_wu2021")
config = replace(
    base,
    name="multi30k_ende_wu2021_quarter",
    train=replace(base.train, num_steps=2_048),  # 32 epochs; the rate is that of the whole
)
