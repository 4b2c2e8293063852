"""A sample of the WSJ's trees, which NLTK gives away: constituency parsing (§6.3) in miniature.

Run     make train EXPERIMENT=wsj_sample_parsing ARGS="--set data.folder=DIR"
        a folder with the files named below, one tree a line or indented over several
Paper   no such experiment; sizes and schedule are those of a small model for 3,400 trees
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("craft_parsing")
config = replace(
    base,
    name="wsj_sample_parsing",
    preset="paper_parsing",  # which leaves the rate and dropout of attention open
    data=replace(
        base.data,
        corpus="wsj_sample",
        vocab_size=2_000,
        src_tokens_per_update=900,
        tgt_tokens_per_update=2_000,
    ),
    model=replace(base.model, num_layers=3, dropout_rate=0.3, attention_dropout_rate=0.2),
    train=replace(base.train, num_steps=14_000),
)
