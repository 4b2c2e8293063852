"""WMT14 En-De, base model, by tensor2tensor's code of June 2017 rather than the paper's text.

Run     make train EXPERIMENT=wmt14_ende_base_t2t
Others  its public base checkpoint scores 27.52 sacreBLEU, 29.02 compound-split (tensor2tensor#317)
Differs positions in halves, ε/(V−1), a target-space embedding, first weights; see DEVIATIONS.md for
        what remains
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wmt14_ende_base")
config = replace(
    base,
    name="wmt14_ende_base_t2t",
    preset="t2t_v1",
    model=replace(base.model, positions="halves", target_space_embedding=True, initializer="t2t"),
    train=replace(base.train, smoothing_over="others"),
)
