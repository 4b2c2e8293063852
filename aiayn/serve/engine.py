"""One thread a model: lets texts into free slots, has steps taken of all, delivers what is new.

The lanes take their steps side by side, and what one brought is looked at while the others take
theirs. Requests come from the server's event loop; nothing of JAX runs there. A request is one or
several texts, such as the sentences of a document, which share turns with those of other requests.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from typing import NamedTuple

import jax

from aiayn.decoding.translator import Translator
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError
from aiayn.serve.lanes import (
    MANY_TEXTS,
    Ask,
    Lane,
    News,
    Plan,
    plans_of_translator,
    plans_of_writer,
)
from aiayn.serve.models import Served
from aiayn.serve.scoring import Scored, Scorer

_STEPS, _STEPS_SHOWN = 16, 4
"""Of a turn, at whose end texts that wait are let in; fewer where somebody watches, and in lanes of
many texts, where some end with almost every step."""

Deliver = Callable[[int, News | Exception], None]
"""Told, in the engine's thread, the number of a text of the request, and its news or its fault."""


class Full(Exception):  # noqa: N818, it names what is so
    """As many requests wait as may: HTTP status 429."""


class Closed(Exception):  # noqa: N818
    """The engine takes no more requests: HTTP status 503."""


class Broken(Exception):  # noqa: N818
    """The engine could not go on, and nothing will mend it: HTTP status 500."""


class Request:
    """The texts of one request, of which some wait, some are in slots, and some are done."""

    def __init__(
        self, asks: Sequence[Ask], plans: Sequence[Plan], has_many: bool, deliver: Deliver
    ):
        self.asks, self.plans, self.deliver = asks, list(plans), deliver
        self.has_many = has_many
        """Whether its plain texts have the lanes of many."""
        self.waiting = deque(range(len(asks)))
        self.has_begun = False
        self.is_dropped = False


class _Score(NamedTuple):
    source: Sequence[int]
    first: int
    ids: Sequence[int]
    room: int
    found: Future[Scored]


class Engine:
    """A model at work for many clients."""

    def __init__(self, served: Served, queue: int):
        """`queue` is the most requests that may wait to begin."""
        self.served = served
        self._queue = queue
        self._model: Translator | Writer = (
            served.translator if served.kind == "translation" else served.writer
        )
        self._lanes: list[Lane] = []
        self._scorer = Scorer(self._model)
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._scores: deque[_Score] = deque()
        self._inside: dict[int, tuple[Request, int, Lane]] = {}
        self._has_news = False
        """Whether anything has changed since the last round."""
        self._keys = count()
        self._is_closing = False
        self.is_ready = False
        self.fault: Exception | None = None
        """Why it could not start, or cannot go on."""
        self.compilations = 0
        """Programs compiled since it is ready, of which there should be none."""
        self._thread = threading.Thread(target=self._run, name=served.name, daemon=True)
        self._own_threads = set[int]()
        """This and those of the lanes, by their numbers."""
        if isinstance(self._model, Translator):
            self.plans = plans_of_translator(self._model)
        else:
            self.plans = plans_of_writer(self._model)
        jax.monitoring.register_event_duration_secs_listener(self._count)

    @property
    def most_outputs(self) -> int:
        """The most outputs that may be asked of one text."""
        return max(plan.sizes.beam_size for plan in self.plans)

    @property
    def num_waiting(self) -> int:
        """Requests that have not begun."""
        return sum(not request.has_begun for request in list(self._waiting))

    @property
    def num_inside(self) -> int:
        """Slots that are taken."""
        return len(self._inside)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Take no more requests; the thread ends when those under way are done."""
        with self._changed:
            self._is_closing = True
            self._notify()

    def abandon(self) -> None:
        """As `close`, and nobody waits for what is under way."""
        with self._changed:
            for request in [*self._waiting, *(each for each, _, _ in list(self._inside.values()))]:
                request.is_dropped = True
            self._is_closing = True
            self._notify()

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join()

    def submit(self, asks: Sequence[Ask], deliver: Deliver) -> Request:
        """Have some texts searched.

        Raises:
            UserError: one fits no lane.
            Full: too many requests wait.
            Closed: the engine is closing.
            Broken: it has a fault.
        """
        num_plain = sum(ask.is_plain and not ask.is_followed for ask in asks)
        has_many = num_plain >= MANY_TEXTS
        request = Request(asks, [self._plan(ask, has_many) for ask in asks], has_many, deliver)
        with self._changed:
            self._check_open()
            if self.num_waiting >= self._queue:
                raise Full
            if asks:
                self._waiting.append(request)
                self._notify()
        return request

    def drop(self, request: Request) -> None:
        """Nobody waits for it any more: its slots are free at the next turn."""
        with self._changed:
            request.is_dropped = True
            self._notify()

    def score(
        self, source: Sequence[int], first: int, ids: Sequence[int], room: int = 0
    ) -> Future[Scored]:
        """How probable each of `ids` is, after `first` and those before: `Scorer.score`.

        Raises:
            Closed: the engine is closing.
            Broken: it has a fault.
        """
        found: Future[Scored] = Future()
        with self._changed:
            self._check_open()
            self._scores.append(_Score(source, first, ids, room, found))
            self._notify()
        return found

    def _check_open(self) -> None:
        """Raises Broken or Closed where nothing more is taken; the lock is held."""
        if self.fault:
            raise Broken(f"The model {self.served.name} cannot be served: {self.fault}")
        if self._is_closing:
            raise Closed

    def _plan(self, ask: Ask, has_many: bool, may_cut: bool = True) -> Plan:
        """The first that fits, of those with room for any output unless it `may_cut`; lanes of many
        texts are for requests that have many."""
        for plan in self.plans:
            is_theirs = has_many or not plan.is_of_many
            if is_theirs and plan.fits(ask) and (may_cut or not plan.may_cut):
                return plan
        if ask.num_outputs > self.most_outputs:
            raise UserError(
                f"{ask.num_outputs:,} outputs are asked for; wanted at most {self.most_outputs}."
            )
        raise UserError(f"The text has {len(ask.read):,} tokens, more than any lane holds.")

    def _count(self, event: str, duration_secs: float, **_: str | int) -> None:
        own = threading.get_ident() in self._own_threads
        if own and self.is_ready and event == "/jax/core/compile/backend_compile_duration":
            self.compilations += 1

    def _enter(self) -> None:
        self._own_threads.add(threading.get_ident())

    def _run(self) -> None:
        self._enter()
        with ExitStack() as hands:
            try:
                for plan in self.plans:
                    if self._is_closing:
                        return
                    lanes = [self._lane(plan, hands) for _ in range(plan.lanes)]
                    lanes[0].warm_up()  # the others have the same programs
                    self._lanes += lanes
                self._scorer.warm_up()
            except Exception as error:
                self.fault = error
                return
            self.is_ready = True
            try:
                while self._wait():
                    self._free_dropped()
                    for each in self._lanes:
                        if not each.is_busy:
                            self._guarded(each, self._turn)
                    self._score_one()
            except Exception as error:  # a lane that cannot begin anew, too
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        """The end of the engine: all who wait hear of it, and nobody else is let in."""
        with self._changed:
            self.fault = error
            texts = [(request, number) for request, number, _ in self._inside.values()]
            texts += [(request, number) for request in self._waiting for number in request.waiting]
            scores = list(self._scores)
            for each in (self._inside, self._waiting, self._scores):
                each.clear()
        for request, number in texts:
            self._deliver(request, number, error)
        for each in scores:
            if each.found.set_running_or_notify_cancel():
                each.found.set_exception(error)

    def _lane(self, plan: Plan, hands: ExitStack) -> Lane:
        """A new one, whose thread ends with `hands`."""
        hand = ThreadPoolExecutor(1, f"{self.served.name} lane", initializer=self._enter)
        return Lane(self._model, plan, hands.enter_context(hand))

    def _notify(self) -> None:
        """Have the engine's thread go another round; the lock is held."""
        self._has_news = True
        self._changed.notify()

    def _on_turn(self) -> None:
        with self._changed:
            self._notify()

    def _wait(self) -> bool:
        """Wait until something has changed; whether anything may be left to do."""
        with self._changed:
            while not self._has_news:
                if self._is_closing and not (self._waiting or self._inside or self._scores):
                    return False
                self._changed.wait()
            self._has_news = bool(self._scores)  # one is scored in a round
        return True

    def _turn(self, lane: Lane) -> None:
        """Deliver what the last turn brought, let texts in, and start the next turn."""
        for key, news in lane.look():
            self._tell(key, news)
        asked = self._admitted(lane)
        if asked or lane.num_inside:
            is_shown = lane.is_watched or any(ask.is_shown for _, ask in asked)
            are_few = is_shown or lane.plan.is_of_many
            lane.start(asked, _STEPS_SHOWN if are_few else _STEPS, self._on_turn)

    def _admitted(self, lane: Lane) -> list[tuple[int, Ask]]:
        """Texts that wait and come into this lane, by their keys: one of each request in turn, so
        that a long document does not keep others out."""
        spare = 0
        if not lane.num_inside:  # then lanes that are at work come first: their steps cost the same
            busy = [each for each in self._lanes if each.plan is lane.plan and each.num_inside]
            spare = sum(each.num_free for each in busy)
        kept: list[Request] = []
        asked: list[tuple[int, Ask]] = []
        with self._changed:
            while self._waiting and len(asked) < lane.num_free:
                request = self._waiting.popleft()
                number = request.waiting[0]
                is_here = request.plans[number] is lane.plan
                if not is_here or spare:
                    spare -= is_here
                    kept.append(request)
                    continue
                request.has_begun = True
                request.waiting.popleft()
                key = next(self._keys)
                self._inside[key] = request, number, lane
                asked.append((key, request.asks[number]))
                if request.waiting:
                    self._waiting.append(request)
            self._waiting.extendleft(reversed(kept))
        return asked

    def _free_dropped(self) -> None:
        with self._changed:
            self._waiting = deque(each for each in self._waiting if not each.is_dropped)
        for lane in self._lanes:
            of_lane = [key for key, (_, _, own) in self._inside.items() if own is lane]
            keys = [key for key in of_lane if self._inside[key][0].is_dropped]
            for key in keys:
                del self._inside[key]
            if keys:
                self._guarded(lane, lambda lane, keys=keys: lane.drop(keys))

    def _tell(self, key: int, news: News) -> None:
        request, number, _ = self._inside[key]
        if news.is_cut:
            del self._inside[key]
            self._search_anew(request, number)
            return
        if news.is_done:
            del self._inside[key]
            if not news.outputs:
                fault = RuntimeError("The model's scores are not finite.")
                self._deliver(request, number, fault)
                return
        if news.is_done or request.asks[number].is_shown:
            self._deliver(request, number, news)

    def _search_anew(self, request: Request, number: int) -> None:
        """Have a text whose output found no room wait for a lane with more, before all others."""
        ask = request.asks[number]
        request.plans[number] = self._plan(ask, request.has_many, may_cut=False)
        with self._changed:
            if not request.waiting:
                self._waiting.appendleft(request)
            request.waiting.appendleft(number)

    @staticmethod
    def _deliver(request: Request, number: int, news: News | Exception) -> None:
        if not request.is_dropped:
            request.deliver(number, news)

    def _guarded(self, lane: Lane, work: Callable[[Lane], None]) -> None:
        """Do some work in a lane; a fault is told to all whose texts are in it, and no other."""
        try:
            work(lane)
        except Exception as error:
            lane.restart()
            for key in [key for key, (_, _, own) in self._inside.items() if own is lane]:
                request, number, _ = self._inside.pop(key)
                self._deliver(request, number, error)
            self._on_turn()  # others may wait for its slots, and no turn is under way to end

    def _score_one(self) -> None:
        with self._changed:
            if not self._scores:
                return
            asked = self._scores.popleft()
        if not asked.found.set_running_or_notify_cancel():
            return
        try:
            scored = self._scorer.score(asked.source, asked.first, asked.ids, asked.room)
            asked.found.set_result(scored)
        except Exception as error:
            asked.found.set_exception(error)
