import math
from dataclasses import replace

import numpy as np
import pytest

from aiayn.data.tokenizer import train_tokenizer
from aiayn.decoding.writer import Writer
from aiayn.errors import UserError
from aiayn.evaluation.perplexity import TextLoss, scores_of, text_losses, windows
from tests.support.models import CONTEXT, TOKENIZER, language_model


@pytest.fixture(scope="module")
def writer():
    return Writer(language_model())


@pytest.mark.parametrize("length", [1, 7, 8, 9, 12, 13, 40])
@pytest.mark.parametrize("context", [1, 2, 7, 8])
def test_every_token_is_counted_once_and_most_with_half_a_context_before_them(length, context):
    ids = list(range(length))
    counted = []
    for window in windows(0, ids, context):
        assert len(window.ids) <= context
        for place in range(window.first, len(window.ids)):
            counted.append(window.ids[place])
            assert place == counted[-1] or place >= context // 2
    assert counted == ids


def test_a_text_that_fits_the_context_has_the_sum_of_its_tokens(writer):
    texts = ["one two three", "", "four"]
    found = text_losses(writer, texts)
    for loss, text, ids in zip(found, texts, TOKENIZER.encode(texts), strict=True):
        whole = sum(-float(each.sum()) for each in writer.log_probs([ids]))
        assert loss.nats == pytest.approx(whole, abs=1e-4)
        assert loss[1:] == (len(ids), len(text.split()), len(text), len(text.encode()))


def test_a_text_is_divided_by_what_the_model_reads_of_it(writer):
    plain, spaced = text_losses(writer, ["one two", "  one" + " " * 900 + "two "])
    assert plain == spaced


def test_a_first_piece_that_nothing_predicts_divides_nothing(writer, monkeypatch):
    (ids,) = TOKENIZER.encode(["one two three"])
    monkeypatch.setattr(writer, "num_given", 1)
    nothing = np.array([np.nan, *[-1.0] * (len(ids) - 1)])
    monkeypatch.setattr(writer, "log_probs", lambda texts: [nothing for _ in texts])
    (loss,) = text_losses(writer, ["one two three"])
    (first,) = TOKENIZER.decode([ids[:1]])
    rest = "one two three".removeprefix(first)
    assert first
    assert loss == (len(ids) - 1, len(ids) - 1, len(rest.split()), len(rest), len(rest.encode()))


def test_a_model_that_says_nothing_has_no_perplexity_and_no_scores():
    # Its weights are finite, its logits are not; without a NaN there would be nothing to pay for.
    made = language_model()
    params = {**made.params, "embedding": made.params["embedding"] * np.float32(1e38)}
    silent = Writer(replace(made, params=params))
    with pytest.raises(UserError, match="scores are not finite"):
        text_losses(silent, ["one two three"])
    with pytest.raises(UserError, match="scores are not finite"):
        silent.score(["one two three"])


def test_a_longer_text_is_predicted_window_by_window(writer):
    text = "one two three four five " * 12
    (ids,) = TOKENIZER.encode([text])
    assert len(ids) > 2 * CONTEXT
    nats = -float(writer.log_probs([ids[:CONTEXT]])[0].sum())
    for end in range(CONTEXT + CONTEXT // 2, len(ids) + CONTEXT // 2, CONTEXT // 2):
        start = end - CONTEXT
        nats -= float(writer.log_probs([ids[start:end]])[0][CONTEXT // 2 :].sum())
    done = []
    (loss,) = text_losses(writer, [text], done.append)
    assert loss.nats == pytest.approx(nats, rel=1e-5)
    assert loss.tokens == done[-1] == len(ids)


def test_the_figures_by_hand():
    losses = [TextLoss(3.0, 4, 2, 9, 10), TextLoss(1.0, 1, 1, 1, 2)]
    scores = scores_of(losses, 64, "de", TOKENIZER)
    assert scores.values() == pytest.approx(
        {
            "perplexity": math.exp(4 / 5),
            "word_perplexity": math.exp(4 / 3),
            "bits_per_byte": 4 / math.log(2) / 12,
            "nats_per_character": 4 / 10,
        }
    )
    assert scores.num_sentences == 2
    assert "window:64|stride:32|bos:yes|eos:no" in scores["perplexity"].how
    assert set(scores_of([TextLoss()], 64, "de", TOKENIZER).values().values()) == {None}


def test_a_text_with_its_line_breaks_is_told_from_one_without():
    lines = ["one two", "three four"] * 40
    kept = train_tokenizer(["\n".join(lines)], 280, documents=True)
    rules = [
        scores_of([TextLoss(1.0, 1, 1, 1, 1)], 64, "de", each)["bits_per_byte"].how
        for each in (TOKENIZER, kept)
    ]
    plain = "window:64|stride:32|bos:yes|eos:no"
    assert rules == [f"{plain}|bytes:utf-8", f"{plain}|breaks:kept|bytes:utf-8"]
