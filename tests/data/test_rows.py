import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiayn.config import DataConfig
from aiayn.data.packing import assign_rows, choose_widths, pack_split, share_out, unlimited
from aiayn.data.rows import make_rows, rows_of_pairs
from aiayn.data.store import PackedSplit
from aiayn.data.updates import Layout, Updates, batches, read_ahead
from aiayn.errors import UserError
from tests.support.models import TOKENIZER

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
CONFIG = DataConfig(
    row_widths=(16, 32), max_tokens=32, src_tokens_per_update=40, tgt_tokens_per_update=40
)


def _pairs(count, longest=8, seed=0):
    rng = random.Random(seed)
    return [
        tuple(" ".join(rng.choices(WORDS, k=rng.randint(1, longest))) for _ in range(2))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    pairs = _pairs(300)
    folder = tmp_path_factory.mktemp("rows")
    return pairs, pack_split(pairs, len(pairs), TOKENIZER, CONFIG, folder, "train")


def _sentences(rows):
    """Every (source ids, target ids) in some rows, without EOS."""
    found = []
    for src, ss, tgt, ts in zip(*(np.asarray(f) for f in rows), strict=True):
        for segment in range(1, int(ss.max()) + 1):
            source, target = src[ss == segment].tolist(), tgt[ts == segment].tolist()
            assert source.pop() == target.pop() == TOKENIZER.eos
            found.append((source, target))
    return found


def test_every_pair_is_in_exactly_one_row(packed):
    pairs, split = packed
    wanted = sorted(
        zip(*(TOKENIZER.encode(side) for side in zip(*pairs, strict=True)), strict=True)
    )
    found = [s for c in split.classes for s in _sentences(split.arrays(c))]
    assert sorted(found) == wanted
    assert sum(c.num_pairs for c in split.classes) == len(pairs)


def test_it_loads_as_it_was_packed(packed):
    _, split = packed
    assert PackedSplit.load(split.folder, "train") == split


def test_a_cut_off_file_is_refused(packed, tmp_path):
    _, split = packed
    row_class = split.classes[0]
    name = f"train.{row_class.tgt_width}.bin"
    (tmp_path / name).write_bytes((split.folder / name).read_bytes()[:-2])
    with pytest.raises(UserError, match=name):
        PackedSplit(tmp_path, "train", split.classes, 0).arrays(row_class)


def test_pairs_over_the_limit_are_counted(tmp_path):
    pairs = [("one two", "three"), (" ".join(WORDS * 20), "one")]
    split = pack_split(pairs, 2, TOKENIZER, CONFIG, tmp_path, "train")
    assert (split.too_long, split.classes[0].num_pairs) == (1, 1)
    with pytest.raises(UserError, match="No pair of train is left"):
        pack_split(pairs[1:], 1, TOKENIZER, CONFIG, tmp_path, "train")


def test_dev_loses_no_pair_to_its_length(tmp_path):
    # 33 words and EOS are past the widest row of training, so dev has rows of 64 as well.
    pairs = [("one two", "three"), (" ".join(["one"] * 33), "two")]
    split = pack_split(pairs, 2, TOKENIZER, unlimited(CONFIG), tmp_path, "dev")
    assert split.too_long == 0
    assert sum(row_class.num_pairs for row_class in split.classes) == 2


@given(
    st.lists(st.tuples(st.integers(1, 16), st.integers(1, 20)), min_size=1, max_size=60),
)
def test_no_row_overflows_on_either_side(lengths):
    src, tgt = np.array(lengths).T
    row_of = assign_rows(src, tgt, 16, 20)
    for row in range(row_of.max() + 1):
        assert (row_of == row).any()
        assert src[row_of == row].sum() <= 16
        assert tgt[row_of == row].sum() <= 20


@pytest.mark.parametrize(
    ("name", "median", "spread", "ratio_spread", "widths"),
    # Lengths as in Multi30k captions and as in WMT news, the latter log-normal with mean near 27.
    [("captions", 14, 0.3, 0.16, (64,)), ("news", 22, 0.62, 0.2, (64, 128, 256))],
)
def test_95_percent_of_the_slots_hold_a_token(name, median, spread, ratio_spread, widths):
    rng = np.random.default_rng(0)
    base = median * np.exp(rng.normal(0, spread, 100_000))
    src = np.clip(base.round(), 2, widths[-1]).astype(int)
    tgt = (base * np.exp(rng.normal(0.05, ratio_spread, len(src)))).round()
    tgt = np.clip(tgt, 2, widths[-1]).astype(int)
    # Updates so small that no class is left out, as none is at the size of WMT.
    config = DataConfig(
        row_widths=widths,
        max_tokens=widths[-1],
        src_tokens_per_update=1_000,
        tgt_tokens_per_update=1_000,
    )
    classes = choose_widths(src, tgt, config)
    assert [tgt_width for _, tgt_width in classes] == list(widths)
    slots = 0
    seen = []
    for (src_width, tgt_width), blocks in zip(classes, share_out(src, tgt, classes), strict=True):
        seen += blocks
        for block in blocks:
            rows = assign_rows(src[block], tgt[block], src_width, tgt_width).max() + 1
            slots += rows * (src_width + tgt_width)
    assert sorted(np.concatenate(seen)) == list(range(len(src))), "each pair once"
    assert (src.sum() + tgt.sum()) / slots >= 0.95, name


def test_targets_shift_by_one_within_each_sentence():
    # Two sentences, 5 6 EOS and 7 EOS, and one empty slot.
    tgt = np.array([[5, 6, 3, 7, 3, 0]])
    segments = np.array([[1, 1, 1, 2, 2, 0]])
    rows = make_rows(tgt, segments, tgt, segments, bos=2)
    np.testing.assert_array_equal(rows.tgt_in_BT, [[2, 5, 6, 2, 7, 0]])
    np.testing.assert_array_equal(rows.tgt_out_BT, tgt)
    np.testing.assert_array_equal(rows.tgt_positions_BT, [[0, 1, 2, 0, 1, 0]])
    np.testing.assert_array_equal(rows.weight_BT, [[1, 1, 1, 1, 1, 0]])


def test_a_row_of_one_pair_by_hand():
    rows = rows_of_pairs([([5, 6], [7]), ([8], [])], bos=2, eos=3)
    assert rows.src_BS.tolist() == [[5, 6, 3], [8, 3, 0]]
    assert rows.tgt_in_BT.tolist() == [[2, 7, 0], [2, 0, 0]]
    assert rows.tgt_out_BT.tolist() == [[7, 3, 0], [3, 0, 0]]
    assert rows.src_segments_BS.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert rows.tgt_segments_BT.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert rows_of_pairs([([5], [7])], 2, 3, width=9).src_BS.shape == (1, 9)


def test_a_model_imports_rows_without_what_makes_them():
    # flax itself imports rich.
    others = {"sentencepiece", "lxml", "defusedxml", "concurrent.futures.process", "sacrebleu"}
    code = (
        "import sys, aiayn.model.transformer; "
        "print([n for n in sys.modules if n.startswith('aiayn.data.')], "
        f"sys.modules.keys() & {others})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['aiayn.data.rows'] set()\n"


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
