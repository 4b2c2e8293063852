"""The names of tokens, by which clients tell them apart."""

import asyncio

from aiayn.serve.answers import Answer, Spoken
from aiayn.serve.logprobs import of_chat, of_completion, token_text
from tests.support.models import TOKENIZER


def test_a_token_is_the_text_that_it_stands_for():
    (one, byte) = TOKENIZER.ids(["\u2581t", "<0xE2>"])
    assert token_text(one, TOKENIZER) == " t"
    assert token_text(byte, TOKENIZER) == "bytes:\\xe2"
    assert token_text(TOKENIZER.eos, TOKENIZER) == "</s>"


def _answer(read, written):
    spoken = Spoken((), TOKENIZER.bos, (*read, *written, TOKENIZER.eos), len(read))
    return Answer("", "eos", len(written), (spoken,))


def test_the_prompt_is_told_only_where_it_is_echoed(text):
    (read, written) = TOKENIZER.encode(["one two", "six"])
    answer = _answer(read, written)
    alone = asyncio.run(of_completion(text, answer, 0, None))
    echoed = asyncio.run(of_completion(text, answer, 2, len(read)))
    with_bos = asyncio.run(of_completion(text, answer, 2, len(read) + 1))
    assert len(alone["tokens"]) == len(written) + 1
    assert alone["top_logprobs"] is None
    assert echoed["tokens"][len(read) :] == alone["tokens"]
    assert echoed["token_logprobs"][len(read) :] == alone["token_logprobs"]
    assert with_bos["tokens"] == ["<s>", *echoed["tokens"]]
    assert with_bos["token_logprobs"][2:] == echoed["token_logprobs"][1:]
    assert echoed["token_logprobs"][0] is None
    for offset, name, following in zip(
        echoed["text_offset"], echoed["tokens"], echoed["text_offset"][1:], strict=False
    ):
        assert following == offset + len(name)


def test_each_token_is_among_those_told_in_its_place(text):
    (read, written) = TOKENIZER.encode(["one two", "six"])
    found = asyncio.run(of_completion(text, _answer(read, written), 2, len(read)))
    for name, log_prob, best in zip(
        found["tokens"][1:], found["token_logprobs"][1:], found["top_logprobs"][1:], strict=True
    ):
        assert best[name] == log_prob
        assert len(best) in (2, 3)


def test_a_chat_is_told_the_same(text):
    (read, written) = TOKENIZER.encode(["one", "six"])
    of_tokens = asyncio.run(of_completion(text, _answer(read, written), 1, None))
    content = asyncio.run(of_chat(text, _answer(read, written), 1))["content"]
    assert [each["logprob"] for each in content] == of_tokens["token_logprobs"]
