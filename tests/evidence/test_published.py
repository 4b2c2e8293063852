"""What others published stands beside the right experiment, as the papers have it."""

import pytest

from aiayn.evidence.published import PUBLISHED

PAPERS = {
    # Table 2 of Vaswani et al. 2017: EN-DE and EN-FR of its last two rows, base and big.
    ("wmt14_ende_base", "test"): (27.3, "compound-split"),
    ("wmt14_ende_big", "test"): (28.4, "compound-split"),
    ("wmt14_enfr_base", "test"): (38.1, "tokenised"),
    ("wmt14_enfr_big", "test"): (41.8, "tokenised"),
    # nanoGPT's README, "on a CPU"
    ("shakespeare", "dev"): (1.88, "nats_per_character"),
    # Wu et al. 2021, Transformer-Tiny of 2.6 million parameters, on test 2016.
    ("multi30k_ende", "test2016"): (41.02, "tokenised-lc"),
    ("multi30k_ende_wu2021", "test2016"): (41.02, "tokens"),  # on the very text
}


@pytest.mark.parametrize("place", PAPERS)
def test_a_published_figure_is_the_one_of_its_paper(place):
    assert (PUBLISHED[place].value, PUBLISHED[place].ruler) == PAPERS[place]


def test_no_figure_is_without_a_test():
    assert PUBLISHED.keys() == PAPERS.keys()
