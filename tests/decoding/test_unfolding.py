from hypothesis import given
from hypothesis import strategies as st

from aiayn.decoding.unfolding import Unfolding
from tests.support.models import TOKENIZER

TEXTS = st.text(st.sampled_from("one two\u00e9\u4f60\U0001f600."), max_size=24)
STOPS = st.lists(st.text(st.sampled_from("one \u4f60."), min_size=1, max_size=4), max_size=3)


def _ids(text):
    (ids,) = TOKENIZER.encode([text])
    return ids


def _told(unfolding, ids, size):
    """What is told of growing ids, `size` more at a time."""
    told = [unfolding.tell(ids[:end], False) for end in range(size, len(ids), size)]
    return [*told, unfolding.tell(ids, True)]


def _up_to_a_stop(before, ids, stops):
    """The text after a prompt, looked at after each token."""
    (begin,) = TOKENIZER.decode([before])
    for end in range(1, len(ids) + 1):
        (text,) = TOKENIZER.decode([[*before, *ids[:end]]])
        ends = [at for at in map(text[len(begin) :].find, stops) if at >= 0]
        if ends:
            return text[len(begin) :][: min(ends)]
    (text,) = TOKENIZER.decode([[*before, *ids]])
    return text[len(begin) :]


@given(st.integers(1, 5), st.sampled_from("\u00e9\u4f60\U0001f600"))
def test_a_character_that_the_prompt_begins_is_the_first_of_what_comes_after(size, character):
    ids = _ids(f"one {character} two")
    is_byte = [piece.startswith("<0x") for piece in TOKENIZER.pieces(ids)]
    first = is_byte.index(True)
    for cut in range(first + 1, first + sum(is_byte)):
        unfolding = Unfolding(TOKENIZER, ids[:cut])
        assert unfolding.before.strip() == "one"
        assert "".join(_told(unfolding, ids[cut:], size)).strip() == f"{character} two"
    assert Unfolding(TOKENIZER, ids[: first + sum(is_byte)]).before == f"one {character}"


@given(TEXTS, TEXTS, STOPS, st.integers(1, 5))
def test_what_is_told_joined_is_the_text_up_to_the_first_stop(prompt, text, stops, size):
    before, ids = _ids(prompt), _ids(text)
    wanted = _up_to_a_stop(before, ids, stops)
    told = _told(Unfolding(TOKENIZER, before, stops), ids, size)
    assert "".join(told) == wanted
    assert "\ufffd" not in "".join(told)


@given(TEXTS, STOPS)
def test_a_stop_needs_the_fewest_tokens_that_hold_it(text, stops):
    ids = _ids(text)
    unfolding = Unfolding(TOKENIZER, [], stops)
    found, count = unfolding.text(ids)
    (whole,) = TOKENIZER.decode([ids])
    assert (count is None) == (not any(stop in whole for stop in stops))
    if count is not None:
        assert unfolding.text(ids[:count]) == (found, count)
        assert unfolding.text(ids[: count - 1])[1] is None


def test_what_may_begin_a_stop_is_kept_back_until_it_does_not():
    unfolding = Unfolding(TOKENIZER, [], ["two three"])
    first, second = _ids("one two"), _ids("one two four")
    assert "two" not in unfolding.tell(first, False)
    assert unfolding.tell(second, True).endswith("two four")


def test_an_incomplete_character_is_told_at_the_end_alone():
    ids = _ids("one \u4f60")
    cut = ids[:-1]  # the last of its three bytes is missing
    unfolding = Unfolding(TOKENIZER, [], [])
    assert unfolding.tell(cut, False).strip() == "one"
    assert "\ufffd" in unfolding.tell(cut, True)
