"""Jobs in other processes: results in order, and nobody waits for what is no longer wanted."""

import signal

import pytest

from aiayn.errors import UserError
from aiayn.workers import parallel_map


def _square_or_stay(number: int) -> int:
    if number == 1:
        raise UserError("one is refused")
    if number == 0:
        signal.pause()  # for ever, unless it is ended
    return number * number


def test_results_come_with_their_jobs_in_order():
    assert list(parallel_map(_square_or_stay, range(2, 9), 2)) == [(n, n * n) for n in range(2, 9)]


def test_a_job_that_fails_ends_the_others():
    # The second is refused while the third would never end.
    with pytest.raises(UserError, match="one is refused"):
        list(parallel_map(_square_or_stay, [2, 1, 0], 2))
