"""Raw text is cut as the Penn Treebank is, by hand; what is cut already stays as it is."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiayn.data.penn import Token, tokens, words

CUT = {
    # Contractions and possessives.
    "He isn't here.": "He is n't here .",
    "They can't, won't and shouldn't've.": "They ca n't , wo n't and should n't 've .",
    "I'm sure she'll say he'd seen they're mine, I've no doubt.": (
        "I 'm sure she 'll say he 'd seen they 're mine , I 've no doubt ."
    ),
    "Anna's, the dogs'll: a'n't": "Anna 's , the dogs 'll : a ' n't",
    "Anna's dogs' bowls": "Anna 's dogs ' bowls",
    "ISN'T IT HIS?": "IS N'T IT HIS ?",
    "I cannot; we're gonna go, gimme more'n that.": (
        "I can not ; we 're gon na go , gim me more 'n that ."
    ),
    "'Tis late, 'twas late in the '90s": "'T is late , 't was late in the '90s",
    "O'Brien's": "O'Brien 's",
    "don\u2019t": "do n't",
    # Quotes.
    '"Go," he said.': "`` Go , '' he said .",
    'He said "yes."': "He said `` yes . ''",
    'He ("the boss") left': "He -LRB- `` the boss '' -RRB- left",
    'a " b " c': "a `` b '' c",
    "\u201cGo,\u201d he said, \u2018now\u2019.": "`` Go , '' he said , ` now ' .",
    "'Go,' he said": "` Go , ' he said",
    # Brackets and dashes.
    "a (b) [c] {d}": "a -LRB- b -RRB- -LSB- c -RSB- -LCB- d -RCB-",
    "red--or blue\u2014was": "red -- or blue -- was",
    "a well-known 1990\u20131995 plan": "a well-known 1990-1995 plan",
    # Abbreviations, the final period, ellipsis.
    "Mr. Smith of the U.S. left.": "Mr. Smith of the U.S. left .",
    "He left the U.S.": "He left the U.S. .",
    "She has a Ph.D.": "She has a Ph.D. .",
    "She moved to Pa.": "She moved to Pa. .",
    "He said no.": "He said no .",
    "Acme Inc.": "Acme Inc. .",
    "We met at 9 a.m.": "We met at 9 a.m. .",
    "He left (at last.)": "He left -LRB- at last . -RRB-",
    "Well... yes...": "Well ... yes ...",
    "Well\u2026": "Well ...",
    "Really?!": "Really ? !",
    # Numbers, money, signs.
    "It fell 3.5% to $10,000.": "It fell 3.5 % to $ 10,000 .",
    "US$5, C$.50 and #7 at 9:30: R&D, AT&T": "US$ 5 , C$ .50 and # 7 at 9:30 : R&D , AT&T",
    "red,white; 1,000, 2:1": "red , white ; 1,000 , 2:1",
    "See https://a.org/b?c=d, or mail a@b.org.": "See https://a.org/b?c=d , or mail a@b.org .",
    "and/or 3/4": "and/or 3/4",
    # Nothing, and what nobody sees.
    "": "",
    " \u200b ": "",
    "so\u00adft\u00a0ly e\u0301": "soft ly \u00e9",
    "She isn't\u200b here.": "She is n't here .",
    "\u200eShe sleeps.\u200f": "She sleeps .",
    "I can\u00adnot go.\ufeff": "I can not go .",
    ".": ".",
    "'": "'",
}


@pytest.mark.parametrize("text", CUT)
def test_text_is_cut_by_the_treebanks_rules(text):
    assert " ".join(words(text)) == CUT[text]


def test_every_word_says_where_it_stands():
    text = 'He "can\u2019t" go to the U.S.'
    found = tokens(text)
    assert [(t.text, text[t.start : t.end]) for t in found] == [
        ("He", "He"),
        ("``", '"'),
        ("ca", "ca"),
        ("n't", "n\u2019t"),
        ("''", '"'),
        ("go", "go"),
        ("to", "to"),
        ("the", "the"),
        ("U.S.", "U.S."),
        (".", "."),
    ]
    assert found[-1] == Token(".", len(text) - 1, len(text))
    hidden = "\u200bHe is\u00adn't\u200b in."
    assert [hidden[t.start : t.end] for t in tokens(hidden)] == ["He", "is", "n't", "in", "."]


def test_a_word_of_many_endings_is_cut_from_its_end_on():
    count = 20_000
    assert words("a" + "'s" * count) == ["a", *["'s"] * count]


SIGNS = " .,;:?!'\"`()[]$%-&/…’“"
PIECES = ["a", "I", "don't", "U.S", "cannot", "'s", "n't", "etc", "1", "9", *SIGNS]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_text_is_cut_once_and_loses_nothing(text):
    found = tokens(text)
    cut = [token.text for token in found]
    assert words(" ".join(cut)) == cut
    covered = {place for token in found for place in range(token.start, token.end)}
    assert covered == {place for place, c in enumerate(text) if not c.isspace()}
    # In order, and apart but for the full stop of an abbreviation.
    for one, next_ in itertools.pairwise(found):
        assert one.end <= next_.start or (next_.text == "." and one.end == next_.end)
