"""Clients that ask a server for answers of all kinds at once, some of whom hang up midway."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

_OF_TIME = ("id", "created")
"""What is another each time that the same is asked."""


class Asked(NamedTuple):
    """A request, which has one right answer."""

    path: str
    values: Mapping[str, Any]

    @property
    def is_stream(self) -> bool:
        return bool(self.values.get("stream"))


def _translate(q: str | list[str], **more: Any) -> Asked:
    return Asked("/translate", {"q": q, "source": "en", "target": "de", **more})


def _complete(model: str, prompt: str | list[str] | list[int], **more: Any) -> Asked:
    return Asked("/v1/completions", {"model": model, "prompt": prompt, **more})


def _chat(model: str, text: str, begun: str = "", **more: Any) -> Asked:
    """`begun` is how the answer begins, where it must begin so."""
    messages = [{"role": "user", "content": text}]
    if begun:
        messages.append({"role": "assistant", "content": begun})
    return Asked("/v1/chat/completions", {"model": model, "messages": messages, **more})


_LONG = "one two three four five six seven " * 4
MIXED = (
    *(_translate(line) for line in ("one two three", "four five", "six", _LONG)),
    _translate(["seven eight", "nine ten one", "", "two"]),
    _translate("two\n\nnine ten", alternatives=2),
    _translate("<p>one <b>two</b></p>", format="html"),
    _translate("six seven", source="auto"),
    _translate([_LONG] * 6),
    _translate(["one two three", "four five", "six seven eight nine"] * 25),
    _complete("pair", "one two", stream=True),
    _complete("pair", _LONG, stream=True, stream_options={"include_usage": True}),
    _complete("pair", "one two", temperature=1.3, seed=5, logprobs=3),
    _complete("pair", "four five", n=3, logprobs=1),
    _complete("pair", "six", temperature=0.8, seed=2, n=2, top_k=5, ban=["two"]),
    _complete("pair", "six seven", min_tokens=10, length_penalty=3.0),
    _complete("pair", "six seven", ban=["zz"], n=3),
    _complete("pair", _LONG, stop=["NNN"]),
    _complete("pair", "two four", logit_bias={"40": 1.5}, stream=True),
    _chat("pair", "three four", max_tokens=4),
    _chat("pair", "three four", stream=True),
    _chat("pair", "three four", "nine one", logprobs=True),
    _chat("pair", "three four", "nine one", n=3, length_penalty=1.5),
    _chat("pair", _LONG, stream=True, logprobs=True),
    _chat("pair", "six", "two", temperature=0.9, seed=4, stream=True),
    _complete("text", "one", temperature=0, max_tokens=12, logprobs=2),
    _complete("text", "one", seed=7, temperature=1.3, max_tokens=20),
    _complete("text", "one", seed=7, temperature=1.3, max_tokens=20, stream=True),
    _complete("text", "two", seed=8, max_tokens=9, n=3, top_p=0.9),
    _complete("text", "two", seed=8, max_tokens=30, n=8, min_p=0.05),
    _complete("text", "four five", seed=9, max_tokens=25, stop=["\x1f\x1f", "o"], stream=True),
    _complete("text", "six", seed=3, n=3, max_tokens=12, stream=True, logprobs=1),
    _complete("text", ["one", "two three"], seed=3, n=2),
    _complete(
        "text", [1, 30, 40], seed=2, max_tokens=12, logit_bias={"269": -100, "40": 2.5}, top_k=9
    ),
    _complete("text", "one two", max_tokens=0, echo=True, logprobs=1),
    _complete("text", "one two", seed=4, max_tokens=9, echo=True, logprobs=0, stream=True),
    _chat("text", "nine", seed=1, max_tokens=25, stream=True),
    _chat("text", "nine", seed=1, max_tokens=5, logprobs=True, top_logprobs=2),
    _chat("text", "nine", "one two", seed=1, max_completion_tokens=9),
)
"""Beams, greedy texts and samples, whole and as streams, in both dialects, with every wish."""


def answer(address: str, asked: Asked) -> object:
    """What must be the same whenever it is asked; of a stream its text, whatever the parts."""
    with closing(_sent(address, asked)) as connection:
        found = connection.getresponse()
        text = found.read().decode()
    assert found.status == 200, f"{asked}: {found.status} {text}"
    if not asked.is_stream:
        return {key: value for key, value in json.loads(text).items() if key not in _OF_TIME}
    # Of a slow stream there are other lines too, which say that it is still there.
    *events, end = (line[6:] for line in text.split("\n") if line.startswith("data: "))
    assert end == "[DONE]"
    chunks = [json.loads(event) for event in events]
    said, told = defaultdict[int, str](str), defaultdict[tuple[int, str], list[Any]](list)
    ends: dict[int, str] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        place = choice["index"]
        assert place not in ends
        said[place] += choice.get("delta", {}).get("content") or choice.get("text") or ""
        for name, values in (choice["logprobs"] or {}).items():
            told[place, name] += values or ()
        if choice["finish_reason"]:
            ends[place] = choice["finish_reason"]
    assert ends.keys() == said.keys()
    return said, told, ends, chunks[-1].get("usage")


def hang_up(address: str, asked: Asked) -> None:
    """Ask, and leave: in the middle of a stream, or before there is an answer."""
    with closing(_sent(address, asked)) as connection:
        if asked.is_stream:
            with connection.getresponse() as found:
                assert isinstance(found, HTTPResponse)
                found.readline()


def _sent(address: str, asked: Asked) -> HTTPConnection:
    connection = HTTPConnection(urlsplit(address).netloc, timeout=120)
    headers = {"Content-Type": "application/json"}
    connection.request("POST", asked.path, json.dumps(asked.values).encode(), headers)
    return connection


def metrics(address: str) -> Counter[str]:
    """The server's own counts by their names, of all models, routes and statuses together."""
    with closing(HTTPConnection(urlsplit(address).netloc, timeout=120)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    found = Counter[str]()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("route") not in ("/metrics", "/health"):
                found[sample.name] += int(sample.value)
    return found
