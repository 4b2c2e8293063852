"""WMT14 En-De, Table 3 row C7, d_ff 4,096: newstest2013 perplexity 4.75, BLEU 26.2.

Run     make train EXPERIMENT=table3_c7; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100, 90 million parameters
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_c7",
    model=replace(base.model, d_ff=4096),
)
