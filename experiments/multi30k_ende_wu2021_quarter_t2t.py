"""`multi30k_ende_wu2021_quarter` from first weights as tensor2tensor's code draws them.

Run     make train ARGS="--set data.folder=DIR" EXPERIMENT=multi30k_ende_wu2021_quarter_t2t
Others  none; what it changes beside the same recipe with each map drawn alone
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("multi30k_ende_wu2021_quarter")
config = replace(
    base,
    name="multi30k_ende_wu2021_quarter_t2t",
    model=replace(base.model, initializer="t2t"),
)
