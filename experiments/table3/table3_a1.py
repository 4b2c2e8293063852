"""WMT14 En-De, Table 3 row A1, one head of 512 dimensions: newstest2013 perplexity 5.29, BLEU 24.9.

Run     make train EXPERIMENT=table3_a1; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_a1",
    model=replace(base.model, num_heads=1, d_k=512, d_v=512),
)
