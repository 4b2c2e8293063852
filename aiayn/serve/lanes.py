"""The slots of one compiled search, and whose texts are in them.

A model has a few lanes. The programs of each are compiled for its sizes and for all that a request
may ask, before the first request; so texts of different requests share a turn.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from aiayn.decoding.controls import FREE, NOTHING, Controls
from aiayn.decoding.outputs import Ended
from aiayn.decoding.search import PenaltyForm
from aiayn.decoding.translator import Translator, first_room, padded_width
from aiayn.decoding.turns import Look, Sizes, Turns
from aiayn.decoding.wishes import Wishes
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError

_MOST_SLOTS = 16
_FEW_SLOTS = 4
"""For several outputs, which few requests ask for."""
_COLUMNS, _COLUMNS_OF_MANY = 8, 16
"""Hypotheses of a step. With more its cost grows with them on CPU, so that a text that is alone
would pay for slots that nobody has; more texts have lanes of their own. A step that reads many
weights takes a quarter less for each of sixteen."""
_MANY = 8 << 20
"""Bytes of weights."""
MANY_TEXTS = 64
"""Plain texts of one request that have lanes of their own, so that what lane a text is in, and with
it its bits, depends on its request alone. Where a step reads little, a file takes longer so."""
_SLOTS_OF_MANY, _LANES_OF_MANY, _READ_AT_ONCE = 24, 2, 8
_SEVERAL = 4
"""Outputs that may be asked of a model whose own beam is 1."""
_SAMPLES = 8
"""Texts that may be asked of a language model at once."""
BANNED, BANNED_LENGTH = 128, 16
"""Sequences of tokens that a request may ban, and the tokens of the longest."""
_ANY = np.iinfo(np.int32).max


class Output(NamedTuple):
    """The tokens of one output up to now, and why there are no more, if so."""

    ids: tuple[int, ...]
    """Without EOS."""
    score: float
    """Log-probability in nats; of one that has ended, over the length penalty."""
    ended: Ended | None


class News(NamedTuple):
    """What a turn brought for one text."""

    outputs: tuple[Output, ...]
    """Best first, those that have ended before those that grow."""
    certain: tuple[int, ...]
    """The tokens that the best output begins with, whatever comes."""
    is_done: bool
    is_cut: bool = False
    """Whether the room was too small, so that the text is to be searched anew in a larger one."""


def _never(outputs: Sequence[Output]) -> bool:
    return False


@dataclass(frozen=True)
class Ask:
    """One text that takes one slot."""

    read: tuple[int, ...]
    """The source with EOS, or what a language model goes on with."""
    first: int
    """What is read before the first word."""
    most: int
    """The most tokens of an output, without EOS."""
    before: int = 0
    """Of `read`, those that are a part of the output, as for a language model."""
    num_outputs: int = 1
    wishes: Wishes = Wishes()  # noqa: RUF009, it is frozen
    seed: int = 0
    banned: tuple[tuple[int, ...], ...] = ()
    bias: tuple[tuple[int, float], ...] = ()
    """Tokens, and what is added to their logits where words are chosen, in nats."""
    prefix: tuple[int, ...] = ()
    alpha: float | None = None
    """Of the length penalty, in place of the model's own."""
    is_over: Callable[[Sequence[Output]], bool] = field(default=_never, compare=False)
    """Whether nothing more is needed, since a stop string came."""
    is_shown: bool = False
    """Whether somebody reads while it grows."""

    @property
    def is_followed(self) -> bool:
        """Whether what it is while it grows matters."""
        return self.is_shown or self.is_over is not _never

    @property
    def is_plain(self) -> bool:
        """Whether the most probable output is all that is asked."""
        is_swayed = bool(self.banned or self.bias or self.prefix)
        return self.wishes.none and not is_swayed and self.num_outputs == 1 and self.alpha is None


_NOBODYS = Ask((), first=0, most=0)


class Plan(NamedTuple):
    """What the programs of a lane are compiled for, and how many such lanes there are."""

    sizes: Sizes
    lanes: int
    widths: tuple[int, ...]
    """What is read is padded to one of these."""
    is_plain: bool
    """Whether it has no controls, and serves plain asks alone."""
    is_own: bool
    """Whether its beam is the model's own, so that it may search."""
    may_cut: bool
    """Whether its room is for most outputs only: a step reads all of the room, written or not."""
    is_of_many: bool = False
    """Whether it is for requests of `MANY_TEXTS` or more, whose texts are translated as fast as
    they can be together, not each as soon as it can be."""

    @classmethod
    def of(
        cls,
        model: Translator | Writer,
        sizes: Sizes,
        widths: tuple[int, ...],
        is_plain: bool = False,
        is_own: bool = False,
        may_cut: bool = False,
    ) -> "Plan":
        """The slots of `sizes` in lanes that are small enough for a text that is alone."""
        columns = _COLUMNS_OF_MANY if _reads_much(model) else _COLUMNS
        lanes = -(-sizes.slots // max(1, columns // sizes.beam_size))
        sizes = sizes._replace(slots=sizes.slots // lanes)
        return cls(sizes, lanes, widths, is_plain, is_own, may_cut)

    def fits(self, ask: Ask) -> bool:
        """Whether a text may have one of the slots. What somebody follows is not searched anew."""
        has_room = ask.before + ask.most + 1 <= self.sizes.room
        may_begin = has_room or (self.may_cut and not ask.is_followed)
        if len(ask.read) > self.widths[-1] or not may_begin:
            return False
        if self.is_plain:
            return ask.is_plain
        is_drawn = ask.wishes.sample is not None
        return ask.num_outputs <= self.sizes.beam_size and (
            is_drawn or self.is_own or ask.num_outputs > 1
        )

    @property
    def read_at_once(self) -> int:
        """Texts that are read together; of those that may ask for something each is read alone."""
        return min(_READ_AT_ONCE, self.sizes.slots) if self.is_of_many else 1

    def width(self, ask: Ask) -> int:
        """What the text is padded to."""
        return next(width for width in self.widths if width >= len(ask.read))


def _reads_much(model: Translator | Writer) -> bool:
    """Whether a step reads so many weights that more hypotheses cost it little."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(model.weights)) > _MANY


def plans_of_translator(translator: Translator) -> list[Plan]:
    """Lanes for requests of many texts, where a step reads much; for short sentences and for all,
    for single samples, and for several outputs."""
    config, tokenizer = translator.config, translator.tokenizer
    short, longest = padded_width(1), padded_width(translator.max_tokens)
    beam, room_of_all = config.beam_size, longest + config.max_extra_tokens
    several = beam if beam > 1 else _SEVERAL

    def sized(width: int, room: int, beam_size: int, most: int, is_plain: bool) -> Sizes:
        slots = max(1, min(most, config.slots_per_batch // (beam_size * room)))
        ends = tokenizer.bos, tokenizer.eos
        how = config.length_penalty, config.length_penalty_form, 1 if is_plain else None
        return Sizes(slots, width, room, beam_size, *ends, *how)

    def plan(width: int, room: int, beam_size: int, most: int, is_plain: bool) -> Plan:
        sizes = sized(width, room, beam_size, most, is_plain)
        return Plan.of(translator, sizes, (width,), is_plain, beam_size == beam, room < room_of_all)

    def of_many(width: int, room: int) -> Plan:
        share = config.slots_per_batch // _LANES_OF_MANY // (beam * room)
        most = max(1, min(_SLOTS_OF_MANY, share))
        sizes = sized(width, room, beam, most, is_plain=True)
        how = {"is_plain": True, "is_own": True, "may_cut": room < room_of_all}
        return Plan(sizes, _LANES_OF_MANY, (width,), **how, is_of_many=True)

    sizes = sorted({(short, min(first_room(short), room_of_all)), (longest, room_of_all)})
    return [
        *(of_many(*each) for each in sizes if _reads_much(translator)),
        *(plan(*each, beam, _MOST_SLOTS, True) for each in sizes),
        plan(longest, room_of_all, 1, _MOST_SLOTS // 2, False),
        plan(longest, room_of_all, several, _FEW_SLOTS, False),
    ]


def plans_of_writer(writer: Writer) -> list[Plan]:
    """Lanes for one text and for several of a prompt."""
    context, tokenizer = writer.context, writer.tokenizer
    widths = (*(width for width in (padded_width(1), 256) if width < context), context)

    def plan(beam_size: int, most: int) -> Plan:
        slots = max(1, min(most, writer.slots_per_batch // (beam_size * context)))
        ends = tokenizer.bos, tokenizer.eos
        return Plan.of(writer, Sizes(slots, context, context, beam_size, *ends), widths)

    return [plan(1, _MOST_SLOTS), plan(_SAMPLES, _FEW_SLOTS)]


class Lane:
    """The slots of one search; a text is known by the key that it was let in with.

    Its programs run in a thread of its own: on CPU those that one thread asks for wait for each
    other, whatever they are of.
    """

    def __init__(self, model: Translator | Writer, plan: Plan, hand: Executor | None = None):
        """`hand` is the thread."""
        self.plan = plan
        self._model = model
        self._inside: dict[int, tuple[int, Ask]] = {}
        """By slot: the key and what is asked."""
        self._hand = hand or ThreadPoolExecutor(1)
        self._under_way: Future[Look | None] | None = None
        self._turns = self._empty()

    def _empty(self) -> Turns:
        model = self._model
        none = self._controls(_NOBODYS)
        return Turns(model.programs.graphdef, model.params, model.weights, self.plan.sizes, none)

    def warm_up(self) -> None:
        """Compile all that a turn may need."""
        for width in self.plan.widths:
            self._begin([(self.plan.sizes.slots, _NOBODYS)], width)  # past the last slot
        self._turns.advance(1, until_one_ends=True)
        self._turns.end(np.zeros(0, np.int32))
        self._turns.look()

    def restart(self) -> None:
        """Empty all slots, as after a fault."""
        self._inside.clear()
        self._under_way, self._turns = None, self._empty()

    @property
    def num_inside(self) -> int:
        return len(self._inside)

    @property
    def num_free(self) -> int:
        return self.plan.sizes.slots - len(self._inside)

    @property
    def is_watched(self) -> bool:
        return any(ask.is_shown for _, ask in self._inside.values())

    @property
    def is_busy(self) -> bool:
        """Whether a turn is under way."""
        return self._under_way is not None and not self._under_way.done()

    def start(
        self, asked: Sequence[tuple[int, Ask]], steps: int, on_done: Callable[[], None]
    ) -> None:
        """Let texts in, by their keys, no more than slots are free, and take some steps of all, or
        fewer where one is done before. `on_done` is called by another thread.

        As many are read at once whoever waits, since a product of more rows may have other bits.
        """
        free = [place for place in range(self.plan.sizes.slots) if place not in self._inside]
        new = dict(zip(free, asked, strict=False))
        self._inside |= new
        taken = list(self._inside)
        is_followed = any(ask.is_followed for _, ask in self._inside.values())
        texts = [(place, ask) for place, (_, ask) in new.items()]
        size = self.plan.read_at_once

        def turn() -> Look | None:
            for begin in range(0, len(texts), size):
                some = texts[begin : begin + size]
                self._begin(some, max(self.plan.width(ask) for _, ask in some))
            self._turns.advance(steps, until_one_ends=not self.plan.is_of_many)
            return (
                self._turns.look() if is_followed or self._turns.finished()[taken].any() else None
            )

        self._under_way = self._hand.submit(turn)
        self._under_way.add_done_callback(lambda _: on_done())

    def _begin(self, texts: Sequence[tuple[int, Ask]], width: int) -> None:
        """Read some texts at once, and put them into slots; the rest of their number is nobody's,
        past the last slot."""
        size = self.plan.read_at_once
        ids, segments = np.zeros((2, size, width), np.int32)
        places, limits, firsts = np.zeros((3, size), np.int32)
        places[:] = self.plan.sizes.slots
        for row, (place, ask) in enumerate(texts):
            ids[row, : len(ask.read)], segments[row, : len(ask.read)] = ask.read, 1
            limits[row], firsts[row] = ask.before + ask.most + 1, ask.first
            places[row] = place
        controls = self._controls(texts[0][1])
        self._turns.begin(places, ids, segments, limits, controls, firsts)

    def _controls(self, ask: Ask) -> Controls:
        """What is asked of a text, in arrays that are all there whoever asks for what; of plain
        texts nothing is."""
        if self.plan.is_plain:
            return NOTHING
        wishes = ask.wishes
        prefix: Any = None
        if not isinstance(self._model, Writer):
            prefix = np.full((1, self.plan.sizes.room), FREE, np.int32)
            prefix[0, : len(ask.prefix)] = ask.prefix
        banned: Any = np.full((1, BANNED, BANNED_LENGTH), FREE, np.int32)
        for number, sequence in enumerate(ask.banned):
            banned[0, number, -len(sequence) :] = sequence
        bias: Any = np.zeros((1, self._model.tokenizer.num_words), np.float32)
        if ask.bias:
            tokens, values = zip(*ask.bias, strict=True)
            bias[0, list(tokens)] = values
        # What the tokenizer does not have is not drawn by chance either.
        can_end = self._model.tokenizer.has_eos
        min_length = wishes.min_length and wishes.min_length + ask.before
        return Controls(
            prefix_BP=prefix,
            min_length_B=_one(min_length if can_end else _ANY, 0, np.int32),
            no_repeat_B=_one(wishes.no_repeat, 0, np.int32),
            banned_BKL=banned,
            bias_BV=bias,
            num_samples_B=_one(wishes.sample, 0, np.int32),
            temperature_B=_one(wishes.temperature, 1, np.float32),
            seed_B=_one(ask.seed, 0, np.uint32),
            top_k_B=_one(wishes.top_k, _ANY, np.int32),
            top_p_B=_one(wishes.top_p, 1, np.float32),
            min_p_B=_one(wishes.min_p, 0, np.float32),
            alpha_B=_one(ask.alpha, self.plan.sizes.alpha, np.float32),
        )

    def drop(self, keys: Sequence[int]) -> None:
        """Free the slots of texts that nobody waits for, after a turn that is under way."""
        self._end([place for place, (key, _) in self._inside.items() if key in keys])

    def _end(self, places: Sequence[int]) -> None:
        for place in places:
            del self._inside[place]
        if places:
            self._hand.submit(self._turns.end, np.array(places))

    def look(self) -> list[tuple[int, News]]:
        """What the last turn brought of each text, if any is done or followed; what is done has
        left its slot."""
        under_way, self._under_way = self._under_way, None
        look = under_way and under_way.result()
        if look is None:
            return []
        found, over = list[tuple[int, News]](), list[int]()
        for place, (key, ask) in list(self._inside.items()):
            if look.ended.cut_A[place]:
                del self._inside[place]
                found.append((key, News((), (), is_done=True, is_cut=True)))
                continue
            outputs = self._outputs(look, place, ask)
            is_done = bool(look.finished_B[place])
            if is_done:
                del self._inside[place]
            elif ask.is_over(outputs):
                is_done = True
                over.append(place)
            if is_done:
                outputs = outputs[: ask.num_outputs]
            found.append((key, News(tuple(outputs), self._certain(outputs, ask, is_done), is_done)))
        self._end(over)
        return found

    def _outputs(self, look: Look, place: int, ask: Ask) -> list[Output]:
        before, most, age = ask.before, ask.most, int(look.age_B[place])
        found: list[Output] = []
        for words, score in zip(*(each[place] for each in look.ended[:2]), strict=True):
            if score > -np.inf:
                ids = words[before : before + most + 1].tolist()
                ids = tuple(ids[: ids.index(self.plan.sizes.eos)])
                is_cut = len(ids) == most or not self._model.tokenizer.has_eos
                found.append(Output(ids, float(score), "limit" if is_cut else "eos"))
        if not look.finished_B[place]:
            for words, score in zip(*(each[place] for each in look.living[:2]), strict=True):
                if score > -np.inf:
                    found.append(Output(tuple(words[before:age].tolist()), float(score), None))
        return found

    def _certain(self, outputs: Sequence[Output], ask: Ask, is_done: bool) -> tuple[int, ...]:
        if is_done or ask.num_outputs > 1 or ask.bias:
            return outputs[0].ids if is_done and outputs else ()
        sizes, limit = self.plan.sizes, ask.before + ask.most + 1
        best = max((each.score for each in outputs if each.ended), default=-math.inf)
        alpha = sizes.alpha if ask.alpha is None else ask.alpha
        penalty = _penalty(limit, alpha, sizes.form)
        return _beginning(
            [
                each.ids
                for each in outputs
                if (each.score == best if each.ended else each.score / penalty > best)
            ]
        )


def _penalty(length: int, alpha: float, form: PenaltyForm) -> float:
    """As `aiayn.decoding.search.penalty`, of which JAX would compile a program after the start."""
    return float(length) ** alpha if form == "length" else ((5.0 + length) / 6.0) ** alpha


def _beginning(outputs: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What all of some outputs begin with."""
    if not outputs:
        return ()
    shortest = min(outputs, key=len)
    for place, word in enumerate(shortest):
        if any(each[place] != word for each in outputs):
            return shortest[:place]
    return shortest


def _one(value: Any, otherwise: int | float, dtype: type[np.generic]) -> Any:
    """An array of what is asked of one text, of NumPy, since to make one of JAX would be a program
    of its own."""
    value = otherwise if value is None else value
    if issubclass(dtype, np.integer):
        value = min(value, np.iinfo(dtype).max)
    return np.array([value], dtype)


def check_banned(sequences: Sequence[tuple[int, ...]]) -> None:
    """Raises UserError for more banned words than a lane has places for."""
    if len(sequences) > BANNED:
        raise UserError(
            f"The banned words have {len(sequences):,} spellings in the model's pieces; wanted at "
            f"most {BANNED}."
        )
    longest = max(map(len, sequences), default=0)
    if longest > BANNED_LENGTH:
        raise UserError(
            f"A banned word is spelled in {longest} pieces; wanted at most {BANNED_LENGTH}."
        )
