import base64
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiayn.data.tokenizer import PairTokenizer, train_tokenizer
from aiayn.decoding.alignment import (
    layers_of,
    links,
    pharaoh,
    source_words,
    target_words,
    word_numbers,
)
from aiayn.decoding.outputs import one_line
from tests.support.models import TOKENIZER

CODE = ">>de<<"


@pytest.fixture(scope="module")
def coded():
    """As Marian's: a model for each side, which normalise by NFKC, and a code of a language."""
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["we saw an elk"] * 5),
        model_writer=model,
        model_type="bpe",
        vocab_size=30,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    source = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    target = train_tokenizer(["wir und ein Elch"] * 5, 280)
    known = [source.id_to_piece(n) for n in range(source.get_piece_size())]
    pieces = dict.fromkeys([*known, "<pad>", CODE, *target.pieces(range(target.num_words))])
    values = {
        "source": base64.b64encode(model.getvalue()).decode(),
        "target": base64.b64encode(target.model).decode(),
        "vocabulary": {piece: number for number, piece in enumerate(pieces)},
        "starts_with": [*pieces].index("<pad>"),
    }
    return PairTokenizer(json.dumps(values).encode())


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        ("  ab  c\u2028d.", [0, 0, 1, 2, 2]),
        ("\u4f60\u597d\u3002", [0, 1, 2]),
        ("JAX \u4f60\u597dok 3", [0, 0, 0, 1, 2, 3, 3, 4]),
        ("\u0e19\u0e49\u0e33", [0, 0, 1]),  # a mark belongs to the letter before it
        ("e\u0301\u4f60\u0301x", [0, 0, 1, 1, 2]),
    ],
)
def test_words_stand_between_blanks_or_are_characters(text, numbers):
    assert word_numbers(text) == numbers


@given(st.text(st.characters(exclude_categories=("Cs",), max_codepoint=0x2E00), max_size=30))
def test_where_a_script_has_blanks_words_are_those_of_split(text):
    if any(0x0E00 <= ord(c) < 0x2000 for c in text):
        return
    lengths = [len(word) for word in text.split()]
    assert word_numbers(text) == [n for n, length in enumerate(lengths) for _ in range(length)]


def test_each_word_is_linked_to_the_one_of_most_weight_over_all_pieces():
    # Source words 0 (two pieces), 1; target words 0 (one piece), 1 (two pieces); then both EOS.
    weights = np.array(
        [
            [0.3, 0.2, 0.4, 0.1],  # 0.5 on word 0, though the best piece is of word 1
            [0.1, 0.0, 0.3, 0.6],  # EOS takes most, and is no word
            [0.3, 0.1, 0.35, 0.25],  # alone 0.4 against 0.35; with the piece before 0.5 to 0.65
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    assert links(weights, [[0], [1], [1]], [[0], [0], [1]]) == ((0, 0), (1, 1))
    assert links(weights, [[0], [1], [1]], [[], [0], [1]]) == ((1, 0), (1, 1)), "a code is no word"
    assert links(weights, [[0], [1], [1]], [[], []]) == (), "and may be all there is"
    assert links(weights, [[0], [], [1]], [[5], [5], [7]]) == ((5, 0), (5, 1))


def test_a_piece_of_several_words_is_shared_among_them():
    # One piece for source words 0 and 1: 0.3 each, so the 0.4 on word 2 is more.
    weights = np.array([[0.6, 0.4]])
    assert links(weights, [[0, 1]], [[0, 1], [2]]) == ((2, 0), (2, 1))
    assert links(weights, [[0, 1]], [[0, 1], []]) == ((0, 0), (0, 1)), "the first of equals"


def test_links_are_written_as_other_tools_read_them():
    assert pharaoh(((0, 0), (2, 1))) == "0-0 2-1"
    assert pharaoh(()) == ""


def test_the_layers_are_the_upper_half():
    layers = {1: [1], 2: [2], 3: [2, 3], 6: [4, 5, 6]}
    assert {n: list(range(1, n + 1))[layers_of(n)] for n in layers} == layers


def _words_of_pieces(text, tokenizer=TOKENIZER):
    (ids,) = tokenizer.encode([text])
    (words,) = source_words(text, [ids], tokenizer)
    assert len(words) == len(ids)
    return list(zip(tokenizer.pieces(ids), words, strict=True))


def test_pieces_and_bytes_are_joined_to_words():
    found = _words_of_pieces("one  \u00a0xyz \u4f60\u597d")
    spelled = ["", "", "", ""]
    for piece, (word,) in found:
        spelled[word] += piece
    blank = "\u2581"
    assert spelled[0] == f"{blank}one"
    assert "x" in spelled[1] or "<0x78>" in spelled[1]
    assert spelled[2] == f"{blank}<0xE4><0xBD><0xA0>", "all bytes of a character, and the blank"
    assert spelled[3] == "<0xE5><0xA5><0xBD>"


@example("e\u0301\u4f60")  # which has fewer characters composed
@given(st.text(st.sampled_from("one \u4f60\u00e9\u0301\u2581\ufb01\u3000\U0001f600"), max_size=20))
def test_every_word_of_a_line_has_its_pieces_in_order(text):
    (ids,) = TOKENIZER.encode([text])
    if not ids:
        return
    numbers = [number for _, words in _words_of_pieces(text) for number in words]
    assert numbers == sorted(numbers)
    if "\u2581" not in text:  # which is how SentencePiece writes a blank
        assert set(numbers) == set(word_numbers(text))


def test_what_a_tokenizer_normalises_keeps_its_words(coded):
    # By NFKC the acute is a blank and a mark, and the ligature two letters.
    found = _words_of_pieces("we\u00b4saw \ufb01an elk", coded)
    by_word = {}
    for piece, words in found:
        for word in words:
            by_word[word] = by_word.get(word, "") + piece
    assert set(by_word) == {0, 1, 2}
    assert "saw" in by_word[0].replace("\u2581", "") or "s" in by_word[0]
    assert by_word[2].endswith("k")


def test_a_code_of_a_language_is_no_word(coded):
    plain, found = _words_of_pieces("we saw", coded), _words_of_pieces(f"{CODE} we saw", coded)
    assert found == [(CODE, []), *plain]
    assert plain[0][1] == [0]
    (ids,) = coded.encode([CODE])
    assert source_words(CODE, [ids], coded) == [[[]]]


def test_what_the_vocabulary_lacks_is_a_word_all_the_same(coded):
    found = _words_of_pieces("we \u4f60\u597d\u4f60 elk", coded)
    assert [words for piece, words in found if piece == "<unk>"] == [[1, 2, 3]]
    assert found[-1][1] == [4]


def test_words_of_a_line_in_parts_are_counted_through_the_line(coded):
    line = f"{CODE} we saw. We saw an elk"
    code, *ids = coded.encode([line])[0]
    first, second = (coded.encode([text])[0] for text in ("we saw. ", "We saw an elk"))
    assert first + second == ids
    parts = [[code, *first], [code, *second[:-2]], [code, *second[-2:]]]
    found = source_words(line, parts, coded)
    assert [len(words) for words in found] == [len(ids) for ids in parts]
    assert [words[0] for words in found] == [[], [], []]
    whole = [words for _, words in _words_of_pieces("we saw. We saw an elk", coded)]
    assert [words for part in found for words in part[1:]] == whole


def test_the_words_of_an_output_are_those_of_its_text():
    odd = ["<0xE4>", "<0xBD>", "\u2581", "<0x0A>", "<unk>", "\u2581", "x", "</s>"]
    one = TOKENIZER.spell("one")
    pieces = [*one, *odd]
    # Bytes that are no character are one sign each; a line break is a blank.
    (text,) = TOKENIZER.decode([TOKENIZER.ids(pieces)])
    assert text.split() == ["one\ufffd\ufffd", "\u2047", "x"]
    found = target_words(pieces, one_line(text), TOKENIZER)
    assert found == [*[[0]] * len(one), [0], [0], [1], [], [1], [2], [2], []]
    # Bytes with another piece between them are no character together.
    apart = ["<0xC3>", *one, "<0xA9>", *one]
    (text,) = TOKENIZER.decode([TOKENIZER.ids(apart)])
    assert text.split() == ["\ufffd", "one\ufffd", "one"]
    wanted = [[0], *[[1]] * len(one), [1], *[[2]] * len(one)]
    assert target_words(apart, one_line(text), TOKENIZER) == wanted
