"""Probabilities of tokens as OpenAI's clients read them."""

import asyncio
import re
from typing import Any, NamedTuple

from aiayn.data.tokenizer import Tokenizer
from aiayn.serve.answers import Answer
from aiayn.serve.engine import Engine
from aiayn.serve.scoring import Scored


class _Token(NamedTuple):
    number: int
    log_prob: float | None
    """None where nothing predicts it."""
    best: list[tuple[int, float]]
    """The most probable tokens in its place."""


async def _tokens(engine: Engine, answer: Answer, count: int, with_prompt: bool) -> list[_Token]:
    """Those of an output, after those of its prompt if wanted."""
    found: list[_Token] = []
    for spoken in answer.spoken:
        ids, skip = spoken.ids, spoken.num_read
        scored = await asyncio.wrap_future(engine.score(spoken.source, spoken.first, ids))
        tokens = [_Token(spoken.first, None, []), *_each(ids, scored, count)]
        found += tokens if with_prompt else tokens[1 + skip :]
    return found


def _each(ids: tuple[int, ...], scored: Scored, count: int) -> list[_Token]:
    log_probs = scored.log_probs_T.tolist()
    words, values = scored.best_TC[:, :count].tolist(), scored.best_log_probs_TC[:, :count].tolist()
    return [
        _Token(number, log_prob, list(zip(*best, strict=True)))
        for number, log_prob, *best in zip(ids, log_probs, words, values, strict=True)
    ]


async def of_completion(
    engine: Engine, answer: Answer, count: int, echoed: int | None
) -> dict[str, Any]:
    """`logprobs` of a completion, with the last `echoed` tokens of the prompt before it.

    The first token echoed has no probability, as clients expect.
    """
    tokenizer = engine.served.tokenizer
    tokens = await _tokens(engine, answer, count, echoed is not None)
    if echoed is not None:
        first = 1 + answer.spoken[0].num_read - echoed
        tokens = [each._replace(log_prob=None, best=[]) for each in tokens[first : first + 1]] + (
            tokens[first + 1 :]
        )
    names = [token_text(each.number, tokenizer) for each in tokens]
    offsets = [sum(map(len, names[:place])) for place in range(len(names))]
    best: list[dict[str, float] | None] = []
    for each, name in zip(tokens, names, strict=True):
        if each.log_prob is None:
            best.append(None)
            continue
        values: dict[str, float] = {}
        for number, log_prob in [*each.best, (each.number, each.log_prob)]:
            values.setdefault(token_text(number, tokenizer), log_prob)
        best.append({**values, name: max(values[name], each.log_prob)})
    return {
        "tokens": names,
        "token_logprobs": [each.log_prob for each in tokens],
        "top_logprobs": best if count else None,
        "text_offset": offsets,
    }


async def of_chat(engine: Engine, answer: Answer, count: int) -> dict[str, Any]:
    """`logprobs` of a chat's answer."""
    tokenizer = engine.served.tokenizer

    def told(number: int, log_prob: float | None) -> dict[str, Any]:
        name = token_text(number, tokenizer)
        return {"token": name, "logprob": log_prob, "bytes": list(name.encode())}

    content = [
        {
            **told(each.number, each.log_prob),
            "top_logprobs": [told(*one) for one in each.best],
        }
        for each in await _tokens(engine, answer, count, with_prompt=False)
    ]
    return {"content": content, "refusal": None}


def token_text(number: int, tokenizer: Tokenizer) -> str:
    """A token as text; a part of a character by its bytes, as OpenAI writes it."""
    (piece,) = tokenizer.pieces([number])
    if found := re.fullmatch("<0x([0-9A-F]{2})>", piece):
        return f"bytes:\\x{found[1].lower()}"
    return piece.replace("\u2581", " ")
