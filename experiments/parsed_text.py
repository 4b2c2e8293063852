"""What parsed text is worth to a parser: a small treebank alone, and with trees that parsers made.

Run     aiayn ablate parsed_text --set data.folder=DIR
        a folder with the files named below, one tree a line or indented over several, and
        parsed.mrg.gz: trees of another parser over other sentences, such as those of GUM
        (const/*.ptb of github.com/amir-zeldes/gum, commit 72ce5ac; CC BY genres), whose brackets
        are a parser's, from the right tags
Paper   Table 4: 17 million sentences that other parsers parsed raise F1 on the WSJ from 91.3 to
        92.7; here a few thousand, on the WSJ's sample
Cost    nine parsers of 8,000 updates; hours on two cores
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wsj_sample_parsing")
config = replace(base, name="parsed_text", train=replace(base.train, num_steps=8_000))
