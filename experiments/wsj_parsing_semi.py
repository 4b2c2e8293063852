"""WSJ and parsed text. The recipe of Table 4, "(4 layers), semi-supervised"; published: F1 92.7.

Run     make train EXPERIMENT=wsj_parsing_semi ARGS="--set data.folder=DIR"
        DIR as for wsj_parsing, and the trees that other parsers made of text: the high-confidence
        and the BerkeleyParser corpora of Vinyals et al. (2015), which were never published
Paper   about 17 million trees; a vocabulary of 32,000
Cost    not run
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

base = load_experiment("wsj_parsing")
config = replace(
    base,
    name="wsj_parsing_semi",
    preset="paper_parsing",
    data=replace(
        base.data,
        corpus="wsj_semi",
        train_files=("wsj_02-21.mrg", "high_confidence.mrg.gz", "berkeley_parser.mrg.gz"),
        vocab_size=32_000,  # §6.3
    ),
)
