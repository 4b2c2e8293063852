"""What the page shows is what the commands print."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from aiayn.decoding.heads import KINDS
from aiayn.errors import UserError
from aiayn.serve import inspection
from tests.support.models import TOKENIZER
from tests.support.served import translator, writer

SOURCE, TARGET = "one two three", "four five"


@pytest.fixture(scope="module")
def served():
    return translator()


@pytest.fixture(scope="module")
def text():
    return writer()


def test_every_weight_is_exactly_that_of_attention(served):
    looks = served.model.attention(SOURCE, TARGET)
    found = msgspec.json.decode(
        msgspec.json.encode(inspection.attention(served, SOURCE, TARGET)),
        type=inspection.Attention,
    )
    assert [heads.kind for heads in found.kinds] == list(KINDS)
    for heads in found.kinds:
        assert (np.array(heads.weights, np.float64) == looks.of(heads.kind)).all()
        assert (heads.queries, heads.memory) == tuple(map(list, looks.tokens(heads.kind)))


def test_a_language_model_has_the_decoder_alone(text):
    (heads,) = inspection.attention(text, SOURCE).kinds
    looks = text.model.attention(SOURCE)
    assert heads.kind == "decoder"
    assert (np.array(heads.weights, np.float64) == looks.decoder).all()


def test_tokens_are_the_pieces_and_their_rows(served):
    found = inspection.tokens(served, SOURCE, TARGET)
    (src,), (tgt,) = TOKENIZER.encode([SOURCE]), TOKENIZER.encode([TARGET])
    assert [token.id for token in found.source] == src
    assert TOKENIZER.ids([token.piece for token in found.target]) == tgt
    assert inspection.tokens(served, " ") == inspection.Tokens([], [])


def test_a_card_has_the_sizes_and_the_last_scores_of_the_record():
    entries = [{"name": "sacrebleu", "value": 20.5, "how": "tok:13a"}, {"name": "odd", "value": 1}]
    record = {
        "updates": 7,
        "scores": {
            "seen": {
                "last checkpoint": {"entries": [{"name": "sacrebleu", "value": 3.0}]},
                "average of 5": {"entries": entries},
            }
        },
    }
    served = translator(record=record)
    card = inspection.card(served)
    assert card.scores == [inspection.Score("seen", "BLEU", 20.5)]
    assert (card.updates, card.src, card.tgt, card.most_tokens) == (7, "en", "de", 39)
    assert list(card.sizes) == ["vocabulary", "N", "d_model", "d_ff", "h", "d_k", "d_v"]
    assert card.sizes["d_k"] == 5
    assert card.sizes["vocabulary"] == TOKENIZER.num_words
    assert card.parameters == served.model.num_parameters


@pytest.mark.parametrize(
    "record", [None, {}, {"scores": 3}, {"scores": {"seen": {"last": {"entries": "x"}}}}]
)
def test_a_model_without_a_whole_record_has_no_scores(served, record):
    found = inspection.card(replace(served, record=record))
    assert (found.scores, found.updates) == ([], None)


def test_text_that_cannot_be_looked_into_is_refused_with_the_number_found(served, text):
    with pytest.raises(UserError, match="1,001 characters; wanted at most 1,000"):
        inspection.tokens(served, "a" * 1_001)
    with pytest.raises(UserError, match="The text has 0 tokens; wanted 1 to 39"):
        inspection.attention(served, "\u200b ", TARGET)
    (length,) = map(len, TOKENIZER.encode(["one " * 50]))
    with pytest.raises(UserError, match=f"The translation has {length} tokens; wanted 1 to 39"):
        inspection.attention(served, SOURCE, "one " * 50)
    with pytest.raises(UserError, match="wanted 1 to 31"):
        inspection.attention(text, "one " * 50)
    with pytest.raises(UserError, match="half a surrogate pair"):
        inspection.tokens(served, "\ud800")


def test_an_answer_is_the_translation(served):
    assert inspection.answer(served, SOURCE).text == served.model.translate([SOURCE])[0]


@pytest.mark.slow
def test_an_answer_of_a_language_model_is_how_a_text_goes_on(text):
    ((written,),) = text.model.generate([SOURCE], max_tokens=60, temperature=0.0)
    assert inspection.answer(text, SOURCE).text == written.text
