"""WMT14 En-De, Table 3 row E, learned positions: newstest2013 perplexity 4.92, BLEU 25.7.

Run     make train EXPERIMENT=table3_e; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_e",
    model=replace(base.model, positions="learned"),
)
