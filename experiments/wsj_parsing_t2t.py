"""WSJ, parsing by tensor2tensor's transformer_parsing_base_dr6 of June 2017, not the paper's text.

Run     make train EXPERIMENT=wsj_parsing_t2t ARGS="--set data.folder=DIR", DIR as for wsj_parsing
Differs 6 layers where the paper says 4, dropout of 0.2 everywhere, five times the rate of the base
        model after 16,000 steps of warm-up; see DEVIATIONS.md for what remains
Cost    not run
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wsj_parsing")
config = replace(
    base,
    name="wsj_parsing_t2t",
    preset="t2t_parsing",
    data=replace(base.data, vocab_size=2**14),
    model=replace(
        base.model,
        num_layers=6,
        dropout_rate=0.2,
        attention_dropout_rate=0.2,
        positions="halves",
        target_space_embedding=True,
        initializer="t2t",
    ),
    train=replace(
        base.train,
        warmup_steps=16_000,
        learning_rate_constant=5.0,
        smoothing_over="others",
    ),
)
