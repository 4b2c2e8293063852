"""WMT14 En-De, Table 3 row D2, dropout 0.2: newstest2013 perplexity 4.95, BLEU 25.5.

Run     make train EXPERIMENT=table3_d2; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_d2",
    model=replace(base.model, dropout_rate=0.2),
)
