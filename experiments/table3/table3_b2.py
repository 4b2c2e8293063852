"""WMT14 En-De, Table 3 row B2, keys of 32 dimensions: newstest2013 perplexity 5.01, BLEU 25.4.

Run     make train EXPERIMENT=table3_b2; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100, 60 million parameters
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_b2",
    model=replace(base.model, d_k=32),
)
