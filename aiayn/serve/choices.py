"""Answers as OpenAI's clients read them: whole, or in parts as they grow."""

import time
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from aiayn.serve.answers import Answer, Continuation, Spoken, Telling, Translation, answered
from aiayn.serve.asked import Chat, Completion
from aiayn.serve.engine import Engine
from aiayn.serve.logprobs import LogProbs
from aiayn.serve.refusals import as_json

READ_SECONDS = 60
"""In which a reader must take each part of a stream."""
_FINISHED: Mapping[str, str] = {"limit": "length"}
"""Their names of why a text ended, where it is not `stop`."""
Work = Translation | Continuation


class Choices:
    """All answers to one request, and what they have in common."""

    def __init__(self, asked: Completion | Chat, engine: Engine, copies: int):
        """Each answer is given `copies` times."""
        self._asked, self._engine, self._copies = asked, engine, copies
        self._is_chat = isinstance(asked, Chat)
        self._echo = isinstance(asked, Completion) and bool(asked.echo)
        if isinstance(asked, Chat):
            self._count = (asked.top_logprobs or 0) if asked.logprobs else None
        else:
            self._count = asked.logprobs
        self._id = f"cmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    async def whole(self, works: Sequence[Work]) -> Response:
        """The answers to all prompts, when they are there."""
        found, choices = await answered(self._engine, works), list[dict[str, Any]]()
        for work, answers in zip(works, found, strict=True):
            for answer in answers:
                text = self._echoed(work) + answer.text
                message = {"role": "assistant", "content": text, "refusal": None}
                choice = {
                    **({"message": message} if self._is_chat else {"text": text}),
                    "logprobs": await self._told(self._log_probs(work), answer.spoken),
                    "finish_reason": _FINISHED.get(answer.ended, "stop"),
                }
                for _ in range(self._copies):
                    choices.append({"index": len(choices), **choice})
        values = self._values(choices, self._usage(works, found))
        return Response(as_json(values), media_type="application/json")

    def stream(self, work: Work) -> EventSourceResponse:
        """The answers to one prompt as they grow: what was sent is never taken back."""
        growing = Telling(self._engine, [work])  # before the answer begins: it may be refused
        return _Stream(self._chunks(work, growing), growing)

    async def _chunks(self, work: Work, growing: Telling) -> AsyncGenerator[dict[str, str]]:
        count = work.num_outputs
        log_probs, sent = [self._log_probs(work) for _ in range(count)], [0] * count
        begin = self._echoed(work)
        for place in range(count):
            if self._is_chat or begin:
                spoken = work.prompt_spoken if isinstance(work, Continuation) and begin else ()
                about = await self._told(log_probs[place], spoken)
                for chunk in self._parts(place, begin, about, is_first=True):
                    yield chunk
        async for _, texts in growing:
            has_about = self._count is not None and any(texts)
            spoken = work.spoken() if has_about else [()] * len(texts)
            for place, text in enumerate(texts):
                if text:
                    sent[place] += len(text)
                    about = await self._told(log_probs[place], spoken[place])
                    for chunk in self._parts(place, text, about):
                        yield chunk
        answers = work.answers()
        for place, answer in enumerate(answers):
            rest, about = answer.text[sent[place] :], None
            if self._count is not None:
                about = await self._told(log_probs[place], answer.spoken)
            if rest or (about and any(about.values())):
                for chunk in self._parts(place, rest, about):
                    yield chunk
            for chunk in self._parts(place, "", None, _FINISHED.get(answer.ended, "stop")):
                yield chunk
        options = self._asked.stream_options
        if options is not None and options.include_usage:
            usage = self._usage([work], [answers])
            yield {"data": as_json(self._values([], usage)).decode()}
        yield {"data": "[DONE]"}

    def _parts(
        self,
        place: int,
        text: str,
        log_probs: dict[str, Any] | None,
        finish: str | None = None,
        is_first: bool = False,
    ) -> list[dict[str, str]]:
        """What is new of an output, for each of its copies."""
        found: list[dict[str, str]] = []
        for copy in range(self._copies):
            choice: dict[str, Any] = {"index": place * self._copies + copy}
            choice |= {"logprobs": log_probs, "finish_reason": finish}
            if self._is_chat:
                delta: dict[str, Any] = {"role": "assistant"} if is_first else {}
                choice["delta"] = delta if finish else {**delta, "content": text}
            else:
                choice["text"] = text
            found.append({"data": as_json(self._values([choice])).decode()})
        return found

    def _echoed(self, work: Work) -> str:
        return work.prompt_text if self._echo and isinstance(work, Continuation) else ""

    def _log_probs(self, work: Work) -> LogProbs:
        return LogProbs(self._engine, self._count or 0, work.num_read if self._echo else None)

    async def _told(self, log_probs: LogProbs, spoken: Sequence[Spoken]) -> dict[str, Any] | None:
        """What is new of an output's tokens, where they are asked for."""
        if self._count is None:
            return None
        return await (log_probs.of_chat if self._is_chat else log_probs.of_completion)(spoken)

    def _values(self, choices: Sequence[dict[str, Any]], usage: Any = None) -> dict[str, Any]:
        kind = "chat.completion" if self._is_chat else "text_completion"
        found = {
            "id": self._id,
            "object": f"{kind}.chunk" if self._is_chat and self._asked.stream else kind,
            "created": self._created,
            "model": self._asked.model,
            "choices": choices,
        }
        return found if usage is None else {**found, "usage": usage}

    def _usage(self, works: Sequence[Work], answers: Sequence[Sequence[Answer]]) -> dict[str, int]:
        read = sum(work.num_read for work in works)
        written = self._copies * sum(each.num_tokens for some in answers for each in some)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }


class _Stream(EventSourceResponse):
    """Events, and the end of what they tell of: nobody works for a reader who has gone, even
    before the first of them."""

    def __init__(self, events: AsyncGenerator[dict[str, str]], growing: Telling):
        super().__init__(events, sep="\n", send_timeout=READ_SECONDS)
        self._growing = growing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._growing):
            await super().__call__(scope, receive, send)
