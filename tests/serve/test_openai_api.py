"""OpenAI's dialect: what its clients send and read, and its refusals."""

import asyncio
import json
import math

import pytest

from aiayn.decoding.spellings import banned_sequences
from tests.support.models import CONTEXT, TOKENIZER

DRAWN = {"model": "text", "prompt": "one two", "seed": 7, "temperature": 1.3, "max_tokens": 9}


def complete(client, **asked):
    found = client.post("/v1/completions", json={**DRAWN, **asked})
    assert found.status_code == 200, found.text
    return found.json()


def chat(client, content, **asked):
    messages = [{"role": "user", "content": content}]
    return client.post("/v1/chat/completions", json={"messages": messages, **asked})


def chunks(found):
    """The values of a stream, of which the last line says that it ends."""
    assert found.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in found.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_models_are_listed_and_shown(client):
    listed = client.get("/v1/models").json()["data"]
    assert [each["id"] for each in listed] == ["pair", "text"]
    assert client.get("/v1/models/text").json() == listed[1]
    assert client.get("/v1/models/none").status_code == 404


def test_a_language_model_goes_on_as_the_interface_does(client, text):
    asked = {"seed": 7, "temperature": 1.3, "max_tokens": 9, "num_samples": 1}
    ((wanted,),) = text.served.model.generate(["one two"], **asked)
    found = complete(client)
    (choice,) = found["choices"]
    assert choice["text"] == wanted.text
    assert choice["finish_reason"] == {"limit": "length", "eos": "stop"}[wanted.ended]
    usage = found["usage"]
    assert usage["prompt_tokens"] == len(TOKENIZER.encode(["one two"])[0])
    tokens = complete(client, logprobs=0)["choices"][0]["logprobs"]["tokens"]
    said = len(tokens) - (tokens[-1] == "</s>")
    assert usage["completion_tokens"] == said, "without EOS"
    assert usage["total_tokens"] == usage["prompt_tokens"] + said
    greedy = {"temperature": 0, "max_tokens": 5}
    once, thrice = (complete(client, **greedy, n=n)["usage"] for n in (1, 3))
    assert thrice["completion_tokens"] == 3 * once["completion_tokens"] > 0


def test_a_translator_translates_the_prompt_and_the_last_words_of_the_user(client, pair):
    (wanted,) = pair.served.model.translate(["one two"])
    asked = {"model": "pair", "temperature": None, "max_tokens": None, "seed": None}
    assert complete(client, **asked)["choices"][0]["text"] == wanted
    (message,) = chat(client, "one two", model="pair").json()["choices"]
    assert message["message"]["content"] == wanted
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    (message,) = chat(client, parts, model="pair", temperature=0).json()["choices"]
    assert message["message"]["content"] == wanted


def test_an_answer_that_was_begun_is_gone_on_with(client):
    messages = [{"role": "user", "content": "one two"}, {"role": "assistant", "content": "six"}]
    asked = {"model": "pair", "messages": messages}
    (choice,) = client.post("/v1/chat/completions", json=asked).json()["choices"]
    assert choice["message"]["content"].startswith("six")


@pytest.mark.parametrize("count", [1, 3])
def test_several_texts_are_different_and_greedy_ones_the_same(client, count):
    drawn = complete(client, n=count)["choices"]
    assert [each["index"] for each in drawn] == list(range(count))
    assert len({each["text"] for each in drawn}) == count
    assert len({each["text"] for each in complete(client, n=count, temperature=0)["choices"]}) == 1
    assert len(complete(client, n=count, temperature=0)["choices"]) == count
    for_pair = complete(client, model="pair", n=count, temperature=None, seed=None)
    assert len({each["text"] for each in for_pair["choices"]}) == count


@pytest.mark.parametrize("alpha", [0.0, 3.0])
def test_a_translation_may_have_another_length_penalty(client, pair, alpha):
    translated = pair.served.model.translate(["one two"], num_best=3, length_penalty=alpha)
    wanted = [each.text for each in translated[0]]
    asked = {"model": "pair", "n": 3, "temperature": None, "max_tokens": None, "seed": None}
    found = complete(client, **asked, length_penalty=alpha)["choices"]
    assert [each["text"] for each in found] == wanted


def test_each_prompt_of_a_list_has_its_own_answers_in_order(client):
    found = complete(client, prompt=["one two", "six"], n=2)["choices"]
    assert [each["index"] for each in found] == [0, 1, 2, 3]
    alone = complete(client, prompt="six", n=2)["choices"]
    assert [each["text"] for each in found[2:]] == [each["text"] for each in alone]


def test_what_nobody_sees_changes_neither_bans_nor_beginnings_nor_tokens(client):
    asked = {"model": "pair", "temperature": None, "max_tokens": None, "seed": None}
    (word, *_) = complete(client, **asked)["choices"][0]["text"].split()
    hidden = f"{word[:1]}\u00ad{word[1:]}\u200b"
    banned = [complete(client, **asked, ban=[ban])["choices"] for ban in (word, hidden)]
    assert banned[0] == banned[1]
    assert word not in banned[0][0]["text"].split()
    said = [
        client.post(
            "/v1/chat/completions",
            json={
                "model": "pair",
                "messages": [
                    {"role": "user", "content": "one"},
                    {"role": "assistant", "content": begun},
                ],
            },
        ).json()["choices"]
        for begun in ("six", "\u200bsix")
    ]
    assert said[0] == said[1]
    tokens = [
        client.post("/tokenize", json={"model": "text", "prompt": prompt}).json()["tokens"]
        for prompt in ("one two", "\ufeffone t\u00adwo")
    ]
    assert tokens[0] == tokens[1]


def test_ids_are_taken_as_they_are(client):
    (ids,) = TOKENIZER.encode(["one two"])
    wanted = complete(client)["choices"][0]["text"]
    for prompt in ([TOKENIZER.bos, *ids], [[TOKENIZER.bos, *ids]]):
        assert complete(client, prompt=prompt)["choices"][0]["text"] == wanted


@pytest.mark.parametrize("model", ["pair", "text"])
def test_a_stream_is_the_same_text_in_parts(client, model):
    asked = {"model": model, "seed": None, "temperature": None, "max_tokens": 12}
    asked = {**DRAWN, "max_tokens": 12} if model == "text" else {**asked, "prompt": "one two three"}
    (whole,) = complete(client, **asked)["choices"]
    options = {"stream": True, "stream_options": {"include_usage": True}}
    found = client.post("/v1/completions", json={**DRAWN, **asked, **options})
    *parts, last, usage = chunks(found)
    assert "".join(part["choices"][0]["text"] for part in parts) == whole["text"]
    assert len(parts) > 1
    assert all(part["choices"][0]["finish_reason"] is None for part in parts)
    assert last["choices"][0]["finish_reason"] == whole["finish_reason"]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] > 0
    assert len({part["id"] for part in parts}) == 1


@pytest.mark.parametrize("number", [1, 2])
def test_a_reader_who_takes_no_more_of_a_stream_is_not_worked_for(
    server, client, text, monkeypatch, number
):
    monkeypatch.setattr("aiayn.serve.choices.READ_SECONDS", 0.05)
    body = json.dumps({**DRAWN, "max_tokens": 25, "stream": True}).encode()
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b""}
    scope |= {"headers": [(b"host", b"127.0.0.1")], "http_version": "1.1", "scheme": "http"}
    given, sent = [{"type": "http.request", "body": body, "more_body": False}], []

    async def receive():
        return given.pop() if given else await asyncio.Future()

    async def send(message):
        sent.append(message)
        if len(sent) > number:
            await asyncio.Future()

    asyncio.run(asyncio.wait_for(server.app(scope, receive, send), 30))
    assert len(sent) == number + 1
    complete(client, max_tokens=1)
    assert text.num_inside == text.num_waiting == 0


def test_a_chat_is_streamed_with_its_role_first(client):
    first, *parts, last = chunks(chat(client, "one two", model="pair", stream=True))
    assert first["object"] == "chat.completion.chunk"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(part["choices"][0]["delta"]["content"] for part in parts)
    (whole,) = chat(client, "one two", model="pair").json()["choices"]
    assert text == whole["message"]["content"]
    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == whole["finish_reason"]


def test_an_echo_begins_a_stream_too(client):
    found = chunks(client.post("/v1/completions", json={**DRAWN, "stream": True, "echo": True}))
    text = "".join(each["choices"][0]["text"] for each in found)
    assert text == "one two" + complete(client)["choices"][0]["text"]
    assert text == complete(client, echo=True)["choices"][0]["text"]


def _joined(parts, of):
    """By index: what the parts of a stream have, and the reason of its one end."""
    texts, ends = {}, {}
    for choice in (choice for part in parts for choice in part["choices"]):
        index = choice["index"]
        assert index not in ends, "nothing comes after the end"
        texts.setdefault(index, []).append(of(choice))
        if choice["finish_reason"]:
            ends[index] = choice["finish_reason"]
    assert texts.keys() == ends.keys()
    return texts, ends


@pytest.mark.parametrize(
    "more", [{}, {"stop": ["e", "o"]}, {"temperature": 0}, {"echo": True}, {"model": "pair"}]
)
def test_a_stream_of_several_texts_has_those_of_the_whole(client, more):
    asked = {**DRAWN, "n": 3, "max_tokens": 20, **more}
    whole = complete(client, **asked)["choices"]
    found = chunks(client.post("/v1/completions", json={**asked, "stream": True}))
    texts, ends = _joined(found, lambda choice: choice["text"])
    assert sorted(texts) == [0, 1, 2]
    said = [("".join(texts[index]), ends[index]) for index in range(3)]
    assert sorted(said) == sorted((each["text"], each["finish_reason"]) for each in whole)
    if not more:
        assert all(sum(map(bool, parts)) > 1 for parts in texts.values())


def test_texts_of_a_chat_are_streamed_side_by_side(client):
    asked = {"model": "text", "seed": 3, "n": 2, "max_tokens": 9, "temperature": 1.3}
    whole = chat(client, "one", **asked).json()["choices"]
    found = chunks(chat(client, "one", **asked, stream=True))
    roles = [choice["delta"].get("role") for part in found[:2] for choice in part["choices"]]
    assert roles == ["assistant", "assistant"]
    texts, _ = _joined(found, lambda choice: choice["delta"].get("content", ""))
    contents = [each["message"]["content"] for each in whole]
    assert sorted(map("".join, texts.values())) == sorted(contents)


@pytest.mark.parametrize("more", [{}, {"echo": True}, {"stop": ["e", "o"]}, {"logprobs": 0}])
@pytest.mark.parametrize("model", ["pair", "text"])
def test_log_probabilities_of_a_stream_are_those_of_the_whole_in_parts(client, model, more):
    asked = {**DRAWN, "logprobs": 2, "max_tokens": 20, **more}
    if model == "pair":  # of which a line is told when the one before it is done
        # Many more lines than slots, so that they are not all done at once.
        searched = {"model": model, "prompt": "one two\nsix\n" * 20, "temperature": None}
        asked |= {**searched, "max_tokens": None, "echo": None}
    (whole,) = complete(client, **asked)["choices"]
    found = chunks(client.post("/v1/completions", json={**asked, "stream": True}))
    parts = [choice["logprobs"] for part in found for choice in part["choices"]]
    told = [each for each in parts if each and each["tokens"]]
    assert len(told) > 1 or (model, "stop" in more) == ("pair", True), "which is told as a whole"
    for name, wanted in whole["logprobs"].items():
        assert wanted is None or [value for each in told for value in each[name]] == wanted


def test_a_chat_streams_log_probabilities_too(client):
    asked = {"model": "text", "seed": 3, "max_tokens": 9, "logprobs": True, "top_logprobs": 2}
    (whole,) = chat(client, "one", **asked).json()["choices"]
    found = chunks(chat(client, "one", **asked, stream=True))
    parts = [choice["logprobs"] for part in found for choice in part["choices"]]
    content = [token for each in parts if each for token in each["content"]]
    assert content == whole["logprobs"]["content"]


def test_a_text_ends_before_the_first_stop_string(client):
    whole = complete(client, max_tokens=20)["choices"][0]["text"]
    stop = whole[3:5]
    (choice,) = complete(client, max_tokens=20, stop=["\u2603", stop])["choices"]
    assert choice["text"] == whole.split(stop)[0]
    assert choice["finish_reason"] == "stop"
    assert complete(client, max_tokens=20, stop=stop)["choices"] == [choice]


def test_echoed_log_probabilities_are_those_that_evaluation_sums(client, text):
    """As the evaluation harness asks for them: ids after BOS, and one token written."""
    (ids,) = TOKENIZER.encode(["one two three"])
    asked = {"echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    (choice,) = complete(client, prompt=[[TOKENIZER.bos, *ids]], **asked)["choices"]
    found = choice["logprobs"]
    first, *log_probs = found["token_logprobs"]
    assert first is None
    assert len(log_probs) == len(ids) + 1
    (wanted,) = text.served.writer.log_probs([ids])
    assert log_probs[:-1] == pytest.approx(wanted.tolist(), abs=1e-4)
    assert log_probs[-1] == max(found["top_logprobs"][-1].values()), "the greedy one"
    assert len(found["tokens"]) == len(found["text_offset"]) == len(log_probs) + 1


def test_the_log_probability_of_what_is_banned_is_as_it_was(client):
    free = complete(client, temperature=0, max_tokens=1, logprobs=5)["choices"][0]["logprobs"]
    (number,) = TOKENIZER.ids([free["tokens"][0].replace(" ", "\u2581")])[:1] or [0]
    if free["tokens"][0].startswith("bytes"):
        (number,) = TOKENIZER.ids([f"<0x{free['tokens'][0][-2:].upper()}>"])
    asked = {"temperature": 0, "max_tokens": 1, "logprobs": 5}
    banned = complete(client, logit_bias={str(number): -100}, **asked)["choices"][0]["logprobs"]
    assert banned["tokens"] != free["tokens"]
    assert banned["top_logprobs"][0].items() >= free["top_logprobs"][0].items()


def test_what_is_biased_comes_and_has_the_log_probability_that_the_model_gives_it(client):
    ids, other = TOKENIZER.encode(["one two", "six"])
    six = other[0]
    asked = {"max_tokens": 3, "logprobs": 1, "logit_bias": {str(six): 100}}
    said = TOKENIZER.pieces([six])[0].replace("\u2581", " ")
    forced = [TOKENIZER.bos, *ids, six, six, six]
    echoed = {"prompt": [forced], "echo": True, "logprobs": 1, "max_tokens": 1, "temperature": 0}
    (choice,) = complete(client, **echoed)["choices"]
    told = choice["logprobs"]["token_logprobs"][1 + len(ids) : len(forced)]
    for temperature in (0, 1.3):
        found = complete(client, **asked, temperature=temperature)["choices"][0]["logprobs"]
        assert found["tokens"] == [said] * 3
        assert found["token_logprobs"] == pytest.approx(told, abs=1e-4)


def test_a_biased_translation_is_the_best_by_what_its_words_are_given(client, pair):
    asked = {"model": "pair", "temperature": None, "max_tokens": 3, "seed": None}
    six = TOKENIZER.encode(["six"])[0][0]
    (choice,) = complete(client, **asked, logit_bias={str(six): 100})["choices"]
    assert choice["text"].split() == ["six"] * 3
    free = complete(client, **asked)["choices"][0]["text"]
    assert "six six" not in free
    # A little says nothing against the best.
    assert complete(client, **asked, logit_bias={str(six): -1e-6})["choices"][0]["text"] == free
    biased = {"logit_bias": {str(six): 100}, "stream": True}
    found = client.post("/v1/completions", json={**DRAWN, **asked, **biased})
    text = "".join(chunk["choices"][0]["text"] for chunk in chunks(found))
    assert text == choice["text"], "told as a whole"


def test_probabilities_in_a_chat_name_the_token_its_bytes_and_others(client):
    asked = {
        "model": "text",
        "max_tokens": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "temperature": 0,
    }
    (choice,) = chat(client, "one", **asked).json()["choices"]
    for each in choice["logprobs"]["content"]:
        if not each["token"].startswith("bytes:"):
            assert bytes(each["bytes"]).decode() == each["token"]
        assert len(each["top_logprobs"]) == 3
        assert each["logprob"] == max(other["logprob"] for other in each["top_logprobs"])
        assert math.exp(each["logprob"]) <= 1


def test_tokens_and_text_are_each_other(client):
    asked = {"prompt": "one two</s><s>six", "add_special_tokens": False}
    found = client.post("/tokenize", json=asked).json()
    (one, six) = TOKENIZER.encode(["one two", "six"])
    assert found["tokens"] == [*one, TOKENIZER.eos, TOKENIZER.bos, *six]
    assert found["count"] == len(found["tokens"])
    assert found["max_model_len"] == CONTEXT
    with_bos = client.post("/tokenize", json={"prompt": "six", "return_token_strs": True}).json()
    assert with_bos["tokens"] == [TOKENIZER.bos, *six]
    assert with_bos["token_strs"] == TOKENIZER.pieces(with_bos["tokens"])
    back = client.post("/detokenize", json={"model": "text", "tokens": with_bos["tokens"]})
    assert back.json() == {"prompt": "six"}
    info = client.get("/tokenizer_info").json()
    for name, number in (("eos_token", TOKENIZER.eos), ("bos_token", TOKENIZER.bos)):
        asked = {"prompt": info[name], "add_special_tokens": False}
        assert client.post("/tokenize", json=asked).json()["tokens"] == [number]


@pytest.mark.parametrize(
    ("asked", "status", "param", "message"),
    [
        ({"model": "none"}, 404, "model", "'none' does not exist; here are pair, text"),
        ({"prompt": 3}, 400, "prompt", "Expected `str | array`, got `int`"),
        ({"prompt": []}, 400, "prompt", "mixes texts and tokens, or is empty"),
        ({"prompt": ["a", [1]]}, 400, "prompt", "mixes texts and tokens"),
        ({"prompt": ["a", 3]}, 400, "prompt", "mixes texts and tokens"),
        ({"prompt": [300]}, 400, "prompt", "has token 300; wanted 0 to 299"),
        ({"prompt": [-1]}, 400, "prompt", "has token -1; wanted 0 to 299"),
        ({"prompt": "one " * 60}, 400, "prompt", "has 60 tokens; wanted at most 30"),
        ({"prompt": "a" * 50_001}, 400, "prompt", "50,001 characters or tokens; wanted at most"),
        ({"prompt": ["a"] * 1_001}, 400, "prompt", "1,001 texts; wanted at most 1,000"),
        ({"temperature": -1}, 400, "temperature", "Expected `float` >= 0"),
        ({"top_p": 0}, 400, "top_p", "Expected `float` > 0"),
        ({"n": 1_000_000_000}, 400, "n", "Expected `int` <= 128"),
        ({"n": 9}, 400, None, "9 outputs are asked for; wanted at most 8"),
        ({"stop": ["a"] * 10_000}, 400, "stop", "10,000 strings; wanted at most 16"),
        ({"stop": ["a", ""]}, 400, "stop", "has an empty string"),
        ({"stop": ["a\ufffd"]}, 400, "stop", "half a character"),
        ({"prompt": ["a"] * 200, "n": 6}, 400, "n", "1,200 outputs, of all prompts; wanted at"),
        ({"ban": ["a"] * 65}, 400, "ban", "65 words; wanted at most 64"),
        ({"ban": ["one " * 65]}, 400, "ban", "260 characters of a word; wanted at most 256"),
        ({"logit_bias": {"1" * 5_000: -100}}, 400, "logit_bias", "token '1111111111"),
        ({"logit_bias": {"300": -100}}, 400, "logit_bias", "token '300'; wanted 0 to 299"),
        ({"logit_bias": {"x": -100}}, 400, "logit_bias", "token 'x'"),
        ({"logit_bias": {"5": -100, "05": 1}}, 400, "logit_bias", "token '05'"),
        ({"logit_bias": {"\u0665": 1}}, 400, "logit_bias", "token '\u0665'"),
        (
            {"logit_bias": {str(n): -100 for n in range(129)}},
            *(400, "logit_bias", "bans 129 tokens; wanted at most 128"),
        ),
        ({"logit_bias": {"5": 101}}, 400, "logit_bias", "Expected `float` <= 100"),
        ({"suffix": "x"}, 400, "suffix", "suffix is not supported"),
        ({"best_of": 2}, 400, "best_of", "best_of is 2; wanted as many as n, 1"),
        ({"presence_penalty": 1}, 400, "presence_penalty", "not supported; wanted 0"),
        ({"length_penalty": 0.5}, 400, "length_penalty", "is 0.5; wanted 0, for nothing is"),
        ({"model": "pair", "length_penalty": 11}, 400, "length_penalty", "Expected `float` <= 10"),
        ({"model": "pair", "length_penalty": -1}, 400, "length_penalty", "Expected `float` >= 0"),
        ({"stream": True, "n": 9}, 400, None, "9 outputs are asked for; wanted at most 8"),
        ({"stream": True, "prompt": ["a", "b"]}, 400, "stream", "of one prompt"),
        ({"model": "pair", "echo": True}, 400, "echo", "this model translates"),
        ({"max_tokens": -1}, 400, "max_tokens", "Expected `int` >= 0"),
    ],
)
def test_what_cannot_be_is_refused_in_their_words(client, asked, status, param, message):
    found = client.post("/v1/completions", json={**DRAWN, **asked})
    assert found.status_code == status
    error = found.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert message in error["message"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"messages": []}, "length >= 1"),
        ({"messages": [{"role": "system", "content": "x"}]}, "none of the user"),
        ({"messages": [{"role": "bird", "content": "x"}]}, "Invalid enum value 'bird'"),
        ({"tools": [{}]}, "tools are not supported"),
        ({"response_format": {"type": "json_object"}}, "wanted text"),
        ({"top_logprobs": 2}, "top_logprobs needs logprobs"),
    ],
)
def test_what_cannot_be_in_a_chat_is_refused(client, asked, message):
    found = chat(client, "one", **{"model": "text", **asked})
    if "messages" in asked:
        found = client.post("/v1/chat/completions", json={"model": "text", **asked})
    assert found.status_code == 400
    assert message in found.json()["error"]["message"]


def test_a_prompt_longer_than_the_context_has_the_code_for_that(client):
    found = client.post("/v1/completions", json={**DRAWN, "prompt": "one " * 60})
    assert found.json()["error"]["code"] == "context_length_exceeded"
    found = client.post("/v1/completions", json={**DRAWN, "model": "none"})
    assert found.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize", "/detokenize"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"prompt": NaN}', b"[" * 100_000, b'"text"', b'{"a":"\xff"}']
)
def test_what_is_no_json_is_refused(client, path, body):
    found = client.post(path, content=body)
    assert found.status_code == 400
    assert found.json()["error"]["message"]


def test_what_is_banned_of_many_prompts_is_spelled_once(client, monkeypatch):
    spelled = []

    def counting(words, *rest):
        spelled.append(words)
        return banned_sequences(words, *rest)

    monkeypatch.setattr("aiayn.serve.answers.banned_sequences", counting)
    assert len(complete(client, prompt=["one"] * 20, ban=["four five six"])["choices"]) == 20
    assert spelled == [("four five six",)]


def test_the_probabilities_of_copies_are_found_once(client, text, monkeypatch):
    scored = []
    score = text.score
    monkeypatch.setattr(text, "score", lambda *asked: scored.append(asked) or score(*asked))
    found = complete(client, temperature=0, n=5, logprobs=2, max_tokens=4)["choices"]
    assert len(scored) == 1
    assert [each["index"] for each in found] == [0, 1, 2, 3, 4]
    assert all(each["logprobs"] == found[0]["logprobs"] for each in found)


def test_names_of_special_tokens_in_a_text_are_their_tokens(client):
    asked = {"model": "text", "prompt": "one</s></s>two<s>", "add_special_tokens": False}
    found = client.post("/tokenize", json=asked).json()["tokens"]
    one, two = TOKENIZER.encode(["one", "two"])
    assert found == [*one, TOKENIZER.eos, TOKENIZER.eos, *two, TOKENIZER.bos]
