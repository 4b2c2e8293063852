"""The server under the load of many clients at once, of whom a third leave midway."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from aiayn.serve.asked import Chat, Completion
from aiayn.serve.libretranslate import Translate
from tests.support.clients import MIXED, answer, hang_up, metrics
from tests.support.servers import running

CLIENTS, EACH = 64, 6


def test_the_mix_has_all_that_can_be_asked():
    known = {name for kind in (Chat, Completion, Translate) for name in kind.__struct_fields__}
    asked = {name for each in MIXED for name in each.values}
    refused = {"frequency_penalty", "presence_penalty", "response_format", "suffix", "tools"}
    assert known - asked == refused | {"api_key", "best_of", "user"}, "which change no answer"


@pytest.mark.slow
def test_every_answer_is_that_of_the_same_request_alone_whoever_comes_and_goes(tmp_path):
    def client(number):
        for turn in range(EACH):
            # Each begins elsewhere, so that all kinds are under way at any time.
            place = (5 * number + 7 * turn) % len(MIXED)
            if number % 3:
                assert answer(address, MIXED[place]) == alone[place], MIXED[place]
            else:
                hang_up(address, MIXED[place])

    with running(tmp_path) as (_, address), ThreadPoolExecutor(CLIENTS) as pool:
        alone = [answer(address, asked) for asked in MIXED]
        list(pool.map(client, range(CLIENTS)))
        # All are answered for, and those who left are noticed.
        wanted = len(MIXED) + CLIENTS * EACH, 0, 0
        assert any(_counted(address) == wanted for _ in range(2_000)), _counted(address)
        assert metrics(address)["aiayn_compilations_total"] == 0
        assert [answer(address, asked) for asked in MIXED] == alone


def _counted(address):
    """Requests that are done, texts in slots, and requests that wait."""
    names = ("aiayn_requests_total", "aiayn_slots_taken", "aiayn_requests_waiting")
    found = metrics(address)
    return tuple(found[name] for name in names)
