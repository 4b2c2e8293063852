"""WMT14 En-De, Table 3 row C3, 8 layers: newstest2013 perplexity 4.88, BLEU 25.5.

Run     make train EXPERIMENT=table3_c3; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100, 80 million parameters
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_c3",
    model=replace(base.model, num_layers=8),
)
