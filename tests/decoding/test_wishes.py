import math
import subprocess
import sys

import pytest

from aiayn.decoding.wishes import Wishes
from aiayn.errors import UserError


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"no_repeat": 0}, "no_repeat is 0; wanted a whole number of 1 or more."),
        ({"no_repeat": -2}, "no_repeat is -2; wanted a whole number of 1 or more."),
        ({"no_repeat": True}, "no_repeat is True; wanted a whole number of 1 or more."),
        ({"min_length": 0}, "min_length is 0; wanted a whole number of 1 or more."),
        ({"sample": 0}, "sample is 0; wanted a whole number of 1 or more, at most 1000."),
        ({"sample": 10**9}, "sample is 1000000000; wanted a whole number of 1 or more, at most"),
        ({"sample": 1, "temperature": math.nan}, "temperature is nan; wanted a number of 0 or"),
        ({"sample": 1, "temperature": -0.1}, "temperature is -0.1; wanted a number of 0 or more"),
        ({"sample": 1, "temperature": math.inf}, "temperature is inf; wanted a number of 0 or"),
        (
            {"sample": 1, "temperature": 1e7},
            "temperature is 10000000.0; wanted a number of 0",
        ),
        ({"sample": 1, "top_k": 0}, "top_k is 0; wanted a whole number of 1 or more."),
        ({"sample": 1, "top_p": 0.0}, "top_p is 0.0; wanted a number above 0, at most 1."),
        ({"sample": 1, "top_p": 1.01}, "top_p is 1.01; wanted a number above 0, at most 1."),
        ({"sample": 1, "top_p": math.nan}, "top_p is nan; wanted a number above 0, at most 1."),
        ({"sample": 1, "min_p": 1.5}, "min_p is 1.5; wanted a number of 0 or more, at most 1."),
        ({"seed": 0}, "seed is of samples; wanted sample, their number, as well."),
        ({"temperature": 0.0}, "temperature is of samples; wanted sample, their number, as well."),
        ({"top_p": 0.9, "no_repeat": 2}, "top_p is of samples; wanted sample, their number, as"),
    ],
)
def test_what_cannot_be_is_refused_with_the_value_found_and_wanted(asked, message):
    with pytest.raises(UserError) as caught:
        Wishes(**asked)
    assert str(caught.value).startswith(message)


def test_what_is_asked_is_known_and_equal_to_itself():
    assert Wishes().none
    assert Wishes(ban=["a"]) == Wishes(ban=("a",)) != Wishes()
    for asked in ({"no_repeat": 1}, {"min_length": 1}, {"ban": ["a"]}, {"sample": 1}):
        assert not Wishes(**asked).none


def test_values_of_other_types_are_judged_where_nothing_checks_signatures():
    code = """
import numpy as np
from aiayn.decoding.wishes import Wishes
from aiayn.errors import UserError
Wishes(sample=np.int64(3), temperature=np.float32(0.5), top_p=1, min_p=0, top_k=10**30)
for asked in (
    {"no_repeat": 2.0},
    {"no_repeat": True},
    {"sample": 1, "seed": 1.5},
    {"sample": 1, "temperature": "hot"},
    {"sample": 1, "temperature": 10**400},
):
    try:
        print(Wishes(**asked))
    except UserError as error:
        print(str(error)[:40])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "no_repeat is 2.0; wanted a whole number ",
        "no_repeat is True; wanted a whole number",
        "seed is 1.5; wanted a whole number.",
        "temperature is 'hot'; wanted a number of",
        f"temperature is 1{'0' * 24}",
    ], done.stderr


def test_as_many_outputs_as_are_drawn_may_be_wanted():
    Wishes(sample=3).check_num_best(3)
    Wishes().check_num_best(50)
    with pytest.raises(UserError, match="--num-best is 4, and --sample is 3; wanted at most"):
        Wishes(sample=3).check_num_best(4, None, ("--num-best", "--beam-size", "--sample"))
    for value in (2.5, "3", True):
        with pytest.raises(UserError, match=f"num_best is {value!r}; wanted a whole number"):
            Wishes().check_num_best(value)
    for count in (0, 1_001):
        with pytest.raises(UserError, match=f"num_best is {count:,}; wanted 1 to 1,000."):
            Wishes().check_num_best(count)
    Wishes().check_num_best(None, 1)
    Wishes().check_num_best(4, 4)
    with pytest.raises(UserError, match="num_best is 5, and beam_size is 4; wanted at most as"):
        Wishes().check_num_best(5, 4)
    with pytest.raises(UserError, match="beam_size is '4'; wanted a whole number"):
        Wishes().check_num_best(2, "4")


def test_each_sentence_has_a_seed_of_its_own_and_always_the_same():
    first, second = Wishes(sample=1, seed=7), Wishes(sample=1, seed=8)
    seeds = {wishes.seed_of(ids) for wishes in (first, second) for ids in ([1], [2], [1, 2], [12])}
    assert len(seeds) == 8
    assert all(0 <= seed < 1 << 32 for seed in seeds)
    assert first.seed_of([1, 2]) == first.seed_of((1, 2)) == 1204115524
    assert Wishes(sample=1).seed_of([1]) == Wishes(sample=1, seed=0).seed_of([1])


def test_refusals_wait_neither_for_jax_nor_for_a_tokenizer():
    needless = "{'jax', 'sentencepiece', 'numpy'}"
    code = f"import sys, aiayn.decoding.wishes; print(sorted(sys.modules.keys() & {needless}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
