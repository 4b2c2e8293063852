"""WMT14 En-De, Table 3 row A4, 32 heads of 16 dimensions: newstest2013 perplexity 5.01, BLEU 25.4.

Run     make train EXPERIMENT=table3_a4; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_a4",
    model=replace(base.model, num_heads=32, d_k=16, d_v=16),
)
