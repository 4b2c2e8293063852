"""A sample of the WSJ's trees, which NLTK gives away: constituency parsing (§6.3) in miniature.

Run     make train EXPERIMENT=wsj_sample_parsing ARGS="--set data.folder=DIR"
        a folder with the files named below, one tree a line or indented over several
        aiayn bench pcfg --model runs/wsj_sample_parsing
Paper   no such experiment; sizes and schedule are those of a small model for 3,400 trees, and the
        tags are marked with bits of their words, without which so few do not teach it to count
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
        trees="marked",
        vocab_size=2_300,
        src_tokens_per_update=900,
        tgt_tokens_per_update=2_000,
    ),
    model=replace(
        base.model,
        num_layers=2,
        dropout_rate=0.15,
        attention_dropout_rate=0.0,
        num_outputs=384,
    ),
    # The paper's own rate. A high one and little dropout find sooner which word comes next:
    # perplexity 2.2 after 1,000 updates for 4,250.
    train=replace(base.train, num_steps=12_000, warmup_steps=400, learning_rate_constant=1.0),
    decode=replace(base.decode, beam_size=21, score_dev=True),  # §6.3
)
