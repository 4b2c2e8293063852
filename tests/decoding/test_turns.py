"""A search in turns: how long a turn is changes nothing that is found."""

import jax
import numpy as np
import pytest
from flax import nnx

from aiayn.decoding.controls import NOTHING
from aiayn.decoding.turns import Sizes, Structure, Turns
from aiayn.model.structure import build
from tests.support.servers import SIZES, served

TRANSLATOR = served()["pair"].translator
WIDTH = 8
SOURCES = ((5, 6, 7, 3), (9, 3), (5, 8, 8, 8, 11, 3), (12, 6, 3))
LIMITS = 12, 3, 7, 5


@pytest.fixture
def turns():
    """Four slots, with a sentence in each, whose outputs may have other lengths."""
    sizes = Sizes(len(SOURCES), WIDTH, room=12, beam_size=2, bos=2, eos=3, alpha=0.6)
    model = TRANSLATOR.programs.graphdef, TRANSLATOR.params, TRANSLATOR.weights
    return _begun(Turns(*model, sizes, NOTHING))


def _begun(turns):
    ids, segments = np.zeros((2, len(SOURCES), WIDTH), np.int32)
    for row, source in enumerate(SOURCES):
        ids[row, : len(source)], segments[row, : len(source)] = source, 1
    turns.begin(np.arange(len(SOURCES)), ids, segments, np.array(LIMITS), NOTHING)
    return turns


def test_a_turn_until_one_ends_takes_no_step_more_and_finds_the_same(turns):
    ages, ended = [], []
    while not turns.look().finished_B.all():
        turns.advance(99, until_one_ends=True)
        ended.append(int(turns.finished().sum()))
        ages.append(int(turns.look().age_B.max()))
    by_turns = turns.look()
    assert ended == sorted({*ended}), "each turn ended a sentence"
    assert len(ended) > 1
    assert ages == sorted({*by_turns.age_B.tolist()}), "a turn was as long as the shortest left"

    at_once = _begun(turns)
    at_once.advance(99)
    np.testing.assert_array_equal(at_once.finished(), True)
    for one, other in zip(by_turns.ended, at_once.look().ended, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_has_ended_is_known_without_a_look(turns):
    np.testing.assert_array_equal(turns.finished(), True)  # of slots before the first turn
    for _ in range(max(LIMITS)):
        turns.advance(1)
        np.testing.assert_array_equal(turns.finished(), turns.look().finished_B)
    assert turns.finished().all()


def test_a_look_is_the_same_with_what_the_steps_left_and_by_a_program_of_its_own(turns):
    for _ in range(max(LIMITS)):
        turns.advance(1)
        left = turns.look()
        turns.end(np.zeros(0, np.int32))  # after which what the steps left counts no more
        for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(turns.look()), strict=True):
            np.testing.assert_array_equal(one, other)


def test_what_is_ended_is_seen_to_be_straight_after(turns):
    turns.advance(1)
    assert not turns.look().finished_B.any()
    turns.end(np.array([2]))
    assert turns.look().finished_B.tolist() == [False, False, True, False]


def test_structures_are_equal_as_what_they_hold_is():
    one, same = (Structure(build(SIZES, 30)) for _ in range(2))
    other = Structure(build(SIZES, 31))
    assert isinstance(one.graphdef, nnx.GraphDef)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != one.graphdef
