"""Table 3 in miniature for one GPU, base row: all of Multi30k, En-De, half the paper's widths.

Run     aiayn ablate table3_miniature_gpu, every row with three seeds
Local   add --set data.folder=DIR, a folder with the files of multi30k_ende
Others  none; the paper's differences stand beside ours
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

miniature = load_experiment("table3_miniature_long")
config = replace(
    miniature,
    name="table3_miniature_gpu",
    data=replace(
        load_experiment("multi30k_ende").data,
        src_tokens_per_update=5_000,
        tgt_tokens_per_update=5_000,
    ),
    model=replace(miniature.model, d_model=256, d_ff=1024, d_k=32, d_v=32),
    train=replace(miniature.train, num_steps=1_500, warmup_steps=500),
)
