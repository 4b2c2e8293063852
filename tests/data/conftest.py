import random

import pytest

from aiayn.data.packing import pack_split
from tests.support.corpora import PACKING, TEXT_PACKING
from tests.support.models import TOKENIZER

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """Pairs of one to fourteen words a side, and the rows that hold them."""
    rng = random.Random(0)
    pairs = [
        tuple(" ".join(rng.choices(WORDS, k=rng.randint(1, 14))) for _ in range(2))
        for _ in range(300)
    ]
    folder = tmp_path_factory.mktemp("rows")
    split = pack_split(pairs, len(pairs), TOKENIZER, PACKING, folder, "train")
    assert len(split.classes) == 2
    return pairs, split


@pytest.fixture(scope="session")
def packed_texts(tmp_path_factory):
    """Texts of one to fifty words, and the rows without a source that hold their pieces."""
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 50))) for _ in range(200)]
    folder = tmp_path_factory.mktemp("text_rows")
    pairs = [("", text) for text in texts]
    split = pack_split(pairs, len(pairs), TOKENIZER, TEXT_PACKING, folder, "train")
    assert len(split.classes) == 2
    return texts, split
