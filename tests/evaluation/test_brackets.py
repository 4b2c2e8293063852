"""Bracket F1 against EVALB's counts by hand, and by what must hold of any trees."""

import random
from dataclasses import asdict, astuple, replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiayn.data.trees import Bracket, Tree, linearise, restore
from aiayn.errors import UserError
from aiayn.evaluation.brackets import Counts, score, score_files, show
from aiayn.render.terminal import Terminal
from tests.support.evalb import CASES, Counted
from tests.support.trees import MARK_TAGS, nodes, shaken, tree, tree_of

S = "(S (NP (DT the) (NN dog)) (VP (VBZ barks) (ADVP (RB loudly))) (. .))"


def counted(gold: Tree, parsed: Tree | None) -> Counts:
    return score([gold], [parsed]).all.counts


def in_order(counts: Counts) -> Counted:
    """Ours, in EVALB's order."""
    found = asdict(counts)
    return Counted(**{name: found[name] for name in Counted._fields})


# --- EVALB --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_sentence_is_counted_as_evalb_has_it_or_as_is_said(name):
    case = CASES[name]
    wanted = case.ours or case.evalb
    parsed = None if case.parsed == "(())" else tree(case.parsed)
    if isinstance(wanted, str):
        with pytest.raises(UserError, match=wanted):
            counted(tree(case.gold), parsed)
    else:
        assert in_order(counted(tree(case.gold), parsed)) == wanted


def test_what_evalb_leaves_out_stays_in_the_sums_or_is_named():
    gold = tree(S)
    dots = tree("(NP (. .) (. .))")
    found = score([gold, gold, dots, gold], [gold, None, dots, None])
    # Of twelve constituents one sentence's four are right; no parse is no constituent.
    assert (found.all.counts.gold, found.all.counts.parsed) == (12, 4)
    assert found.all.recall == pytest.approx(100 / 3)
    assert found.all.precision == 100
    assert found.all.f1 == pytest.approx(50)
    assert found.failed == (2, 4)
    assert found.empty == (3,)
    crossed = tree("(S (DT the) (X (NN dog) (VBZ barks)) (RB loudly) (. .))")
    assert (counted(gold, crossed).crossing, counted(gold, crossed).uncrossed) == (1, 0)
    # Three sentences have words: one is exact, and one has a parse in which nothing crosses.
    assert found.all.exact == found.all.uncrossed == pytest.approx(100 / 3)
    # So are four of twelve tags.
    assert found.all.tags == pytest.approx(100 / 3)


def test_a_trace_in_the_parse_is_no_word_and_one_that_is_a_word_stays_one():
    gold = tree("(S (NP (NN dog)) (VP (VBZ barks)))")
    assert counted(gold, tree("(S (NP (-NONE- *) (NN dog)) (VP (VBZ barks)))")).exact == 1
    assert counted(gold, tree("(S (NP (NN dog)) (VP (-NONE- barks)))")).exact == 1


# --- Sums ---------------------------------------------------------------------------------------


def test_counts_are_summed_before_they_are_divided():
    # One of one is right, and three of five: 4 of 6, where the mean of the two would be 80.
    small, large = tree("(NP (NN dog))"), tree("(A (B (C (D (E (NN a))))))")
    found = score([small, large], [small, tree("(A (B (C (X (Y (Z (NN a)))))))")])
    assert found.all.recall == pytest.approx(100 * 4 / 6)
    assert found.all.precision == pytest.approx(100 * 4 / 7)
    assert found.all.f1 == pytest.approx(100 * 2 * 4 / (6 + 7))
    assert found.all.exact == 50


def test_sentences_of_forty_words_are_short_whatever_punctuation_and_traces_they_have():
    def long(words: str) -> Tree:
        return tree(f"(S {' '.join(f'({word} x)' for word in words.split())})")

    forty = long("NN " * 39 + ". " + "-NONE- " * 5)
    more = long("NN " * 40 + ".")
    found = score([forty, more], [forty, more])
    assert (found.short.counts.sentences, found.all.counts.sentences) == (1, 2)
    none = score([more], [more]).short
    assert (none.f1, none.exact, none.tags, none.crossing) == (None, None, None, None)


def test_parses_without_tags_have_no_tagging_accuracy():
    gold = tree(S)
    without = restore(linearise(gold, "xx"), gold.words)
    found = score([gold], [without])
    assert (found.all.f1, found.all.tags, found.short.tags) == (100, None, None)
    # Of four words, all but one without a tag.
    some = replace(without, tags=(*gold.tags[:1], *without.tags[1:]))
    assert score([gold, gold], [without, some]).all.tags == pytest.approx(100 / 8)


def test_of_no_constituents_nothing_is_said():
    found = score([tree("(TOP (UH yes))")], [tree("(TOP (UH yes))")])
    assert (found.all.f1, found.all.recall, found.all.precision) == (None, None, None)
    assert (found.all.exact, found.all.tags) == (100, 100)


def test_the_signature_is_one_line_that_holds_the_number_of_sentences():
    found = score([tree(S)] * 3, [tree(S)] * 3)
    assert "|n:3|" in found.signature
    assert "\n" not in found.signature


# --- Any trees ----------------------------------------------------------------------------------

tops = st.lists(nodes, min_size=1, max_size=3)
seeds = st.integers(0, 999)
few = settings(max_examples=40)


def crossing(gold: Tree, parsed: Tree) -> int:
    """Each of the parse against each right one, of trees without punctuation."""
    return sum(
        any(a < start < b < end or start < a < end < b for _, a, b in gold.brackets)
        for _, start, end in parsed.brackets
    )


@few
@given(tops)
def test_a_tree_is_its_own_best_parse(top):
    gold = tree_of(*top)
    found = counted(gold, gold)
    assert found.matched == found.gold == found.parsed
    assert (found.exact, found.uncrossed, found.crossing) == (found.sentences, found.sentences, 0)
    assert found.tagged == found.words


@few
@given(tops, seeds)
def test_recall_and_precision_are_each_others_with_both_sides_exchanged(top, seed):
    gold = tree_of(*top)
    parsed = shaken(gold, random.Random(seed))
    there, back = counted(gold, parsed), counted(parsed, gold)
    assert (there.matched, there.gold, there.parsed) == (back.matched, back.parsed, back.gold)
    assert there.matched <= min(there.gold, there.parsed)
    assert there.exact == back.exact


@few
@given(tops, seeds)
def test_crossing_is_that_of_each_against_each(top, seed):
    gold = tree_of(*top)
    gold = Tree(gold.words, ("NN",) * len(gold.words), gold.brackets)
    parsed = shaken(gold, random.Random(seed), changes=12)
    assert counted(gold, parsed).crossing == crossing(gold, parsed)


@few
@given(tops, seeds)
def test_where_the_parse_puts_punctuation_changes_nothing(top, seed):
    gold = tree_of(*top)
    # Tags of words stay; each mark of the parse moves to where a bracket next to it ends.
    rng = random.Random(seed)
    parsed = shaken(gold, rng)
    symbols = list(linearise(parsed))
    for place in range(len(symbols) - 1):
        if symbols[place] in MARK_TAGS and symbols[place + 1][0] in "()" and rng.random() < 0.5:
            symbols[place : place + 2] = symbols[place + 1], symbols[place]
    moved = restore(symbols, parsed.words)
    if len(moved.brackets) == len(parsed.brackets):  # else an opening came after the last word
        assert counted(gold, moved) == counted(gold, parsed)


@few
@given(tops)
def test_each_constituent_that_is_missing_costs_its_share_of_the_recall(top):
    gold = tree_of(*top)
    whole = counted(gold, gold)
    for place in range(len(gold.brackets)):
        less = Tree(gold.words, gold.tags, gold.brackets[:place] + gold.brackets[place + 1 :])
        found = counted(gold, less)
        missing = whole.gold - found.parsed
        assert missing in (0, 1)  # 0 of punctuation alone
        assert (found.matched, found.gold) == (whole.gold - missing, whole.gold)


def test_thousands_of_words_and_constituents_are_compared_at_once():
    # Each against each would be some hundred million comparisons.
    size = 5_000
    right = tuple(Bracket("NP", place, size) for place in range(size))
    left = tuple(Bracket("NP", 0, size - place) for place in range(size))
    words, tags = ("a",) * size, ("NN",) * size
    found = counted(Tree(words, tags, right), Tree(words, tags, left))
    # Only the whole is in both; all others of at least two words cross.
    assert (found.matched, found.crossing) == (1, size - 2)


# --- What cannot be compared --------------------------------------------------------------------


def test_other_words_are_refused_with_the_sentence_and_the_word():
    for parsed, said in (
        ("(S (NN a) (NN x))", "sentence 2 .*: word 2 is 'x'; wanted 'b'"),
        ("(S (NN a))", "sentence 2 .*: word 2 is no word; wanted 'b'"),
        ("(S (NN a) (NN b) (NN c))", "sentence 2 .*: word 3 is 'c'; wanted no word"),
    ):
        gold = tree("(S (NN a) (NN b))")
        with pytest.raises(UserError, match=said):
            score([gold, gold], [gold, tree(parsed)])
    with pytest.raises(UserError, match=r"sentence 1 .*: word 1 is '!'; wanted '\.'"):
        score([tree("(X (. .))")], [tree("(X (. !))")])


def test_a_word_in_another_form_of_unicode_is_the_same():
    for ours, theirs in product(
        ("Zo\u00eb", "Zoe\u0308"), ("10_000", "10\u00a0000", "10\u202f000")
    ):
        assert counted(
            tree("(NP (NN Zoe\u0308) (CD 10\u00a0000))"), tree(f"(NP (NN {ours}) (CD {theirs}))")
        ).exact


def test_a_word_as_training_spells_it_is_the_same():
    # `▁` is what pieces of words begin with; what is invisible is written as something.
    gold = tree("(NP (NN a\u2581b) (NN \u00ad))")
    assert counted(gold, tree("(NP (NN a_b) (NN _))")).exact


def test_other_numbers_of_trees_are_refused(tmp_path):
    with pytest.raises(UserError, match="1 parses of 2 trees"):
        score([tree(S)] * 2, [tree(S)])
    with pytest.raises(UserError, match="0 parses of 0 trees"):
        score([], [])
    gold, parsed, none = (tmp_path / name for name in ("gold.mrg", "out.trees", "none"))
    gold.write_text(f"{S}\n" * 3)
    parsed.write_text(f"{S}\n\n{S}\n")
    none.write_text("")
    with pytest.raises(
        UserError, match=r"out\.trees has 2 trees; wanted 3, as many as .*gold\.mrg"
    ):
        score_files(gold, parsed)
    with pytest.raises(UserError, match=r"none holds no tree"):
        score_files(none, parsed)


def test_files_are_scored_as_their_trees_are(tmp_path):
    gold, parsed = tmp_path / "gold.mrg", tmp_path / "out.trees"
    gold.write_text(f"({S})\n\n({S})\n")
    parsed.write_text(f"(ROOT\n  {S})\n(())\n")
    assert score_files(gold, parsed) == score([tree(S)] * 2, [tree(S), None])
    parsed.write_text(f"{S}\n(S (NN x))\n")
    with pytest.raises(UserError, match=r"out\.trees: sentence 2 has other words"):
        score_files(gold, parsed)


# --- The table ----------------------------------------------------------------------------------


def test_the_table_shows_the_figures_and_names_what_was_not_as_usual(capsys):
    gold, dots = tree(S), tree("(NP (. .))")
    show(score([gold, dots, *[gold] * 12], [gold, dots, *[None] * 12]), Terminal())
    shown = capsys.readouterr().out
    # One of 13 sentences has its four constituents: a recall of 1/13, and F1 2/14.
    rows = [line.split() for line in shown.splitlines()]
    figures = ["14.29", "7.69", "100.00", "7.69", "7.69", "0.00", "7.69", "13", "4", "52", "4"]
    assert ["all", *figures] in rows
    assert ["up", "to", "40", "words", *figures] in rows
    assert "12 sentences have no parse: all their constituents count as missed (3, 4, " in shown
    assert ", 12, …)" in shown
    assert "1 sentences hold punctuation alone: nothing of them is counted (2)" in shown
    assert score([gold], [gold]).signature.replace("n:1", "n:14") in shown


def test_what_was_not_taken_is_shown_as_such(capsys):
    only = tree("(TOP (XX yes))")
    show(score([only], [only]), Terminal())
    assert ["all", "–", "–", "–", "100.00", "–", "0.00", "100.00", "1", "0", "0", "0"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


def test_counts_are_numbers_of_their_own():
    # What is summed is summed place by place.
    gold = tree(S)
    one = astuple(counted(gold, gold))
    assert astuple(score([gold] * 3, [gold] * 3).all.counts) == tuple(3 * each for each in one)
