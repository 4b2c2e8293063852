"""Lanes: which text may have a slot of which, and what of a beam is certain."""

from concurrent.futures import Executor, Future
from dataclasses import replace

import numpy as np
import pytest

from aiayn.decoding.search import penalty
from aiayn.decoding.wishes import Wishes
from aiayn.errors import UserError
from aiayn.serve.lanes import (
    BANNED,
    BANNED_LENGTH,
    Ask,
    Lane,
    Output,
    _beginning,
    _penalty,
    check_banned,
    plans_of_translator,
    plans_of_writer,
)
from tests.support.models import CONTEXT
from tests.support.servers import of_long_outputs, served

MODELS = served()
DRAWN = Wishes(sample=1)


@pytest.fixture(scope="module")
def plans():
    """Plain, of single samples, of several outputs."""
    return _of_few(plans_of_translator(MODELS["pair"].translator))


def _of_few(plans):
    """All but those for requests of many texts, which come first."""
    number = sum(plan.is_of_many for plan in plans)
    assert all(plan.is_of_many for plan in plans[:number])
    return plans[number:]


def _first(plans, **asked):
    ask = Ask(**{"read": (5, 3), "first": 2, "most": 9, **asked})
    return next((number for number, plan in enumerate(plans) if plan.fits(ask)), None)


def test_a_text_has_the_first_lane_that_can_do_what_it_asks(plans):
    assert [plan.sizes.beam_size for plan in plans] == [3, 1, 3]
    assert _first(plans) == 0
    assert _first(plans, wishes=DRAWN) == 1
    assert _first(plans, wishes=Wishes(no_repeat=2)) == 2, "a search has the model's own beam"
    assert _first(plans, banned=((7,),)) == 2
    assert _first(plans, prefix=(7,)) == 2
    assert _first(plans, bias=((7, 0.5),)) == 2
    assert _first(plans, alpha=0.0) == 2
    assert _first(plans, num_outputs=3) == 2
    assert _first(plans, num_outputs=4) is None
    assert _first(plans, read=(5,) * 33) is None
    assert _first(plans, most=40) is None


def test_a_language_model_draws_in_the_context_one_text_or_several():
    plans = plans_of_writer(MODELS["text"].writer)
    room = {"before": 20, "read": (5,) * 20, "wishes": DRAWN}
    assert _first(plans, **room, most=CONTEXT - 21) == 0
    assert _first(plans, **room, most=CONTEXT - 20) is None
    assert _first(plans, **room, num_outputs=8) == 1


def test_a_short_text_has_room_for_most_outputs_unless_somebody_follows_it():
    small, large, *_ = _of_few(plans_of_translator(of_long_outputs().translator))
    assert (small.sizes.width, small.sizes.room, small.may_cut) == (32, 48, True)
    assert (large.sizes.width, large.sizes.room, large.may_cut) == (32, 92, False)
    ask = Ask((5, 3), 2, most=61)
    assert small.fits(ask)
    assert not small.fits(replace(ask, is_shown=True)), "what was told is never taken back"
    assert not small.fits(replace(ask, is_over=bool))
    assert small.fits(replace(ask, is_shown=True, most=47)), "there is room for all of it"
    assert not small.fits(replace(ask, prefix=(7,)))
    assert large.fits(replace(ask, is_shown=True))


class ByHand(Executor):
    """A thread that does what it is given when a test says so."""

    def __init__(self):
        self.given = []

    def submit(self, fn, /, *args, **kwargs):
        done = Future()
        self.given.append(lambda: done.set_result(fn(*args, **kwargs)))
        return done

    def work(self):
        self.given.pop(0)()


def test_a_turn_is_under_way_in_another_thread_and_a_slot_that_is_freed_meanwhile_is_free(plans):
    hand, ended = ByHand(), []
    lane = Lane(MODELS["pair"].translator, plans[0], hand)
    ask = Ask((5, 6, 3), 2, most=10)
    assert lane.look() == []
    lane.start([(1, ask), (2, ask)], 99, lambda: ended.append(True))
    assert (lane.is_busy, lane.num_inside, ended) == (True, 2, [])
    lane.drop([1])
    assert lane.num_inside == 1
    hand.work()
    assert (lane.is_busy, ended) == (False, [True])
    ((key, news),) = lane.look()
    assert (key, news.is_done, lane.num_inside) == (2, True, 0)
    # The slot is given to another text, whose turn comes after what frees it.
    lane.start([(3, ask)], 99, lambda: None)
    hand.work()
    hand.work()
    assert lane.look() == [(3, news)]


def test_of_what_is_biased_nothing_is_certain_before_the_end(plans):
    lane, ask = Lane(MODELS["pair"].translator, plans[2], ByHand()), Ask((5, 6, 3), 2, most=10)
    living = [Output((7, 8), -1.0, None), Output((7, 9), -2.0, None)]
    assert lane._certain(living, ask, is_done=False) == (7,)
    biased = replace(ask, bias=((9, 3.0),))
    assert lane._certain(living, biased, is_done=False) == ()
    assert lane._certain(living, biased, is_done=True) == (7, 8)


def test_a_text_of_which_nothing_more_is_needed_leaves_its_slot(plans):
    hand = ByHand()
    lane = Lane(MODELS["pair"].translator, plans[0], hand)
    ask = Ask((5, 6, 3), 2, most=10, is_over=lambda outputs: True)
    lane.start([(1, ask)], 1, lambda: None)
    hand.work()
    ((key, news),) = lane.look()
    assert (key, news.is_done, lane.num_inside) == (1, True, 0)
    assert news.outputs[0].ended is None, "it could have gone on"
    hand.work()
    assert lane._turns.look().finished_B.all()


def test_many_slots_are_in_lanes_small_enough_for_a_text_that_is_alone(plans, monkeypatch):
    def shared_out(plans):
        return [(plan.sizes.slots, plan.lanes) for plan in plans]

    assert [plan.sizes.beam_size for plan in plans] == [3, 1, 3]
    assert shared_out(plans) == [(2, 4), (8, 1), (2, 2)]
    # Where a step reads much, more share what that costs.
    monkeypatch.setattr("aiayn.serve.lanes._MANY", 0)
    found = _of_few(plans_of_translator(MODELS["pair"].translator))
    assert shared_out(found) == [(4, 2), (8, 1), (4, 1)]


def test_requests_of_many_texts_have_lanes_of_many_slots_for_what_is_plain(monkeypatch):
    light = plans_of_translator(of_long_outputs().translator)
    assert not any(plan.is_of_many for plan in light), "a step that reads little is not shared"
    monkeypatch.setattr("aiayn.serve.lanes._MANY", 0)
    few = _of_few(all_plans := plans_of_translator(of_long_outputs().translator))
    small, large = all_plans[: -len(few)]
    assert [(plan.sizes.width, plan.sizes.room) for plan in (small, large)] == [(32, 48), (32, 92)]
    assert [plan.may_cut for plan in (small, large)] == [True, False]
    # Two lanes with as many as the memory for a batch holds with a beam of 3, at most 24 in each.
    assert [plan.sizes.slots for plan in (small, large)] == [2_000 // (3 * 48), 2_000 // (3 * 92)]
    assert [(plan.lanes, plan.read_at_once) for plan in (small, large)] == [(2, 8), (2, 7)]
    assert [plan.read_at_once for plan in few] == [1] * 4
    ask = Ask((5, 3), 2, most=9)
    assert small.fits(ask)
    assert not any(plan.fits(replace(ask, prefix=(7,))) for plan in (small, large))


def test_texts_that_are_read_together_are_what_each_is(plans, monkeypatch):
    monkeypatch.setattr("aiayn.serve.lanes._MANY", 0)
    (many,) = (p for p in plans_of_translator(MODELS["pair"].translator) if p.is_of_many)
    texts = [(key, Ask((5 + key % 7, 6, 3), 2, most=10)) for key in range(11)]

    def found(plan, some):
        lane = Lane(MODELS["pair"].translator, plan, hand := ByHand())
        lane.start(some, 99, lambda: None)
        hand.work()
        return {key: news.outputs[0].ids for key, news in lane.look()}

    many = many._replace(sizes=many.sizes._replace(slots=8))
    assert many.read_at_once == 8
    together = found(many, texts[:8])
    alone = [found(many._replace(is_of_many=False), [each]) for each in texts[:8]]
    assert together == {key: ids for each in alone for key, ids in each.items()}
    assert found(many, texts[8:]) == {
        key: ids for each in texts[8:] for key, ids in found(plans[0], [each]).items()
    }, "also where fewer are left than are read at once"


def test_what_all_outputs_begin_with():
    assert _beginning([]) == ()
    assert _beginning([(1, 2, 3)]) == (1, 2, 3)
    assert _beginning([(1, 2, 3), (1, 2), (1, 2, 4)]) == (1, 2)
    assert _beginning([(1,), (), (1,)]) == ()


def _certain(lane, *outputs, alpha=None):
    ask = Ask((5, 3), 2, 9, alpha=alpha)
    return lane._certain([Output(*each) for each in outputs], ask, False)


def test_only_what_can_still_win_decides_what_is_certain(plans, monkeypatch):
    monkeypatch.setattr(Lane, "_empty", lambda lane: None)
    lane = Lane(MODELS["pair"].translator, plans[0])
    of_limit = (15 / 6) ** 0.6  # 9 words and EOS
    ended = (1, 2, 3), -1.0, "eos"
    assert _certain(lane, ((1, 2, 9), -2.0, None), ((1, 4), -3.0, None)) == (1,)
    assert _certain(lane, ended, ((1, 2, 9), -0.99 * of_limit, None)) == (1, 2)
    assert _certain(lane, ended, ((4, 4), -1.01 * of_limit, None)) == (1, 2, 3)
    assert _certain(lane, ended, ((1, 2, 9), -0.99, None), alpha=0.0) == (1, 2)
    assert _certain(lane, ended, ((4, 4), -1.01, None), alpha=0.0) == (1, 2, 3)


@pytest.mark.parametrize("form", ["gnmt", "length"])
def test_what_is_certain_goes_by_the_penalty_of_the_search(form):
    for length in (1, 9, 40):
        assert _penalty(length, 0.6, form) == pytest.approx(float(penalty(length, 0.6, form)))


def test_more_bans_than_there_are_places_for_are_refused_with_the_numbers():
    check_banned([(1,) * BANNED_LENGTH] * BANNED)
    with pytest.raises(UserError, match=r"have 129 spellings .* at most 128"):
        check_banned([(1,)] * (BANNED + 1))
    with pytest.raises(UserError, match="in 17 pieces; wanted at most 16"):
        check_banned([(1,) * (BANNED_LENGTH + 1)])


def test_an_end_that_the_tokenizer_does_not_have_comes_at_the_limit_alone(monkeypatch):
    monkeypatch.setattr(Lane, "_empty", lambda lane: None)
    writer = MODELS["text"].writer
    lane = Lane(writer, plans_of_writer(writer)[0])
    ask = Ask((5, 3), 2, 9, wishes=DRAWN)
    np.testing.assert_array_equal(lane._controls(ask).min_length_B, 0)
    monkeypatch.setattr(type(writer.tokenizer), "has_eos", False)
    np.testing.assert_array_less(CONTEXT, lane._controls(ask).min_length_B)
