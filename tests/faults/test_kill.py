"""The short form of `make faults`: a few strikes, and two carelessnesses that must be found."""

import signal
import subprocess
import sys

import pytest

import tests.faults.kill
from tests.faults.kill import Harness, LostError, _at_most
from tests.faults.strikes import Moment, Write, parse, writes


@pytest.fixture(scope="module")
def harness(tmp_path_factory, request):
    return Harness(tmp_path_factory.mktemp("kill"), text=request.param)


@pytest.fixture(scope="module")
def straight(harness):
    try:
        return harness.straight()
    except OSError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("harness", [False, True], ids=["translator", "text"], indirect=True)
def test_a_killed_run_started_again_ends_with_the_same_bits(harness, straight):
    strikes = [
        # The second checkpoint's weights are half written; then killed in an update, and told to
        # stop in the next.
        *parse("write writev run/checkpoints/12.orbax-checkpoint-tmp/" + _weights(straight, 12)),
        Moment("SIGKILL", "updating", 3, 0.5),
        Moment("SIGTERM", "updating", 8, 0.5),
    ]
    hit = harness.case("case", strikes, straight)
    assert hit[0] == "half a write: checkpoint"
    assert [kind.split(":")[0] for kind in hit[1:]] == ["SIGKILL", "SIGTERM"]


def _weights(straight, step):
    name = f"run/checkpoints/{step}.orbax-checkpoint-tmp/"
    file = next(file for call, file in straight.calls if call == "writev" and name in file)
    return f"{file.removeprefix(name)} 1 half"


@pytest.mark.slow
@pytest.mark.parametrize("harness", [False], ids=["translator"], indirect=True)
@pytest.mark.parametrize(
    ("promise", "strike"),
    [
        ("files", Write("write", "run/config.json", 1, half=True)),
        ("checkpoints", Write("write", "run/checkpoints/6/state/_METADATA", 1, half=False)),
    ],
)
def test_a_run_that_is_written_in_place_is_found_lost(tmp_path, straight, promise, strike):
    careless = Harness(tmp_path / "careless", ("tests.faults.careless", promise))
    with pytest.raises(LostError, match="Started again, it ended with status"):
        careless.case("case", [strike], straight)


def test_a_process_that_hangs_is_ended_and_is_lost(monkeypatch):
    monkeypatch.setattr(tests.faults.kill, "END", 0.0)
    command = [sys.executable, "-c", "input()"]  # which nobody answers
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE) as process,
        pytest.raises(LostError, match="did not get on within 0 seconds"),
        _at_most(process),
    ):
        assert process.wait() == -signal.SIGKILL
    monkeypatch.setattr(tests.faults.kill, "END", 1_800.0)
    with subprocess.Popen([sys.executable, "-c", ""]) as process, _at_most(process):
        assert process.wait() == 0


def test_strikes_at_calls_take_turns_among_all_kinds_of_file():
    calls = [("write", "run/metrics.jsonl")] * 5 + [("rename", "run/config.json")]
    chosen = [strike for strike, _ in zip(writes(calls), range(6), strict=False)]
    assert [strike.call for strike in chosen] == ["write", "rename"] * 3
    # Half of a write and a kill before it in turns, at places that lie evenly.
    assert [(s.number, s.half) for s in chosen[::2]] == [(3, True), (1, False), (4, True)]
    assert parse("; ".join(map(str, chosen))) == chosen
