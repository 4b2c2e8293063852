import base64
import json
import sys
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiayn.config import DataConfig
from aiayn.data.text import composed_document
from aiayn.data.tokenizer import (
    PairTokenizer,
    Tokenizer,
    TreeTokenizer,
    WordTokenizer,
    own_tokenizer,
    parts_of,
    train_tokenizer,
    train_tree_tokenizer,
)
from aiayn.data.trees import spelling
from aiayn.errors import UserError
from aiayn.experiments import load_experiment
from aiayn.system.checkout import MODELS, included_models, root
from tests.support import gpt
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


def test_a_model_of_ones_own_may_lie_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/tokenizer.model").write_bytes(TOKENIZER.model)
    for name in ("~/run", "~/run/tokenizer.model"):
        data = DataConfig(tokenizer=name, vocab_size=TOKENIZER.num_words)
        assert own_tokenizer(data).model == TOKENIZER.model
    with pytest.raises(UserError, match="~nobody-here"):
        own_tokenizer(DataConfig(tokenizer="~nobody-here/x"))


@pytest.mark.parametrize("name", included_models())
def test_a_model_that_comes_along_gives_its_tokenizer_by_name(name):
    folder = root() / MODELS / name
    wanted = Tokenizer.load(folder / "tokenizer.model")
    data = load_experiment(name).data
    found = own_tokenizer(replace(data, tokenizer=name, vocab_size=wanted.num_words))
    assert found.model == wanted.model


def test_damaged_and_missing_models_are_refused(tmp_path):
    path = tmp_path / "tokenizer.model"
    with pytest.raises(UserError, match="does not exist"):
        Tokenizer.load(path)
    for content in (b"", b"not a model", TOKENIZER.model[: len(TOKENIZER.model) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"tokenizer\.model"):
            Tokenizer.load(path)


@pytest.fixture(scope="module")
def pair():
    """A model for each side and one table of ids, as Marian has them."""
    texts = {"source": "we saw an elk", "target": "wir und ein Elch"}
    models = {side: train_tokenizer([text] * 5, 280) for side, text in texts.items()}
    pieces = dict.fromkeys(p for m in models.values() for p in m.pieces(range(m.num_words)))
    pieces[">>de<<"] = None
    model = {
        **{side: base64.b64encode(m.model).decode() for side, m in models.items()},
        "vocabulary": {piece: number for number, piece in enumerate(pieces)},
        "starts_with": 0,
    }
    return PairTokenizer(json.dumps(model).encode())


def test_pieces_that_the_source_alone_knows_are_spelled_in_blanks_too(pair):
    (ids,) = pair.encode(["we saw an elk"])
    pieces = pair.pieces(ids)
    assert any(pair._sides[1].piece_to_id(piece) == pair._sides[1].unk_id() for piece in pieces)
    assert pair.decode([ids]) == ["we saw an elk"]
    (both,) = pair.encode_target(["wir und"])
    assert pair.decode([both + ids, ids + both]) == [
        "wir und we saw an elk",
        "we saw an elk wir und",
    ]


def test_pieces_have_their_ids_and_text_is_spelled_as_it_is_encoded(pair):
    for tokenizer in (TOKENIZER, pair):
        numbers = range(tokenizer.num_words)
        assert tokenizer.ids(tokenizer.pieces(numbers)) == list(numbers)
        for text in ("we  saw\u00a0elk", "cafe\u0301", ""):
            assert tokenizer.ids(tokenizer.spell(text)) == tokenizer.encode([text])[0]
    assert pair.spell(">>xx<< we")[0] == ">>xx<<", "which has no id"


def test_a_code_of_a_language_ends_where_it_is_closed(pair):
    (plain,) = pair.encode([" we << saw"])
    (coded,) = pair.encode([">>de<< we << saw"])
    assert pair.pieces(coded[:1]) == [">>de<<"]
    assert coded[1:] == plain
    assert pair.encode(["  >>de<< we << saw"]) == [coded], "blanks before a line do not count"
    assert (pair.prefix(coded), pair.prefix(plain), pair.prefix([])) == (coded[:1], [], [])


# --- Documents ----------------------------------------------------------------------------------

CODE = "def one(two):\n\tthree = two\n    return  three + three\n\n\nclass Four:\n    five = 5\n"


@pytest.fixture(scope="module")
def of_documents():
    return train_tokenizer([CODE] * 9, 310, documents=True)


@given(st.text() | st.text(st.sampled_from(" \n\t\u2581a</s>é")))
def test_a_document_comes_back_with_its_blanks_and_line_breaks(of_documents, text):
    # SentencePiece's own sign for a blank is one, in text too.
    wanted = composed_document(text).replace("\u2581", " ")
    wanted = wanted.replace("\0", "")  # which has no place in its strings
    assert of_documents.decode(of_documents.encode([text.replace("\0", "")])) == [wanted]


def test_a_line_break_is_a_piece_that_the_model_itself_has(of_documents):
    assert of_documents.pieces([of_documents.line_break]) == ["\n"]
    assert Tokenizer(of_documents.model).line_break == of_documents.line_break
    assert TOKENIZER.line_break is None
    assert TOKENIZER.encode(["one\ntwo"]) == TOKENIZER.encode(["one two"])
    (ids,) = of_documents.encode(["one\r\ntwo\n"])
    assert ids.count(of_documents.line_break) == 2
    # Indentation is a piece, not a blank after the other.
    assert len(of_documents.encode(["\n    five"])[0]) < len("    five")


def test_a_document_encoded_in_parts_is_as_it_is_in_one(of_documents):
    text = CODE * 40
    parts = parts_of(text)
    assert "".join(parts) == text
    assert len(parts) > 2
    assert all(part[0] == "\n" for part in parts[1:])
    whole = of_documents._processor.encode(text)
    assert of_documents.encode([text]) == [whole]
    assert parts_of("x" * 2_000) == ["x" * 2_000]


def test_all_of_a_document_teaches_the_pieces():
    # The word stands past the first thousand characters; no more is read of a sentence.
    for between, size in (("\n", 278), (" ", 279)):
        text = f"a b c d e{between}" * 150 + "zebra zebra zebra zebra\n" * 10
        tokenizer = train_tokenizer([text], size, documents=True)
        assert "\u2581zebra" in tokenizer.pieces(range(tokenizer.num_words)), between


def test_a_tokenizer_without_line_breaks_is_refused_for_documents_with_them(tmp_path, of_documents):
    for name, tokenizer in (("plain", TOKENIZER), ("documents", of_documents)):
        (tmp_path / name).write_bytes(tokenizer.model)
    data = DataConfig(src="", tokenizer=str(tmp_path / "plain"), vocab_size=TOKENIZER.num_words)
    assert own_tokenizer(data).model == TOKENIZER.model
    with pytest.raises(UserError, match=r"plain has no piece for a line break, .* is 'file'"):
        own_tokenizer(replace(data, documents="file"))
    own = replace(data, tokenizer=str(tmp_path / "documents"), vocab_size=310)
    for how in ("line", "file"):
        assert own_tokenizer(replace(own, documents=how)).model == of_documents.model


# --- Words and the symbols of trees ---------------------------------------------------------------

SYMBOLS = "(S (NP TO )NP (VP NN . )VP )S"


@pytest.fixture(scope="module")
def of_trees():
    sentences = ["TOKYO sleeps .", "one two three four five"] * 5
    return train_tree_tokenizer(sentences, [SYMBOLS] * 10, 128 + 300)


def test_symbols_come_first_and_none_is_cut_or_found_within_a_word(of_trees):
    symbols = SYMBOLS.split()
    assert of_trees.symbols == tuple(sorted(set(symbols)))
    (ids,) = of_trees.encode_target([" ".join(symbols)])
    assert len(ids) == len(symbols)
    assert of_trees.pieces(ids) == symbols
    assert of_trees.ids(symbols) == ids
    assert of_trees.decode([[of_trees.bos, *ids, of_trees.eos]]) == [" ".join(symbols)]
    (words,) = of_trees.encode(["TO TOKYO"])
    assert min(words) >= of_trees.first_piece == 128 > max(ids)
    assert of_trees.ids(of_trees.pieces(words)) == words
    assert of_trees.encode_target(["(S XX )S"])[0][1] == of_trees.unknown


def test_ids_of_all_sorts_are_the_vocabulary(of_trees):
    assert of_trees.num_words == 128 + 300
    pieces = of_trees.pieces(range(of_trees.num_words))
    first, others = pieces[:128], pieces[128:]  # a word may be spelled as a symbol is
    assert (len({*first}), len({*others})) == (128, 300)
    assert set(of_trees.special) == {"<pad>", "<unk>", "<s>", "</s>"}
    again = Tokenizer.of(of_trees.model)
    assert isinstance(again, TreeTokenizer)
    assert again.symbols == of_trees.symbols


def test_labels_and_tags_of_no_tree_of_training_are_named_and_counted(of_trees):
    # A label where it opens; a mark says nothing of the tag.
    assert of_trees.unseen([SYMBOLS, "(S NN~3 )S"]) == ""
    assert of_trees.unseen(["(S (NX NN )NX )S", "(NX XX )NX"]) == "NX (2), XX (1)"


def test_the_growth_is_symbols_for_each_word(of_trees):
    # Nine symbols, of which TO, NN and "." are of words.
    assert of_trees.growth == 9 / 3


@given(st.lists(st.text(min_size=1).filter(lambda word: len(word.split()) == 1), max_size=9))
@example(["one\u2581two"])  # which stands for a blank within pieces
def test_as_many_words_are_counted_in_ids_as_there_are(of_trees, words):
    words = ["".join(word.split()) for word in words]
    (ids,) = of_trees.encode([" ".join(words)])
    assert len(of_trees.words(ids)) == len(words)
    words = list(map(spelling, words))
    (ids,) = of_trees.encode([" ".join(words)])
    assert of_trees.words(ids) == words


def test_a_vocabulary_without_room_for_words_is_refused():
    with pytest.raises(UserError, match="vocab_size is 400, of which 128 are for the 3 symbols of"):
        train_tree_tokenizer(["a b"], ["(S NN )S"], 400)


@pytest.mark.parametrize(
    "values",
    [
        {"symbols": ["(S", "(S"]},
        {"symbols": ["a b"]},
        {"symbols": ["\ud800"]},
        {"symbols": 3},
        {"words": ""},
        {"words": 3},
        {"symbols_per_word": "many"},
        {"symbols_per_word": 0},
    ],
)
def test_a_damaged_tokenizer_of_trees_is_refused(of_trees, values):
    model = json.dumps(json.loads(of_trees.model) | values).encode()
    with pytest.raises(UserError, match="tokenizer"):
        Tokenizer.of(model)


def test_a_tokenizer_of_text_is_refused_for_trees_and_the_other_way_round(tmp_path, of_trees):
    of_text = train_tokenizer(["one two three four five"] * 5, 300)
    for tokenizer, trees, found in ((of_trees, "none", "of trees"), (of_text, "tags", "of text")):
        path = tmp_path / "tokenizer.model"
        path.write_bytes(tokenizer.model)
        tgt = "trees" if trees == "tags" else "de"
        settings = {"tokenizer": str(path), "vocab_size": tokenizer.num_words}
        data = DataConfig("mine", tgt=tgt, trees=trees, **settings)
        with pytest.raises(UserError, match=f"is a tokenizer {found}"):
            own_tokenizer(data)


# --- The library tokenizers -----------------------------------------------------------------------


def _of_words(eos=None, **changes):
    """GPT-1's kind, with changes in its tokenizer.json."""
    ids, merges = gpt.vocabulary()
    inner = {
        "version": "1.0",
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
        "model": {"type": "BPE", "unk_token": "<unk>", "end_of_word_suffix": "</w>"}
        | {"vocab": ids, "merges": merges},
    }
    model = f'{json.dumps({**inner, **changes})}, "eos": {json.dumps(eos)}}}'
    return Tokenizer.of(WordTokenizer.START + model.encode())


def _model(**changes):
    ids, merges = gpt.vocabulary()
    return {"type": "BPE", "vocab": ids, "merges": merges, "unk_token": "<unk>", **changes}


def test_words_are_spelled_by_their_most_frequent_pairs_and_come_back():
    tokenizer = _of_words()
    # Among the merges "t h" comes before "h e</w>".
    assert tokenizer.spell("The q") == ["th", "e</w>", "q</w>"]
    (ids,) = tokenizer.encode(["The q"])
    assert tokenizer.ids(tokenizer.pieces(ids)) == ids
    assert tokenizer.decode([ids, [*ids, tokenizer.eos]]) == ["the q"] * 2
    again = Tokenizer.of(tokenizer.model)
    assert isinstance(again, WordTokenizer)
    assert again.encode(["The q"]) == [ids]


def test_an_end_that_the_model_lacks_is_no_text():
    tokenizer = _of_words()
    assert (tokenizer.num_words, tokenizer.eos) == (gpt.WORDS + 1, gpt.WORDS)
    assert (tokenizer.has_bos, tokenizer.has_eos) == (False, False)
    assert tokenizer.eos not in tokenizer.encode(["</s> a</s>"])[0]
    own = _of_words(eos=5)
    assert (own.num_words, own.eos, own.has_eos) == (gpt.WORDS, 5, True)


def test_a_sentence_is_not_spelled_at_random_nor_cut():
    whole = _of_words().encode(["the train is late"])
    short = {"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    odd = _of_words(truncation=short, model=_model(end_of_word_suffix="</w>", dropout=0.9))
    assert odd.encode(["the train is late"]) == whole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": None}, "none of the library tokenizers"),
        ({"model": _model(unk_token=None)}, "unk_token is None; wanted one of its pieces"),
        ({"model": _model(vocab={"<unk>": 0, "a": 2}, merges=[])}, "does not number its pieces"),
        ({"model": _model(vocab={"<unk>": 0, "</s>": 1}, merges=[])}, "has a piece </s> and no E"),
        ({"eos": 307}, "EOS is 307; wanted one of 307 ids"),
        ({"eos": "x"}, "EOS is 'x'; wanted one of 307 ids"),
        (
            {
                "post_processor": {"type": "TemplateProcessing", "pair": []}
                | {"single": [{"SpecialToken": {"id": "a", "type_id": 0}}]}
                | {"special_tokens": {"a": {"id": "a", "ids": [1], "tokens": ["a"]}}}
            },
            "adds pieces to every text; wanted one that adds none",
        ),
    ],
)
def test_odd_tokenizers_of_the_library_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        _of_words(**changes)


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match="not installed; run: pip install tokenizers"):
        _of_words()


def test_a_tokenizer_without_bos_trains_no_model(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(_of_words().model)
    with pytest.raises(UserError, match="has no piece for BOS, which every text of training"):
        own_tokenizer(DataConfig(tokenizer=str(tmp_path), vocab_size=gpt.WORDS + 1))
