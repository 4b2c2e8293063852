import numpy as np
import pytest

from aiayn.data.updates import Layout, Updates, batches, read_ahead
from tests.support.models import TOKENIZER


def test_an_epoch_visits_every_row_once_in_an_order_of_its_own(packed):
    _, split = packed
    updates = Updates(split, seed=1, tokens_per_update=80, bos=2)
    epochs = []
    for epoch in range(2):
        steps = range(epoch * updates.per_epoch, (epoch + 1) * updates.per_epoch)
        visited = [(c, int(r)) for s in steps for c, rows in [updates.choose(s)] for r in rows]
        epochs.append(visited)
        every = [(c, r) for c, k in enumerate(split.classes) for r in range(k.num_rows)]
        assert sorted(visited) == every
    assert epochs[0] != epochs[1]


def test_the_mean_update_holds_the_wanted_tokens(packed):
    _, split = packed
    updates = Updates(split, seed=1, tokens_per_update=80, bos=2)
    tokens = sum(c.src_tokens + c.tgt_tokens for c in split.classes)
    assert tokens / updates.per_epoch == pytest.approx(80, rel=0.03)


@pytest.mark.parametrize(("num_devices", "slots"), [(1, 10_000), (8, 10_000), (2, 32), (1, 16)])
def test_the_rows_of_an_update_do_not_depend_on_devices_or_accumulation(packed, num_devices, slots):
    _, split = packed
    updates = Updates(split, seed=1, tokens_per_update=400, bos=2)
    for step in range(4):
        chosen, _ = updates.choose(step)
        layout = updates.layout(chosen, num_devices, slots)
        assert layout.rows_per_round % num_devices == 0
        per_device = layout.rows_per_round // num_devices * split.classes[chosen].tgt_width
        assert per_device <= max(slots, split.classes[chosen].tgt_width)
        reference = updates.rows(step, Layout(1, len(updates.choose(step)[1])))
        rows = updates.rows(step, layout)
        for field, wanted in zip(rows, reference, strict=True):
            flat = field.reshape(-1, field.shape[-1])
            np.testing.assert_array_equal(flat[: wanted.shape[1]], wanted[0])
        assert not rows.weight_BT.reshape(-1, rows.tgt_in_BT.shape[-1])[
            reference[0].shape[1] :
        ].any()


def test_processes_together_hold_the_whole_update(packed):
    _, split = packed
    updates = Updates(split, seed=1, tokens_per_update=400, bos=2)
    layout = updates.layout(updates.choose(0)[0], 4, 64)
    whole = updates.rows(0, layout)
    half = layout.rows_per_round // 2
    parts = [updates.rows(0, layout, slice(n * half, (n + 1) * half)) for n in (0, 1)]
    for field, *shares in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(field, np.concatenate(shares, axis=1))


def test_batches_bring_every_row_once(packed):
    pairs, split = packed
    total = 0
    for rows in batches(split, slots=64, bos=2, multiple=3):
        assert rows.src_BS.shape[0] % 3 == 0
        total += int((rows.tgt_out_BT == TOKENIZER.eos).sum())
    assert total == len(pairs)


def test_reading_ahead_keeps_order_and_passes_errors_on():
    assert list(read_ahead(lambda n: n * n, 3, 8)) == [9, 16, 25, 36, 49]
    assert list(read_ahead(lambda n: n, 3, 3)) == []
    with pytest.raises(ZeroDivisionError):
        list(read_ahead(lambda n: 1 // (n - 4), 3, 8))


def test_the_same_batches_of_rows_never_come_twice(packed):
    # The order within a class is new in each epoch: batches too, not only their order.
    _, split = packed
    updates = Updates(split, seed=1, tokens_per_update=400, bos=2)
    epochs = [
        {
            (chosen, *sorted(rows.tolist()))
            for step in range(epoch * updates.per_epoch, (epoch + 1) * updates.per_epoch)
            for chosen, rows in [updates.choose(step)]
        }
        for epoch in range(3)
    ]
    assert all(len(batch) > 2 for batches in epochs for batch in batches), "several rows in each"
    assert not epochs[0] & epochs[1]
    assert not epochs[1] & epochs[2]


def test_the_order_of_classes_is_new_in_each_epoch(packed):
    _, split = packed
    updates = Updates(split, seed=1, tokens_per_update=80, bos=2)
    orders = {
        tuple(updates.choose(epoch * updates.per_epoch + n)[0] for n in range(updates.per_epoch))
        for epoch in range(3)
    }
    assert len(orders) == 3


@pytest.mark.parametrize(("slots", "multiple"), [(64, 1), (160, 1), (10_000, 7), (96, 2)])
def test_batches_bring_every_row_once_whatever_is_left_over(packed, slots, multiple):
    _, split = packed
    found = {row_class.tgt_width: [] for row_class in split.classes}
    for rows in batches(split, slots, bos=2, multiple=multiple):
        assert len(rows.src_BS) % multiple == 0
        real = rows.tgt_segments_BT.any(axis=1)
        assert not real[real.argmin() :].any() or real.all(), "empty rows come last"
        found[rows.tgt_out_BT.shape[1]] += rows.tgt_out_BT[real].tolist()
    left_over = 0
    for row_class in split.classes:
        _, _, tgt, _ = split.arrays(row_class)
        assert found[row_class.tgt_width] == tgt.tolist()
        size = max(1, slots // row_class.tgt_width // multiple) * multiple
        left_over += row_class.num_rows % size
    assert left_over > 0, "a class has rows left over for the last batch"


def test_an_update_of_texts_holds_the_wanted_target_tokens(packed_texts):
    texts, split = packed_texts
    updates = Updates(split, seed=1, tokens_per_update=80, bos=2)
    tokens = 0
    for step in range(updates.per_epoch):
        rows = updates.rows(step, updates.layout(updates.choose(step)[0], 2, 64))
        assert rows.src_BS.shape == (*rows.tgt_in_BT.shape[:2], 0)
        assert rows.src_positions_BS.shape == rows.src_segments_BS.shape == rows.src_BS.shape
        tokens += int(rows.weight_BT.sum())
    assert tokens == sum(len(ids) + 1 for ids in TOKENIZER.encode(texts))
    assert tokens / updates.per_epoch == pytest.approx(80, rel=0.03)
    found = sum(int(rows.weight_BT.sum()) for rows in batches(split, 64, bos=2, multiple=3))
    assert found == tokens
