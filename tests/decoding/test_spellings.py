import itertools

import pytest

import aiayn.decoding.spellings
from aiayn.data.tokenizer import Tokenizer, train_tokenizer
from aiayn.decoding.spellings import START, _spellings, banned_sequences, prefix_ids
from aiayn.errors import UserError
from tests.support.models import TOKENIZER


def test_a_word_is_cut_in_all_ways_those_of_few_pieces_first():
    pieces = {piece: number for number, piece in enumerate(["a", "b", "ab", "ba", "aba", "c"])}
    for word in ("abab", "aabba", "abc", "d", "abd"):
        cuts = itertools.product((False, True), repeat=len(word) - 1)
        wanted = set()
        for cut in cuts:
            parts = "".join(c + " " * b for c, b in zip(word, (*cut, False), strict=True)).split()
            if set(parts) <= pieces.keys():
                wanted.add(tuple(pieces[part] for part in parts))
        found = list(_spellings(word, pieces))
        assert set(found) == wanted
        assert len(found) == len(wanted)
        assert [len(each) for each in found] == sorted(len(each) for each in wanted)


def test_of_a_long_word_the_first_cuts_are_banned_alone(monkeypatch):
    pieces = {"a" * n: n for n in range(1, 6)}
    found = list(_spellings("a" * 60, pieces))
    assert len(found) == aiayn.decoding.spellings._SPELLINGS
    assert {len(each) for each in found} <= {12, 13}


def test_the_work_for_a_long_word_grows_with_its_length(monkeypatch):
    # "abab…" has more shortest ways than can be counted.
    pieces = {"ab": 0, "a": 1, "b": 2, "ba": 3, "aba": 4, "bab": 5}
    popped, pop = [], aiayn.decoding.spellings.heapq.heappop
    monkeypatch.setattr(
        aiayn.decoding.spellings.heapq, "heappop", lambda heap: popped.append(None) or pop(heap)
    )
    for length in (100, 400):
        popped.clear()
        (*_, last) = found = list(_spellings("ab" * length, pieces))
        assert len(popped) <= len(found) * (len(last) + 1), "each way is gone once"


def test_banned_words_are_whole_words_however_they_are_cut():
    found = banned_sequences(["two", " ", "ten one"], TOKENIZER, "de")
    texts = {TOKENIZER.decode([[n for n in ids if n != START]])[0] for ids in found}
    assert texts == {"two", "ten one"}
    assert {*found.values()} == texts
    assert tuple(TOKENIZER.encode(["two"])[0]) in found
    for ids in found:
        first = "\u2581" if ids[0] != START else ""
        spelled = "".join(TOKENIZER.pieces([n for n in ids if n != START]))
        assert spelled in (f"{first}two", f"{first}ten\u2581one"), "after a blank, or at the start"
    pieces = [TOKENIZER.pieces(ids) for ids in found if START not in ids]
    assert ["\u2581", "t", "w", "o"] in pieces


def test_a_word_is_banned_at_the_start_of_a_line_and_behind_a_tab_too():
    lines = ["one two", "two one", "three four"] * 40
    kept = train_tokenizer(["\n".join(lines)], 280, documents=True)
    found = banned_sequences(["two "], kept, "de")
    (tab,) = kept.ids(["<0x09>"])
    for text, behind in (("one\ntwo", kept.line_break), ("one\ttwo", tab)):
        (ids,) = kept.encode([text])
        assert tuple(ids[ids.index(behind) :]) in found
    assert tuple(kept.encode(["two"])[0]) in found, "without the blank behind it"
    assert not any(START in each[1:] for each in found)
    assert {*found.values()} == {"two"}


def test_where_words_stand_without_blanks_they_are_banned_within_a_text():
    spelled = {
        language: {tuple(ids) for ids in banned_sequences(["好"], TOKENIZER, language)}
        for language in ("zh", "de")
    }
    letters = tuple(TOKENIZER.encode(["好"])[0])[1:]
    assert TOKENIZER.pieces(letters) == ["<0xE5>", "<0xA5>", "<0xBD>"], "no piece has it"
    blank = tuple(TOKENIZER.encode(["好"])[0])[:1]
    assert spelled["zh"] == {blank + letters, letters}
    assert spelled["de"] == {blank + letters, (START, *letters)}


def test_more_spellings_than_a_search_takes_are_refused(monkeypatch):
    count = len(banned_sequences(["one", "two"], TOKENIZER, "de"))
    monkeypatch.setattr(aiayn.decoding.spellings, "MOST_BANNED", count)
    assert len(banned_sequences(["one", "two"], TOKENIZER, "de")) == count
    said = (
        rf"have [\d,]+ spellings in the model's pieces; wanted at most {count}, .* some 1 of them"
    )
    with pytest.raises(UserError, match=said):
        banned_sequences(["one", "two", "six"], TOKENIZER, "de")


def _without_bytes(monkeypatch):
    """A tokenizer that has no pieces for "two"."""
    encode = Tokenizer.encode
    monkeypatch.setattr(
        Tokenizer,
        "encode",
        lambda self, texts: [
            [self.unknown] if text == "two" else encode(self, [text])[0] for text in texts
        ],
    )
    return TOKENIZER


def test_what_cannot_be_said_needs_no_ban(monkeypatch):
    assert banned_sequences(["\u2581"], TOKENIZER, "de") == {}, "SentencePiece's own sign"
    assert banned_sequences(["two"], _without_bytes(monkeypatch), "de") == {}


def test_a_prefix_is_held_against_banned_words_by_their_lengths():
    class Told(dict[tuple[int, ...], str]):
        def items(self):
            raise AssertionError("each word is looked at for each prefix")

    banned = Told(banned_sequences(["nine ten"], TOKENIZER, "de"))
    ids = TOKENIZER.encode_target(["nine", "nine ten"])
    assert prefix_ids(["nine"], TOKENIZER, [9], banned) == ids[:1]
    with pytest.raises(UserError, match="wanted one without 'nine ten'"):
        prefix_ids(["nine ten"], TOKENIZER, [99], banned)


def test_prefixes_are_the_ids_of_the_target():
    texts = ["one two", "", "  ", "ten"]
    encoded = TOKENIZER.encode_target(texts)
    limits = [len(encoded[0]), 9, 0, len(encoded[3])]
    assert prefix_ids(texts, TOKENIZER, limits, {}) == encoded


@pytest.mark.parametrize(
    ("texts", "most", "message"),
    [
        (["one", "e e e"], [9, 2], "The prefix of line 2 has 6 tokens; wanted at most 2,"),
        (["one"], [0], "The prefix of line 1 is 'one', and the line is empty; wanted none."),
        (["one", "two"], [9, 9], "The prefix of line 2 is 'two'; wanted only characters that the"),
        (
            ["one nine ten"],
            [99],
            "The prefix of line 1 is 'one nine ten'; wanted one without 'nine ten', a banned word.",
        ),
    ],
)
def test_prefixes_that_no_output_can_have_are_refused(monkeypatch, texts, most, message):
    tokenizer = _without_bytes(monkeypatch)
    banned = banned_sequences(["nine ten", "four"], tokenizer, "de")
    with pytest.raises(UserError) as caught:
        prefix_ids(texts, tokenizer, most, banned)
    assert str(caught.value).startswith(message)
