"""From the news of an engine to text: nothing that was told is ever taken back."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiayn.decoding.wishes import Wishes
from aiayn.errors import UserError
from aiayn.serve.answers import Continuation, Telling, TooLongError, Translation, Wanted, answered
from aiayn.serve.lanes import News, Output
from aiayn.serve.text import document
from tests.support.models import CONTEXT, TOKENIZER

SHOWN = Wanted(is_shown=True)
LONG = "one two three four. Five six seven! " * 4


async def _told(engine, work):
    return [text async for _, texts in Telling(engine, [work]) for text in texts]


@pytest.mark.parametrize("line", ["one two three", "one\n\n  two four \nsix", LONG, " \n "])
def test_the_parts_of_a_stream_are_the_text_and_come_before_its_end(pair, line):
    translator = pair.served.translator
    work = Translation(translator, document(line), SHOWN)
    parts = asyncio.run(_told(pair, work))
    whole = Translation(translator, document(line), Wanted())
    ((answer,),) = asyncio.run(answered(pair, [whole]))
    assert work.answers()[0].text == answer.text
    if work.asks:
        assert "".join(parts) == answer.text
        assert sum(map(bool, parts)) > 1
    else:
        assert answer.text == line


def test_a_text_is_the_lines_that_the_translator_gives_with_their_blanks(pair):
    ((answer,),) = asyncio.run(
        answered(
            pair, [Translation(pair.served.translator, document(f"\n {LONG}\n\nsix "), Wanted())]
        )
    )
    long, short = pair.served.model.translate([LONG, "six"])
    assert answer.text == f"\n {long} \n\n{short} "


def _output(ids, ended="eos"):
    return Output(tuple(ids), 0.0, ended)


@given(
    st.lists(st.lists(st.integers(4, TOKENIZER.num_words - 1), max_size=5), min_size=3),
    st.randoms(),
)
@settings(max_examples=60)
def test_whatever_comes_in_whatever_order_only_grows(pair, finals, random):
    work = Translation(pair.served.translator, document("one\ntwo\n\nsix four"), SHOWN)
    finals = finals[: len(work.asks)]
    sent, lengths, is_open = "", [0] * len(finals), [*range(len(finals))]
    while is_open:
        number = random.choice(is_open)
        ids = finals[number]
        lengths[number] = random.randint(lengths[number], len(ids))
        is_done = lengths[number] == len(ids) and random.random() < 0.5
        if is_done:
            is_open.remove(number)
        certain = tuple(ids[: lengths[number]])
        sent += "".join(work.tell(number, News((_output(ids),), certain, is_done)))
        ((*spoken,),) = work.spoken()
        assert sum(len(each.ids) for each in spoken) >= sum(lengths[: len(spoken)])
    (answer,) = work.answers()
    assert sent == answer.text
    assert answer.num_tokens == sum(map(len, finals))


def _answers_of(pair, text, outputs, **wanted):
    """What comes of given outputs for each part."""
    work = Translation(pair.served.translator, document(text), Wanted(**wanted))
    for number, some in enumerate(outputs):
        work.tell(number, News(tuple(map(_output, some)), (), True))
    return work.answers()


def test_the_nth_output_of_a_text_is_of_the_nth_of_each_part(pair):
    one, two, six = TOKENIZER.encode(["one", "two", "six"])
    found = _answers_of(pair, "a\nb", [[one, two], [six]], num_outputs=2)
    assert [each.text for each in found] == ["one\nsix", "two\nsix"]


def test_no_more_tokens_than_asked_for_come_out_of_a_text_in_parts(pair):
    (ids,) = TOKENIZER.encode(["one two three"])
    (answer,) = _answers_of(pair, "a\nb", [[ids], [ids]], max_tokens=len(ids) + 2)
    assert answer.num_tokens == len(ids) + 2
    assert answer.ended == "limit"
    assert answer.text == "one two three\n" + TOKENIZER.decode([ids[:2]])[0]


def test_a_translation_ends_before_the_first_stop_string(pair):
    (ids,) = TOKENIZER.encode(["one two three"])
    (answer,) = _answers_of(pair, "a", [[ids]], stop=("e t", "wo"))
    assert (answer.text, answer.ended) == ("on", "stop")
    # Its tokens are those up to the string, and no more.
    fewest, fewer = TOKENIZER.decode([ids[: answer.num_tokens], ids[: answer.num_tokens - 1]])
    assert any(stop in fewest for stop in ("e t", "wo"))
    assert not any(stop in fewer for stop in ("e t", "wo"))
    assert answer.spoken[0].ids == tuple(ids[: answer.num_tokens])
    (nothing,) = _answers_of(pair, " \n ", [], stop=("\n",))
    assert (nothing.text, nothing.num_tokens) == (" ", 0)
    (answer,) = _answers_of(pair, "a\nb\nc", [[ids], [ids], [ids]], stop=("e\non",))
    assert answer.text == "one two thre"
    assert [len(each.ids) for each in answer.spoken] == [len(ids) + 1, answer.num_tokens - len(ids)]


def test_of_a_biased_translation_nothing_is_sure_before_its_end(pair):
    wanted = replace(SHOWN, bias=((7, 3.0),))
    work = Translation(pair.served.translator, document("one two"), wanted)
    (ask,) = work.asks
    assert (ask.bias, ask.is_shown) == (wanted.bias, False)
    assert work.tell(0, News((_output([7, 8], None),), (7,), is_done=False)) == []
    work.tell(0, News((_output([7, 8]),), (7, 8), is_done=True))
    assert work.answers()[0].text == TOKENIZER.decode([[7, 8]])[0]


def test_a_prefix_begins_the_first_part_alone(pair):
    work = Translation(pair.served.translator, document("one\ntwo"), Wanted(prefix="six"))
    assert [bool(ask.prefix) for ask in work.asks] == [True, False]
    wanted = Wanted(prefix="six", wishes=Wishes(ban=("six",)))
    with pytest.raises(UserError, match="wanted one without 'six', a banned word"):
        Translation(pair.served.translator, document("one"), wanted)


def test_the_least_tokens_of_an_answer_are_shared_out_among_its_parts(pair):
    def least(text):
        wanted = Wanted(wishes=Wishes(min_length=12))
        work = Translation(pair.served.translator, document(text), wanted)
        return [ask.wishes.min_length for ask in work.asks]

    assert least("one two") == [12]
    lengths = [len(ids) for ids in TOKENIZER.encode(["one two", "six four five"])]
    assert least("one two\n\nsix four five") == [-(-12 * n // sum(lengths)) for n in lengths]
    assert least(" \n ") == []


def test_what_nobody_sees_is_no_part_of_a_prompt(text):
    writer, drawn = text.served.writer, Wanted(wishes=Wishes(sample=1))
    plain, hidden = (Continuation(writer, t, drawn) for t in ("one two", "one\u200b t\u00adwo"))
    assert (plain.read, plain.num_read) == (hidden.read, hidden.num_read)


def test_a_prompt_is_read_after_bos_once(text):
    (ids,) = TOKENIZER.encode(["one two"])
    drawn = Wanted(wishes=Wishes(sample=1))
    writer = text.served.writer
    of_text = Continuation(writer, "one two", drawn)
    of_ids = Continuation(writer, [TOKENIZER.bos, *ids], drawn)
    assert of_text.read == of_ids.read == (TOKENIZER.bos, *ids)
    assert of_text.asks == of_ids.asks
    assert (of_text.num_read, of_ids.num_read) == (len(ids), len(ids) + 1)
    as_it_is = Continuation(writer, ids, drawn)
    assert as_it_is.asks[0].first == ids[0]
    assert as_it_is.asks[0].read == tuple(ids[1:])


def test_a_prompt_may_fill_the_context_but_for_a_word(text):
    wanted = Wanted(wishes=Wishes(sample=1))
    most = Continuation(text.served.writer, [TOKENIZER.bos] + [5] * (CONTEXT - 2), wanted)
    assert most.asks[0].most == 1
    with pytest.raises(
        TooLongError, match=f"has {CONTEXT - 1} tokens; wanted at most {CONTEXT - 2}"
    ):
        Continuation(text.served.writer, [TOKENIZER.bos] + [5] * (CONTEXT - 1), wanted)


def test_nothing_is_searched_where_no_word_is_wanted(text):
    work = Continuation(text.served.writer, "one", Wanted(max_tokens=0))
    assert work.asks == []
    ((answer,),) = asyncio.run(answered(text, [work]))
    assert (answer.text, answer.ended, answer.num_tokens) == ("", "limit", 0)


def test_a_stream_of_a_language_model_stops_before_a_stop_string(text):
    drawn = Wishes(sample=1, seed=3, temperature=1.3)
    writer = text.served.writer
    free = Continuation(writer, "one", Wanted(wishes=drawn))
    ((whole,),) = asyncio.run(answered(text, [free]))
    stop = whole.text[3:5]
    work = Continuation(writer, "one", Wanted(wishes=drawn, stop=(stop,), is_shown=True))
    parts = asyncio.run(_told(text, work))
    (answer,) = work.answers()
    assert "".join(parts) == answer.text == whole.text.split(stop)[0]
    assert answer.ended == "stop"


@given(st.lists(st.lists(st.integers(4, 7), max_size=4), min_size=2, max_size=5), st.randoms())
@settings(max_examples=60)
def test_samples_stay_in_their_places_however_a_lane_orders_them(text, finals, random):
    """Few words, so that several are the same for long."""
    wanted = Wanted(len(finals), Wishes(sample=len(finals)), is_shown=True)
    work = Continuation(text.served.writer, "one", wanted)
    sent = [""] * len(finals)
    for length in range(1, 6):
        outputs = [_output(ids[:length], "eos" if len(ids) < length else None) for ids in finals]
        random.shuffle(outputs)
        news = News(tuple(outputs), (), all(each.ended for each in outputs))
        sent = [before + new for before, new in zip(sent, work.tell(0, news), strict=True)]
    answers = work.answers()
    assert sent == [answer.text for answer in answers]
    (prompt,) = TOKENIZER.encode(["one"])
    said = [answer.spoken[0].ids[len(prompt) : -1] for answer in answers]
    assert sorted(said) == sorted(map(tuple, finals))


@pytest.mark.parametrize("has_begun", [True, False])
def test_who_stops_listening_frees_the_slots(text, has_begun):
    async def first_only():
        wanted = Wanted(wishes=Wishes(sample=1), is_shown=True)
        works = [Continuation(text.served.writer, "one", wanted) for _ in range(40)]
        news = Telling(text, works)
        if has_begun:
            await anext(news)
        await news.aclose()

    asyncio.run(first_only())
    quick = Continuation(text.served.writer, "one", Wanted(wishes=Wishes(sample=1), max_tokens=1))
    asyncio.run(answered(text, [quick]))
    assert text.num_inside == text.num_waiting == 0
