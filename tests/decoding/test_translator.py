import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiayn.decoding.translator
from aiayn.config import DataConfig, DecodeConfig, Experiment
from aiayn.decoding.alignment import layers_of
from aiayn.decoding.heads import look
from aiayn.decoding.outputs import Detailed
from aiayn.decoding.translator import Long, Sought, Translator, least_shares
from aiayn.decoding.wishes import Wishes
from aiayn.errors import LineError, UserError
from aiayn.model.saved import Model
from aiayn.model.structure import flatten
from tests.support.models import MODEL, TOKENIZER, drawn_by_numpy

ONE_LAYER = replace(MODEL, num_layers=1)
LINES = ["one two three", "", "  ", "four", "five six seven eight nine ten one two three four"]


EXPERIMENT = Experiment(
    "small",
    data=DataConfig(max_tokens=64),
    model=ONE_LAYER,
    decode=DecodeConfig(max_extra_tokens=4, slots_per_batch=400),
)


@pytest.fixture(scope="module")
def translator():
    _, params = drawn_by_numpy(ONE_LAYER, TOKENIZER.num_words)
    return Translator(Model(EXPERIMENT, TOKENIZER, flatten(params)))


def test_order_and_empty_lines_are_kept(translator):
    found = translator.translate(LINES)
    assert len(found) == len(LINES)
    assert [h.text for h in found[1] + found[2]] == ["", ""]
    for line, hypotheses in zip(LINES, found, strict=True):
        if line.strip():
            assert hypotheses == translator.translate([line])[0]


def test_progress_counts_every_sentence(translator):
    counts = []
    translator.translate(LINES, on_done=counts.append)
    assert counts[-1] == 3
    assert counts == sorted(counts)


def test_sentences_that_need_more_room_are_found_all_the_same(translator, monkeypatch):
    lines = [" ".join(["one", "two", "three", "four"][: 1 + n % 4]) for n in range(60)]
    wanted = translator.translate(lines)
    monkeypatch.setattr(aiayn.decoding.translator, "first_room", lambda width: 8)
    counts = []
    found = translator.translate(lines, on_done=counts.append)
    assert [[h.text for h in each] for each in found] == [[h.text for h in each] for each in wanted]
    assert counts[-1] == 60
    assert counts[0] < 30, "half of the sentences come first, and not all are found"
    assert counts == sorted(counts)


def test_searches_side_by_side_find_what_one_finds(translator, monkeypatch):
    words = ["one", "two", "three", "four"]
    lines = [" ".join(words[n % 4 :] + words[: 1 + n % 3]) for n in range(70)]
    assert len(aiayn.decoding.translator.searches(range(70), 40)) == 2
    found = translator.translate(lines, num_best=3)
    monkeypatch.setattr(aiayn.decoding.translator, "num_searches", lambda: 1)
    assert len(aiayn.decoding.translator.searches(range(70), 40)) == 1
    # Half of the slots for the one: as many sentences at once, and so the same program.
    monkeypatch.setattr(translator, "config", replace(translator.config, slots_per_batch=200))
    for each, wanted in zip(found, translator.translate(lines, num_best=3), strict=True):
        assert [h.text for h in each] == [h.text for h in wanted]
        np.testing.assert_allclose([h.score for h in each], [h.score for h in wanted], rtol=1e-5)


@pytest.mark.parametrize(("count", "at_once"), [(1, 4), (16, 4), (17, 64), (70, 40), (999, 3)])
def test_searches_share_all_sentences_evenly_by_length(count, at_once):
    lengths = np.sort(np.random.default_rng(0).integers(1, 60, count))[::-1]
    shares = aiayn.decoding.translator.searches(range(count), at_once)
    assert sorted(n for share in shares for n in share) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert max(map(len, shares)) <= max(16, 8 * at_once)
    tokens = [lengths[np.asarray(share)].sum() for share in shares]
    assert max(tokens) - min(tokens) <= 60, "at most the longest sentence between them"


def test_what_goes_wrong_in_one_search_is_said(monkeypatch):
    monkeypatch.setattr(aiayn.decoding.translator, "num_searches", lambda: 2)
    found = aiayn.decoding.translator.side_by_side(lambda n: 6 // (2 - n), range(5))
    assert [next(found), next(found)] == [3, 6], "what was found before, in order"
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_no_search_begins_before_the_one_before_the_last_is_taken(monkeypatch):
    monkeypatch.setattr(aiayn.decoding.translator, "num_searches", lambda: 2)
    begun = []
    found = aiayn.decoding.translator.side_by_side(begun.append, range(9))
    next(found)
    found.close()
    assert sorted(begun) == [0, 1], "who stops waits for what is under way alone"


def test_the_limit_of_an_output_is_its_source_the_extra_tokens_and_eos(translator, monkeypatch):
    limits, search = [], translator.programs.search

    def seen(params, weights, src, segments, limit, **options):
        limits.append(np.asarray(limit))
        return search(params, weights, src, segments, limit, **options)

    monkeypatch.setattr(translator.programs, "search", seen)
    translator.translate(["one two three"])
    ids = TOKENIZER.encode(["one two three"])[0]
    assert limits[0][limits[0] > 0].tolist() == [len(ids) + 4 + 1]


def test_sources_are_padded_to_powers_of_two():
    widths = [
        aiayn.decoding.translator.padded_width(length) for length in (1, 32, 33, 65, 128, 129)
    ]
    assert widths == [32, 32, 64, 128, 128, 256]


def test_n_best_hypotheses_come_best_first(translator):
    hypotheses = translator.translate(["one two"], num_best=3)[0]
    assert len(hypotheses) == 3
    scores = [h.score for h in hypotheses]
    assert scores == sorted(scores, reverse=True)


def test_a_line_of_any_length_is_translated_in_pieces_and_said(translator):
    told = []
    line = " ".join(["one two three four five"] * 40)
    (hypotheses,) = translator.translate([line], on_long=told.append)
    tokens = len(TOKENIZER.encode([line])[0])
    (long,) = told
    assert (long.line, long.tokens) == (1, tokens)
    assert long.pieces >= tokens / 63
    assert len(hypotheses) == 1
    pieces = translator._cut(TOKENIZER.encode([line])[0])
    found = [hypotheses for each in translator._search(pieces, 1) for _, hypotheses in each]
    assert len(found) == long.pieces
    total = sum(hypotheses[0].score for hypotheses in found)
    assert hypotheses[0].score == pytest.approx(total, rel=1e-5)


def test_a_line_in_pieces_has_as_many_samples_as_any(translator):
    line = " ".join(["one two three four five"] * 40)
    drawn = translator.asked(Wishes(sample=3, seed=5, temperature=1.5))
    ((*found,),) = drawn.translate([line], num_best=3)
    pieces = translator._cut(TOKENIZER.encode([line])[0])
    each = dict(pair for share in drawn._search(pieces, 3) for pair in share)
    assert len(found) == 3
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    # Every sample of a piece is in one of them.
    total = sum(one.score for samples in each.values() for one in samples)
    assert sum(one.score for one in found) == pytest.approx(total, rel=1e-5)
    assert drawn.translate([line], num_best=1) == [found[:1]], "the best of as many"


def test_the_least_length_of_a_line_is_shared_out_among_its_pieces():
    pieces = [[1] * 10, [2] * 3, [3] * 30, [4] * 1]
    found = least_shares(8, pieces, [range(1, 4)])
    assert found == {1: 1, 2: 8, 3: 1}
    assert sum(least_shares(900, pieces, [range(4)]).values()) in range(900, 904)


def test_the_least_length_is_asked_of_each_by_its_own(translator):
    asked = translator.asked(Wishes(min_length=9))
    chosen = [Sought([5], None, 9), Sought([6, 7], None, 2)]
    found = asked._controls(chosen, 4)["controls"].min_length_B
    np.testing.assert_array_equal(found, [9, 2, 0, 0])


def test_a_sequence_longer_than_any_output_comes_once_and_at_once(translator):
    longest = Wishes(no_repeat=2_000_000_000)
    assert translator.asked(longest).best(["one two"]) == translator.best(["one two"])


def test_pieces_lose_nothing_and_end_between_words(translator):
    ids = TOKENIZER.encode(["one two three four five " * 40])[0]
    pieces = translator._cut(ids)
    assert [i for piece in pieces for i in piece] == ids
    assert all(len(piece) < 64 for piece in pieces)
    assert all(TOKENIZER.pieces(piece)[0].startswith("\u2581") for piece in pieces)
    endless = TOKENIZER.encode(["x" * 500])[0]
    assert [i for piece in translator._cut(endless) for i in piece] == endless


def test_a_paragraph_is_translated_sentence_by_sentence(translator):
    alone = [f"{words} three four five." for words in ("Six seven", "Eight nine", "Ten two")] * 3
    told = []
    (hypotheses,) = translator.translate([" ".join(alone)], on_long=told.append)
    each = translator.best(alone)
    assert hypotheses[0].text == " ".join(filter(None, each))
    tokens = len(TOKENIZER.encode([" ".join(alone)])[0])
    assert told == [Long(1, tokens, len(alone))]


def test_a_line_that_training_could_have_had_stays_in_one_piece(translator):
    # Six pieces for "Q! Q!", three or four for the rest: with EOS, 64 slots are full or too few.
    fits, too_long = ("Q! Q! " * 10 + rest for rest in ("QQ", "QQQ"))
    (ids,) = TOKENIZER.encode([fits])
    assert len(ids) + 1 == 64
    assert translator._pieces(fits, ids) == [ids]
    (ids,) = TOKENIZER.encode([too_long])
    assert len(translator._pieces(too_long, ids)) == 21


def test_the_language_of_the_output_decides_how_pieces_are_joined(translator, monkeypatch):
    monkeypatch.setattr(translator, "language", "zh")
    monkeypatch.setattr(TOKENIZER, "decode", lambda ids: ["好。" for _ in ids])
    assert translator.best(["One two three four. " * 12]) == ["好。" * 12]


@given(st.text(st.sampled_from('aB 1.?!。？।,;，"”と\u0301\n😀') | st.characters(), max_size=300))
def test_pieces_of_any_line_hold_its_text_and_fit(text):
    text = text.encode(errors="ignore").decode().replace("\u2581", "")  # how a blank is written
    tokenizer = TOKENIZER
    small = Translator.__new__(Translator)
    small.tokenizer, small.max_tokens = tokenizer, 16
    (ids,) = tokenizer.encode([text])
    if not ids:
        return
    pieces = small._pieces(text, ids)
    assert all(0 < len(piece) < 16 for piece in pieces)
    found = "".join(tokenizer.decode(pieces)).replace(" ", "")
    assert found == "".join(tokenizer.decode([ids])).replace(" ", "")
    assert [i for piece in small._cut(ids) for i in piece] == ids


def test_every_piece_of_a_line_begins_with_the_code_of_its_language(translator, monkeypatch):
    code, encode = TOKENIZER.eos, TOKENIZER.encode  # no text is encoded as this

    def coded(texts):
        return [[code] * text.startswith(">>") + encode([text.strip(">")])[0] for text in texts]

    monkeypatch.setattr(TOKENIZER, "encode", coded)
    monkeypatch.setattr(TOKENIZER, "prefix", lambda ids: [code] if ids[0] == code else [])
    for line in ("One two. " * 20, "one two " * 40, "o" * 300):
        (ids,) = coded([f">>{line}"])
        pieces = translator._pieces(f">>{line}", ids)
        assert len(pieces) > 1
        assert all(piece[0] == code and len(piece) < 64 for piece in pieces)
        assert [i for piece in pieces for i in piece[1:]] == encode([line])[0]


def test_a_search_finds_what_forced_scoring_confirms(translator):
    line = "one two three"
    best = translator.translate([line])[0][0]
    ids = TOKENIZER.encode([best.text])[0]
    log_prob, num_tokens = translator.score([(line, best.text)])[0]
    assert num_tokens == len(ids) + 1
    # The text may be spelled in other pieces than the search chose; only then may scores differ.
    if TOKENIZER.decode([ids]) == [best.text]:
        assert log_prob <= best.score * ((5 + num_tokens) / 6) ** 0.6 + 1e-2


def test_scores_do_not_depend_on_batch_mates(translator):
    pairs = [("one two", "three"), ("four five six", "seven eight nine ten"), ("one", "")]
    together = translator.score(pairs)
    for pair, (log_prob, num_tokens) in zip(pairs, together, strict=True):
        ((alone, count),) = translator.score([pair])
        assert count == num_tokens
        np.testing.assert_allclose(alone, log_prob, rtol=1e-4)


def test_few_sentences_are_searched_by_few_at_once(translator, monkeypatch):
    sizes = []

    def seen(chosen, at_once, **rest):
        sizes.append(at_once)
        return [[Detailed("", 0.0, (), (), "eos")] for _ in chosen]

    config = DecodeConfig(beam_size=1, max_extra_tokens=4, slots_per_batch=40 * (32 + 4))
    monkeypatch.setattr(translator, "config", config)
    monkeypatch.setattr(translator, "_found", seen)
    for count in (1, 16, 17, 500):
        translator.translate(["one two three"] * count)
    assert sizes == [16] + [16] + [16, 16] + [20] * 4, "two searches side by side, 40 at once"


def test_a_line_too_long_to_score_is_refused_by_its_number(translator):
    with pytest.raises(UserError, match=r"Line 2 has .* tokens; wanted at most 4,096"):
        translator.score([("one", "two"), ("one", "two " * 5_000)])
    with pytest.raises(UserError, match="Line 42 has "):
        translator.score([("one", "two"), ("one", "two " * 5_000)], first=41)


def test_a_line_break_spelled_in_bytes_stays_within_its_line(translator, monkeypatch):
    monkeypatch.setattr(TOKENIZER, "decode", lambda ids: ["one\ntwo\r" for _ in ids])
    assert translator.translate(["one"])[0][0].text == "one two "


# --- More than the best translation --------------------------------------------------------------

DRAWN = Wishes(sample=3, seed=5, temperature=1.5, top_p=0.9)
PREFIXES = ["two ten", "", "", "four four", ""]


@pytest.fixture(scope="module")
def asked():
    """With all that forbids words; those banned are words of the best outputs otherwise."""
    _, params = drawn_by_numpy(ONE_LAYER, TOKENIZER.num_words)
    # Bytes are what a random model says most, and few of them spell a character.
    pieces = TOKENIZER.pieces(range(TOKENIZER.num_words))
    is_byte = np.array([piece.startswith("<0x") for piece in pieces])
    params["embedding"] = params["embedding"].at[: len(pieces)].multiply(~is_byte[:, None])
    wordy = Translator(Model(EXPERIMENT, TOKENIZER, flatten(params)))
    words = {word for best in wordy.best(LINES) for word in best.split()}
    banned = sorted(word for word in words if word.isascii())
    assert banned
    return wordy.asked(Wishes(no_repeat=2, min_length=3, ban=banned[:4]))


def test_tokens_with_their_log_probabilities_are_those_of_the_score(translator, asked):
    drawn = translator.asked(DRAWN)
    for search, options in (
        (translator, {}),
        (asked, {"num_best": 3, "prefixes": PREFIXES}),
        (drawn, {"num_best": 3}),
    ):
        found = list(search.detailed(LINES, **options))
        plain = search.translate(LINES, **options)
        assert [[(each.text, each.score) for each in best] for best in found] == plain
        for line, best in zip(LINES, found, strict=True):
            if not line.strip():
                assert [(each.tokens, each.ended) for each in best] == [((), "empty")]
                continue
            limit = len(TOKENIZER.encode([line])[0]) + 4 + 1
            for each in best:
                assert each.tokens[-1] == "</s>"
                total = each.score * ((5 + len(each.tokens)) / 6) ** 0.6
                assert sum(each.log_probs) == pytest.approx(total, rel=1e-4)
                assert len(each.log_probs) == len(each.tokens)
                assert each.ended == ("limit" if len(each.tokens) == limit else "eos")


def test_each_translation_begins_with_its_prefix_and_keeps_what_is_asked(asked):
    found = list(asked.detailed(LINES, 3, prefixes=PREFIXES))
    for prefix, line, best in zip(PREFIXES, LINES, found, strict=True):
        for each in best if line.strip() else ():
            assert each.text.startswith(prefix)
            assert len(each.tokens) > 3
            assert not set(asked.wishes.ban) & set(each.text.split())
            begun = len(TOKENIZER.encode([prefix])[0])
            free = [*zip(each.tokens, each.tokens[1:], strict=False)]
            assert all(pair not in free[:at] for at, pair in enumerate(free) if at >= begun)
    open_ends = list(asked.detailed(LINES, 3, prefixes=[""] * 5))
    assert [each.text for each in open_ends[4]] == [each.text for each in found[4]]
    paragraph = "Six seven three four five. " * 12
    (best,) = asked.translate([paragraph], 3, prefixes=["ten nine"])
    assert best[0].text.startswith("ten nine")
    assert best[0].text.count("ten nine") < 12, "of its first piece alone"


def test_prefixes_are_judged_before_anything_is_searched(asked, monkeypatch):
    monkeypatch.setattr(asked.programs, "search", None)
    most = len(TOKENIZER.encode(LINES[4:])[0]) + 4
    banned = asked.wishes.ban[0]
    for prefixes, message in (
        (["one"], "There are 1 prefixes; wanted 5, one a line."),
        (["", "one", "", "", ""], "prefix of line 2 is 'one', and the line is empty"),
        (["", "", "", "", "e" * 99], f"of line 5 has [0-9]+ tokens; wanted at most {most},"),
        (["", "", "", "", f"e {banned}"], f"wanted one without '{banned}', a banned word"),
    ):
        with pytest.raises(UserError, match=message):
            asked.translate(LINES, prefixes=prefixes)


def test_a_prefix_may_be_as_long_as_the_longest_output(asked):
    most = len(TOKENIZER.encode(["four"])[0]) + 4
    prefix = "four four four"
    assert len(TOKENIZER.encode([prefix])[0]) == most
    ((found,),) = asked.detailed(["four"], 3, prefixes=[prefix])
    assert found.text == prefix
    assert (len(found.tokens), found.ended) == (most + 1, "limit")


def test_a_sample_depends_on_its_sentence_and_the_seed_alone(translator):
    drawn = translator.asked(DRAWN)
    lines = ["one two three", "four", *[f"{n % 7} six" for n in range(13)], "one two three"]
    found = drawn.translate(lines, num_best=3)
    assert found[0] == found[-1]
    texts = [each.text for each in found[0]]
    assert [each.text for each in drawn.translate(lines[:1], num_best=3)[0]] == texts
    assert len(set(texts)) == 3
    other = translator.asked(replace(DRAWN, seed=6)).translate(lines[:1], num_best=3)[0]
    assert {each.text for each in other} != set(texts)
    scores = [each.score for each in found[0]]
    assert scores == sorted(scores, reverse=True)
    (two,) = drawn.translate(lines[:1], num_best=2)
    assert [each.text for each in two] == texts[:2]


def _looking_at(place_of):
    """In place of attention: each target piece looks at the source piece `place_of` gives."""

    def weights(params, rows):
        batch, width = rows.src_BS.shape
        found = np.zeros((batch, width, width), np.float32)
        for row, segments in enumerate(rows.src_segments_BS):
            for place in range(width):
                found[row, place, place_of(place, segments.sum() - 1)] = 1.0
        return found

    return weights


def test_words_are_linked_by_the_weights_of_their_pieces(asked, monkeypatch):
    line, prefix = LINES[4], "ten four six two"
    (ids,), (begun,) = TOKENIZER.encode([line]), TOKENIZER.encode([prefix])
    monkeypatch.setattr(asked.programs, "alignment", _looking_at(lambda place, width: 4))
    word = "".join(TOKENIZER.pieces(ids[:5])).count("\u2581") - 1
    (found, empty) = asked.detailed([line, " "], 3, prefixes=[prefix, ""], align=True)
    for each in found:
        assert each.alignment == tuple((word, n) for n in range(len(each.text.split())))
    assert [each.alignment for each in empty] == [()]
    # Each looks at the piece of its own place: of a word of the prefix, most of its pieces say.
    monkeypatch.setattr(asked.programs, "alignment", _looking_at(min))
    ((best,),) = asked.detailed([prefix], prefixes=[prefix], align=True)
    assert best.alignment[:4] == tuple((n, n) for n in range(4))
    assert len(begun) > 4, "words of several pieces"
    plain = list(asked.detailed([prefix], prefixes=[prefix]))
    assert plain == [[best._replace(alignment=None)]]


def test_links_of_a_line_in_pieces_are_of_the_whole_line(asked, monkeypatch):
    monkeypatch.setattr(asked.programs, "alignment", _looking_at(lambda place, width: width - 1))
    alone = [f"{words} three four five." for words in ("Six seven", "Eight nine", "Ten two")] * 3
    ((found,),) = asked.detailed([" ".join(alone)], align=True)
    # Every word of the n-th piece looks at the last word of the n-th sentence.
    texts = " ".join(found.tokens).split("</s>")[:-1]
    ids = [TOKENIZER.ids(text.split()) for text in texts]
    numbers = [n for n, each in enumerate(TOKENIZER.decode(ids)) for _ in each.split()]
    wanted = [(5 * n + 4, target) for target, n in enumerate(numbers)]
    assert sorted(found.alignment) == sorted(wanted)


def test_the_weights_of_words_are_the_mean_of_the_heads_of_a_layer(translator):
    src, tgt = TOKENIZER.encode(["one two three", "four five"])
    (found,) = translator.forced([(src, tgt)], translator.programs.alignment)
    looks = look(translator, "one two three", "four five")
    places = tuple(map(slice, looks.cross.shape[2:]))
    np.testing.assert_allclose(found[places], looks.cross[0].mean(axis=0), atol=1e-6)


def test_of_more_layers_those_that_align_are_averaged_and_of_more_models_all():
    members = [flatten(drawn_by_numpy(MODEL, TOKENIZER.num_words, seed)[1]) for seed in (1, 2)]
    two = [
        Translator(Model(replace(EXPERIMENT, model=MODEL), TOKENIZER, params)) for params in members
    ]
    pair = [tuple(TOKENIZER.encode(["one two three", "four five"]))]
    alone = []
    for each in two:
        (found,) = each.forced(pair, each.programs.alignment)
        cross = look(each, "one two three", "four five").cross
        chosen = cross[layers_of(len(cross))]
        assert 0 < len(chosen) <= len(cross) == 2
        places = tuple(map(slice, cross.shape[2:]))
        np.testing.assert_allclose(found[places], chosen.mean(axis=(0, 1)), atol=1e-6)
        alone.append(found)
    first, *others = (Model(replace(EXPERIMENT, model=MODEL), TOKENIZER, p) for p in members)
    together = Translator(first, others=others)
    (found,) = together.forced(pair, together.programs.alignment)
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-6)


def test_few_pairs_are_scored_in_few_rows(translator):
    pair = tuple(TOKENIZER.encode(["one two", "three"]))
    shapes = []

    def score(params, rows):
        shapes.append(len(rows.tgt_in_BT))
        return translator.programs.forced(params, rows)

    (alone,) = translator.forced([pair], score)
    most = translator._batch_size(32, beams=1)
    many = translator.forced([pair] * (most + 1), score)
    assert shapes == [min(16, most), most, most]
    np.testing.assert_allclose(many, alone, rtol=1e-5)


def test_what_there_are_no_positions_for_is_not_scored(translator, monkeypatch):
    monkeypatch.setattr(translator, "_positions", 12)
    with pytest.raises(LineError, match=r"Line 2 has \d+ tokens; wanted at most 12") as caught:
        translator.score([("one", "two"), ("one " * 12, "two")])
    assert caught.value.place == 1


def test_wishes_are_of_the_one_who_asks(translator, asked):
    assert translator.wishes.none
    assert asked.wishes.min_length == 3


def test_decoding_imports_neither_training_nor_what_it_alone_needs():
    # A server needs a model and the search, and starts the sooner.
    unneeded = "'aiayn.training', 'orbax', 'tensorboard', 'tensorboardX', 'datasets', 'matplotlib'"
    code = (
        "import sys, aiayn.decoding.translator, aiayn.decoding.heads, aiayn.model.saved; "
        f"print(sorted(sys.modules.keys() & {{{unneeded}}}))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
