"""Trees by hand, and that what spells one spells no other."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiayn.data.trees import (
    MARKS,
    PUNCTUATION,
    UNTAGGED,
    Bracket,
    Tree,
    clean,
    linearise,
    mark,
    mark_in,
    restore,
    restricted,
    write,
)
from tests.support.trees import LABELS, nodes, tree, tree_of

JOHN = tree("(TOP (S (NP (NNP John)) (VP (VBZ sleeps)) (. .)))")


def same(text: str, found: Tree) -> bool:
    return write(found) == write(tree(text))


# --- Spelling -----------------------------------------------------------------------------------


def test_the_example_of_tensor2tensor_and_of_vinyals():
    assert JOHN.words == ("John", "sleeps", ".")
    assert JOHN.tags == ("NNP", "VBZ", ".")
    assert JOHN.brackets == (Bracket("S", 0, 3), Bracket("NP", 0, 1), Bracket("VP", 1, 2))
    assert " ".join(linearise(JOHN)) == "(S (NP NNP )NP (VP VBZ )VP . )S"
    assert " ".join(linearise(JOHN, "xx")) == "(S (NP XX )NP (VP XX )VP . )S"
    assert write(JOHN) == "(TOP (S (NP (NNP John)) (VP (VBZ sleeps)) (. .)))"


def test_of_unary_constituents_the_outer_one_opens_first_and_closes_last():
    found = tree("(S (S (VP (NP (NN a)))))")
    assert [bracket.label for bracket in found.brackets] == ["S", "S", "VP", "NP"]
    assert " ".join(linearise(found)) == "(S (S (VP (NP NN )NP )VP )S )S"


def test_the_root_is_spelt_where_it_holds_more_than_one_constituent():
    for text, symbols in (
        ("(TOP (S (NN a)) (S (NN b)))", "(TOP (S NN )S (S NN )S )TOP"),
        ("(TOP (S (NN a)) (. .))", "(TOP (S NN )S . )TOP"),
        ("(TOP (UH yes))", "(TOP UH )TOP"),
    ):
        assert " ".join(linearise(tree(text))) == symbols
        assert write(restore(symbols.split(), tree(text).words)) == text


@given(st.lists(nodes, min_size=1, max_size=3))
def test_symbols_give_the_tree_back_over_its_words(top):
    found = tree_of(*top)
    assert restore(linearise(found), found.words) == found
    untagged = restore(linearise(found, "xx"), found.words)
    assert (untagged.words, untagged.brackets) == (found.words, found.brackets)
    assert linearise(untagged, "xx") == linearise(found, "xx")
    assert all(
        ours in (theirs, UNTAGGED) for ours, theirs in zip(untagged.tags, found.tags, strict=True)
    )


@given(st.lists(nodes, min_size=1, max_size=3))
def test_marks_of_words_are_no_part_of_the_tags(top):
    found = tree_of(*top)
    marked = linearise(found, "marked")
    assert restore(marked, found.words) == found
    leaves = [symbol for symbol in marked if symbol[0] not in "()"]
    for leaf, tag, word in zip(leaves, found.tags, found.words, strict=True):
        assert leaf == (tag if tag in PUNCTUATION else f"{tag}~{mark(word)}")
        assert mark_in(leaf) == (None if tag in PUNCTUATION else mark(word))


def test_a_mark_is_of_the_word_as_a_tokenizer_gives_it_back():
    assert " ".join(linearise(JOHN, "marked")) == "(S (NP NNP~0 )NP (VP VBZ~2 )VP . )S"
    assert [mark(word) for word in ("e\u0301", "a\u2581b", "a\u00a0b")] == [
        mark(word) for word in ("\u00e9", "a_b", "a_b")
    ]
    words = [f"word{n}" for n in range(800)]
    counts = Counter(map(mark, words))
    assert len(counts) == MARKS
    assert max(counts.values()) < 2 * min(counts.values()), "all come about as often"
    assert mark_in("NN") is mark_in("NN~8") is mark_in("(S~3)") is mark_in("~3") is None


def test_brackets_and_blanks_in_a_word_are_written_as_treebanks_have_them():
    found = restore(["(S", "NN", "CD", "NN", ")S"], ["f(x)", "10 \t000", ""])
    assert write(found) == "(TOP (S (NN f-LRB-x-RRB-) (CD 10_000) (NN _)))"
    assert tree(write(found)).brackets == found.brackets


# --- Cleaning -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("(S (NP-SBJ=2 (NN a)) (VP|X-1=3 (VB b)))", "(S (NP (NN a)) (VP|X (VB b)))"),
        ("(NP=1-SBJ (NN-X a))", "(NP (NN a))"),
        ("(PRN (-LRB- -LRB-) (NN a-b=c) (-RRB- -RRB-))",) * 2,
        ("(S (PRT|ADVP (RB up)))",) * 2,
        ("(NP (PRP$ my) (POS 's))",) * 2,
        # A trace whose parents hold nothing else goes with them; one beside a word goes alone.
        (
            "(S (NP-SBJ (-NONE- *)) (VP (VB go) (SBAR (-NONE- 0) (S (-NONE- *T*-1)))))",
            "(S (VP (VB go)))",
        ),
        ("(S (WHNP-1 (-NONE- 0)) (NP (NN a) (-NONE- *T*-1) (NN b)))", "(S (NP (NN a) (NN b)))"),
        # What is a root without its function, or once nothing stands beside it, is one.
        ("(ROOT-X (S (NN a)))", "(S (NN a))"),
        ("(S (NN 10\u00a0000\u2009m) (NN \u3000))", "(S (NN 10_000_m) (NN _))"),
    ],
)
def test_cleaning(raw, wanted):
    assert clean(tree(raw)) == tree(wanted)
    assert clean(clean(tree(raw))) == clean(tree(raw))


def test_a_tree_of_traces_alone_has_no_words_and_no_symbols():
    found = clean(tree("(S (NP (-NONE- *)) (VP (-NONE- *?*)))"))
    assert found == Tree((), (), ())
    assert linearise(found) == ()
    assert restore((), ()) == found


def test_the_spans_of_what_is_left_count_the_words_that_are_left():
    found = restricted(
        tree("(S (, ,) (NP (NN a) (, ,) (NN b)) (X (, ,)) (VP (VB c)))"),
        [False, True, False, True, False, True],
    )
    assert found == tree("(S (NP (NN a) (NN b)) (VP (VB c)))")


# --- Repair -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbols", "words", "wanted"),
    [
        # Open ends are closed.
        ("(S (NP NN )NP (VP VB", "a b", "(S (NP (NN a)) (VP (VB b)))"),
        # A closing closes all down to its label.
        ("(S (NP (PP IN NN )NP VB )S", "a b c", "(S (NP (PP (IN a) (NN b))) (VB c))"),
        # One that closes nothing is dropped, so are tags, openings after the last word.
        ("(S NN )VP NN )S )S", "a b", "(S (NN a) (NN b))"),
        ("(S NN (NP NN (X VB )X )NP VB )S", "a b", "(S (NN a) (NP (NN b)))"),
        # Empty constituents vanish, also those around empty ones.
        ("(S (NP (NP )NP )NP NN )S", "a", "(S (NN a))"),
        # Words that are left go to the outermost constituent, closed or not, and to no other.
        ("(S (NP NN )NP )S", "a b c", "(S (NP (NN a)) (XX b) (XX c))"),
        ("(S (NP NN", "a b", "(S (NP (NN a)) (XX b))"),
        ("(NP )NP (S (NP", "a b", "(S (XX a) (XX b))"),
        ("(S NN )S (NP", "a b", "(S (NN a) (XX b))"),
        # Which is the root where none is over all words so far.
        ("(S NN )S (NP NN", "a b c", "(TOP (S (NN a)) (NP (NN b)) (XX c))"),
        ("NN (NP NN )NP", "a b c", "(TOP (NN a) (NP (NN b)) (XX c))"),
        ("(TOP (S NN )S )TOP", "a b", "(TOP (S (NN a)) (XX b))"),
        ("", "a b", "(TOP (XX a) (XX b))"),
        # A root is one by any of its names, wherever it stands.
        ("(ROOT (S (S1 NN )S1 )S )ROOT", "a", "(S (NN a))"),
        # What is no label, and no tag, is none.
        ("( (S (N(P NN )N(P ) a( )S", "a b", "(S (NN a) (XX b))"),
    ],
)
def test_repair(symbols, words, wanted):
    assert restore(symbols.split(), words.split()) == tree(wanted)


ANY_SYMBOL = st.one_of(
    st.sampled_from([f"{side}{label}" for label in (*LABELS, "TOP", "") for side in "()"]),
    st.sampled_from(["NN", "VB", ".", "XX"]),
    st.text("()aS \t\u00a0", max_size=3),
)


@given(st.lists(ANY_SYMBOL), st.lists(st.sampled_from("abc"), max_size=6))
@example(["(S", "(S", "NN", ")S"], ["a", "b"])
def test_any_symbols_give_a_tree_over_exactly_the_words_and_spell_it_from_then_on(symbols, words):
    found = restore(symbols, words)
    assert found.words == tuple(words)
    assert restore(linearise(found), words) == found
    if words:
        assert tree(write(found)) == found


# --- Depth --------------------------------------------------------------------------------------

DEEP = 20_000


def test_no_tree_is_too_deep():
    text = "(S " * DEEP + "(NN a)" + " (NN b))" * DEEP
    found = tree(text)
    assert len(found.brackets) == DEEP
    assert found.brackets[-1] == Bracket("S", 0, 2)
    assert tree(write(found)) == found == clean(found)
    assert restore(linearise(found), found.words) == found


def test_repair_looks_at_each_symbol_once():
    # Each of many closings would be looked for among as many that are open.
    found = restore(["(NP"] * DEEP + [")VP"] * DEEP + ["NN"], ["a"])
    assert len(found.brackets) == DEEP
