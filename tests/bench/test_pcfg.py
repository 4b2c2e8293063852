"""A grammar counted by hand, and its best tree beside all trees that there are."""

import io
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from aiayn.bench import pcfg
from aiayn.bench.pcfg import Pcfg, State, Step, Tagger, bench_pcfg, figures, steps_of
from aiayn.data.prepare import Prepared
from aiayn.data.trees import linearise
from aiayn.decoding.parser import Parse, Parser
from aiayn.errors import UserError
from aiayn.evidence.bench_tables import render_simpler
from aiayn.system.files import read_json
from tests.support.trees import grown, parsing_experiment, tree, tree_of, write_treebank

FOUR = [
    tree("(TOP (S (NP (DT the) (NN dog)) (VP (VB sleeps))))"),
    tree("(TOP (S (NP (NN tea)) (VP (VB helps) (NP (DT the) (NN dog)))))"),
    tree("(TOP (S (NP (DT the) (NN dog)) (VP (VB likes) (NP (NN tea)))))"),
    tree("(TOP (S (VP (VB drink) (NP (NP (NN tea)) (PP (IN with) (NP (NN milk)))))))"),
]


def _probs(grammar):
    return dict(zip(grammar.steps, np.exp(grammar.log_probs_R), strict=True))


def _over(*tags):
    """Words, and the one tag that each may have."""
    return [f"w{number}" for number in range(len(tags))], [{tag: 0.0} for tag in tags]


def test_a_tree_is_drawn_child_by_child():
    found = {*steps_of(tree("(TOP (S (A a) (B b) (C c) (D d) (X (A a))))"))}
    assert found == {
        Step(State("TOP", ""), "(S", True),
        Step(State("S", "TOP"), "A", False),
        Step(State("S", "TOP", ("A",)), "B", False),
        Step(State("S", "TOP", ("A", "B")), "C", False),
        Step(State("S", "TOP", ("B", "C")), "D", False),
        Step(State("S", "TOP", ("C", "D")), "(X", True),
        Step(State("X", "S"), "A", True),
    }


def test_probabilities_of_four_trees_by_hand():
    probs = _probs(Pcfg(FOUR))
    sentence, subject, object_ = State("S", "TOP"), State("NP", "S"), State("NP", "VP")
    assert probs[Step(State("TOP", ""), "(S", True)] == 1
    # Three of four sentences begin with a subject; the fourth is a predicate alone.
    assert probs[Step(sentence, "(NP", False)] == pytest.approx(3 / 4)
    assert probs[Step(sentence, "(VP", True)] == pytest.approx(1 / 4)
    assert probs[Step(sentence._replace(before=("(NP",)), "(VP", True)] == 1
    # Of three subjects two have an article. Of three objects one has, one is a noun alone, and one
    # holds another: an NP under S is not one under VP.
    assert probs[Step(subject, "DT", False)] == pytest.approx(2 / 3)
    assert probs[Step(subject, "NN", True)] == pytest.approx(1 / 3)
    for child, is_last in (("DT", False), ("NN", True), ("(NP", False)):
        assert probs[Step(object_, child, is_last)] == pytest.approx(1 / 3)
    assert probs[Step(State("VP", "S"), "VB", True)] == pytest.approx(1 / 4)
    assert probs[Step(State("VP", "S"), "VB", False)] == pytest.approx(3 / 4)
    assert len(probs) == 19


def test_the_best_tree_of_four_trees_by_hand():
    found = Pcfg(FOUR).parse(*_over("NN", "VB", "NN"))
    assert found
    best, log_prob = found
    assert " ".join(linearise(best)) == "(S (NP NN )NP (VP VB (NP NN )NP )VP )S"
    # A subject 3/4, a noun alone 1/3; a verb with an object 3/4, a noun alone 1/3.
    assert log_prob == pytest.approx(math.log(3 / 4 * 1 / 3 * 3 / 4 * 1 / 3))
    assert Pcfg(FOUR).parse(*_over("NN", "NN")) is None
    assert Pcfg(FOUR).parse(*_over("NN", "JJ")) is None, "no tree of train has such a tag"


def test_the_tree_chooses_among_the_tags_of_a_word_by_what_each_adds():
    words = ["a", "b"]
    either = {"NN": 0.0, "VB": 0.0}
    found = Pcfg(FOUR).parse(words, [either, either])
    assert found
    # Only NN VB, with 3/4 1/3 1/4, and VB NN, with 1/4 3/4 1/3: as likely, until a tag adds more.
    assert found[1] == pytest.approx(math.log(1 / 16))
    for tags in (("NN", "VB"), ("VB", "NN")):
        found = Pcfg(FOUR).parse(words, [{**either, tags[0]: 2.0}, either])
        assert found
        assert found[0].tags == tags
        assert found[1] == pytest.approx(math.log(1 / 16) + 2.0)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_drawn_in_a_state_has_probability_one_together(seed):
    rng = random.Random(seed)
    grammar = Pcfg(_small_trees(rng) if seed % 2 else [tree_of(grown(rng)) for _ in range(30)])
    sums: dict[State, float] = {}
    for step, prob in _probs(grammar).items():
        sums[step.state] = sums.get(step.state, 0.0) + prob
    assert {*sums} == {*grammar.states}
    assert [*sums.values()] == pytest.approx([1.0] * len(sums))


@pytest.mark.parametrize("seed", range(20))
def test_a_grammar_of_one_tree_makes_that_tree_again(seed):
    # Where no label and no tag comes twice there is one child to draw in each state.
    rng, count = random.Random(seed), 0

    def node(depth):
        nonlocal count
        count += 1
        if depth > 5 or rng.random() < 0.4:
            return f"T{count}", f"w{count}"
        return f"L{count}", [node(depth + 1) for _ in range(rng.randrange(1, 5))]

    one = tree_of(*(node(0) for _ in range(1 + seed % 3)))
    assert Pcfg([one]).parse(one.words, [{tag: 0.0} for tag in one.tags]) == (one, 0.0)


def _small_trees(rng):
    """Of two labels and two tags, so that most sentences have many trees; chains among them."""

    def node(depth):
        if depth > 2 or rng.random() < 0.5:
            return rng.choice("xy"), "w"
        return rng.choice("AB"), [node(depth + 1) for _ in range(rng.choice((1, 1, 2, 2, 3)))]

    return [tree_of(("A", [node(0), node(0)])) for _ in range(8)]


def _derivations(probs, state, tags, above=()):
    """The log-probability of every tree over tags from a state, but of those in which a constituent
    is also `above` itself over the same words: without that they are likelier."""
    if state in above:
        return
    for step, prob in probs.items():
        if step.state != state:
            continue
        for size in range(1, len(tags) + 1):
            if step.is_last != (size == len(tags)):
                continue
            if step.child[0] == "(":
                over = (*above, state) if size == len(tags) and not state.before else ()
                inner = State(step.child[1:], state.label)
                firsts = _derivations(probs, inner, tags[:size], over)
            else:
                firsts = [0.0] if (step.child,) == tags[:size] else []
            after = state._replace(before=(*state.before, step.child)[-2:])
            for first in firsts:
                rests = [0.0] if step.is_last else _derivations(probs, after, tags[size:])
                yield from (math.log(prob) + first + rest for rest in rests)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_tree_is_the_best_of_all(seed):
    rng = random.Random(seed)
    trees = _small_trees(rng)
    grammar = Pcfg(trees)
    probs = _probs(grammar)
    sentences = {each.tags for each in trees if 2 <= len(each.tags) <= 4}
    sentences |= {tuple(rng.choice("xy") for _ in range(size)) for size in (2, 3, 4)}
    counts = []
    for tags in sorted(sentences):
        every = [*_derivations(probs, State("TOP", ""), tags)]
        counts.append(len(every))
        found = grammar.parse(*_over(*tags))
        assert (found is None) == (not every)
        if found:
            best, log_prob = found
            assert log_prob == pytest.approx(max(every), rel=1e-12)
            drawn = [math.log(probs[step]) for step in steps_of(best)]
            assert sum(drawn) == pytest.approx(log_prob)
            assert best.tags == tags
    assert max(counts) > 3, "some sentences have many trees"


def test_tags_of_words_by_hand():
    tagger = Tagger([*FOUR, tree("(TOP (S (NP (NN helps)) (VP (VB helps))))")])
    assert tagger.usual(["tea", "helps"]) == [{"NN": 0.0}, {"VB": 0.0}]
    # helps is VB twice, of five verbs, and NN once, of eight nouns.
    (tags,) = tagger.any(["helps"])
    assert tags == pytest.approx({"VB": math.log(2 / 5), "NN": math.log(1 / 8)})


def test_a_word_that_train_has_not_is_tagged_by_words_that_end_alike():
    # Once in train are: sleeps, likes and drink (VB), with and by (IN), milk (NN), sly (JJ).
    one = tree("(TOP (NP (NN helps) (CD 1st) (NN Sir) (NN dog-milk) (IN by) (JJ sly)))")
    tagger = Tagger([*FOUR, one])
    known = {
        "sink": "VB",
        "sulk": "NN",
        "bath": "IN",
        "walks": "VB",
        "2nd": "CD",
        "Lord": "NN",
        "ly": "JJ",
    }
    for word, tag in known.items():
        assert tagger.usual(["tea", word])[1] == {tag: 0.0}, word
    assert tagger.counts(["tea", "zero"])[1] == {"VB": 3, "IN": 2, "NN": 1, "JJ": 1}, (
        "of all such words"
    )
    assert tagger.usual(["tea", "milk-dog"])[1] == {"NN": 0.0}, "the hyphen says more than the end"
    everything = tagger.counts(["tea", "2-9"])[1]
    assert everything.total() == sum(len(each.words) for each in [*FOUR, one])
    assert tagger.counts(["With", "With"]) == [{"IN": 1}, {"NN": 1}], "small where it comes first"


class _Trees(Prepared):
    """What is prepared of a treebank, without files."""

    @property
    def test_sets(self):
        return {"news": "test"}

    def lines(self, split, side):
        trees = {"train": FOUR, "dev": FOUR[1:3], "test": [*FOUR, tree("(TOP (NP (UH oh)))")]}
        texts = {
            "src": [" ".join(each.words) for each in trees[split]],
            "tgt": [" ".join(linearise(each)) for each in trees[split]],
        }
        return texts[side]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose model hangs every word under one S."""
    experiment = parsing_experiment(write_treebank(tmp_path, train=1))

    class Flat(Parser):
        def __init__(self, model):
            pass

        def parse(self, sentences, *more, **options):
            for words in sentences:
                one = tree(f"(TOP (S{''.join(f' (NN {word})' for word in words)}))")
                yield [Parse(one, 0.0, ())]

    monkeypatch.setattr(pcfg, "read_run", lambda run_dir: (experiment, None))
    monkeypatch.setattr(pcfg, "model_of", lambda run_dir: None)
    monkeypatch.setattr(pcfg, "data_of_run", lambda *given: object.__new__(_Trees))
    monkeypatch.setattr(pcfg, "Parser", Flat)
    return tmp_path


def test_both_are_scored_on_dev_and_every_test_set(run):
    record = bench_pcfg(run, run / "bench", Console(file=io.StringIO()))
    assert read_json(run / "bench" / "pcfg-parses.json") == record
    about = record["grammar"]
    assert (about["trees"], about["states"], about["rules"]) == (4, 14, 19)
    dev, news = (record["sets"][name]["parsers"] for name in ("dev", "news"))
    assert [record["sets"][name]["sentences"] for name in ("dev", "news")] == [2, 5]
    assert [dev[each]["f1"] for each in ("usual", "any", "gold")] == [100.0] * 3
    # Of the four constituents of each tree the model has S, and no other.
    assert dev["ours"]["f1"] == pytest.approx(100 * 2 * 2 / (2 + 8))
    assert dev["ours"]["tags"] == 50.0
    # Train has no tag like that of `oh`: without a tree its NP is missed.
    assert news["gold"]["failed"] == 1
    brackets = 3 + 4 + 4 + 6
    assert news["gold"]["f1"] == pytest.approx(100 * 2 * brackets / (2 * brackets + 1))
    assert news["ours"]["failed"] == 0


def test_a_record_is_shown_a_row_for_each_parser(run):
    record = bench_pcfg(run, run / "bench", Console(file=io.StringIO()))
    usual = "grammar over each word's usual tag"
    first, *_ = rows = figures(record)[1:]
    assert first[:4] == ["dev, 2 sentences", usual, "100.0", "100.0"]
    assert ["dev, 2 sentences", "ours", "40.0", "40.0", "50.0", "0", "0 s", "0 s"] in rows
    text = render_simpler([record])
    assert f"| parses | dev | F1 | 40.0 | {usual} 100.0, grammar over any" in text


def test_trees_without_tags_are_refused(run, monkeypatch):
    experiment = pcfg.read_run(run)[0]
    untagged = replace(experiment, data=replace(experiment.data, trees="xx"))
    monkeypatch.setattr(pcfg, "read_run", lambda run_dir: (untagged, None))
    with pytest.raises(UserError, match=r"data.trees of parses is 'xx'; wanted 'tags' or"):
        bench_pcfg(run, run / "bench", Console(file=io.StringIO()))
