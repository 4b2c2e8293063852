"""WMT14 En-De, Table 3 row D4, label smoothing 0.2: newstest2013 perplexity 5.47, BLEU 25.7.

Run     make train EXPERIMENT=table3_d4; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_d4",
    train=replace(base.train, label_smoothing=0.2),
)
