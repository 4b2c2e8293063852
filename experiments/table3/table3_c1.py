"""WMT14 En-De, Table 3 row C1, 2 layers: newstest2013 perplexity 6.11, BLEU 23.7.

Run     make train EXPERIMENT=table3_c1; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100, 36 million parameters
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_c1",
    model=replace(base.model, num_layers=2),
)
