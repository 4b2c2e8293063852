"""From a text that is asked for to what an engine searches, and from its news back to text.

The event loop does this; it hears of the engine's news by a queue of its own.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

from aiayn.data.text import visible
from aiayn.data.tokenizer import INCOMPLETE
from aiayn.decoding.outputs import Ended, as_drawn, one_line
from aiayn.decoding.sentences import joined
from aiayn.decoding.spellings import banned_sequences, prefix_ids
from aiayn.decoding.translator import Translator, least_shares
from aiayn.decoding.unfolding import Unfolding
from aiayn.decoding.wishes import Wishes
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError
from aiayn.serve.engine import Engine
from aiayn.serve.lanes import Ask, News, Output, check_banned
from aiayn.serve.text import Document

_Said = tuple[tuple[int, ...], bool]
"""Tokens of a piece, and whether they are all."""


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
    bias: tuple[tuple[int, float], ...] = ()
    """Tokens, and what is added to their logits where words are chosen, in nats."""
    alpha: float | None = None
    """Of a translation's length penalty, in place of the model's own."""
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
        self._sure = _Sure(0, 0, wanted.max_tokens)
        self._told = 0
        """Characters of the first part that is not told as a whole."""
        self._spoken_whole: list[Spoken] = []
        """Of the first pieces, which are told as a whole."""
        self._spoken_left = wanted.max_tokens
        banned = _banned(translator, wanted.wishes.ban, wanted.banned_ids)
        prefix = ()
        if wanted.prefix:
            most = [translator.limit(flat[0]) - 1 if flat else 0]
            prefix = tuple(prefix_ids([wanted.prefix], translator.tokenizer, most, banned)[0])
        least = wanted.wishes.min_length
        shares = least_shares(least, flat, [range(len(flat))]) if least else {}
        self.asks = [
            self._ask(piece, shares.get(number), tuple(banned), prefix if number == 0 else ())
            for number, piece in enumerate(flat)
        ]

    def _ask(
        self,
        piece: list[int],
        least: int | None,
        banned: tuple[tuple[int, ...], ...],
        prefix: tuple[int, ...],
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
            wishes=replace(wanted.wishes, min_length=least),
            seed=wanted.wishes.seed_of(piece),
            banned=banned,
            bias=wanted.bias,
            prefix=prefix[:most],
            alpha=None if wanted.alpha == translator.config.length_penalty else wanted.alpha,
            is_shown=self._is_told,
        )

    @property
    def _is_told(self) -> bool:
        """Whether anything is sure before the end: which outputs are the best is not, nor what
        comes before a stop string, nor which words their bias brings."""
        wanted = self._wanted
        return wanted.is_shown and not (wanted.stop or wanted.bias) and wanted.num_outputs == 1

    def tell(self, number: int, news: News) -> list[str]:
        self._news[number] = news
        if not self._is_told:
            return []
        found: list[str] = []
        while True:
            sure, pieces = self._sure, self._pieces_of(self._sure.part)
            some = self._in_order(range(sure.first, sure.first + len(pieces)))
            said, left = _within([(each.certain, each.is_done) for each in some], sure.left)
            text, is_whole = self._part_text(sure.part, iter(said))
            found.append(text[self._told :])
            self._told = len(text)
            if not is_whole:
                return ["".join(found)]
            self._sure = _Sure(sure.part + 1, sure.first + len(pieces), left)
            self._told = 0

    def spoken(self) -> list[tuple[Spoken, ...]]:
        if not self._is_told:
            return []
        # Of many pieces only those that are new are looked at.
        while news := self._news.get(len(self._spoken_whole)):
            (said,), left = _within([(news.certain, news.is_done)], self._spoken_left)
            spoken = self._spoken_of(self.asks[len(self._spoken_whole)], news.outputs[0], said)
            if not said[1]:
                return [(*self._spoken_whole, spoken)]
            self._spoken_whole.append(spoken)
            self._spoken_left = left
        return [tuple(self._spoken_whole)]

    def _in_order(self, numbers: Iterable[int]) -> list[News]:
        """The news of some pieces up to the first that is not done."""
        found: list[News] = []
        for number in numbers:
            if number not in self._news:
                break
            found.append(self._news[number])
            if not found[-1].is_done:
                break
        return found

    def answers(self) -> list[Answer]:
        found: list[Answer] = []
        for rank in range(self._wanted.num_outputs):
            # Of a text in parts, the n-th output is made of the n-th of each part, and of samples
            # of any of each, since they come best first.
            outputs = [self._output(number, rank) for number in range(len(self.asks))]
            all_said = [(output.ids, True) for output in outputs]
            said, _ = _within(all_said, self._wanted.max_tokens)
            text, stopped = _stopped(self._text(said), self._wanted.stop)
            if stopped and said:
                said = self._fewest(said)
            is_cut = not all(whole for _, whole in said)
            is_cut = is_cut or any(output.ended == "limit" for output in outputs)
            ended: Ended = "stop" if stopped else "limit" if is_cut else "eos"
            num_tokens = sum(len(ids) for ids, _ in said)
            found.append(Answer(text, ended, num_tokens, self._spoken(outputs, said)))
        return found

    def _spoken(self, outputs: Sequence[Output], said: Sequence[_Said]) -> tuple[Spoken, ...]:
        """The tokens that are said of each part's output."""
        parts = zip(self.asks, outputs, said, strict=False)
        return tuple(self._spoken_of(ask, output, some) for ask, output, some in parts)

    def _spoken_of(self, ask: Ask, output: Output, said: _Said) -> Spoken:
        ids, is_whole = said
        end = self._end(output, is_whole)
        return Spoken(ask.read, ask.first, (*ids, *end), room=ask.most + 1)

    def _output(self, number: int, rank: int) -> Output:
        outputs = self._news[number].outputs
        place = min(rank, len(outputs) - 1)
        if self._wanted.wishes.sample and len(self.asks) > 1:
            place = as_drawn(len(outputs), self.asks[number].seed)[place]
        return outputs[place]

    def _end(self, output: Output, is_whole: bool) -> tuple[int, ...]:
        return (self._translator.tokenizer.eos,) if is_whole and output.ended == "eos" else ()

    def _fewest(self, said: Sequence[_Said]) -> list[_Said]:
        """The first tokens that hold a string that stops; all that are said do."""
        low, high = 1, sum(len(ids) for ids, _ in said)
        while low < high:
            middle = (low + high) // 2
            if _stopped(self._text(_within(said, middle)[0]), self._wanted.stop)[1]:
                high = middle
            else:
                low = middle + 1
        *found, (ids, _) = _within(said, low)[0]
        return [*found, (ids, False)]

    def _text(self, said: Sequence[_Said]) -> str:
        """The document with the tokens of its first pieces, of which the last may not be whole."""
        waiting = iter(said)
        found: list[str] = []
        for part in range(len(self._document.parts) + 1):
            text, is_whole = self._part_text(part, waiting)
            found.append(text)
            if not is_whole:
                break
        return "".join(found)

    def _pieces_of(self, part: int) -> Sequence[Sequence[int]]:
        return self._pieces[part] if part < len(self._pieces) else ()

    def _part_text(self, number: int, said: Iterator[_Said]) -> tuple[str, bool]:
        """A part with what stands before it, and whether it is whole; last of all what stands after
        the last part, which nothing follows. `said` goes on behind its pieces."""
        if number == len(self._document.parts):
            return self._document.after, False
        part, pieces = self._document.parts[number], self._pieces[number]
        texts, is_whole = list[str](), True
        for _ in pieces:
            ids, is_whole = next(said, ((), False))
            texts.append(self._line(ids, is_whole))
            if not is_whole:
                break
        line = joined(texts, self._translator.language) if pieces else part.line
        if line or is_whole:
            return part.before + self._document.written(line), is_whole
        return "", False

    def _line(self, ids: tuple[int, ...], is_whole: bool) -> str:
        (text,) = self._translator.tokenizer.decode([list(ids)])
        return one_line(text if is_whole else text.rstrip(INCOMPLETE))


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
            (ids,) = tokenizer.encode([visible(prompt)])
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
            banned=tuple(_banned(writer, wanted.wishes.ban, wanted.banned_ids)),
            bias=wanted.bias,
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
        """The prompt as the model reads it, but for a character whose bytes are not all there."""
        return self._unfoldings[0].before


def _begins(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return second[: len(first)] == first


class TooLongError(UserError):
    """A prompt does not fit into the context."""


@lru_cache(maxsize=16)  # the prompts of a request have the same, and spelling it takes a while
def _banned(
    model: Translator | Writer, words: tuple[str, ...], ids: tuple[int, ...]
) -> Mapping[tuple[int, ...], str]:
    """What no output may hold, by its tokens."""
    found = dict(banned_sequences(words, model.tokenizer, model.language))
    found |= {(number,): model.tokenizer.pieces([number])[0] for number in ids}
    check_banned(list(found))
    return MappingProxyType(found)


class _Sure(NamedTuple):
    """How far a document is told: the first part that is not told as a whole, the number of its
    first piece, and how many tokens may follow."""

    part: int
    first: int
    left: int | None


def _within(said: Sequence[_Said], most: int | None) -> tuple[list[_Said], int | None]:
    """As many tokens of all pieces as are wanted at most, and how many are left."""
    left, found = most, list[_Said]()
    for ids, is_whole in said:
        if left is not None and len(ids) > left:
            return [*found, (ids[:left], False)], 0
        left = left and left - len(ids)
        found.append((ids, is_whole))
    return found, left


def _stopped(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the first of some strings, and whether there is one."""
    places = [at for at in map(text.find, stops) if at >= 0]
    return (text[: min(places)], True) if places else (text, False)


class Telling:
    """Some texts searched together: yields the number of one and what is new of its outputs.

    It ends when all are done. Whoever stops before closes it, which frees the slots.
    """

    def __init__(self, engine: Engine, works: Sequence[Work]):
        """The texts wait from now on.

        Raises:
            UserError, Full, Closed, Broken: as `Engine.submit`.
        """
        self._engine, self._works = engine, works
        self._owners = [
            (owner, n) for owner, work in enumerate(works) for n in range(len(work.asks))
        ]
        self._num_open = len(self._owners)
        self._queue: asyncio.Queue[tuple[int, News | Exception]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(number: int, news: News | Exception) -> None:
            with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
                loop.call_soon_threadsafe(self._queue.put_nowait, (number, news))

        self._request = engine.submit([ask for work in works for ask in work.asks], deliver)

    def __aiter__(self) -> "Telling":
        return self

    async def __anext__(self) -> tuple[int, list[str]]:
        if not self._num_open:
            raise StopAsyncIteration
        place, news = await self._queue.get()
        if isinstance(news, Exception):
            raise news
        owner, number = self._owners[place]
        self._num_open -= news.is_done
        return owner, self._works[owner].tell(number, news)

    async def aclose(self) -> None:
        if self._num_open:
            self._num_open = 0
            self._engine.drop(self._request)


async def answered(engine: Engine, works: Sequence[Work]) -> list[list[Answer]]:
    """The answers of some texts that are searched together."""
    async with aclosing(Telling(engine, works)) as news:
        async for _ in news:
            pass
    return [work.answers() for work in works]
