"""The peer of shakespeare: its size and rate by hand, each character scored once, and it learns."""

import math

import pytest
import torch

from aiayn.bench.nano_torch import Model, nats, rate, train, train_and_score


def test_its_size_and_its_rate_by_hand():
    # Over 65 characters: two tables, 12 squares of the width and two norms a layer, a norm at last.
    wanted = (65 + 64) * 128 + 4 * (12 * 128**2 + 2 * 128) + 128
    assert sum(parameter.numel() for parameter in Model(65).parameters()) == wanted
    assert rate(0.0, 0) == pytest.approx(1e-3 / 101)
    assert rate(0.0, 100) == pytest.approx(1e-3)
    assert rate(0.5, 500) == pytest.approx(5.5e-4), "half of the cosine"
    assert rate(1.0, 900) == pytest.approx(1e-4)


@pytest.mark.parametrize("length", [2, 30, 64, 65, 66, 97, 200])
def test_each_character_but_the_first_is_scored_once_from_half_a_window_or_more(length):
    text = torch.arange(length)
    seen: list[int] = []

    def model(ids):
        seen.append(int(ids[0, 0]))
        logits = torch.zeros(1, ids.shape[1], length + 1)
        # Sure that each number is followed by the next one.
        return logits.scatter(2, ids[..., None] + 1, 1e4)

    total, count = nats(model, text)
    assert (total, count) == (0.0, length - 1)
    assert seen[0] == 0
    uniform, _ = nats(lambda ids: torch.zeros(1, ids.shape[1], 7), text % 7)
    assert uniform == pytest.approx((length - 1) * math.log(7), rel=1e-5)


def test_no_character_is_predicted_from_a_later_one():
    model, ids = Model(11).eval(), torch.arange(10)[None]
    other = ids.clone()
    other[0, -1] = 10
    with torch.inference_mode():
        assert torch.equal(model(ids)[:, :-1], model(other)[:, :-1])


def test_it_learns_in_as_many_updates_as_there_is_time_for(monkeypatch):
    monkeypatch.setattr("aiayn.bench.nano_torch.BATCH", 2)
    text = torch.tensor([0, 1, 2, 0, 1, 3] * 50)
    over = iter([n / 20 for n in range(21)])
    model, updates = train(text, 4, lambda: next(over))
    assert updates == 20
    torch.manual_seed(0)  # as training begins
    assert nats(model.eval(), text) < nats(Model(4).eval(), text)

    found = train_and_score("abcabd" * 40, "abcabd" * 40, seconds=0.01)
    assert found["characters"] == 239
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
