"""A language model at work: the same texts in any company, as long and as allowed as asked."""

import jax
import numpy as np
import pytest

import aiayn.decoding.writer
from aiayn.decoding.wishes import Wishes
from aiayn.decoding.writer import Slots, Writer, Writing
from aiayn.errors import UserError
from tests.support.models import CONTEXT, TOKENIZER, language_model, transformer
from tests.support.models import WRITER as SIZES

PROMPTS = ["one two", "", "three four five six seven", "ten", "nine eight seven", "two", "six one"]
SAMPLES = Writing(12, wishes=Wishes(sample=2, seed=5, temperature=1.3))
GREEDY = Writing(12, wishes=Wishes())


@pytest.fixture(scope="module")
def writer():
    return Writer(language_model())


def _written(writer, prompts, asked, **options):
    return list(writer.write(prompts, asked, **options))


@pytest.mark.parametrize("asked", [SAMPLES, GREEDY], ids=["samples", "greedy"])
def test_a_text_is_the_same_alone_among_others_and_wherever_it_stands(writer, asked):
    together = _written(writer, PROMPTS, asked)
    turned = _written(writer, PROMPTS[::-1], asked)[::-1]
    alone = [_written(writer, [prompt], asked)[0] for prompt in PROMPTS[:3]]
    assert together == turned
    assert together[:3] == alone


@pytest.mark.slow
def test_more_prompts_than_slots_wait_for_their_turn(writer, monkeypatch):
    wanted = _written(writer, PROMPTS, SAMPLES)
    monkeypatch.setattr(aiayn.decoding.writer, "_MOST_SLOTS", 2)
    monkeypatch.setattr(aiayn.decoding.writer, "_STEPS", 3)
    assert _written(writer, PROMPTS, SAMPLES) == wanted


def test_another_seed_and_another_sample_are_another_text(writer):
    first, second = (
        _written(writer, ["one"], Writing(12, wishes=Wishes(sample=2, seed=seed)))[0]
        for seed in (1, 2)
    )
    assert len({each.text for each in (*first, *second)}) == 4


def test_temperature_0_takes_the_most_probable_word_of_the_uncached_model(writer):
    ((written,),) = _written(
        writer, ["one two"], Writing(6, wishes=Wishes(sample=1, temperature=0.0)), details=True
    )
    (ids,) = TOKENIZER.encode(["one two"])
    for token, log_prob in zip(written.tokens, written.log_probs, strict=True):
        scored = [float(writer.log_probs([[*ids, n]])[0][-1]) for n in (4, 40, *_best(writer, ids))]
        assert log_prob == pytest.approx(max(scored), abs=1e-5)
        ids = [*ids, *TOKENIZER.ids([token])]


def _best(writer, ids):
    """The likeliest words after some ids, by scores of each."""
    words = range(TOKENIZER.num_words)
    scored = writer.log_probs([[*ids, word] for word in words])
    return [int(np.argmax([each[-1] for each in scored]))]


def test_log_probabilities_are_those_of_the_tokens_after_the_prompt(writer):
    (outputs,) = _written(writer, ["one two"], SAMPLES, details=True)
    (prompt,) = TOKENIZER.encode(["one two"])
    for written in outputs:
        ids = [*prompt, *TOKENIZER.ids(written.tokens)]
        ((whole, _),) = [(float(x.sum()), 0) for x in writer.log_probs([ids])]
        ((begin, _),) = [(float(x.sum()), 0) for x in writer.log_probs([prompt])]
        assert sum(written.log_probs) == pytest.approx(whole - begin, abs=1e-4)
        assert (written.ended == "eos") == (written.tokens[-1] == "</s>")
        assert len(written.tokens) <= 12


def test_parts_of_a_text_joined_are_the_text(writer):
    asked = Writing(20, stop=("#", "gh"), wishes=Wishes(sample=1, seed=3))
    wanted = _written(writer, PROMPTS, asked)
    told = dict.fromkeys(range(len(PROMPTS)), "")

    def on_text(number, text):
        assert text
        told[number] += text

    assert _written(writer, PROMPTS, asked, on_text=on_text) == wanted
    assert [told[n] for n in range(len(PROMPTS))] == [each.text for (each,) in wanted]


def test_no_temperature_draws_what_is_no_word(writer):
    hot = Writing(30, wishes=Wishes(sample=4, seed=1, temperature=1e6))
    (found,) = _written(writer, ["one"], hot, details=True)
    assert all(each.tokens for each in found)


def test_a_text_ends_before_the_first_stop_string_whenever_that_is_looked_for(writer, monkeypatch):
    free = Writing(20, wishes=Wishes(sample=2, seed=7))
    (whole,) = _written(writer, ["one"], free)
    stop = whole[0].text[3:5]
    asked = Writing(20, (stop,), free.wishes)
    (late,) = _written(writer, ["one"], asked, details=True)
    monkeypatch.setattr(aiayn.decoding.writer, "_STEPS", 1)
    (soon,) = _written(writer, ["one"], asked, details=True)
    assert late == soon, "the most probable first"
    before = {each.text.split(stop)[0] for each in whole}
    assert {each.text for each in late} == before
    assert any(each.ended == "stop" for each in late)


def test_a_text_has_at_most_the_tokens_asked_for_or_the_context_holds(writer):
    for prompt in PROMPTS[:3]:
        (length,) = map(len, TOKENIZER.encode([prompt]))
        ((short,),) = _written(writer, [prompt], Writing(3, wishes=Wishes()), details=True)
        ((long,),) = _written(writer, [prompt], Writing(wishes=Wishes()), details=True)
        assert len(short.tokens) <= 3
        assert length + len(long.tokens) < CONTEXT
        if long.ended == "limit":
            assert length + len(long.tokens) == CONTEXT - 1


def test_what_is_asked_of_a_text_is_asked_of_what_follows_the_prompt(writer):
    prompt = PROMPTS[2]
    masks = Wishes(min_length=9, no_repeat=1, ban=["one"], sample=3, seed=1, temperature=1.5)
    (outputs,) = _written(writer, [prompt], Writing(14, wishes=masks), details=True)
    (before,) = TOKENIZER.encode([prompt])
    for written in outputs:
        ids = [*before, *TOKENIZER.ids([t for t in written.tokens if t != "</s>"])]
        new = ids[len(before) :]
        assert len(new) >= 9
        assert len({*new}) == len(new)
        assert not {*new} & {*before}
        assert "one" not in written.text.split()


def test_the_shortest_length_is_of_what_follows_each_prompt(writer):
    prompts = TOKENIZER.encode(PROMPTS[:3])
    asked = Writing(9, wishes=Wishes(min_length=5, sample=1, seed=1))
    slots = Slots(writer, prompts, [9] * 3, asked)
    found = slots._controls(prompts, rows=4).min_length_B  # of one row nobody asks anything
    np.testing.assert_array_equal(found, [5 + len(ids) for ids in [*prompts, []]])
    endless = Writing(9, wishes=Wishes(min_length=2**31 - 1, sample=1, seed=1))
    found = Slots(writer, prompts[:1], [9], endless)._controls(prompts[:1]).min_length_B
    np.testing.assert_array_equal(found, [CONTEXT + len(prompts[0])])  # no 32 bits have run over


def test_a_prompt_as_long_as_the_context_is_refused(writer):
    words = "one " * 40
    (length,) = map(len, TOKENIZER.encode([words]))
    with pytest.raises(UserError, match=f"^The prompt has {length} tokens; wanted at most 30"):
        _written(writer, [words], GREEDY)
    with pytest.raises(UserError, match=r"^Prompt 2 has"):
        _written(writer, ["one", words], GREEDY)
    for prompts in (["one", words], [words]):
        with pytest.raises(UserError, match=rf"^Prompt {6 + len(prompts)} has"):
            _written(writer, prompts, GREEDY, first=7)
    with pytest.raises(UserError, match=r"^Line 8 has \d+ tokens; wanted at most 32"):
        writer.score(["one", words], first=7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "max_tokens is 0; wanted 1 or more"),
        ({"stop": ("a", "")}, "stop has an empty string"),
        ({"wishes": Wishes(sample=2, temperature=0.0)}, "temperature is 0 and 2 samples"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Writing(**settings)


def test_a_score_is_the_sum_over_all_tokens_and_the_end(writer):
    texts = ["one two", "", "three"]
    encoded = [[*ids, TOKENIZER.eos] for ids in TOKENIZER.encode(texts)]
    for (log_prob, count), ids in zip(writer.score(texts), encoded, strict=True):
        assert count == len(ids)
        parts = [float(writer.log_probs([ids[: n + 1]])[0][n]) for n in range(len(ids))]
        assert log_prob == pytest.approx(sum(parts), abs=1e-4)


@pytest.mark.slow
def test_nothing_is_compiled_for_prompts_and_settings_of_the_same_kind(writer):
    first = Writing(12, wishes=Wishes(sample=2, seed=5, top_p=0.9))
    _written(writer, PROMPTS[:2], first)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "compile" in event else None
    )
    try:
        second = Writing(12, ("x",), wishes=Wishes(sample=2, seed=9, top_p=0.5))
        _written(writer, PROMPTS[2:4], second)
        assert compiled == []
    finally:
        jax.monitoring.clear_event_listeners()


def test_the_memory_of_writing_is_that_of_keys_and_values(writer, monkeypatch):
    found = []
    turns = aiayn.decoding.writer.Turns

    class Seen(turns):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            found.append((self.sizes, jax.tree.leaves(self._state.caches)))

    monkeypatch.setattr(aiayn.decoding.writer, "Turns", Seen)
    _written(writer, ["one"], SAMPLES)
    ((sizes, leaves),) = found
    numbers = SIZES.num_layers * SIZES.num_heads * (SIZES.d_k + SIZES.d_v)
    numbers *= sizes.slots * sizes.room * sizes.beam_size
    assert sum(leaf.nbytes for leaf in leaves) == 4 * numbers


def test_a_model_that_translates_is_sent_to_its_verb():
    from aiayn.config import Experiment
    from aiayn.decoding.translator import Translator
    from aiayn.model.saved import Model
    from aiayn.model.structure import flatten

    _, params = transformer()
    model = Model(Experiment("pairs"), TOKENIZER, flatten(params))
    with pytest.raises(UserError, match="pairs translates from en to de, which `aiayn translate`"):
        Writer(model)
    with pytest.raises(UserError, match=r"writer is a language model.*`aiayn generate`"):
        Translator(language_model())
