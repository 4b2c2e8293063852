"""What OpenAI's clients may ask for, with its bounds as types."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from aiayn.config import LARGEST_PENALTY
from aiayn.serve.refusals import MOST_CHARACTERS, MOST_TEXTS

Text = Annotated[str, Meta(max_length=MOST_CHARACTERS)]


class StreamOptions(msgspec.Struct, kw_only=True):
    """What else a stream tells."""

    include_usage: bool | None = None


class Asked(msgspec.Struct, kw_only=True):
    """What completions and chats have in common; the last five are ours."""

    model: str
    max_tokens: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    user: str | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    ban: list[str] | None = None
    length_penalty: Annotated[float, Meta(ge=0, le=LARGEST_PENALTY)] | None = None


class Completion(Asked, kw_only=True):
    """A request for completions."""

    prompt: str | list[str | int | list[int]]
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    best_of: Annotated[int, Meta(ge=1, le=128)] | None = None
    suffix: str | None = None


class ContentPart(msgspec.Struct, kw_only=True):
    """A part of a message; of text alone."""

    type: Literal["text"]
    text: str


class Message(msgspec.Struct, kw_only=True):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class Chat(Asked, kw_only=True):
    """A request for the answer in a chat."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MOST_TEXTS)]
    max_completion_tokens: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[Any] | None = None
    response_format: dict[str, Any] | None = None


class Tokenize(msgspec.Struct, kw_only=True):
    """A request for the tokens of a text; vLLM's."""

    prompt: Text
    model: str | None = None
    add_special_tokens: bool | None = True
    return_token_strs: bool | None = False


class Detokenize(msgspec.Struct, kw_only=True):
    """A request for the text of tokens."""

    tokens: Annotated[list[int], Meta(max_length=MOST_CHARACTERS)]
    model: str | None = None
