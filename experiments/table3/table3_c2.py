"""WMT14 En-De, Table 3 row C2, 4 layers: newstest2013 perplexity 5.19, BLEU 25.3.

Run     make train EXPERIMENT=table3_c2; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100, 50 million parameters
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_c2",
    model=replace(base.model, num_layers=4),
)
