"""Trees come out of a treebank as they stand there; what is none is said by its place."""

import bz2
import gzip
import io
import lzma
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiayn.data.sources import treebank
from aiayn.data.sources.treebank import Malformed, entries, pairs, parses, trees
from aiayn.data.trees import Bracket, Tree, clean, restore, write
from aiayn.errors import UserError
from aiayn.system.streams import STANDARD_INPUT
from tests.support.trees import nodes, text_of, tree, tree_of

GOOD = "(TOP (S (NP (NNP John)) (VP (VBZ sleeps)) (. .)))"
OTHER = "(TOP (NP (DT the) (NN †)))"
PRETTY = """
( (S
    (NP-SBJ (NNP John) )
    (VP (VBZ sleeps) )
    (. .) ))

(ROOT
\t(NP (DT the)
\t\t(NN †)))
"""


@pytest.fixture
def file(tmp_path):
    """A function that writes a treebank."""

    def write(data, name="train.mrg"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


def found(lines):
    """The trees written, and the flaws of what is none, by the line where each begins."""
    return [(e.line, write(e.tree) if e.tree else e.flaw) for e in entries(lines)]


# --- What is a treebank -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mrg", "a.ptb.gz", "a.trees"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_treebank_is_read_packed_or_not_by_what_it_begins_with(
    file, name, pack, encoding, ending
):
    if pack is bytes and name.endswith(".gz"):
        name = "a.ptb"
    data = f"{GOOD}\n{OTHER}".replace("\n", ending).encode(encoding)
    assert list(map(write, trees(file(pack(data), name)))) == [GOOD, OTHER]


def test_standard_input_is_a_treebank_too(monkeypatch):
    text = io.BytesIO(gzip.compress(GOOD.encode()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(text))
    assert list(map(write, trees(STANDARD_INPUT))) == [GOOD]


def test_a_tree_over_several_lines_is_the_tree_on_one():
    assert found(PRETTY.split("\n")) == [(2, GOOD.replace("(NP ", "(NP-SBJ ")), (7, OTHER)]


@pytest.mark.parametrize(
    "root", ["({})", "( {} )", "(TOP {})", "(ROOT {})", "(S1 {})", "((S1 {}))"]
)
def test_the_root_is_there_under_any_name_or_not(root):
    bare = "(S (NP (NNP John)))"
    assert tree(root.format(bare)) == tree(bare)
    assert write(tree(bare)) == f"(TOP {bare})"


def test_two_trees_on_a_line_are_two_and_a_root_around_two_is_one():
    assert [line for line, _ in found([f"{GOOD} {OTHER}", f"({GOOD} {OTHER})"])] == [1, 1, 2]


def test_labels_words_and_blanks_are_taken_as_they_stand():
    text = "(NP-SBJ=2\t(-LRB- -LRB-)(NN a\u00a0b) ( JJ \u2028x )\f(-NONE- *T*-1))"
    assert tree(text) == Tree(
        ("-LRB-", "a\u00a0b", "\u2028x", "*T*-1"),
        ("-LRB-", "NN", "JJ", "-NONE-"),
        (Bracket("NP-SBJ=2", 0, 4),),
    )


@given(st.lists(nodes, min_size=1, max_size=3), st.sampled_from([" ", "", "\n", "\n\n"]))
def test_every_tree_is_read_as_it_was_built(top, between):
    text = "".join(f"(TOP{between} {text_of(node, between, 2)})\n" for node in top)
    assert [e.tree for e in entries(text.split("\n"))] == [tree_of(node) for node in top]
    one = f"(TOP {' '.join(map(text_of, top))})"
    assert tree(one) == tree_of(*top) == tree(write(tree(one)))


# --- What is none -------------------------------------------------------------------------------

FLAWS = {
    "(S (NP (NN a))": "1 bracket is still open where line 3 begins another",
    "(S (NP (NN a": "3 brackets are still open where line 3 begins another",
    "(S (NN a)))": "a bracket too many is closed",
    "(()))": "a bracket too many is closed",
    ") )": "a bracket too many is closed",
    "(S (NN a)) dog": "'dog' stands beside brackets, not within one of its own",
    "no tree at all": "'no' stands beside brackets, not within one of its own",
    "(S dog (NN a))": "'dog' stands beside brackets, not within one of its own",
    "(S (NN a) dog)": "'dog' stands beside brackets, not within one of its own",
    "(S a dog (NN a))": "'a' stands beside brackets, not within one of its own",
    "((S (NN a)) dog)": "'dog' stands beside brackets, not within one of its own",
    "(S ((NN a)))": "a bracket within it has no label",
    "(S (NP) (NN a))": "a bracket in it holds no word",
    "(S (NP (X)) (NN a))": "a bracket in it holds no word",
    "(S () (NN a))": "a bracket in it holds no word",
    "(S (NN a\0))": "it holds a NUL",
    "(S (NN \udce4))": "it is not UTF-8 and looks like ISO-8859-1",
    "(NP (NN \ud83d))": "it holds half of a character, without the other half",
    "(())": "it holds no word",
    "(TOP)": "it holds no word",
    "(John)": "it holds no word",
    treebank.TOO_LONG: "a line of it is longer than 4,194,304 bytes",
}


@pytest.mark.parametrize("text", FLAWS, ids=ascii)
def test_what_is_no_tree_costs_itself_and_is_said_with_its_line(text):
    assert found([GOOD, text, OTHER]) == [(1, GOOD), (2, FLAWS[text]), (3, OTHER)]
    last = FLAWS[text].replace("where line 3 begins another", "at the end of the file")
    assert found([GOOD, text]) == [(1, GOOD), (2, last)]


def test_damage_within_a_tree_over_several_lines_costs_that_tree():
    lines = [line.replace("sleeps", "sl\0eps") for line in PRETTY.split("\n")]
    assert found(lines) == [(2, "it holds a NUL"), (7, OTHER)]
    lines[3] = treebank.TOO_LONG
    assert [line for line, _ in found(lines)] == [2, 7]


def test_a_tree_that_is_not_closed_ends_where_another_begins_however_far_to_the_right():
    lines = ["  (S (NP (NN a))", "     (VP (VB b))", "  (S (NN c))"]
    assert [line for line, _ in found(lines)] == [1, 3]
    assert found(lines)[1][1] == "(TOP (S (NN c)))"


@pytest.mark.parametrize("root", ["(", "( ", "(TOP", "(ROOT ", "( S1 "])
def test_lines_of_a_tree_with_a_root_need_no_indent(root):
    one = f"{root}\n(S\n(NP (NNP John))\n(VP (VBZ sleeps))\n(. .))\n)"
    broken = one.removesuffix("\n)")
    lines = f"{one}\n{broken}\n{root} (S (NN a)))\n{root}(S\n(NN b)))".split("\n")
    assert found(lines) == [
        (1, GOOD),
        (7, "1 bracket is still open where line 12 begins another"),
        (12, "(TOP (S (NN a)))"),
        (13, "(TOP (S (NN b)))"),
    ]
    # Without a root nothing tells a part of the tree from another one.
    assert found(["(S", "(NN a))"])[0] == (1, "1 bracket is still open where line 2 begins another")


def test_a_tree_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(treebank, "LONGEST_LINE", 100)
    lines = ["(S", *["  (NP (NN a))"] * 20, GOOD]
    assert found(lines) == [(1, "it is longer than 100 characters"), (22, GOOD)]


def test_dev_and_test_sets_are_refused_by_file_line_and_flaw(file):
    path = file(f"{GOOD}\n\n(S (NN a)\n", "dev.mrg")
    with pytest.raises(UserError, match=r"dev\.mrg, line 3, .*: 1 bracket is still open at .*; w"):
        list(trees(path))
    with pytest.raises(UserError, match=r"dev\.mrg, line 1, .*: 1 of its words hold blanks; wan"):
        list(trees(file("(NP (DT the) (NN Xpd TTD))", "dev.mrg")))
    with pytest.raises(UserError, match=r"dev\.mrg, line 2, .*: it holds no word; wanted"):
        list(trees(file(f"{GOOD}\n(())\n", "dev.mrg")))


def test_of_train_what_is_no_tree_is_counted_and_left_out(file):
    path = file(f"{GOOD}\n(S (NN a)\n(TOP (NN Xpd T D))\n(S a b (NN c))\n{OTHER}\n")
    seen = Malformed()
    assert list(map(write, trees(path, seen))) == [GOOD, "(TOP (NN Xpd_T_D))", OTHER]
    assert (seen.count, seen.joined) == (2, 1)
    assert seen.first == f"{path}, line 2: 1 bracket is still open where line 3 begins another"


def test_brackets_without_a_word_are_a_parsers_word_for_no_tree(file):
    texts = ["()", "(())", "(TOP)", "(TOP (S))", "( (X) (Y) )"]
    path = file("\n".join([GOOD, *texts]))
    assert [t and write(t) for t in parses(path)] == [GOOD, *[None] * len(texts)]
    with pytest.raises(UserError, match=r"line 1, .*a bracket in it holds no word"):
        list(parses(file("(S (NN a) (NP))")))


def test_a_file_in_another_encoding_is_refused_as_other_text_is(file):
    data = "(TOP (NN größer))\n".encode("latin-1") * 20
    with pytest.raises(UserError, match=r"line 1, .*: it is not UTF-8 and looks like ISO-8859-1; "):
        list(trees(file(data)))
    with pytest.raises(UserError, match=r"20 of 20 lines are not UTF-8.*iconv"):
        list(trees(file(data), Malformed()))


# --- As pairs for training ----------------------------------------------------------------------


def test_a_tree_is_its_words_and_its_symbols(file):
    skipped = []
    found = list(pairs(file(GOOD + PRETTY), "tags", lambda *each: skipped.append(each)))
    assert found[0] == ("John sleeps .", "(S (NP NNP )NP (VP VBZ )VP . )S")
    assert found[0] == found[1], "functions are no part of a label"
    assert found[2] == ("the †", "(NP DT NN )NP")
    ((_, symbols),) = pairs(file(GOOD), "xx", lambda *_: None)
    assert symbols == "(S (NP XX )NP (VP XX )VP . )S"
    assert not skipped


def test_a_word_that_cleaning_would_change_keeps_its_symbol(file):
    # Blanks within a word, one that nobody sees, a letter in two characters, and nothing else.
    words = ["a\u00a0b", "a\u200bb", "e\u0301", "\u200b", "Xpd TTD"]
    text = "".join(f"(NN {word})" for word in words)
    ((sentence, symbols),) = pairs(file(f"(TOP (NP {text}))"), "tags", lambda *_: None)
    assert sentence.split(" ") == ["a_b", "ab", "\u00e9", "_", "Xpd_TTD"]
    assert symbols == f"(NP {' '.join(['NN'] * 5)} )NP"


def test_what_is_no_tree_is_told_with_its_line_and_flaw(file):
    path = file(f"{GOOD}\n(TOP (S (NN a)\n{GOOD}\n(TOP (NP (-NONE- *)))\n(TOP (N\u200bP (NN a)))\n")
    skipped = []
    assert len(list(pairs(path, "tags", lambda *each: skipped.append(each)))) == 2
    reasons, places = zip(*skipped, strict=True)
    assert reasons == ("malformed_tree", "no_words", "invisible_characters")
    assert places[0].startswith(f"{path}, line 2 (")
    assert places[1:] == (f"{path}, line 4", f"{path}, line 5")


@given(st.lists(nodes, min_size=1, max_size=3))
def test_pairs_give_the_tree_back(top):
    tree = clean(tree_of(*top))
    text = f"(TOP {''.join(map(text_of, top))})"
    (entry,) = entries([text])
    found = list(treebank._pairs_of([entry], "", "tags", lambda *_: None))
    if entry.tree is not None and not entry.joined:
        ((sentence, symbols),) = found
        assert restore(symbols.split(), tree.words) == tree
        assert len(sentence.split(" ")) == len(tree.words)
