"""The engine: the same answers in any company, slots that come free, no program compiled."""

import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest

from aiayn.decoding.outputs import one_line
from aiayn.decoding.wishes import Wishes
from aiayn.errors import UserError
from aiayn.serve.answers import Continuation, Translation, Wanted
from aiayn.serve.engine import Broken, Closed, Engine, Full
from aiayn.serve.lanes import Lane
from aiayn.serve.text import document
from tests.support.models import TOKENIZER
from tests.support.servers import of_long_outputs, served

DRAWN = Wishes(sample=1, seed=5, temperature=1.3)
LINES = ["one two three", "four five", "six", "seven eight nine ten", "two two", "ten nine"]


def _found(engine, asks):
    """The last news of each text, searched together."""
    found = [Future() for _ in asks]

    def deliver(number, news):
        if isinstance(news, Exception):
            found[number].set_exception(news)
        elif news.is_done:
            found[number].set_result(news)

    engine.submit(asks, deliver)
    return [each.result(60) for each in found]


def _of_pair(engine, line, **wanted):
    (ask,) = Translation(engine.served.translator, document(line), Wanted(**wanted)).asks
    return ask


def _of_text(engine, prompt, **wanted):
    return Continuation(engine.served.writer, prompt, Wanted(**wanted)).asks[0]


def _mixed_of_pair(engine):
    """Texts of all kinds that a translator's lanes know."""
    return [
        *(_of_pair(engine, line) for line in LINES),
        _of_pair(engine, "one two", num_outputs=3),
        _of_pair(engine, "one two", prefix="six"),
        _of_pair(engine, "one two", wishes=DRAWN),
        _of_pair(engine, "four", wishes=replace(DRAWN, seed=6, top_k=5, min_length=4)),
        _of_pair(engine, "four", wishes=replace(DRAWN, sample=3), num_outputs=3),
        _of_pair(engine, "one two", wishes=Wishes(no_repeat=1)),
        _of_pair(engine, "one two", alpha=3.0),
        _of_pair(engine, "one two", wishes=Wishes(ban=("two",)), max_tokens=4),
    ]


def _mixed_of_text(engine):
    return [
        *(_of_text(engine, line, wishes=DRAWN, max_tokens=9) for line in LINES),
        _of_text(engine, "one", wishes=replace(DRAWN, temperature=0.0)),
        _of_text(engine, "one", wishes=replace(DRAWN, top_p=0.9, min_p=0.1, top_k=40)),
        _of_text(engine, "one", wishes=replace(DRAWN, sample=5), num_outputs=5, max_tokens=7),
        _of_text(engine, "two", wishes=replace(DRAWN, sample=8), num_outputs=8, max_tokens=5),
    ]


def _alone_and_together(kind, request):
    """For each text what is found of it alone, and twice among others in another order."""
    engine = request.getfixturevalue(kind)
    asks = (_mixed_of_pair if kind == "pair" else _mixed_of_text)(engine)
    alone = [_found(engine, [ask])[0].outputs for ask in asks]
    together = [news.outputs for news in _found(engine, asks + asks[::-1])]
    return list(zip(alone, together[: len(asks)], together[: len(asks) - 1 : -1], strict=True))


@pytest.mark.parametrize("kind", ["pair", "text"])
def test_an_answer_has_the_same_words_alone_and_among_others(kind, request):
    for all_outputs in _alone_and_together(kind, request):
        first, *others = [[(each.ids, each.ended) for each in some] for some in all_outputs]
        assert first
        assert others == [first, first]


@pytest.mark.parametrize("kind", ["pair", "text"])
def test_an_answer_has_the_same_bits_alone_and_among_others(kind, request):
    for first, *others in _alone_and_together(kind, request):
        assert others == [first, first]


@pytest.fixture
def heavy(monkeypatch):
    """The engine of a translator whose steps are taken to read much, which has lanes of many."""
    monkeypatch.setattr("aiayn.serve.lanes._MANY", 0)
    engine = Engine(served()["pair"], queue=99)
    engine.start()
    yield engine
    engine.close()
    engine.join()


def test_many_texts_of_a_request_have_the_same_bits_whoever_is_there(heavy):
    assert heavy.plans[0].is_of_many
    many = [_of_pair(heavy, line) for line in LINES * 11]
    several = _of_pair(heavy, "one two", num_outputs=3)
    alone = [news.outputs for news in _found(heavy, [*many, several])]
    heard: list[int] = []
    for _ in range(3):  # the same and others beside them
        heavy.submit(many[:5], lambda number, _: heard.append(number))
        heavy.submit(many[::-1], lambda number, _: heard.append(number))
    assert [news.outputs for news in _found(heavy, [*many, several])] == alone
    one_by_one = [_found(heavy, [ask])[0].outputs for ask in many[: len(LINES)]]
    words = [[each.ids for each in outputs] for outputs in one_by_one]
    assert [[each.ids for each in outputs] for outputs in alone[:-1]] == words * 11
    _found(heavy, [many[0]])
    assert heavy.compilations == 0


def test_as_many_texts_as_that_are_plain_are_what_counts(monkeypatch):
    monkeypatch.setattr("aiayn.serve.lanes._MANY", 0)
    engine = _Slow(served()["pair"], queue=9)
    plain, shown = _of_pair(engine, "one"), _of_pair(engine, "one", is_shown=True)

    def of_many(*asks):
        request = engine.submit(asks, lambda *_: None)
        assert request.has_many == any(plan.is_of_many for plan in request.plans)
        return request.has_many

    monkeypatch.setattr("aiayn.serve.engine.MANY_TEXTS", 3)
    assert not of_many(plain, plain, shown)
    assert not of_many(plain, plain, replace(plain, prefix=(7,)))
    assert of_many(plain, plain, plain, shown)


def test_a_search_finds_what_the_translator_finds_best_first(pair):
    wanted = pair.served.model.translate(LINES, num_best=3)
    for line, hypotheses in zip(LINES, wanted, strict=True):
        for count in (1, 3):
            (news,) = _found(pair, [_of_pair(pair, line, num_outputs=count)])
            texts = [one_line(*TOKENIZER.decode([each.ids])) for each in news.outputs]
            assert texts == [each.text for each in hypotheses[:count]]
            scores = [each.score for each in hypotheses[:count]]
            assert [each.score for each in news.outputs] == pytest.approx(scores, abs=1e-4)


def test_an_output_that_finds_no_room_is_searched_anew_where_there_is_some():
    served = of_long_outputs()
    engine = Engine(served, queue=9)
    engine.start()
    found = _found(engine, [_of_pair(engine, line) for line in LINES * 3])
    lengths = {len(news.outputs[0].ids) for news in found}
    assert min(lengths) < 47 < max(lengths), "some fit the first room and some do not"
    assert not any(news.is_cut for news in found)
    wanted = [best.text for best, *_ in served.translator.translate(LINES * 3)]
    texts = served.tokenizer.decode([list(news.outputs[0].ids) for news in found])
    assert list(map(one_line, texts)) == wanted
    assert engine.compilations == 0
    engine.close()
    engine.join()


def test_what_is_asked_of_a_text_is_asked_of_it_alone(pair):
    free, *others = _found(
        pair,
        [
            _of_pair(pair, "one two"),
            _of_pair(pair, "one two", wishes=Wishes(no_repeat=1)),
            _of_pair(pair, "one two", prefix="six"),
            _of_pair(pair, "one two", max_tokens=2),
        ],
    )
    once, begun, short = (news.outputs[0].ids for news in others)
    assert len({*once}) == len(once)
    assert len({*free.outputs[0].ids}) < len(free.outputs[0].ids)
    assert begun[:1] == tuple(TOKENIZER.encode(["six"])[0])
    assert len(short) <= 2


def test_a_sample_is_what_the_writer_draws(text):
    asked = {"seed": 5, "temperature": 1.3, "max_tokens": 9}
    for line in LINES[:3]:
        ((wanted,),) = text.served.model.generate([line], **asked)
        work = Continuation(text.served.writer, line, Wanted(wishes=DRAWN, max_tokens=9))
        (news,) = _found(text, work.asks)
        work.tell(0, news)
        assert work.answers()[0].text == wanted.text


def test_nothing_is_compiled_once_it_is_ready(pair, text):
    _found(pair, _mixed_of_pair(pair))
    _found(text, _mixed_of_text(text))
    assert pair.compilations == text.compilations == 0


def test_who_hangs_up_frees_the_slots_and_hears_no_more(text):
    heard, begun = [], threading.Event()

    def deliver(number, news):
        heard.append(news)
        begun.set()

    ask = replace(_of_text(text, "one", wishes=DRAWN), is_shown=True)
    request = text.submit([ask] * 40, deliver)
    assert begun.wait(60)
    text.drop(request)
    _found(text, [_of_text(text, "two", wishes=DRAWN, max_tokens=2)])
    assert text.num_inside == 0
    assert text.num_waiting == 0
    count = len(heard)
    _found(text, [_of_text(text, "two", wishes=DRAWN, max_tokens=2)])
    assert len(heard) == count


def test_a_long_document_keeps_nobody_out(pair):
    done = []
    lines = Future()

    def deliver(name, count, number, news):
        done.append(name)
        if done.count("document") == count:
            lines.set_result(None)

    ask = _of_pair(pair, "one two three")
    pair.submit([ask] * 60, lambda *news: deliver("document", 60, *news))
    pair.submit([ask], lambda *news: deliver("sentence", 60, *news))
    lines.result(60)
    assert done.index("sentence") < 30


class _Slow(Engine):
    """An engine that has not begun: whatever comes must wait."""

    def _run(self):
        pass


def test_a_lane_that_is_empty_leaves_texts_to_those_at_work(monkeypatch):
    monkeypatch.setattr(Lane, "_empty", lambda lane: None)
    monkeypatch.setattr("aiayn.serve.lanes._MANY", 0)  # lanes of four
    engine = _Slow(served()["pair"], queue=9)
    _, plain, _, several = engine.plans
    ask = _of_pair(engine, "one")
    many, few = (replace(ask, num_outputs=count) for count in (3, 1))
    requests = [engine.submit(asks, lambda *_: None) for asks in ([many], [few] * 3, [few] * 2)]
    empty, at_work, other = (Lane(engine._model, plan) for plan in (plain, plain, several))
    engine._lanes = [empty, at_work, other]
    at_work._inside = dict.fromkeys(range(2), (0, few))

    def admitted(lane):
        asked = engine._admitted(lane)
        return [engine._inside[key][:2] for key, _ in asked]

    of_one, of_many, of_two = requests
    assert admitted(empty) == [], "three requests wait, two of them for such a lane"
    assert admitted(at_work) == [(of_many, 0), (of_two, 0)], "one of each request in turn"
    at_work._inside = dict.fromkeys(range(4), (0, few))
    assert admitted(empty) == [(of_many, 1), (of_two, 1), (of_many, 2)]
    assert admitted(other) == [(of_one, 0)]
    assert not engine._waiting


def test_more_requests_than_may_wait_are_refused_and_a_document_is_one():
    engine = _Slow(served()["pair"], queue=2)
    ask = _of_pair(engine, "one")
    for _ in range(2):
        engine.submit([ask] * 5, lambda *_: None)
    with pytest.raises(Full):
        engine.submit([ask], lambda *_: None)
    assert engine.num_waiting == 2
    engine.close()
    with pytest.raises(Closed):
        engine.submit([ask], lambda *_: None)
    with pytest.raises(Closed):
        engine.score([], 0, [])


def test_what_fits_no_lane_is_refused_with_the_number(pair):
    ask = _of_pair(pair, "one")
    with pytest.raises(UserError, match="4 outputs are asked for; wanted at most 3"):
        pair.submit([replace(ask, num_outputs=4)], lambda *_: None)
    with pytest.raises(UserError, match="has 50 tokens, more than any lane holds"):
        pair.submit([replace(ask, read=(5,) * 50)], lambda *_: None)


def test_a_fault_is_told_to_those_it_concerns_and_the_engine_goes_on(pair):
    def is_over(outputs):
        raise ArithmeticError("a fault of ours")

    ask = _of_pair(pair, "one two three")
    with pytest.raises(ArithmeticError):
        _found(pair, [replace(ask, is_over=is_over, is_shown=True)])
    (news,) = _found(pair, [ask])
    assert news.outputs


def test_texts_that_wait_are_let_in_where_a_turn_has_failed(monkeypatch):
    monkeypatch.setattr("aiayn.serve.lanes._MANY", 0)
    engine = Engine(served()["text"], queue=9)
    engine.start()
    asks = [_of_text(engine, "one", wishes=DRAWN, max_tokens=9)] * 40
    wanted = _found(engine, asks[:1])
    (lane, *_) = engine._lanes
    assert lane.plan.lanes == 1 < lane.num_free < len(asks), "most of them have to wait"
    failed, look = [], lane.look

    def failing():
        if lane.num_inside and not failed:
            failed.append(True)
            raise ArithmeticError("out of something")
        return look()

    monkeypatch.setattr(lane, "look", failing)
    heard = [Future() for _ in asks]
    engine.submit(asks, lambda number, news: heard[number].set_result(news))
    found = [each.result(60) for each in heard]
    lost = [news for news in found if isinstance(news, ArithmeticError)]
    assert len(lost) == lane.plan.sizes.slots
    assert [news for news in found if news not in lost] == wanted * (len(asks) - len(lost))
    engine.close()
    engine.join()


def test_an_engine_that_cannot_go_on_tells_all_who_wait(monkeypatch):
    engine = Engine(served()["text"], queue=9)
    engine.start()
    asks = [_of_text(engine, "one", wishes=DRAWN, max_tokens=9)] * 40
    _found(engine, asks[:1])

    def broken(*_):
        raise MemoryError

    for name in ("look", "restart"):
        monkeypatch.setattr(Lane, name, broken)
    with pytest.raises(MemoryError):
        _found(engine, asks)  # those in lanes and those that wait
    engine.join()
    assert isinstance(engine.fault, MemoryError)
    assert engine.num_inside == engine.num_waiting == 0
    with pytest.raises(Broken, match="The model text cannot be served"):
        engine.submit(asks, lambda *_: None)
    with pytest.raises(Broken, match="The model text cannot be served"):
        engine.score([], 0, [])


def test_what_cannot_be_loaded_is_kept_as_the_fault(monkeypatch):
    def broken(*_):
        raise MemoryError

    monkeypatch.setattr("aiayn.serve.engine.Lane", broken)
    engine = Engine(served()["text"], queue=1)
    engine.start()
    engine.join()
    assert isinstance(engine.fault, MemoryError)
    assert not engine.is_ready
    with pytest.raises(Broken, match="The model text cannot be served"):
        engine.submit([_of_text(engine, "one", wishes=DRAWN)], lambda *_: None)
