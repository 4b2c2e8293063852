import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiayn.data.tokenizer import Tokenizer, train_tokenizer
from aiayn.errors import UserError
from tests.support.models import TOKENIZER


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), max_size=20))
def test_any_text_without_blanks_comes_back(text):
    # Bytes spell what the pieces do not know. U+2581 is how SentencePiece itself writes a blank.
    text = text.replace("\u2581", "")
    assert TOKENIZER.decode(TOKENIZER.encode([text])) == [unicodedata.normalize("NFC", text)]


def test_text_is_encoded_as_the_cleaned_text_of_training_was():
    # A no-break space, a tab, an ideographic space; an accent as a character of its own.
    typed = ["  one   two ", "one\u00a0two", "one\ttwo", "one\u3000two", "cafe\u0301"]
    cleaned = ["one two"] * 4 + ["caf\u00e9"]
    assert TOKENIZER.encode(typed) == TOKENIZER.encode(cleaned)
    assert TOKENIZER.decode(TOKENIZER.encode(typed)) == cleaned


def test_special_pieces_are_distinct_and_never_come_from_text():
    special = {TOKENIZER.pad, TOKENIZER.bos, TOKENIZER.eos}
    assert len(special) == 3
    ids = TOKENIZER.encode(["</s> <s> <pad> one"])[0]
    assert not special & set(ids)


def test_the_same_text_trains_the_same_model():
    text = ["der Hund", "the dog", "ein Haus", "a house"] * 5
    first, second = (train_tokenizer(iter(text), 290) for _ in range(2))
    assert first.model == second.model


def test_split_digits_spells_numbers_by_their_digits():
    text = ["in the year 2024 and in the year 1999 before it"] * 20
    tokenizer = train_tokenizer(text, 290, split_digits=True)
    pieces = tokenizer.pieces(tokenizer.encode(["2024"])[0])
    assert [p for p in pieces if p != "\u2581"] == ["2", "0", "2", "4"]


def test_too_many_pieces_for_too_little_text_names_the_limit():
    with pytest.raises(
        UserError, match=r"data.vocab_size is 5000; the training text allows at most"
    ):
        train_tokenizer(["one two three"] * 5, 5000)


def test_damaged_and_missing_models_are_refused(tmp_path):
    path = tmp_path / "tokenizer.model"
    with pytest.raises(UserError, match="does not exist"):
        Tokenizer.load(path)
    for content in (b"", b"not a model", TOKENIZER.model[: len(TOKENIZER.model) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"tokenizer\.model"):
            Tokenizer.load(path)
