"""WMT14 En-De, Table 3 row D3, no label smoothing: newstest2013 perplexity 4.67, BLEU 25.3.

Run     make train EXPERIMENT=table3_d3; Table 3 is the last checkpoint's row for dev
Paper   100,000 steps on 8 P100
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="table3_d3",
    train=replace(base.train, label_smoothing=0.0),
)
