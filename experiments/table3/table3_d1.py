"""WMT14 En-De, Table 3 row D1, no dropout: newstest2013 perplexity 5.77, BLEU 24.6.

Run     make train EXPERIMENT=table3_d1; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_d1",
    model=replace(base.model, dropout_rate=0.0),
)
