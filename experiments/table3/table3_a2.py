"""WMT14 En-De, Table 3 row A2, 4 heads of 128 dimensions: newstest2013 perplexity 5.00, BLEU 25.5.

Run     make train EXPERIMENT=table3_a2; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_a2",
    model=replace(base.model, num_heads=4, d_k=128, d_v=128),
)
