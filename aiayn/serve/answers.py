"""From a text that is asked for to what an engine searches, and from its news back to text.

The event loop does this; it hears of the engine's news by a queue of its own.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

from aiayn.decoding.outputs import Ended, one_line
from aiayn.decoding.sentences import joined
from aiayn.decoding.spellings import banned_sequences, prefix_ids
from aiayn.decoding.translator import Translator
from aiayn.decoding.unfolding import Unfolding
from aiayn.decoding.wishes import Wishes
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError
from aiayn.serve.engine import Engine, Request
from aiayn.serve.lanes import Ask, News, Output, check_banned
from aiayn.serve.text import Document

_Said = tuple[tuple[int, ...], bool]
"""Tokens of a piece, and whether they are all."""
_INCOMPLETE = "\ufffd"
"""What a tokenizer makes of the first bytes of a character."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of a text, in whatever dialect."""

    num_outputs: int = 1
    wishes: Wishes = Wishes()  # noqa: RUF009, it is frozen
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    prefix: str = ""
    """How a translation begins."""
    banned_ids: tuple[int, ...] = ()
    is_shown: bool = False


class Spoken(NamedTuple):
    """Tokens whose probabilities may be asked for."""

    source: tuple[int, ...]
    """With EOS; of a language model none."""
    first: int
    ids: tuple[int, ...]
    """With EOS, where the model ended it."""
    num_read: int = 0
    """Of `ids`, those of the prompt, which come before the output."""
    room: int = 0
    """As many as `ids` may become. They are scored in rows of that length, so that the probability
    of a token has the same bits while the text grows."""


class Answer(NamedTuple):
    """One output for one text."""

    text: str
    ended: Ended
    num_tokens: int
    """Without EOS."""
    spoken: tuple[Spoken, ...]
    """Of each part."""


@runtime_checkable
class Work(Protocol):
    """A text on its way."""

    @property
    def asks(self) -> Sequence[Ask]: ...

    @property
    def num_read(self) -> int:
        """Tokens of the text."""
        ...

    @property
    def num_outputs(self) -> int:
        """Answers that are wanted."""
        ...

    def tell(self, number: int, news: News) -> list[str]:
        """What is new of each output for sure, after the news of one part of the text; nothing of
        outputs whose order is not sure."""
        ...

    def spoken(self) -> list[tuple[Spoken, ...]]:
        """Of each output that `tell` tells of, the tokens of what was told."""
        ...

    def answers(self) -> list[Answer]:
        """All outputs, when all is done; in the order of `tell`."""
        ...


class Translation:
    """A document that is translated: its lines are searched apart, long ones in pieces."""

    def __init__(self, translator: Translator, document: Document, wanted: Wanted):
        """Raises UserError for a prefix or a ban that cannot be."""
        self._translator, self._document, self._wanted = translator, document, wanted
        self._pieces = [translator.pieces(part.line) for part in document.parts]
        flat = [piece for pieces in self._pieces for piece in pieces]
        self.num_read, self.num_outputs = sum(map(len, flat)), wanted.num_outputs
        self._news: dict[int, News] = {}
        self._told = 0
        banned = _banned(translator, wanted)
        prefix = ()
        if wanted.prefix:
            most = [translator.limit(flat[0]) - 1 if flat else 0]
            prefix = tuple(prefix_ids([wanted.prefix], translator.tokenizer, most, banned)[0])
        self.asks = [
            self._ask(piece, tuple(banned), prefix if number == 0 else ())
            for number, piece in enumerate(flat)
        ]

    def _ask(
        self, piece: list[int], banned: tuple[tuple[int, ...], ...], prefix: tuple[int, ...]
    ) -> Ask:
        translator, wanted = self._translator, self._wanted
        most = translator.limit(piece) - 1
        if wanted.max_tokens is not None:
            most = min(most, wanted.max_tokens)
        return Ask(
            read=(*piece, translator.tokenizer.eos),
            first=translator.tokenizer.bos,
            most=most,
            num_outputs=wanted.num_outputs,
            wishes=wanted.wishes,
            seed=wanted.wishes.seed_of(piece),
            banned=banned,
            prefix=prefix[:most],
            is_shown=self._is_told,
        )

    @property
    def _is_told(self) -> bool:
        """Whether anything is sure before the end: which outputs are the best is not, nor what
        comes before a stop string."""
        wanted = self._wanted
        return wanted.is_shown and not wanted.stop and wanted.num_outputs == 1

    def tell(self, number: int, news: News) -> list[str]:
        self._news[number] = news
        if not self._is_told:
            return []
        text = self._text([(news.certain, news.is_done) for news in self._in_order()])
        new = text[self._told :]
        self._told += len(new)
        return [new]

    def spoken(self) -> list[tuple[Spoken, ...]]:
        if not self._is_told:
            return []
        some = self._in_order()
        said = self._within([(news.certain, news.is_done) for news in some])
        return [self._spoken([news.outputs[0] for news in some], said)]

    def _in_order(self) -> list[News]:
        """The news of the first pieces, of which all but the last are done."""
        found: list[News] = []
        for number in range(len(self.asks)):
            if number not in self._news:
                break
            found.append(self._news[number])
            if not found[-1].is_done:
                break
        return found

    def answers(self) -> list[Answer]:
        found: list[Answer] = []
        for rank in range(self._wanted.num_outputs):
            # Of a text in parts, the n-th output is made of the n-th of each part.
            outputs = [self._output(number, rank) for number in range(len(self.asks))]
            said = self._within([(output.ids, True) for output in outputs])
            text, stopped = _stopped(self._text(said), self._wanted.stop)
            is_cut = not all(whole for _, whole in said)
            is_cut = is_cut or any(output.ended == "limit" for output in outputs)
            ended: Ended = "stop" if stopped else "limit" if is_cut else "eos"
            num_tokens = sum(len(ids) for ids, _ in said)
            found.append(Answer(text, ended, num_tokens, self._spoken(outputs, said)))
        return found

    def _spoken(self, outputs: Sequence[Output], said: Sequence[_Said]) -> tuple[Spoken, ...]:
        """The tokens that are said of each part's output."""
        return tuple(
            Spoken(ask.read, ask.first, (*ids, *self._end(output, whole)), room=ask.most + 1)
            for ask, output, (ids, whole) in zip(self.asks, outputs, said, strict=False)
        )

    def _output(self, number: int, rank: int) -> Output:
        outputs = self._news[number].outputs
        return outputs[min(rank, len(outputs) - 1)]

    def _end(self, output: Output, is_whole: bool) -> tuple[int, ...]:
        return (self._translator.tokenizer.eos,) if is_whole and output.ended == "eos" else ()

    def _within(self, said: Sequence[_Said]) -> list[_Said]:
        """As many tokens of all pieces as are wanted at most."""
        left, found = self._wanted.max_tokens, list[_Said]()
        for ids, is_whole in said:
            if left is not None and len(ids) > left:
                return [*found, (ids[:left], False)]
            left = left and left - len(ids)
            found.append((ids, is_whole))
        return found

    def _text(self, said: Sequence[_Said]) -> str:
        """The document with the tokens of its first pieces, of which the last may not be whole."""
        waiting = iter(self._within(said))
        found: list[str] = []
        for part, pieces in zip(self._document.parts, self._pieces, strict=True):
            texts, is_whole = list[str](), True
            for _ in pieces:
                ids, is_whole = next(waiting, ((), False))
                texts.append(self._line(ids, is_whole))
                if not is_whole:
                    break
            line = joined(texts, self._translator.language) if pieces else part.line
            if line or is_whole:
                found += [part.before, self._document.written(line)]
            if not is_whole:
                return "".join(found)
        return "".join([*found, self._document.after])

    def _line(self, ids: tuple[int, ...], is_whole: bool) -> str:
        (text,) = self._translator.tokenizer.decode([list(ids)])
        return one_line(text if is_whole else text.rstrip(_INCOMPLETE))


class Continuation:
    """A text that a language model goes on with."""

    def __init__(self, writer: Writer, prompt: str | Sequence[int], wanted: Wanted):
        """The ids of a prompt are taken as they are.

        Raises:
            UserError: the prompt is empty or longer than the context, or a ban cannot be.
            TooLongError: it is longer than the context.
        """
        self._writer, self._wanted = writer, wanted
        self.num_outputs = wanted.num_outputs
        tokenizer = writer.tokenizer
        if isinstance(prompt, str):
            (ids,) = tokenizer.encode([prompt])
            read = [tokenizer.bos, *ids] if tokenizer.has_bos else ids
        else:
            read = list(prompt) or ([tokenizer.bos] if tokenizer.has_bos else [])
        if not read:
            raise UserError(
                "The prompt is empty; wanted a word, since this model has no piece that begins a "
                "text."
            )
        self.read = tuple(read)
        """With the first token, which nothing predicts."""
        shown = read[1:] if tokenizer.has_bos and read[0] == tokenizer.bos else read
        self._ids = shown
        self.num_read = len(shown if isinstance(prompt, str) else read)
        said = read[1:]
        most_read = writer.context - 2
        if len(said) > most_read + (wanted.max_tokens == 0):
            raise TooLongError(
                f"The prompt has {len(shown):,} tokens; wanted at most "
                f"{most_read + len(shown) - len(said):,}, since the model's context is "
                f"{writer.context:,} with its beginning and one word more."
            )
        most = writer.context - 1 - len(said)
        if wanted.max_tokens is not None:
            most = min(most, wanted.max_tokens)
        self._unfoldings = [
            Unfolding(tokenizer, shown, wanted.stop) for _ in range(wanted.num_outputs)
        ]
        self._room = len(said) + most + 1
        ask = Ask(
            read=tuple(said),
            first=read[0],
            most=most,
            before=len(said),
            num_outputs=wanted.num_outputs,
            wishes=wanted.wishes,
            seed=wanted.wishes.seed_of(shown),
            banned=tuple(_banned(writer, wanted)),
            is_shown=wanted.is_shown,
        )
        if wanted.stop:
            ask = replace(ask, is_over=self._is_over)
        self.asks = [ask] if most > 0 else []
        nothing = Output((), 0.0, "limit")
        self._outputs: list[Output] = [] if most > 0 else [nothing] * wanted.num_outputs

    def _is_over(self, outputs: Sequence[Output]) -> bool:
        text = self._unfoldings[0].text
        return all(each.ended or text(each.ids)[1] is not None for each in outputs)

    def tell(self, number: int, news: News) -> list[str]:
        self._outputs = self._in_place(news.outputs)
        if not self._wanted.is_shown:
            return []
        # Of one output the search may not be sure yet; of several each is drawn, and stays.
        certain = [each.ids for each in self._outputs]
        if self._wanted.num_outputs == 1:
            certain = [news.certain]
        return [
            unfolding.tell(ids, news.is_done)
            for unfolding, ids in zip(self._unfoldings, certain, strict=False)
        ]

    def _in_place(self, outputs: Sequence[Output]) -> list[Output]:
        """Outputs in the order of those before that they go on from: a lane has the best first,
        which may be another in each turn. Of two that were the same until now, either may be first.
        """
        if not self._wanted.is_shown or len(outputs) != len(self._outputs):
            return list(outputs)
        left, found = list(outputs), dict[int, Output]()
        # Those that have ended before are what they were; what is left goes on.
        for place in sorted(range(len(left)), key=lambda place: self._outputs[place].ended is None):
            was = self._outputs[place]
            found[place] = next(
                each
                for each in left
                if (each.ids == was.ids and each.ended if was.ended else _begins(was.ids, each.ids))
            )
            left.remove(found[place])
        return [found[place] for place in range(len(found))]

    def spoken(self) -> list[tuple[Spoken, ...]]:
        return [
            (self._spoken(output.ids[: unfolding.num_told(output.ids)]),)
            for output, unfolding in zip(self._outputs, self._unfoldings, strict=False)
        ]

    @property
    def prompt_spoken(self) -> tuple[Spoken, ...]:
        """The tokens of the prompt."""
        return (self._spoken(()),)

    def _spoken(self, ids: tuple[int, ...]) -> Spoken:
        said = self.read[1:]
        return Spoken((), self.read[0], (*said, *ids), len(said), self._room)

    def answers(self) -> list[Answer]:
        found: list[Answer] = []
        for output in self._outputs:
            text, count = self._unfoldings[0].text(output.ids)
            ended: Ended = (output.ended or "limit") if count is None else "stop"
            ids = output.ids if count is None else output.ids[:count]
            end = (self._writer.tokenizer.eos,) if ended == "eos" else ()
            found.append(Answer(text, ended, len(ids), (self._spoken((*ids, *end)),)))
        return found

    @property
    def prompt_text(self) -> str:
        """The prompt as the model reads it."""
        return self._writer.tokenizer.decode([self._ids])[0]


def _begins(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return second[: len(first)] == first


class TooLongError(UserError):
    """A prompt does not fit into the context."""


def _banned(model: Translator | Writer, wanted: Wanted) -> Mapping[tuple[int, ...], str]:
    """What no output may hold, by its tokens."""
    found = dict(banned_sequences(wanted.wishes.ban, model.tokenizer, model.language))
    found |= {(number,): model.tokenizer.pieces([number])[0] for number in wanted.banned_ids}
    check_banned(list(found))
    return found


def _stopped(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first of some strings, and whether there is one."""
    places = [at for at in map(text.find, stops) if at >= 0]
    return (text[: min(places)], True) if places else (text, False)


def told(engine: Engine, works: Sequence[Work]) -> AsyncGenerator[tuple[int, list[str]]]:
    """Have some texts searched together; yields the number of one and what is new of its outputs.

    Ends when all are done; whoever stops before frees the slots. They wait from the call on.

    Raises:
        UserError, Full, Closed: as `Engine.submit`, at the call.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[int, News | Exception]] = asyncio.Queue()

    def deliver(number: int, news: News | Exception) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(queue.put_nowait, (number, news))

    request = engine.submit([ask for work in works for ask in work.asks], deliver)
    return _news(engine, request, works, queue)


async def _news(
    engine: Engine,
    request: Request,
    works: Sequence[Work],
    queue: asyncio.Queue[tuple[int, News | Exception]],
) -> AsyncGenerator[tuple[int, list[str]]]:
    owners = [
        (owner, number) for owner, work in enumerate(works) for number in range(len(work.asks))
    ]
    num_open = len(owners)
    try:
        while num_open:
            place, news = await queue.get()
            if isinstance(news, Exception):
                raise news
            owner, number = owners[place]
            num_open -= news.is_done
            yield owner, works[owner].tell(number, news)
    finally:
        if num_open:
            engine.drop(request)


async def answered(engine: Engine, works: Sequence[Work]) -> list[list[Answer]]:
    """The answers of some texts that are searched together."""
    async with aclosing(told(engine, works)) as news:
        async for _ in news:
            pass
    return [work.answers() for work in works]
