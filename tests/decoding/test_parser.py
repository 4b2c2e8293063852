"""Whatever the weights are, a sentence becomes a tree over exactly its words."""

import math
import re

import pytest

from aiayn.config import Experiment, ModelConfig
from aiayn.data.trees import linearise, spelling, write
from aiayn.decoding.parser import Parser, symbols_of, words_of
from aiayn.decoding.translator import Long, Translator
from aiayn.decoding.writer import Writer
from aiayn.errors import LineError, UserError
from aiayn.model.saved import Model
from tests.support.models import TOKENIZER
from tests.support.trees import random_parser, tree

SENTENCES = [
    ["the", "dog", "sees", "a", "house", "."],
    ["dog"],
    ["this", "bird", "of", "the", "man", "near", "a", "river", "likes", "the", "book", "."],
    [],
    ["a", "\u00ad", "dog"],
    ["don\u2019t", "\u2581", "e\u0301", "-LRB-", "\U0001f600", "a_b"],
]


GOLD = tree("(S (NP (DT the) (NN dog)) (VP (VB sees) (NP (DT the) (NN dog))) (. .))")


@pytest.fixture(scope="module")
def parser():
    return Parser(random_parser())


@pytest.fixture(scope="module")
def found(parser):
    return list(parser.parse(SENTENCES, num_best=2))


def test_each_output_is_one_tree_over_exactly_the_words(found):
    for words, parses in zip(SENTENCES, found, strict=True):
        assert len(parses) == (2 if words else 0)
        for each in parses:
            assert list(each.tree.words) == words
            assert linearise(each.tree) == each.symbols, "nothing had to be mended"
            assert each.tree.brackets[0][1:] == (0, len(words))
        assert len({each.symbols for each in parses}) == len(parses)


def test_scores_are_the_models_own(parser, found):
    # Of the symbols and EOS, uncached, over the length penalty ((5 + n) / 6)^0.6.
    pairs = [
        (" ".join(words), " ".join(each.symbols))
        for words, parses in zip(SENTENCES, found, strict=True)
        for each in parses
    ]
    scored = parser.score(pairs)
    scores = [each.score for parses in found for each in parses]
    for score, (log_prob, length) in zip(scores, scored, strict=True):
        assert score == pytest.approx(log_prob / ((5 + length) / 6) ** 0.6, rel=1e-3)


def test_details_are_the_log_probabilities_of_the_symbols_and_the_end(parser, found):
    ((best,),) = parser.parse(SENTENCES[1:2], details=True)
    assert len(best.log_probs) == len(best.symbols) + 1
    assert sum(best.log_probs) == pytest.approx(best.score * ((5 + len(best.log_probs)) / 6) ** 0.6)
    assert best.text == write(best.tree)
    assert best[:3] == found[1][0][:3]


def test_trees_become_symbols_as_training_has_them(parser):
    text = "(S (NP-SBJ (DT the) (-NONE- *) (NN dog)) (VP (VB sees)))"
    symbols = "(S (NP DT NN )NP (VP VB )VP )S"
    assert parser.spelled(tree(text)) == ("the dog sees", symbols)
    unseen = "(S (NN the) (NN \u00ad) (NN dog))"
    assert parser.spelled(tree(unseen)) == ("the _ dog", "(S NN NN NN )S"), "a word for each symbol"
    assert parser.symbols_over("the dog sees", text) == symbols
    assert parser.symbols_over("the dog sees", symbols) == symbols
    assert parser.symbols_over("\u2581 dog", "(S (NN \u2581) (NN dog))") == "(S NN NN )S"
    for given, wrong in (
        ("(S (NN dog))", "word 1 is 'dog'; wanted 'the'"),
        ("(S (DT the) (NN dog))", "word 3 is None; wanted 'sees'"),
        ("(S (NN dog)", "is not one tree: 1 bracket is still open"),
        ("(S (NN a)) (S (NN a))", "is not one tree: it holds 2 trees"),
        ("", "is not one tree: it holds 0 trees"),
        ("dog", "is not one tree: 'dog' stands beside brackets"),
        ("(S NN", "is no tree over the words of the sentence; the nearest is '(S NN XX XX )S'"),
        ("(S NN VB )S", "is no tree over the words of the sentence"),
    ):
        with pytest.raises(UserError, match=re.escape(wrong)):
            parser.symbols_over("the dog sees", given)


def test_a_tree_that_is_too_long_to_score_is_named_as_one(parser, monkeypatch):
    monkeypatch.setattr(parser, "_positions", 12)
    long = "dog", f"(S {'NN ' * 12})S"
    with pytest.raises(LineError, match="Tree 2 has 15 tokens; wanted at most 12, since it is"):
        parser.score([("dog", "(S NN )S"), long])


def test_a_tree_with_a_symbol_that_training_never_had_cannot_come(parser):
    known, unknown = parser.score([("dog", "(S NN )S"), ("dog", "(NX NN )NX")])
    assert -math.inf < known[0] < 0
    assert unknown == (-math.inf, 4)


def test_a_free_search_knows_no_trees_and_is_mended(parser):
    outputs = list(parser.free().parse(SENTENCES, num_best=2))
    assert any(linearise(p.tree) != p.symbols for parses in outputs for p in parses)
    for words, parses in zip(SENTENCES, outputs, strict=True):
        assert all(list(each.tree.words) == words for each in parses)
    assert list(parser.parse(SENTENCES[:1], num_best=2)), "the parser itself stays what it is"


def test_a_sentence_too_long_is_refused_by_number(parser):
    with pytest.raises(UserError, match=r"Sentence 8 has .* pieces; wanted at most 4,095"):
        list(parser.parse([["a"], ["b"] * 5_000], first=7))


def test_a_sentence_longer_than_any_of_training_is_parsed_whole_and_said(
    parser, found, monkeypatch
):
    lines, said = [" ".join(map(spelling, words)) for words in SENTENCES], []
    sizes = [len(ids) for ids in parser.tokenizer.encode(lines)]
    monkeypatch.setattr(parser, "max_tokens", sizes[0])  # EOS included
    assert list(parser.parse(SENTENCES, num_best=2, first=7, on_long=said.append)) == found
    long = [n for n, size in enumerate(sizes) if size >= sizes[0]]
    assert said == [Long(7 + n, sizes[n], pieces=1) for n in long]
    assert 1 < len(long) < len(SENTENCES)
    monkeypatch.setattr(parser, "max_tokens", len(parser.tokenizer.encode(["the dog"])[0]) + 1)
    assert list(parser.unlike_training([tree("(S (DT the) (NN dog))"), GOLD])) == [
        f"1 of 2 sentences have more than the {parser.max_tokens - 1} pieces of training; they are "
        "parsed as a whole."
    ]


def test_labels_and_tags_that_training_never_had_are_said_with_their_count(parser):
    # A label counts once where it opens; the two closings do not.
    other = tree("(S (NX (NN dog)) (VP (VBZ sees) (NX (DT the) (NN dog))) (. .))")
    (said,) = parser.unlike_training([GOLD, other])
    assert said.startswith("labels or tags that no tree of training had")
    assert said.endswith(": NX (2), VBZ (1).")
    assert list(parser.unlike_training([GOLD])) == []


def test_lines_become_words_as_treebanks_have_them():
    assert words_of("a (b)  c\u00a0d\u200b\n") == ["a", "-LRB-b-RRB-", "c", "d"]
    assert words_of(" ") == words_of("\u200b") == []


def test_a_first_room_holds_as_many_symbols_as_the_words_of_training_had(parser):
    growth = parser._symbols.growth
    assert 2 < growth < 3
    assert 32 * growth <= parser._first_room(32) < 32 * growth + 1


def test_who_is_given_a_model_of_another_kind_names_the_verb():
    with pytest.raises(UserError, match=r"parses is a parser, .*`aiayn parse`"):
        Translator(random_parser())
    with pytest.raises(UserError, match=r"parses is a parser, .*`aiayn parse`"):
        Writer(random_parser())
    translator = Model(Experiment("x"), TOKENIZER, {})
    with pytest.raises(UserError, match=r"x is no parser: .*`aiayn translate`"):
        Parser(translator)


def test_a_model_of_another_number_of_symbols_is_refused_with_the_right_one():
    model = random_parser()
    experiment = Experiment(
        "x", "custom", model.experiment.data, ModelConfig(num_outputs=256), task="parsing"
    )
    with pytest.raises(UserError, match=r"is 256; the trees .* --set model\.num_outputs=128"):
        symbols_of(experiment, model.tokenizer)
