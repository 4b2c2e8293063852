"""The treebook's trees are well formed, as many as asked for, and the only ones of their words."""

import os
import random
import re
import subprocess
import sys

import pytest

from aiayn.data.sources import treebook
from aiayn.data.sources.treebook import (
    DEEPEST,
    MOST_WORDS,
    START,
    depth,
    draw,
    generate,
    load_grammar,
    parse_grammar,
)
from aiayn.data.trees import PUNCTUATION, clean, linearise, restore, write
from tests.support.trees import tree

SMALL = {"num_train": 150, "num_dev": 20, "num_seen": 30, "num_deep": 20}


@pytest.fixture(scope="module")
def splits():
    return generate(2, **SMALL)


def test_sizes_are_those_asked_for_and_no_sentence_stands_twice(splits):
    assert [len(split) for split in splits] == [150, 20, 30, 20]
    sentences = [each.words for split in splits for each in split]
    assert len(set(sentences)) == len(sentences)


def test_a_sentence_that_was_drawn_before_is_drawn_again(monkeypatch):
    one, other, third = (tree(f"(TOP (S (NN {word}) (. .)))") for word in "abc")
    drawn = iter([one, one, None, other, one, third])
    monkeypatch.setattr(treebook, "draw", lambda *_: next(drawn))
    found = treebook._distinct(random.Random(0))
    assert [next(found) for _ in range(3)] == [one, other, third]


def test_deep_trees_are_deeper_than_all_others(splits):
    assert {depth(each) > DEEPEST for each in splits.test_deep} == {True}
    others = [*splits.train, *splits.dev, *splits.test_seen]
    assert max(map(depth, others)) == DEEPEST
    assert max(len(each.words) for split in splits for each in split) <= MOST_WORDS


def test_the_depth_of_a_tree_is_that_of_its_deepest_word():
    assert depth(tree("(TOP (S (NP (NNP Anna)) (VP (VBD sang)) (. .)))")) == 2
    assert depth(tree("(TOP (S (VP (VBD saw) (NP (NP (NN a)) (PP (IN of) (NP (NN b)))))))")) == 5


def test_trees_are_as_parsers_learn_them(splits):
    for each in splits.test_deep + splits.dev:
        assert clean(each) == each
        assert restore(linearise(each), each.words) == each
        assert tree(write(each)) == each
        assert each.brackets[0][1:] == (0, len(each.words)), "one constituent is over all words"
        assert each.words[0][0].isupper() or each.tags[0] in PUNCTUATION
        assert each.words[-1] in (".", "?")


def test_the_same_seed_gives_the_same_trees_in_any_process(splits):
    code = (
        "from aiayn.data.sources.treebook import generate\n"
        "from aiayn.data.trees import write\n"
        f"print(*(write(tree) for split in generate(2, **{SMALL}) for tree in split), sep='\\n')"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    out = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert out.splitlines() == [write(each) for split in splits for each in split]
    assert generate(3, **SMALL) != splits


# --- Words decide ---------------------------------------------------------------------------------


class Chart:
    """All trees of a grammar over given words, by trying everything."""

    def __init__(self, words):
        self.grammar, self.words = load_grammar(), words
        self.known = {}

    def trees(self, part, start, end):
        """The texts of the trees of a part over the words from start to end."""
        if part in self.grammar.words:
            is_one = end == start + 1 and self.words[start] in self.grammar.words[part]
            name = part.partition("/")[0]
            return frozenset({f"({name} {self.words[start]})"} if is_one else ())
        key = part, start, end
        if key not in self.known:
            self.known[key] = frozenset()  # a part within itself over the same words gives no more
            found = {
                text
                for parts in self.grammar.rules[part][0]
                for text in self.sequences(parts, start, end)
            }
            name = part.partition("/")[0]
            is_shown = not part.startswith("@")
            self.known[key] = frozenset(f"({name} {t})" if is_shown else t for t in found)
        return self.known[key]

    def sequences(self, parts, start, end):
        key = parts, start, end
        if len(parts) == 1:
            return self.trees(parts[0], start, end)
        if key not in self.known:
            self.known[key] = frozenset(
                f"{first} {rest}"
                for middle in range(start + 1, end - len(parts) + 2)
                for first in self.trees(parts[0], start, middle)
                for rest in self.sequences(parts[1:], middle, end)
            )
        return self.known[key]


def trees_over(sentence):
    first, *others = sentence.split()
    words = [first, *others]
    found = frozenset[str]()
    # The first word has a capital, which few words have of their own.
    for begin in {first, first[0].lower() + first[1:]}:
        words[0] = begin
        texts = Chart(words).trees(START, 0, len(words))
        found |= {text.replace(f" {begin})", f" {first})", 1) for text in texts}
    return found


ATTACHED = {
    "Anna saw the man with the telescope .": "(VP (VBD saw) (NP (DT the) (NN man)) (PP ",
    "Anna saw the man with the beard .": "(NP (NP (DT the) (NN man)) (PP ",
    "Anna saw the dog in the morning .": "(VP (VBD saw) (NP (DT the) (NN dog)) (PP ",
    "Anna saw the dog in the garden .": "(NP (NP (DT the) (NN dog)) (PP ",
    "Anna put the book in the garden .": "(VP (VBD put) (NP (DT the) (NN book)) (PP ",
    "Anna found the book in the garden .": "(NP (NP (DT the) (NN book)) (PP ",
    "Anna fixed the door of the house with the gate .": "(NP (NP (DT the) (NN house)) (PP (IN w",
    "Anna fixed the door of the house with the hammer .": "(NN house)))) (PP (IN with)",
    "Anna saw the dog of the man with the collar .": "(NP (DT the) (NN man))) (PP (IN with)",
    "Anna saw the dog of the man with the beard .": "(NP (NP (DT the) (NN man)) (PP (IN w",
    "Anna saw the man who cut the bread with the camera .": "(NN bread)))))) (PP (IN with)",
    "Anna saw the man who cut the bread with the knife .": "(NN bread)) (PP (IN with)",
    "Anna saw David and Peter slept .": "(S (NP (NNP Anna)) (VP (VBD saw) (NP (NNP David)))) (CC",
    "Anna saw David and Peter .": "(NP (NP (NNP David)) (CC and) (NP (NNP Peter)))",
}


@pytest.mark.parametrize("sentence", ATTACHED)
def test_a_word_decides_where_a_phrase_belongs(sentence):
    (text,) = trees_over(sentence)
    assert ATTACHED[sentence] in text


def test_no_sentence_has_two_trees():
    grammar, rng = load_grammar(), random.Random(5)
    drawn = [each for each in (draw(grammar, rng) for _ in range(60)) if each]
    short = [each for each in drawn if len(each.words) <= 14]
    assert len(short) > 20
    for each in short:
        sentence = " ".join(each.words)
        assert trees_over(sentence) == {write(each)[len("(TOP ") : -1]}


# --- The file -------------------------------------------------------------------------------------


def test_a_rule_with_braces_is_one_of_each():
    found = parse_grammar("3 A/{x,y} -> B/{u,v} B/u\n\n# said\nB/u = b c\nB/v = b\n")
    assert found.rules == {"A/x": ([("B/u", "B/u")], [3]), "A/y": ([("B/v", "B/u")], [3])}
    assert found.words == {"B/u": ["b", "c"], "B/v": ["b"]}


@pytest.mark.parametrize("text", ["A B", "A -> ", "A -> B\n", "x A -> B\nB = b"])
def test_a_line_that_is_no_rule_is_refused(text):
    with pytest.raises(ValueError, match=r"Neither a rule|No rule and no word for B"):
        parse_grammar(text)


def test_every_rule_and_word_can_be_reached():
    grammar = load_grammar()
    reached, new = {START}, [START]
    while new:
        for parts in grammar.rules.get(new.pop(), ((), ()))[0]:
            new += [part for part in parts if part not in reached]
            reached |= {*parts}
    assert reached == grammar.rules.keys() | grammar.words.keys()
    assert all(
        re.fullmatch(r"[^\s()]+", word) for words in grammar.words.values() for word in words
    )


def test_a_sentence_too_long_is_not_drawn(monkeypatch):
    monkeypatch.setattr(treebook, "MOST_WORDS", 6)
    grammar, rng = load_grammar(), random.Random(0)
    drawn = [draw(grammar, rng) for _ in range(40)]
    assert None in drawn
    assert max(len(each.words) for each in drawn if each) <= 6
