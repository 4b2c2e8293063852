"""WMT14 En-De, Table 3 row C4, d_model 256: newstest2013 perplexity 5.75, BLEU 24.5.

Run     make train EXPERIMENT=table3_c4; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100, 28 million parameters
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_c4",
    model=replace(base.model, d_model=256, d_k=32, d_v=32),
)
