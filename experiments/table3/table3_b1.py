"""WMT14 En-De, Table 3 row B1, keys of 16 dimensions: newstest2013 perplexity 5.16, BLEU 25.1.

Run     make train EXPERIMENT=table3_b1; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100, 58 million parameters
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_b1",
    model=replace(base.model, d_k=16),
)
