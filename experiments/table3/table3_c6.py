"""WMT14 En-De, Table 3 row C6, d_ff 1,024: newstest2013 perplexity 5.12, BLEU 25.4.

Run     make train EXPERIMENT=table3_c6; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100, 53 million parameters
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_c6",
    model=replace(base.model, d_ff=1024),
)
