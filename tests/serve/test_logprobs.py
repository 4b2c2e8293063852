"""The names of tokens, by which clients tell them apart."""

import asyncio

from aiayn.serve.answers import Spoken
from aiayn.serve.logprobs import LogProbs, token_text
from tests.support.models import TOKENIZER


def test_a_token_is_the_text_that_it_stands_for():
    (one, byte) = TOKENIZER.ids(["\u2581t", "<0xE2>"])
    assert token_text(one, TOKENIZER) == " t"
    assert token_text(byte, TOKENIZER) == "bytes:\\xe2"
    assert token_text(TOKENIZER.eos, TOKENIZER) == "</s>"


def _spoken(read, written, room=0):
    return (Spoken((), TOKENIZER.bos, (*read, *written), len(read), room),)


def _told(engine, spoken, count, num_echoed=None):
    return asyncio.run(LogProbs(engine, count, num_echoed).of_completion(spoken))


def test_the_prompt_is_told_only_where_it_is_echoed(text):
    (read, written) = TOKENIZER.encode(["one two", "six"])
    spoken = _spoken(read, [*written, TOKENIZER.eos])
    alone = _told(text, spoken, 0)
    echoed = _told(text, spoken, 2, len(read))
    with_bos = _told(text, spoken, 2, len(read) + 1)
    assert len(alone["tokens"]) == len(written) + 1
    assert alone["top_logprobs"] is None
    assert echoed["tokens"][len(read) :] == alone["tokens"]
    assert echoed["token_logprobs"][len(read) :] == alone["token_logprobs"]
    assert with_bos["tokens"] == ["<s>", *echoed["tokens"]]
    assert with_bos["token_logprobs"][2:] == echoed["token_logprobs"][1:]
    assert echoed["token_logprobs"][0] is None


def test_offsets_are_places_in_the_text(text):
    # A text begins without the blank of its first piece; a character of several bytes is one, which
    # comes with the last of them; special tokens are none.
    read, written = TOKENIZER.encode(["one two"])[0], TOKENIZER.encode(["six 😀 two"])[0]
    found = _told(text, _spoken(read, [*written, TOKENIZER.eos]), 0, len(read) + 1)
    (whole,) = TOKENIZER.decode([[*read, *written]])
    ends = [*found["text_offset"][1:], len(whole)]
    parts = [whole[a:b] for a, b in zip(found["text_offset"], ends, strict=True)]
    special = {"<s>": "", "</s>": ""}
    for place, name, part in zip(found["text_offset"], found["tokens"], parts, strict=True):
        if not name.startswith("bytes:"):
            assert part == special.get(name, name if place else name.removeprefix(" "))
    assert "".join(parts) == whole
    assert parts.count("😀") == 1
    assert parts[-1] == parts[0] == ""


def test_a_byte_of_a_character_is_told_as_that_byte(text):
    (written,) = TOKENIZER.encode(["😀"])
    content = asyncio.run(LogProbs(text, 1).of_chat(_spoken([], written)))["content"]
    assert bytes(b for each in content for b in each["bytes"]).decode().strip() == "😀"


def test_each_token_is_among_those_told_in_its_place(text):
    (read, written) = TOKENIZER.encode(["one two", "six"])
    found = _told(text, _spoken(read, written), 2, len(read))
    for name, log_prob, best in zip(
        found["tokens"][1:], found["token_logprobs"][1:], found["top_logprobs"][1:], strict=True
    ):
        assert best[name] == log_prob
        assert len(best) in (2, 3)


def test_a_chat_is_told_the_same(text):
    spoken = _spoken(*TOKENIZER.encode(["one", "six"]))
    content = asyncio.run(LogProbs(text, 1).of_chat(spoken))["content"]
    assert [each["logprob"] for each in content] == _told(text, spoken, 1)["token_logprobs"]


def test_parts_joined_are_the_whole_bit_for_bit(text):
    (read, written) = TOKENIZER.encode(["one two", "six seven eight"])
    room = len(read) + len(written)
    whole = _told(text, _spoken(read, written), 3, len(read))

    async def in_parts():
        telling = LogProbs(text, 3, len(read))
        ends = [0, 2, 2, len(written)]
        return [await telling.of_completion(_spoken(read, written[:end], room)) for end in ends]

    parts = asyncio.run(in_parts())
    assert parts[2]["tokens"] == []
    for name, wanted in whole.items():
        assert [each for part in parts for each in part[name]] == wanted
