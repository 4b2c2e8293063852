"""What others published stands beside the right experiment, as the papers have it."""

import pytest

from aiayn.evaluation.scores import Score, Scores
from aiayn.evidence.published import PUBLISHED
from aiayn.evidence.run_tables import render_full, render_short
from aiayn.experiments import load_experiment
from tests.support.records import run_record

PAPERS = {
    # Table 2 of Vaswani et al. 2017: EN-DE and EN-FR of its last two rows, base and big.
    ("wmt14_ende_base", "test"): (27.3, "compound-split"),
    ("wmt14_ende_big", "test"): (28.4, "compound-split"),
    ("wmt14_enfr_base", "test"): (38.1, "tokenised"),
    ("wmt14_enfr_big", "test"): (41.8, "tokenised"),
    # nanoGPT's README, "on a CPU"
    ("shakespeare", "dev"): (1.88, "nats_per_character"),
    ("shakespeare_large", "dev"): (1.4697, "nats_per_character"),  # "on a GPU"
    # Wu et al. 2021, Transformer-Tiny of 2.6 million parameters, on test 2016.
    ("multi30k_ende", "test2016"): (41.02, "tokenised-lc"),
    ("multi30k_ende_wu2021", "test2016"): (41.02, "tokens"),  # on the very text
}


@pytest.mark.parametrize("place", PAPERS)
def test_a_published_figure_is_the_one_of_its_paper(place):
    assert (PUBLISHED[place].value, PUBLISHED[place].ruler) == PAPERS[place]


@pytest.mark.parametrize("place", PAPERS)
def test_a_run_is_shown_beside_it_by_its_ruler(place):
    experiment, test_set = place
    value, ruler = PAPERS[place]
    usual = Score("sacrebleu", 1.0, "nrefs:1|case:mixed|tok:13a|version:2", "")
    scores = Scores("en", "fr", 1, (usual, Score(ruler, 12.34, "signature", "")))
    config = load_experiment(experiment).to_dict()
    run = run_record(experiment=experiment, config=config, scores={test_set: {"last": scores}})
    (row,) = (line for line in render_short([run]).splitlines() if f"| {test_set} |" in line)
    assert f"| 12.34 | {value}" in row
    assert "12.34" in render_full([run])


def test_no_figure_is_without_a_test():
    assert PUBLISHED.keys() == PAPERS.keys()
