"""Probabilities of tokens as OpenAI's clients read them."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from aiayn.data.tokenizer import INCOMPLETE, Tokenizer, byte_of
from aiayn.serve.answers import Spoken
from aiayn.serve.engine import Engine
from aiayn.serve.scoring import Scored


class _Token(NamedTuple):
    number: int
    length: int
    """Characters that the text has with it and had not before: a character of several tokens comes
    with the last."""
    log_prob: float | None
    """None where nothing predicts it."""
    best: list[tuple[int, float]]
    """The most probable tokens in its place."""


class LogProbs:
    """The log-probabilities of one output's tokens, each told once.

    Told of an output that grows, they are those that are told of the whole, in parts.
    """

    def __init__(self, engine: Engine, count: int, num_echoed: int | None = None):
        """`count` of the most probable tokens are told in each place, and the last `num_echoed`
        tokens of the prompt are told before the output; the first of them has no probability, as
        clients expect."""
        self._engine, self._count, self._num_echoed = engine, count, num_echoed
        self._num_told: list[int] = []
        """Of each part of the output, with what begins it; all but the last are told as a whole."""
        self._offset = 0

    async def of_completion(self, spoken: Sequence[Spoken]) -> dict[str, Any]:
        """`logprobs` of a completion, for what is new of an output."""
        tokenizer, tokens = self._engine.served.tokenizer, await self._new(spoken)
        names = [token_text(each.number, tokenizer) for each in tokens]
        offsets: list[int] = []
        for each in tokens:
            offsets.append(self._offset)
            self._offset += each.length
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
            "top_logprobs": best if self._count else None,
            "text_offset": offsets,
        }

    async def of_chat(self, spoken: Sequence[Spoken]) -> dict[str, Any]:
        """`logprobs` of a chat's answer, for what is new of it."""
        tokenizer = self._engine.served.tokenizer

        def told(number: int, log_prob: float | None) -> dict[str, Any]:
            name = token_text(number, tokenizer)
            spelled = _token_bytes(number, tokenizer)
            return {"token": name, "logprob": log_prob, "bytes": spelled}

        content = [
            {
                **told(each.number, each.log_prob),
                "top_logprobs": [told(*one) for one in each.best],
            }
            for each in await self._new(spoken)
        ]
        return {"content": content, "refusal": None}

    async def _new(self, spoken: Sequence[Spoken]) -> list[_Token]:
        """The tokens that were not told before."""
        found: list[_Token] = []
        first = max(0, len(self._num_told) - 1)
        for part, each in enumerate(spoken[first:], first):
            if part == len(self._num_told):
                self._num_told.append(1 + each.num_read - (self._num_echoed or 0))
            told, now = self._num_told[part], 1 + len(each.ids)
            if told == now:
                continue
            ids, room = each.ids, each.room
            future = self._engine.score(each.source, each.first, ids, room)
            scored = await asyncio.wrap_future(future)
            lengths = self._lengths((each.first, *ids), told)
            begins = _Token(each.first, 0, None, [])
            tokens = [begins, *_each(ids, scored, self._count)][told:]
            if told <= each.num_read:  # the prompt, whose first token has none
                tokens[0] = tokens[0]._replace(log_prob=None, best=[])
            pairs = zip(tokens, lengths, strict=True)
            found += [token._replace(length=length) for token, length in pairs]
            self._num_told[part] = now
        return found

    def _lengths(self, ids: Sequence[int], first: int) -> list[int]:
        """Of each token from the first that is new on, the characters that come with it."""
        begun = [ids[:end] for end in range(first, len(ids) + 1)]
        texts = self._engine.served.tokenizer.decode(begun)
        told = [len(text.rstrip(INCOMPLETE)) for text in texts]
        return [after - before for before, after in pairwise(told)]


def _each(ids: Sequence[int], scored: Scored, count: int) -> list[_Token]:
    log_probs = scored.log_probs_T.tolist()
    words, values = scored.best_TC[:, :count].tolist(), scored.best_log_probs_TC[:, :count].tolist()
    return [
        _Token(number, 0, log_prob, list(zip(*best, strict=True)))
        for number, log_prob, *best in zip(ids, log_probs, words, values, strict=True)
    ]


def token_text(number: int, tokenizer: Tokenizer) -> str:
    """A token as text; a part of a character by its bytes, as OpenAI writes it."""
    (piece,) = tokenizer.pieces([number])
    byte = byte_of(piece)
    return piece.replace("\u2581", " ") if byte is None else f"bytes:\\x{byte:02x}"


def _token_bytes(number: int, tokenizer: Tokenizer) -> list[int]:
    """A token in UTF-8."""
    byte = byte_of(tokenizer.pieces([number])[0])
    return [*token_text(number, tokenizer).encode()] if byte is None else [byte]
