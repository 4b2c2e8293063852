"""Clients that others wrote, unchanged, against our server."""

import os
import subprocess
import sys

import pytest

from tests.support.models import CONTEXT, TOKENIZER
from tests.support.servers import running, served


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with running(tmp_path_factory.mktemp("served"), "--queue", "64") as (_, found):
        yield found


@pytest.fixture(scope="module")
def models():
    """The same ones, without a server between."""
    return {name: each.model for name, each in served().items()}


@pytest.fixture(scope="module")
def openai_client(address):
    openai = pytest.importorskip("openai", reason="openai is in the parity environment alone")
    return openai.OpenAI(base_url=f"{address}/v1", api_key="-", max_retries=0)


def test_libretranslatepy_translates_lists_and_detects(address, models):
    module = pytest.importorskip(
        "libretranslatepy", reason="libretranslatepy is in the parity environment alone"
    )
    client = module.LibreTranslateAPI(f"{address}/")
    (wanted,) = models["pair"].translate(["one two three"])
    assert client.translate("one two three", "en", "de") == wanted
    assert [each["code"] for each in client.languages()] == ["en", "de"]
    assert client.detect("Guten Morgen, wie geht es dir?")[0]["language"] == "de"


def test_openai_lists_completes_and_streams(openai_client, models):
    assert [each.id for each in openai_client.models.list()] == ["pair", "text"]
    asked = {"model": "text", "prompt": "one", "seed": 7, "temperature": 1.3, "max_tokens": 12}
    ((wanted,),) = models["text"].generate(["one"], seed=7, temperature=1.3, max_tokens=12)
    (choice,) = openai_client.completions.create(**asked).choices
    assert choice.text == wanted.text
    parts = list(openai_client.completions.create(**asked, stream=True))
    assert "".join(part.choices[0].text for part in parts) == wanted.text
    assert parts[-1].choices[0].finish_reason == choice.finish_reason
    several = openai_client.completions.create(**asked, n=3).choices
    assert len({each.text for each in several}) == 3
    (stopped,) = openai_client.completions.create(**asked, stop=[wanted.text[2:4]]).choices
    assert stopped.text == wanted.text.split(wanted.text[2:4])[0]


def test_openai_reads_log_probabilities_of_an_echo(openai_client, models):
    (ids,) = TOKENIZER.encode(["one two"])
    asked = {"model": "text", "echo": True, "logprobs": 5, "max_tokens": 1, "temperature": 0}
    found = openai_client.completions.create(**asked, prompt=[TOKENIZER.bos, *ids])
    (score,) = models["text"].score(["one two"])
    first, *log_probs = found.choices[0].logprobs.token_logprobs
    assert first is None
    assert len(log_probs) == len(ids) + 1
    assert score.log_prob < sum(log_probs[: len(ids)]) < 0, "without the end of the text"


def test_openai_chats_and_streams_a_beam(openai_client, models):
    (wanted,) = models["pair"].translate(["one two three"])
    messages = [{"role": "user", "content": "one two three"}]
    asked = {"model": "pair", "messages": messages}
    (choice,) = openai_client.chat.completions.create(**asked).choices
    assert choice.message.content == wanted
    parts = openai_client.chat.completions.create(**asked, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == wanted


def test_openai_knows_our_refusals(openai_client):
    openai = pytest.importorskip("openai", reason="openai is in the parity environment alone")
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        openai_client.completions.create(model="none", prompt="one")
    with pytest.raises(openai.BadRequestError, match="context") as refused:
        openai_client.completions.create(model="text", prompt="one " * 2 * CONTEXT)
    assert refused.value.code == "context_length_exceeded"


def test_openai_asks_again_where_the_queue_is_full(tmp_path):
    openai = pytest.importorskip("openai", reason="openai is in the parity environment alone")
    from concurrent.futures import ThreadPoolExecutor

    with running(tmp_path, "--queue", "1") as (_, address), ThreadPoolExecutor(16) as pool:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="-", max_retries=60)
        asked = {"model": "text", "prompt": "one", "max_tokens": 20}
        found = pool.map(lambda n: client.completions.create(**asked, seed=n), range(32))
        assert all(each.choices[0].finish_reason for each in found)


def test_schemathesis_finds_no_fault_in_what_openapi_says(address, tmp_path):
    pytest.importorskip("schemathesis", reason="schemathesis is in the parity environment alone")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{address}/openapi.json"]
    options = ["--checks", "all", "--max-examples", "40", "--seed", "1"]
    options += ["--max-response-time", "60"]  # of a machine that does much besides
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout[-6_000:]
