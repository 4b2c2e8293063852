"""WSJ and parsed text, by tensor2tensor's transformer_parsing_big of June 2017.

Run     make train EXPERIMENT=wsj_parsing_semi_t2t ARGS="--set data.folder=DIR", DIR as for
        wsj_parsing_semi
Differs the big model of 6 layers where the paper says 4 of 1,024; five times the base model's rate,
        2,048 tokens of each side; see DEVIATIONS.md for what remains
Cost    not run
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wsj_parsing_t2t")
semi = load_experiment("wsj_parsing_semi").data
config = replace(
    base,
    name="wsj_parsing_semi_t2t",
    data=replace(
        semi,
        vocab_size=2**15,
        src_tokens_per_update=2_048 * 8,  # on each of 8 GPUs
        tgt_tokens_per_update=2_048 * 8,
    ),
    model=replace(
        base.model,
        d_ff=4096,
        num_heads=16,
        d_k=64,
        d_v=64,
        dropout_rate=0.1,
        attention_dropout_rate=0.0,
    ),
    train=replace(base.train, warmup_steps=4_000),
)
