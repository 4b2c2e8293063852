"""WMT14 En-De, Table 3 row C5, d_model 1,024: newstest2013 perplexity 4.66, BLEU 26.0.

Run     make train EXPERIMENT=table3_c5; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100, 168 million parameters
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_c5",
    model=replace(base.model, d_model=1024, d_k=128, d_v=128),
)
