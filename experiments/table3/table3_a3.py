"""WMT14 En-De, Table 3 row A3, 16 heads of 32 dimensions: newstest2013 perplexity 4.91, BLEU 25.8.

Run     make train EXPERIMENT=table3_a3; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_a3",
    model=replace(base.model, num_heads=16, d_k=32, d_v=32),
)
