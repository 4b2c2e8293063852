"""`multi30k_ende_wu2021_quarter` from first weights of N(0, 0.02), as Hugging Face's Marian has.

Run     make train ARGS="--set data.folder=DIR" EXPERIMENT=multi30k_ende_wu2021_quarter_normal
Others  none; what it changes beside the same recipe with Glorot's first weights
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("multi30k_ende_wu2021_quarter")
config = replace(
    base,
    name="multi30k_ende_wu2021_quarter_normal",
    model=replace(base.model, initializer="normal"),
)
