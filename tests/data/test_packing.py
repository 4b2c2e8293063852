import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiayn.config import MOST_WIDTHS, DataConfig
from aiayn.data.packing import (
    assign_rows,
    choose_widths,
    cut,
    pack_split,
    share_out,
    unlimited,
)
from aiayn.errors import UserError
from tests.support.corpora import PACKING, TEXT_PACKING
from tests.support.models import TOKENIZER


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


def test_pairs_over_the_limit_are_counted(tmp_path):
    pairs = [("one two", "three"), ("one " * 200, "one")]
    split = pack_split(pairs, 2, TOKENIZER, PACKING, tmp_path, "train")
    assert (split.too_long, split.classes[0].num_pairs) == (1, 1)
    with pytest.raises(UserError, match="No pair of train is left"):
        pack_split(pairs[1:], 1, TOKENIZER, PACKING, tmp_path, "train")


def test_a_pair_of_exactly_the_limit_stays(tmp_path):
    # A word is a piece here, and EOS one more: 31 words fill the 32 tokens, 32 are too many.
    (length,) = {len(ids) for ids in TOKENIZER.encode(["one " * 31])}
    assert length == 31
    for source, target in ((31, 1), (1, 31), (31, 31), (32, 1), (1, 32)):
        pairs = [("one two", "three"), ("one " * source, "one " * target)]
        split = pack_split(pairs, 2, TOKENIZER, PACKING, tmp_path, "train")
        assert split.too_long == (max(source, target) == 32)
        assert sum(c.num_pairs for c in split.classes) == 2 - split.too_long


def test_dev_loses_no_pair_to_its_length(tmp_path):
    # 33 words and EOS are past the widest row of training, so dev has rows of 64 as well.
    pairs = [("one two", "three"), (" ".join(["one"] * 33), "two")]
    split = pack_split(pairs, 2, TOKENIZER, unlimited(PACKING), tmp_path, "dev")
    assert split.too_long == 0
    assert sum(row_class.num_pairs for row_class in split.classes) == 2


def test_dev_has_no_more_widths_than_may_be():
    widths = tuple(range(8, 8 * MOST_WIDTHS + 1, 8))
    config = unlimited(replace(PACKING, row_widths=widths))
    assert len(config.row_widths) == MOST_WIDTHS
    assert config.max_tokens == config.row_widths[-1] == 4_096


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


# --- Text without a source ----------------------------------------------------------------------


def _pieces(split):
    """The ids of each segment of each row."""
    return [
        tgt[segments == segment].tolist()
        for row_class in split.classes
        for tgt, segments in zip(*split.arrays(row_class)[2:], strict=True)
        for segment in range(1, int(segments.max()) + 1)
    ]


def test_the_pieces_of_texts_are_whole_and_each_in_one_row(packed_texts):
    texts, split = packed_texts
    wanted = []
    for ids in TOKENIZER.encode(texts):
        whole = [*ids, TOKENIZER.eos]
        for size in cut(whole, 32, None):
            wanted.append(whole[:size])
            whole = whole[size:]
    assert sorted(_pieces(split)) == sorted(wanted)
    assert len(wanted) > len(texts), "some are cut"
    assert (sum(c.num_pairs for c in split.classes), split.too_long) == (len(wanted), 0)
    for row_class in split.classes:
        src, src_segments, tgt, _ = split.arrays(row_class)
        assert (src.shape[1], src_segments.shape[1], row_class.src_tokens) == (0, 0, 0)
        assert tgt.shape == (row_class.num_rows, row_class.tgt_width)
    assert [c.tgt_width for c in split.classes] == [16, 32]
    # Of bins that are filled with the longest piece that fits, few have room left.
    assert sum(c.fill * c.num_rows for c in split.classes) > 0.9 * sum(
        c.num_rows for c in split.classes
    )


@given(
    st.lists(st.sampled_from([7, 8, 9, 5]), max_size=40),
    st.integers(1, 12),
)
def test_a_document_is_cut_at_line_ends_where_it_can(ids, most):
    # 5 is the line break, 3 is EOS.
    whole, pieces, start = [*ids, 3], [], 0
    for size in cut(whole, most, 5):
        pieces.append(whole[start : start + size])
        start += size
    assert [word for piece in pieces for word in piece] == whole
    assert all(1 <= len(piece) <= most for piece in pieces)
    for piece, later in itertools.pairwise(pieces):
        full = len(piece) >= most - 1 or len(later) == 2  # one less where EOS would be alone
        assert piece[-1] == 5 or (full and 5 not in piece)
    if most > 1 and ids:
        assert len(pieces[-1]) > 1, "EOS is not alone"


def test_a_document_of_exactly_the_limit_is_one_piece():
    # Two lines of two words: 7 7 5 7 7 EOS.
    whole = [7, 7, 5, 7, 7, 3]
    assert cut(whole, 6, 5) == [6]
    assert cut(whole, 5, 5) == [3, 3], "after the line break, though four would fit"
    assert cut(whole, 5, None) == [4, 2], "not five, which would leave EOS alone"
    assert cut(whole, 2, 5) == [2, 1, 1, 2]


def test_texts_of_dev_are_cut_to_what_a_model_reads_at_once(tmp_path):
    assert unlimited(TEXT_PACKING) == TEXT_PACKING
    split = pack_split([("", "one " * 100)], 1, TOKENIZER, TEXT_PACKING, tmp_path, "dev")
    assert sorted(map(len, _pieces(split))) == [5, 32, 32, 32]
    assert split.too_long == 0


def test_rows_without_a_source_are_filled_with_the_longest_piece_that_fits():
    # 10 + 6, 9 + 7, 8 + 8 fill rows of 16; the shortest first would be 6 + 7, 8 + 8, 9, 10.
    tgt = np.array([6, 7, 8, 8, 9, 10])
    row_of = assign_rows(np.zeros_like(tgt), tgt, 0, 16)
    assert sorted(tgt[row_of == row].sum() for row in range(row_of.max() + 1)) == [16, 16, 16]
