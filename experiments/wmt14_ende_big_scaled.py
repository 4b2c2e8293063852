"""WMT14 En-De, big model, after "Scaling Neural Machine Translation" (Ott et al. 2018).

Run     make train EXPERIMENT=wmt14_ende_big_scaled
Others  29.3 BLEU, compounds split (its abstract); 28.6 sacreBLEU (fairseq's scaling_nmt)
Differs from the paper: updates 16 times as large, a peak rate of 0.001; as many tokens
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

big = load_experiment("wmt14_ende_big")
config = replace(
    big,
    name="wmt14_ende_big_scaled",
    preset="custom",
    data=replace(big.data, src_tokens_per_update=400_000, tgt_tokens_per_update=400_000),
    train=replace(
        big.train,
        num_steps=18_750,
        learning_rate_constant=0.001 * (1_024 * 4_000) ** 0.5,  # so that the peak is 0.001
        checkpoint_every=100,
    ),
)
