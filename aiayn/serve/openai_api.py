"""The dialect of OpenAI's servers: completions and chats, whole or as they are written.

A language model goes on with the prompt; a model that translates answers with its translation.
"""

import re
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from aiayn.data.text import visible
from aiayn.data.tokenizer import INCOMPLETE
from aiayn.decoding.wishes import Wishes
from aiayn.errors import UserError
from aiayn.serve.answers import Continuation, TooLongError, Translation, Wanted
from aiayn.serve.asked import Asked, Chat, Completion, Detokenize, Tokenize
from aiayn.serve.choices import Choices
from aiayn.serve.engine import Engine
from aiayn.serve.lanes import BANNED
from aiayn.serve.refusals import (
    MOST_BANS,
    MOST_CHARACTERS,
    MOST_OF_A_BAN,
    MOST_STOPS,
    MOST_TEXTS,
    Refusal,
    check_number,
    typed,
)
from aiayn.serve.text import document

_DEFAULT_TOKENS = 16
"""Of a completion by a language model, as OpenAI has it; a chat goes on to its end."""

Engines = Mapping[str, Engine]


def error(refusal: Refusal) -> dict[str, Any]:
    """A refusal in this dialect."""
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(refusal.status, "invalid_request_error")
    return {
        "error": {
            "message": refusal.message,
            "type": "server_error" if refusal.status >= 500 else kind,
            "param": refusal.param,
            "code": refusal.code,
        }
    }


def engine_of(name: str, engines: Engines) -> Engine:
    """Raises Refusal for a model that is not served."""
    if name not in engines:
        listed = ", ".join(engines)
        message = f"The model {name[:100]!r} does not exist; here are {listed}."
        raise Refusal(404, message, "model_not_found", "model")
    return engines[name]


def models(engines: Engines) -> list[dict[str, Any]]:
    """All models, in the order of the command line."""
    return [
        {"id": name, "object": "model", "created": _created(engine), "owned_by": "aiayn"}
        for name, engine in engines.items()
    ]


def _created(engine: Engine) -> int:
    return int(engine.served.path.stat().st_mtime) if engine.served.path.exists() else 0


async def complete(body: bytes, engines: Engines) -> Response:
    """`/v1/completions`."""
    asked: Completion = typed(body, Completion)
    engine = engine_of(asked.model, engines)
    prompts = _prompts(asked.prompt)
    if asked.suffix:
        raise Refusal(400, "suffix is not supported; wanted none.", param="suffix")
    if asked.best_of not in (None, asked.n or 1):
        message = f"best_of is {asked.best_of}; wanted as many as n, {asked.n or 1}."
        raise Refusal(400, message, param="best_of")
    is_text = engine.served.kind == "language_model"
    if asked.echo and not is_text:
        raise Refusal(400, "echo is of language models; this model translates.", param="echo")
    default = _DEFAULT_TOKENS if is_text else None
    most = default if asked.max_tokens is None else asked.max_tokens
    check_number("n", len(prompts) * (asked.n or 1), MOST_TEXTS, "outputs, of all prompts")
    wanted, copies = _wanted(asked, engine, most)
    works = [_work(engine, prompt, wanted) for prompt in prompts]
    choices = Choices(asked, engine, copies)
    if not asked.stream:
        return await choices.whole(works)
    if len(works) > 1:
        raise Refusal(400, "A stream is of one prompt; wanted one.", param="stream")
    return choices.stream(works[0])


async def chat(body: bytes, engines: Engines) -> Response:
    """`/v1/chat/completions`: the last message of the user is translated, or gone on with."""
    asked: Chat = typed(body, Chat)
    engine = engine_of(asked.model, engines)
    if asked.tools:
        raise Refusal(400, "tools are not supported; wanted none.", param="tools")
    if (asked.response_format or {}).get("type", "text") != "text":
        raise Refusal(
            400, "response_format is not supported; wanted text.", param="response_format"
        )
    if asked.top_logprobs and not asked.logprobs:
        raise Refusal(400, "top_logprobs needs logprobs as well.", param="top_logprobs")
    by_user = [message.text for message in asked.messages if message.role == "user"]
    if not by_user:
        raise Refusal(400, "messages has none of the user; wanted one.", param="messages")
    begun = asked.messages[-1].text if asked.messages[-1].role == "assistant" else ""
    most = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    is_text = engine.served.kind == "language_model"
    check_number("messages", len(by_user[-1]) + len(begun), MOST_CHARACTERS, "characters")
    wanted, copies = _wanted(asked, engine, most, "" if is_text else begun)
    work = _work(engine, by_user[-1] + (begun if is_text else ""), wanted)
    choices = Choices(asked, engine, copies)
    return choices.stream(work) if asked.stream else await choices.whole([work])


def _prompts(prompt: str | list[str | int | list[int]]) -> list[str | list[int]]:
    """The prompts, each a text or ids."""
    if isinstance(prompt, str):
        prompts: list[Any] = [prompt]
    elif prompt and all(isinstance(each, int) for each in prompt):
        prompts = [prompt]
    else:
        kinds = {type(each) for each in prompt}
        if len(kinds) != 1 or int in kinds:
            raise Refusal(400, "prompt mixes texts and tokens, or is empty.", param="prompt")
        prompts = list(prompt)
    check_number("prompt", len(prompts), MOST_TEXTS, "texts")
    total = sum(map(len, prompts))
    check_number("prompt", total, MOST_CHARACTERS, "characters or tokens")
    return prompts


def _work(engine: Engine, prompt: str | list[int], wanted: Wanted) -> Translation | Continuation:
    try:
        if not isinstance(prompt, str):
            size = engine.served.tokenizer.num_words
            for number in prompt:
                if not 0 <= number < size:
                    message = f"The prompt has token {number}; wanted 0 to {size - 1}."
                    raise Refusal(400, message, param="prompt")
        if engine.served.kind == "language_model":
            return Continuation(engine.served.writer, prompt, wanted)
        if not isinstance(prompt, str):
            (prompt,) = engine.served.tokenizer.decode([prompt])
        return Translation(engine.served.translator, document(prompt), wanted)
    except TooLongError as fault:
        raise Refusal(400, str(fault), "context_length_exceeded", "prompt") from None


def _wanted(asked: Asked, engine: Engine, most: int | None, prefix: str = "") -> tuple[Wanted, int]:
    """What is asked of each prompt, and how many times each answer is given: what nothing is drawn
    for is the same however often."""
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(asked, name):
            raise Refusal(400, f"{name} is not supported; wanted 0.", param=name)
    stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    check_number("stop", len(stop), MOST_STOPS, "strings")
    check_number("ban", len(asked.ban or ()), MOST_BANS, "words")
    longest = max(map(len, asked.ban or ()), default=0)
    check_number("ban", longest, MOST_OF_A_BAN, "characters of a word")
    if "" in stop:
        raise Refusal(400, "stop has an empty string; wanted some characters.", param="stop")
    if any(INCOMPLETE in each for each in stop):
        message = "stop has U+FFFD, which stands for half a character; wanted text."
        raise Refusal(400, message, param="stop")
    is_text = engine.served.kind == "language_model"
    if is_text and asked.length_penalty:
        message = f"length_penalty is {asked.length_penalty:g}; wanted 0, for nothing is searched."
        raise Refusal(400, message, param="length_penalty")
    count = asked.n or 1
    is_drawn = asked.temperature != 0 and (is_text or asked.temperature is not None)
    copies = 1
    if is_text and not is_drawn:
        count, copies = 1, count
    bans = [*map(visible, asked.ban or ())]
    banned_ids, bias = _biases(asked.logit_bias or {}, engine)
    masks: dict[str, Any] = {"min_length": asked.min_tokens or None, "ban": bans}
    drawn: dict[str, Any] = {}
    if is_drawn or is_text:
        top_k = asked.top_k if asked.top_k and asked.top_k > 0 else None
        drawn = {"sample": count, "seed": asked.seed, "temperature": asked.temperature}
        drawn |= {"top_k": top_k, "top_p": asked.top_p, "min_p": asked.min_p}
    wanted = Wanted(
        num_outputs=count,
        wishes=Wishes(**masks, **drawn),
        stop=tuple(stop),
        max_tokens=most,
        prefix=visible(prefix),
        banned_ids=banned_ids,
        bias=bias,
        alpha=None if is_text else asked.length_penalty,
        is_shown=bool(asked.stream),
    )
    return wanted, copies


def _biases(
    biases: Mapping[str, float], engine: Engine
) -> tuple[tuple[int, ...], tuple[tuple[int, float], ...]]:
    """The tokens whose bias is −100, which bans them, and the others that have one, with it."""
    size = engine.served.tokenizer.num_words
    for name in biases:
        # Of so many digits that Python makes no number of them, none is one of these.
        is_number = name.isdecimal() and len(name) <= len(str(size))
        if not is_number or int(name) >= size or str(int(name)) != name:
            message = f"logit_bias has token {name[:20]!r}; wanted 0 to {size - 1}."
            raise Refusal(400, message, param="logit_bias")
    found = {int(name): bias for name, bias in biases.items() if bias}
    banned = tuple(token for token, bias in found.items() if bias == -100)
    if len(banned) > BANNED:
        message = f"logit_bias bans {len(banned):,} tokens; wanted at most {BANNED}."
        raise Refusal(400, message, param="logit_bias")
    return banned, tuple((token, bias) for token, bias in found.items() if bias != -100)


def tokenize(body: bytes, engines: Engines) -> dict[str, Any]:
    """`/tokenize`: the names of BOS and EOS are their tokens here."""
    asked: Tokenize = typed(body, Tokenize)
    engine = _tokenizing(asked.model, engines)
    tokenizer = engine.served.tokenizer
    names = {tokenizer.pieces([number])[0]: number for number in (tokenizer.eos, tokenizer.bos)}
    ids: list[int] = []
    for part in re.split(f"({'|'.join(map(re.escape, names))})", visible(asked.prompt)):
        if part in names:
            ids.append(names[part])
        elif part:
            ids += tokenizer.encode([part])[0]
    if asked.add_special_tokens and tokenizer.has_bos:
        ids = [tokenizer.bos, *ids]
    found: dict[str, Any] = {"count": len(ids), "max_model_len": context(engine), "tokens": ids}
    if asked.return_token_strs:
        found["token_strs"] = tokenizer.pieces(ids)
    return found


def detokenize(body: bytes, engines: Engines) -> dict[str, Any]:
    """`/detokenize`."""
    asked: Detokenize = typed(body, Detokenize)
    tokenizer = _tokenizing(asked.model, engines).served.tokenizer
    wrong = [number for number in asked.tokens if not 0 <= number < tokenizer.num_words]
    if wrong:
        message = f"tokens has {wrong[0]}; wanted 0 to {tokenizer.num_words - 1}."
        raise Refusal(400, message, param="tokens")
    return {"prompt": tokenizer.decode([asked.tokens])[0]}


def tokenizer_info(engines: Engines) -> dict[str, Any]:
    """`/tokenizer_info`: the names of the special tokens, of the model that `/tokenize` takes."""
    tokenizer = _tokenizing(None, engines).served.tokenizer
    bos, eos, pad = tokenizer.pieces([tokenizer.bos, tokenizer.eos, tokenizer.pad])
    return {
        "tokenizer_class": type(tokenizer).__name__,
        "bos_token": bos if tokenizer.has_bos else None,
        "eos_token": eos,
        "pad_token": pad,
        "vocab_size": tokenizer.num_words,
    }


def _tokenizing(name: str | None, engines: Engines) -> Engine:
    """The model named, else the first language model, else the first."""
    if name:
        return engine_of(name, engines)
    of_text = [each for each in engines.values() if each.served.kind == "language_model"]
    return [*of_text, *engines.values()][0]


def context(engine: Engine) -> int:
    """The most tokens of a text of training."""
    return engine.served.model.experiment.data.max_tokens


def refusal_of(fault: UserError) -> Refusal:
    """A user's mistake as it is told."""
    name = str(fault).split(" ")[0]
    return Refusal(400, str(fault), param=name if name in Asked.__struct_fields__ else None)
