"""Table 3 in miniature, base row, with as many passes over the text as the paper's.

In `table3_miniature`, which is shorter, deep rows and those with more dropout have hardly begun to
translate. Here they have: by four times the updates, 19 passes over 15,000 captions, and by first
weights of N(0, 0.02), with which deeper models learn as fast as shallow ones; see the log.

Run     aiayn ablate table3_miniature_long, every row with three seeds; see the record
Local   add --set data.folder=DIR, a folder with the files of multi30k_ende
Others  none; the paper's differences stand beside ours
"""

from dataclasses import replace

from aiayn.experiments import load_experiment

short = load_experiment("table3_miniature")
config = replace(
    short,
    name="table3_miniature_long",
    preset="custom",  # for the first weights alone
    data=replace(short.data, limit=15_000),
    model=replace(short.model, initializer="normal"),
    train=replace(short.train, num_steps=8_000),
)
