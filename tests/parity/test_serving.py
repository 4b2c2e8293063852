"""Clients that others wrote, unchanged, against our server."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from rich.console import Console
from starlette.testclient import TestClient

from aiayn.decoding.wishes import Wishes
from aiayn.evaluation.texts import evaluate_text
from aiayn.model.saved import save_model
from aiayn.serve.lanes import Ask
from aiayn.serve.server import Server
from tests.support.models import CONTEXT, TOKENIZER, language_model
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


def test_the_libretranslate_of_npm_translates(address, models, tmp_path):
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("there is no Node here")
    pack = [npm, "pack", "--silent", "libretranslate@1.0.1"]
    if subprocess.run(pack, cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("npm's registry does not answer")
    with tarfile.open(tmp_path / "libretranslate-1.0.1.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    asked = {"query": "one two three", "source": "en", "target": "de", "apiurl": address}
    program = (
        "const { translate } = require('./package/dist/translate.js');"
        f"translate({json.dumps(asked)}).then((text) => console.log(JSON.stringify(text)));"
    )
    done = subprocess.run([node, "-e", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [json.loads(done.stdout)] == models["pair"].translate(["one two three"])


_TASK = """
task: own
dataset_path: text
dataset_kwargs: {data_files: {test: TEXT}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""


def test_the_evaluation_harness_finds_the_figures_of_evaluate(address, tmp_path):
    """It finds our tokenizer by itself, and sends ids. Its windows are others than ours, so each
    line fits into one."""
    pytest.importorskip("lm_eval", reason="lm_eval is in the parity environment alone")
    text = tmp_path / "text.txt"
    text.write_text("one two three\nnine nine\nfour\nsix seven eight ten five one two\n")
    save_model(tmp_path / "model", language_model())
    wanted = evaluate_text(tmp_path / "model", text, Console(quiet=True))
    (tmp_path / "own.yaml").write_text(_TASK.replace("TEXT", str(text)))
    server = f"model=text,base_url={address}/v1/completions,max_length={CONTEXT}"
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "local-completions"]
    command += ["--model_args", server, "--tasks", "own", "--include_path", str(tmp_path)]
    alone = {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        [*command, "--output_path", str(tmp_path / "out")],
        cwd=tmp_path,
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    (path,) = (tmp_path / "out").rglob("results_*.json")
    found = json.loads(path.read_text())["results"]["own"]
    for score in wanted.entries:
        if score.name in ("word_perplexity", "bits_per_byte"):
            assert found[f"{score.name},none"] == pytest.approx(score.value, rel=5e-5)


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
    texts, parts = ["", "", ""], openai_client.completions.create(**asked, n=3, stream=True)
    for choice in (choice for part in parts for choice in part.choices):
        texts[choice.index] += choice.text
    assert sorted(texts) == sorted(each.text for each in several)
    stop = next(each for each in wanted.text[2:] if each != "\ufffd")  # half a character is none
    (stopped,) = openai_client.completions.create(**asked, stop=[stop]).choices
    assert stopped.text == wanted.text.split(stop)[0]


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
    asked |= {"logprobs": True}
    parts = list(openai_client.chat.completions.create(**asked, stream=True))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == wanted
    (whole,) = openai_client.chat.completions.create(**asked).choices
    told = [part.choices[0].logprobs for part in parts]
    tokens = [token.logprob for each in told if each for token in each.content]
    assert tokens == [token.logprob for token in whole.logprobs.content]


def test_openai_knows_our_refusals(openai_client):
    openai = pytest.importorskip("openai", reason="openai is in the parity environment alone")
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        openai_client.completions.create(model="none", prompt="one")
    with pytest.raises(openai.BadRequestError, match="context") as refused:
        openai_client.completions.create(model="text", prompt="one " * 2 * CONTEXT)
    assert refused.value.code == "context_length_exceeded"


def test_openai_says_that_the_queue_is_full_and_asks_again_when_it_is_told_to(monkeypatch):
    openai = pytest.importorskip("openai", reason="openai is in the parity environment alone")
    server, waited = Server(served(), queue=1), []
    # No engine is started, so that the one request that may wait does so to the end.
    server.app.is_ready = lambda: True
    waiting = Ask((1,), first=1, most=1, wishes=Wishes(sample=1))
    server.engines["text"].submit([waiting], lambda *_: None)
    here = TestClient(server.app, base_url="http://127.0.0.1")
    client = openai.OpenAI(base_url="http://127.0.0.1/v1", api_key="-", http_client=here)
    monkeypatch.setattr("time.sleep", waited.append)
    for asked in ({}, {"stream": True}):
        once = client.with_options(max_retries=0)
        with pytest.raises(openai.RateLimitError, match="ask again later") as refused:
            once.completions.create(model="text", prompt="one", **asked)
        assert refused.value.code == "overloaded"
        assert refused.value.response.headers["retry-after"] == "1"
    assert waited == []
    messages = [{"role": "user", "content": "one"}]
    with pytest.raises(openai.RateLimitError):
        client.with_options(max_retries=3).chat.completions.create(model="text", messages=messages)
    assert waited == [1, 1, 1]


def test_openai_asks_again_where_the_queue_is_full(tmp_path):
    openai = pytest.importorskip("openai", reason="openai is in the parity environment alone")
    from concurrent.futures import ThreadPoolExecutor

    with running(tmp_path, "--queue", "1") as (_, address), ThreadPoolExecutor(4) as pool:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="-", max_retries=60)
        asked = {"model": "text", "prompt": "one", "max_tokens": 20}
        found = pool.map(lambda n: client.completions.create(**asked, seed=n), range(8))
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


PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
WHERE = "127.0.0.1:5000"
EXAMPLES = [
    (language, text)
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    if WHERE in text and "aiayn serve" not in text
]


@pytest.fixture(scope="module")
def documented(tmp_path_factory):
    """A server whose models have the names that the page gives them."""
    with running(tmp_path_factory.mktemp("served"), names=("pb", "lm")) as (_, found):
        yield found.removeprefix("http://")


@pytest.mark.parametrize(("language", "text"), EXAMPLES, ids=[kind for kind, _ in EXAMPLES])
def test_an_example_of_the_page_is_answered(documented, language, text, tmp_path):
    program = {"console": "curl", "python": sys.executable, "js": "node"}[language]
    if not shutil.which(program):
        pytest.skip(f"there is no {program} here")
    answer = ""
    if language == "console":
        text, answer = re.fullmatch(r"\$ ((?:.*\\\n)*.*\n)((?:.*\n)*)", text).groups()
        command = ["bash", "-c", text.replace("curl", "curl --silent --fail", 1)]
    else:
        (tmp_path / f"example.{'mjs' if language == 'js' else 'py'}").write_text("")
        (path,) = tmp_path.iterdir()
        path.write_text(text.replace(WHERE, documented))
        command = [program, str(path)]
    command = [each.replace(WHERE, documented) for each in command]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if language == "console":
        found = json.loads(done.stdout)
        assert not answer or found.keys() == json.loads(answer).keys()
    assert done.stdout.strip() or "print" not in text


def test_the_page_has_examples_of_all_three_kinds():
    assert {language for language, _ in EXAMPLES} == {"console", "python", "js"}
